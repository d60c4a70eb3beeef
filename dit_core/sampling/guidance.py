"""Classifier-free guidance (Ho and Salimans, arXiv 2207.12598).

The guided output is `unconditional + scale * (conditional - unconditional)`, so a scale of 1 is the conditional output
and needs no second pass.
"""

from typing import Any

import torch
from torch import Tensor

from dit_core.errors import BadRequest
from dit_core.models.model import Model
from dit_core.models.state import CONDITIONAL, GUIDED, UNCONDITIONAL
from dit_core.sampling.config import SamplingConfig


class Guidance:
    """Guided evaluations of a network in the steps of one batch.

    It keeps the difference of the branches for the steps that run only one of them (`SamplingConfig.guidance_every`).
    """

    def __init__(self, model: Model, sampling: SamplingConfig) -> None:
        self.model, self.sampling = model, sampling
        self.difference: Tensor | None = None  # (N, k, h, w) conditional minus unconditional output
        self.age = 0  # guided steps since it was computed, that one included

    def branches(self, t: int) -> tuple[str, ...]:
        """Return the guidance branches that `predict` runs in one batch at timestep `t`, in their order.

        A network without a null label has no unconditional branch.
        """
        if takes_guidance(self.model.dit):
            return (GUIDED,)
        keeps = self.difference is not None and self.age < self.sampling.guidance_every
        guided = self.sampling.guidance_at(t) != 1 and self.model.config.dit.null_label
        return (CONDITIONAL, UNCONDITIONAL) if guided and not keeps else (CONDITIONAL,)

    def predict(self, noisy: Tensor, t: int, labels: Tensor) -> Tensor:
        """Return the guided output of the network (N, C or 2 C, h, w) for latents (N, C, h, w) at timestep `t`.

        Both branches run in one batch (2 N, C, h, w), conditional first. A network that takes the guidance scale as an
        input needs only one pass. Raises BadRequest if such a network is asked to guide some channels only.
        """
        dit, n = self.model.dit, len(labels)
        scale, running = self.sampling.guidance_at(t), self.branches(t)
        times = torch.full((n,), t, device=noisy.device)
        if running == (GUIDED,):
            if self.sampling.guidance_channels:
                raise BadRequest("Distilled guidance acts on all channels: set guidance_channels to 0.")
            return dit(noisy, times, labels, guidance=torch.full((n,), scale, device=noisy.device))
        k = self.sampling.guidance_channels or noisy.shape[1]
        if running == (CONDITIONAL,):
            output = dit(noisy, times, labels)
            if scale == 1 or self.difference is None:
                return output
            self.age += 1
            return torch.cat([output[:, :k] + (scale - 1) * self.difference, output[:, k:]], dim=1)
        null = torch.full_like(labels, len(self.model.classes))
        both = dit(torch.cat([noisy, noisy]), torch.cat([times, times]), torch.cat([labels, null]))
        conditional, unconditional = both.chunk(2)
        if self.sampling.guidance_every > 1:
            self.difference, self.age = conditional[:, :k] - unconditional[:, :k], 1
        mixed = torch.lerp(unconditional[:, :k], conditional[:, :k], scale)
        return torch.cat([mixed, conditional[:, k:]], dim=1)


def takes_guidance(dit: Any) -> bool:
    """Return whether the network takes the guidance scale as an input."""
    return getattr(dit, "guidance_embedder", None) is not None
