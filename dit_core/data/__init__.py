"""Image sets with class labels and splits, and sheets of many images."""

from dit_core.data.images import DataError, ImageSet, load_images

__all__ = ["DataError", "ImageSet", "load_images"]
