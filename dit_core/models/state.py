"""State that modules keep from one step of the sampler to the next.

A module that reuses what it computed in an earlier step, for example a cache of features, is a `StatefulModule`. At the
start of every batch the sampler calls `reset` on all stateful modules of the network. Before every evaluation of the
network it sets their attribute `step`. After the batch it resets them again and sets `step` to None, so that copies and
saved networks hold no state. Outside the sampler, for example in training, `step` is None: a module then keeps nothing.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from dit_core.models.layers import chosen_blocks

CONDITIONAL, UNCONDITIONAL, GUIDED = "conditional", "unconditional", "guided"
INTERVAL, TAYLOR, FIRST_BLOCK, SCHEDULE = METHODS = ("interval", "taylor", "first-block", "schedule")
CLEAN = -1  # the timestep of an image without noise
Curve = Sequence[tuple[float, float]]
Conditioned = tuple[nn.Module, Tensor]  # a block and its condition


@dataclass(frozen=True)
class StepContext:
    """The evaluation of the network that is running.

    `branches` are the guidance branches in the batch, in their order along the batch dimension: (`conditional`,
    `unconditional`) with guidance, (`conditional`,) without, (`guided`,) for a network that takes the guidance scale as
    an input. It can change from step to step (`SamplingConfig.guidance_interval`).
    """

    index: int  # step of the solver, from 1
    of: int  # number of steps
    timestep: int
    branches: tuple[str, ...] = (CONDITIONAL,)
    end: int | None = None  # timestep that a solver without curvature goes straight to, CLEAN for the image; else None

    def split(self, batch: Tensor) -> dict[str, Tensor]:
        """Split a batch (branches * N, ...) into one tensor (N, ...) per branch."""
        return dict(zip(self.branches, batch.chunk(len(self.branches)), strict=True))


class StatefulModule(nn.Module):
    """Base class of modules that keep something between the steps of a batch."""

    step: StepContext | None = None  # set by the sampler

    def reset(self) -> None:
        """Forget everything that was kept in earlier steps."""
        raise NotImplementedError


@contextmanager
def sampled_batch(network: nn.Module) -> Iterator[Callable[[StepContext], None]]:
    """Reset the stateful modules of a network before and after a batch.

    Yields a function that sets the step of all of them.
    """
    modules = [module for module in network.modules() if isinstance(module, StatefulModule)]

    def set_step(step: StepContext | None) -> None:
        for module in modules:
            module.step = step

    def reset() -> None:
        set_step(None)
        for module in modules:
            module.reset()

    reset()
    try:
        yield set_step
    finally:
        reset()


class FeatureCache(StatefulModule):
    """Runs the blocks of a network; in some steps of the sampler, selected blocks are replaced by kept features.

    A feature is the residual of a run of adjacent blocks, their output minus their input. Forecasts are linear, so the
    forecast of a run is the sum of those of its blocks. Shapes: R rows (branches times images), T tokens, D width.

    The first `warmup` steps compute all blocks, and so does a step with a guidance branch that has no kept features.
    Later steps compute the selected blocks

    - `interval`, `taylor`: in every `interval`-th step. The steps between reuse the features (FORA, arXiv 2407.01425)
      or forecast them with finite differences up to `order` (TaylorSeer, arXiv 2503.06923).
    - `schedule`: once `change`, a curve of (timestep, accumulated relative change) measured on the network, has moved
      by `threshold` since the last computation (SmoothCache, arXiv 2411.10510).
    - `first-block`: for every row whose first block adds something that differs from the kept one by `threshold`,
      relative to its size (L1; First Block Cache, after TeaCache, arXiv 2411.19108). Rows decide on their own, so an
      image does not depend on the images beside it.

    Outside the sampler all blocks run.
    """

    def __init__(
        self,
        method: str,
        *,
        interval: int = 2,
        warmup: int = 1,
        threshold: float = 0.1,
        order: int = 1,
        layers: str = "all",
        change: Curve = (),
    ) -> None:
        super().__init__()
        self.method, self.interval, self.warmup, self.threshold = method, interval, warmup, threshold
        self.order = order if method == TAYLOR else 0
        self.layers, self.change = layers, [list(point) for point in change]
        self.reset()

    def reset(self) -> None:
        """Forget all features."""
        self.computed: StepContext | None = None  # the step that `factors` and `probe` are from
        self.factors: dict[int, list[Tensor]] = {}  # by first block of a run: differences of order 0, 1, ... (R, T, D)
        self.probe: Tensor | None = None  # (R, T, D) what the first block added

    def forward(self, blocks: nn.ModuleList, x: Tensor, conditions: Sequence[Tensor]) -> Tensor:
        """`x` (R, T, D) and the condition (R, D) of each block; returns (R, T, D)."""
        step, every = self.step, list(zip(blocks, conditions, strict=True))
        if step is None:
            return _run(every, x)
        runs = cached_runs(self.layers, len(blocks), self.method)
        if self.method == FIRST_BLOCK:
            return self._run_changed_rows(step, runs, every, x)
        compute = self._is_due(step)
        for indices, cached in runs:
            if not cached:
                x = _run([every[index] for index in indices], x)
            elif compute:
                out = _run([every[index] for index in indices], x)
                self.factors[indices[0]] = self._differences(step, self.factors.get(indices[0], []), out - x)
                x = out
            else:
                x = self._forecast(step, self.factors[indices[0]], x)
        if compute:
            self.computed = step
        return x

    def _is_due(self, step: StepContext) -> bool:
        """Return whether this step computes the selected blocks, for methods that decide by the step alone."""
        before = self.computed
        if before is None or step.index <= self.warmup or not set(step.branches) <= set(before.branches):
            return True
        if self.method == SCHEDULE:
            return abs(_at(self.change, step.timestep) - _at(self.change, before.timestep)) >= self.threshold
        return step.index - before.index >= self.interval

    def _differences(self, step: StepContext, kept: list[Tensor], feature: Tensor) -> list[Tensor]:
        """Return the finite differences per step of a feature, the feature itself first, as far as steps are known."""
        factors, before = [feature], self.computed
        if before is not None and set(step.branches) <= set(before.branches):
            for older in kept[: self.order]:
                factors.append((factors[-1] - self._rows(step, older)) / (step.index - before.index))
        return factors

    def _forecast(self, step: StepContext, factors: list[Tensor], x: Tensor) -> Tensor:
        """Return `x` plus the sum of D^i F k^i / i! over the orders i, k steps after the last computation."""
        assert self.computed is not None
        distance, weight = step.index - self.computed.index, 1.0
        out = x + self._rows(step, factors[0])
        for order, factor in enumerate(factors[1:], start=1):
            weight *= distance / order
            out.add_(self._rows(step, factor), alpha=weight)
        return out

    def _rows(self, step: StepContext, kept: Tensor) -> Tensor:
        """Return the rows of a kept tensor that belong to the branches of this step, in their order."""
        assert self.computed is not None
        if step.branches == self.computed.branches:
            return kept
        parts = self.computed.split(kept)
        return torch.cat([parts[branch] for branch in step.branches])

    def _run_changed_rows(self, step: StepContext, runs: Any, every: list[Conditioned], x: Tensor) -> Tensor:
        """Run the first block for all rows, and the selected blocks for those in which it changed."""
        out = _run(every[:1], x)
        probe, x = out - x, out
        before = self.computed
        everything = before is None or step.index <= self.warmup or not set(step.branches) <= set(before.branches)
        rows: Tensor | None = None  # to compute; None: all
        if everything or self.probe is None:
            self.probe, self.computed = probe, step
        else:
            kept = self._rows(step, self.probe)
            change = (probe - kept).abs().mean((1, 2)) / kept.abs().mean((1, 2))
            rows = (change >= self.threshold).nonzero().squeeze(1)
        for indices, cached in runs:
            part = [every[index] for index in indices if index]
            if not cached or rows is None:
                out = _run(part, x)
                if cached:
                    self.factors[indices[0]] = [out - x]
                x = out
                continue
            residual = self._rows(step, self.factors[indices[0]][0])
            if len(rows):
                residual = residual.index_copy(0, rows, _run(part, x[rows], rows) - x[rows])
                self.factors[indices[0]] = [residual]
            x = x + residual
        if rows is not None and len(rows):
            self.probe = self._rows(step, self.probe).index_copy(0, rows, probe[rows])  # type: ignore[arg-type]
            self.computed = step
        return x


def cached_runs(layers: str, depth: int, method: str) -> list[tuple[list[int], bool]]:
    """Return runs of adjacent blocks and whether they are cached; the first block decides in `first-block`."""
    chosen = set(chosen_blocks(layers, depth)) - ({0} if method == FIRST_BLOCK else set())
    return [(list(indices), cached) for cached, indices in groupby(range(depth), chosen.__contains__)]


def _run(blocks: Sequence[Conditioned], x: Tensor, rows: Tensor | None = None) -> Tensor:
    """Run blocks with their conditions; `rows` are the rows that `x` holds, None all."""
    for block, condition in blocks:
        x = block(x, condition if rows is None else condition[rows])
    return x


def _at(curve: Sequence[Sequence[float]], timestep: float) -> float:
    """Return the value of a piecewise linear curve, constant beyond its ends."""
    after = bisect_right(curve, timestep, key=lambda point: point[0])
    if after in (0, len(curve)):
        return curve[min(after, len(curve) - 1)][1]
    (t0, low), (t1, high) = curve[after - 1], curve[after]
    return low + (high - low) * (timestep - t0) / (t1 - t0)
