"""The noise schedule and the prediction type of a model, as plain data. Only `betas` imports torch."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dit_core.errors import BadRequest

if TYPE_CHECKING:
    from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction")
FLOW, SIT, MEAN_FLOW = VELOCITIES = ("flow", "sit", "mean_flow")  # of a straight path; `models.dit` returns epsilon
END, SPAN, STEPS = SECOND_TIMES = ("end", "span", "steps")  # what a second timestep embedder gets
BETAS = ("linear", "squaredcos_cap_v2")


@dataclass(frozen=True)
class ScheduleConfig:
    """Noise schedule and prediction type of a model; part of its configuration.

    Published DiT checkpoints: linear betas, epsilon, learned sigma. The bundled model: cosine betas, v prediction.
    """

    beta_schedule: str = "linear"
    prediction: str = "epsilon"
    train_steps: int = 1000

    def __post_init__(self) -> None:
        if self.beta_schedule not in BETAS:
            raise BadRequest(f"Unknown beta_schedule {self.beta_schedule!r}: use one of {', '.join(BETAS)}.")
        if self.prediction not in PREDICTIONS:
            raise BadRequest(f"Unknown prediction {self.prediction!r}: use one of {', '.join(PREDICTIONS)}.")
        if type(self.train_steps) is not int or self.train_steps < 1:
            raise BadRequest(f"train_steps must be a whole number of at least 1, got {self.train_steps!r}.")


def betas(config: ScheduleConfig) -> "Tensor":
    """Return (train_steps,) float64: DDPM's linear or the cosine schedule of Nichol and Dhariwal (arXiv 2102.09672)."""
    import torch

    if config.beta_schedule == "linear":
        scale = 1000 / config.train_steps
        return torch.linspace(scale * 1e-4, scale * 0.02, config.train_steps, dtype=torch.float64)
    t = torch.arange(config.train_steps + 1, dtype=torch.float64) / config.train_steps
    bar = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - bar[1:] / bar[:-1]).clamp(max=0.999)


def alphas_sigmas(config: ScheduleConfig) -> "tuple[Tensor, Tensor]":
    """Return alpha_t and sigma_t, each (train_steps,) float32."""
    import torch

    bar = torch.cumprod(1 - betas(config), 0)
    return bar.sqrt().float(), (1 - bar).sqrt().float()
