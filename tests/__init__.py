"""Tests. A package, because torch-fidelity installs a top-level package named `tests` that would hide this folder."""
