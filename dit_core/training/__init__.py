"""Training: one loop, and the losses that base training, recovery and distillation pass to it."""

from dit_core.training.loop import Progress, Settings, fit

__all__ = ["Progress", "Settings", "fit"]
