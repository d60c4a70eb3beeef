"""Count where a mixture of experts sends its tokens, by layer and timestep, and what they cost there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dit_core.measure.flops import flop_counter
from dit_core.models.experts import Routes, mixtures, work
from dit_core.models.hooks import hooked
from dit_core.models.schedule import ScheduleConfig


class Routing:
    """Number of tokens that each expert received: `tokens` (layers, buckets, experts), int64 on the CPU.

    Layers are the network's mixtures in order. Buckets are equal ranges of timesteps, from the clean image to noise.
    Experts are those that a router chooses from; a layer with fewer experts has zeros at the end. A token counts once
    for each of its experts.
    """

    def __init__(self, experts: list[int], buckets: int, train_steps: int) -> None:
        self.experts, self.buckets, self.train_steps = experts, buckets, train_steps
        self.tokens = torch.zeros(len(experts), buckets, max(experts, default=0), dtype=torch.int64)

    def balance(self) -> list[list[float | None]]:
        """Return the mean load over the largest load, by layer and bucket.

        1 is an even load; 1 / experts means that one expert receives all tokens; None that there were no tokens.
        """
        return [
            [load.sum().item() / count / load.max().item() if load.any() else None for load in layer]
            for layer, count in zip(self.tokens, self.experts, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return what a record keeps: the first timestep of each bucket, the tokens of each expert, the balance."""
        starts = [-(-bucket * self.train_steps // self.buckets) for bucket in range(self.buckets)]
        tokens = [layer[:, :count].tolist() for layer, count in zip(self.tokens, self.experts, strict=True)]
        return {"first_timesteps": starts, "tokens": tokens, "balance": self.balance()}

    def add(self, layer: int, routes: Routes, t: Tensor) -> None:
        """Count the routes of a batch whose images have the timesteps `t` (N,); an image's tokens are adjacent."""
        images = routes.rows * len(t) // (int(routes.rows.max()) + 1)
        bucket = (t * self.buckets // self.train_steps).clamp(0, self.buckets - 1)[images]
        place = bucket * self.tokens.shape[2] + routes.experts
        counts = torch.bincount(place.cpu(), minlength=self.buckets * self.tokens.shape[2])
        self.tokens[layer] += counts.view(self.buckets, -1)


@contextmanager
def count_routing(
    model: nn.Module, buckets: int = 4, train_steps: int = ScheduleConfig().train_steps
) -> Iterator[Routing]:
    """Count the tokens that the mixtures of `model`, called with (x, t, y), route within the block."""
    routers = [mixture.router for mixture in mixtures(model)]
    routing = Routing([router.out_features for router in routers], buckets, train_steps)
    timesteps = torch.empty(0)

    def keep_timesteps(_: int, args: tuple[Any, ...]) -> None:
        nonlocal timesteps
        timesteps = args[1]

    def add_routes(layer: int, args: tuple[Any, ...], routes: Routes) -> None:
        routing.add(layer, routes, timesteps)

    with hooked([model], pre=keep_timesteps), hooked(routers, post=add_routes):
        yield routing


class ExecutedWork:
    """Operations and tokens of each mixture, counted while it runs."""

    def __init__(self, layers: int) -> None:
        self.flops, self.tokens = [0] * layers, [0] * layers

    def macs_per_token(self) -> float | None:
        """Return the multiply-accumulates of one token in all mixtures; None if one of them never ran."""
        if not all(self.tokens):
            return None
        return sum(flops / tokens for flops, tokens in zip(self.flops, self.tokens, strict=True)) / 2


@contextmanager
def count_work(model: nn.Module) -> Iterator[ExecutedWork]:
    """Count the operations that the mixtures of `model` execute within the block."""
    layers = list(mixtures(model))
    work_done, counter, flops_before = ExecutedWork(len(layers)), flop_counter(), 0

    def start(layer: int, args: tuple[Any, ...]) -> None:
        nonlocal flops_before
        flops_before = counter.get_total_flops()
        work_done.tokens[layer] += args[0].shape[:-1].numel()

    def stop(layer: int, args: tuple[Any, ...], output: Any) -> None:
        work_done.flops[layer] += counter.get_total_flops() - flops_before

    with hooked(layers, pre=start, post=stop), counter:
        yield work_done


def add_routing(flops: dict[str, Any], generate: Callable[[], None], model: nn.Module) -> None:
    """Add `routing` and `experts` to the flops section, in place, from one call of `generate`, which runs `model`.

    `experts` has the multiply-accumulates of a token in all mixtures: `total` if all experts ran, `activated` in the
    chosen experts, `executed` as counted. Both are null with a reason if the network has no mixture.
    """
    planned = work(model)
    if planned is None:
        reason = "this network has no mixture of experts"
        flops.update(routing=None, experts=None)
        flops["reasons"] = {**flops.get("reasons", {}), "routing": reason, "experts": reason}
        return
    with count_routing(model) as routing, count_work(model) as executed:
        generate()
    flops["routing"] = routing.as_dict()
    macs = executed.macs_per_token()
    if macs is None:
        flops["experts"] = None
        flops["reasons"] = {**flops.get("reasons", {}), "experts": "a mixture of this network never ran"}
        return
    flops["experts"] = {
        "total_macs_per_token": planned.total,
        "activated_macs_per_token": planned.activated,
        "executed_macs_per_token": macs,
    }
