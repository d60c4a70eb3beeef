"""Solvers of the denoising equation: diffusers' schedulers on the noise schedule of a model."""

from typing import Any

from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from dit_core.errors import BadRequest
from dit_core.models.schedule import ScheduleConfig
from dit_core.sampling.diffusion import betas

SCHEDULERS: dict[str, tuple[type, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {"clip_sample": False}),
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": True}),
    "dpm++2m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "unipc": (UniPCMultistepScheduler, {"solver_order": 2}),
    "ddpm-dit": (DDPMScheduler, {"clip_sample": False, "timestep_spacing": "linspace"}),
}
STOCHASTIC = ("ddpm", "ddpm-dit")  # add noise in every step, and read the learned variance if the network has one


def make_scheduler(name: str, schedule: ScheduleConfig, learned_variance: bool = False) -> Any:
    """Return the diffusers scheduler of a name, with trailing timesteps (arXiv 2305.08891).

    `ddpm-dit` takes evenly spaced timesteps from the last one to 0, as the published DiT code does
    (`space_timesteps` of guided-diffusion, arXiv 2102.09672). Raises BadRequest if there is none of this name.
    """
    if name not in SCHEDULERS:
        raise BadRequest(f"Unknown scheduler {name!r}: use one of {', '.join(SCHEDULERS)}.")
    kind, options = SCHEDULERS[name]
    if name in STOCHASTIC and learned_variance:
        options = {**options, "variance_type": "learned_range"}
    return kind(
        num_train_timesteps=schedule.train_steps,
        trained_betas=betas(schedule).numpy().astype("float32"),
        prediction_type=schedule.prediction,
        **{"timestep_spacing": "trailing", **options},
    )
