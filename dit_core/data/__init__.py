"""Bundled images, their labels and splits."""

from dit_core.data.images import DataError, ImageSet, load_images

__all__ = ["DataError", "ImageSet", "load_images"]
