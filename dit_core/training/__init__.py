"""One training loop; callers pass the loss."""

from dit_core.training.loop import Progress, Settings, fit

__all__ = ["Progress", "Settings", "fit"]
