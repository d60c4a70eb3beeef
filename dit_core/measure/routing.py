"""Where the tokens of a mixture of experts go, by layer and timestep, and what they cost there: counted by hooks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dit_core.diffusion import ScheduleConfig
from dit_core.measure.flops import flop_counter
from dit_core.models.experts import Routes, mixtures, work


class Routing:
    """Tokens that each expert got: `tokens` (layers, buckets, experts), int64 on the CPU.

    Layers are the mixtures in order, buckets equal parts of the timesteps from clean to noise, and experts those that a
    router picks from; layers with fewer of them have zeros in the end. A token counts once for each of its experts.
    """

    def __init__(self, experts: list[int], buckets: int, train_steps: int) -> None:
        self.experts, self.buckets, self.train_steps = experts, buckets, train_steps
        self.tokens = torch.zeros(len(experts), buckets, max(experts, default=0), dtype=torch.int64)

    def balance(self) -> list[list[float | None]]:
        """By layer and bucket, the mean load over the largest: 1 is even, 1 / experts all on one; None unseen."""
        return [
            [load.sum().item() / count / load.max().item() if load.any() else None for load in layer]
            for layer, count in zip(self.tokens, self.experts, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """What a record keeps: first timestep of each bucket, tokens per expert, balance."""
        starts = [-(-bucket * self.train_steps // self.buckets) for bucket in range(self.buckets)]
        tokens = [layer[:, :count].tolist() for layer, count in zip(self.tokens, self.experts, strict=True)]
        return {"first_timesteps": starts, "tokens": tokens, "balance": self.balance()}

    def add(self, layer: int, routes: Routes, t: Tensor) -> None:
        """Count the routes of a batch whose images have the timesteps `t` (N,); tokens of an image are adjacent."""
        images = routes.rows * len(t) // (int(routes.rows.max()) + 1)
        bucket = (t * self.buckets // self.train_steps).clamp(0, self.buckets - 1)[images]
        place = bucket * self.tokens.shape[2] + routes.experts
        counts = torch.bincount(place.cpu(), minlength=self.buckets * self.tokens.shape[2])
        self.tokens[layer] += counts.view(self.buckets, -1)


@contextmanager
def routing(model: nn.Module, buckets: int = 4, train_steps: int = ScheduleConfig().train_steps) -> Iterator[Routing]:
    """Counts everything that `model`, called with (x, t, y), routes within the block; without it nothing is counted."""
    routers = [mixture.router for mixture in mixtures(model)]
    counted = Routing([router.out_features for router in routers], buckets, train_steps)
    timesteps = torch.empty(0)

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal timesteps
        timesteps = args[1]

    def watch(layer: int, router: nn.Module) -> Any:
        def hook(module: nn.Module, args: Any, routes: Any) -> None:
            counted.add(layer, routes, timesteps)

        return router.register_forward_hook(hook)

    hooks = [model.register_forward_pre_hook(note), *(watch(*pair) for pair in enumerate(routers))]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


class Executed:
    """Operations and tokens of each mixture, counted while they run."""

    def __init__(self, layers: int) -> None:
        self.flops, self.tokens = [0] * layers, [0] * layers

    def macs_per_token(self) -> float | None:
        """Multiply-accumulates of one token in all mixtures; None where one of them never ran."""
        if not all(self.tokens):
            return None
        return sum(flops / tokens for flops, tokens in zip(self.flops, self.tokens, strict=True)) / 2


@contextmanager
def executed(model: nn.Module) -> Iterator[Executed]:
    """Counts what the mixtures of `model` compute within the block."""
    found = list(mixtures(model))
    counted, counter, hooks, since = Executed(len(found)), flop_counter(), [], 0

    def watch(layer: int, mixture: nn.Module) -> None:
        def before(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            nonlocal since
            since = counter.get_total_flops()
            counted.tokens[layer] += args[0].shape[:-1].numel()

        def after(module: nn.Module, args: Any, output: Any) -> None:
            counted.flops[layer] += counter.get_total_flops() - since

        hooks.extend((mixture.register_forward_pre_hook(before), mixture.register_forward_hook(after)))

    for layer, mixture in enumerate(found):
        watch(layer, mixture)
    try:
        with counter:
            yield counted
    finally:
        for hook in hooks:
            hook.remove()


def add_routing(flops: dict[str, Any], generate: Callable[[], None], model: nn.Module) -> None:
    """Add to the section flops where one call of `generate`, which runs `model`, routes its tokens, and what a token
    costs in its mixtures: `total` were all experts run, `activated` in those that are chosen, `executed` as counted."""
    promised = work(model)
    if promised is None:
        reason = "this network has no mixture of experts"
        flops.update(routing=None, experts=None)
        flops["reasons"] = {**flops.get("reasons", {}), "routing": reason, "experts": reason}
        return
    with routing(model) as counted, executed(model) as done:
        generate()
    flops["routing"] = counted.as_dict()
    flops["experts"] = {
        "total_macs_per_token": promised.total,
        "activated_macs_per_token": promised.activated,
        "executed_macs_per_token": done.macs_per_token(),
    }
    if flops["experts"]["executed_macs_per_token"] is None:
        flops["experts"] = None
        flops["reasons"] = {**flops.get("reasons", {}), "experts": "a mixture of this network never ran"}
