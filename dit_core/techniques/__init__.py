"""Techniques, one file each, discovered by `dit_core.recipes.registry`. Importing them does not import torch."""
