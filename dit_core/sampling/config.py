"""How images are sampled, as plain data. Imports no torch."""

from dataclasses import dataclass
from typing import Any

from dit_core.records.spec import RunSpec

_DIT = {"scheduler": "ddpm-dit", "steps": 250, "guidance_channels": 3}
AS_PUBLISHED: dict[str, dict[str, Any]] = {  # fields of a spec, as `sample.py` and `sample_ddp.py` of DiT set them
    "pictures": {**_DIT, "guidance": 4.0},
    "evaluation": {**_DIT, "guidance": 1.5},
}


@dataclass(frozen=True)
class SamplingConfig:
    """Solver, steps and classifier-free guidance.

    `guidance_channels` 0 guides all channels, 3 the first three as the published DiT code does. `guidance_interval` is
    the lowest and the highest timestep at which guidance is applied (Kynkaanniemi et al., arXiv 2404.07724); None
    applies it at every step. Outside the interval the network runs once per step, with the class only. The branch
    without the class runs in every `guidance_every`-th guided step; the steps between keep its difference to the branch
    with the class (FasterCache, arXiv 2410.19355).
    """

    scheduler: str = "dpm++2m"
    steps: int = 20
    guidance: float = 2.0
    guidance_channels: int = 0
    guidance_interval: tuple[int, int] | None = None
    guidance_every: int = 1

    @classmethod
    def of(cls, spec: RunSpec) -> "SamplingConfig":
        """Return how the baseline of a run is sampled."""
        return cls(
            spec.scheduler,
            spec.steps,
            spec.guidance,
            spec.guidance_channels,
            spec.guidance_interval,
            spec.guidance_every,
        )

    def guidance_at(self, timestep: int) -> float:
        """Return the guidance scale at a timestep: `guidance` inside the interval, 1 (no guidance) outside."""
        if self.guidance_interval is None or self.guidance_interval[0] <= timestep <= self.guidance_interval[1]:
            return self.guidance
        return 1.0
