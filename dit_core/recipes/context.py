"""What the function of a technique may use besides the network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from dit_core.models.model import Model


@dataclass
class Context:
    """Device, seed, model and callbacks of one application of a recipe."""

    device: "torch.device"
    seed: int = 0
    dtype: "torch.dtype | None" = None  # in which the network will run, None for that of its weights
    model: "Model | None" = None  # as loaded: its network is the teacher; autoencoder and schedule for data and noise
    recipe: tuple[dict[str, Any], ...] = ()  # canonical entries up to and including the technique that runs
    calibration: Any = None  # inputs (x_t, t, y) of the network
    draw_calibration: Callable[[int], Any] | None = None  # a function that returns so many inputs (x_t, t, y)
    folder: Path = Path("runs")  # for the checkpoints of recovery training
    learning_rate: float | None = None  # of recovery training; None: the default
    batch_size: int | None = None  # of recovery training; None: the default
    progress: Callable[[str, int, int], None] = lambda stage, step, of: None
    preview: "Callable[[nn.Module], None] | None" = None  # called with the network in training from time to time
    cancelled: Callable[[], bool] = lambda: False
    source: str = ""  # name that the model was found by; empty: the name in its configuration
    images: str = ""  # path of own training images; empty: those of the model

    @property
    def name(self) -> str:
        """Name that the model is found by. Raises ValueError without a model."""
        if self.model is None:
            raise ValueError("the context has no model")
        return self.source or self.model.config.name
