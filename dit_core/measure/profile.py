"""Measure which parts of a network the time of a call is spent on, with hooks around the modules of each part.

A separate pass, because the hooks cost time. The part of a module follows from its name in the network or its class, so
that no technique has to declare it. Time belongs to the innermost part that runs; time outside the network and the
decoder belongs to the sampler. A GPU is synchronized at each change of part, so the shares are those of a
run in which parts do not overlap.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from dit_core.models.hooks import hooked
from dit_core.models.model import Model
from dit_core.system import devices

PARTS = ("attention", "ffn", "modulation", "embedding", "dequantization", "routing", "sampler", "vae")
_PART_OF_NAME = {
    "attn": "attention",
    "mlp": "ffn",
    "router": "routing",
    "cache": "sampler",
    "adaLN_modulation": "modulation",
}
_PART_OF_CLASS = {"Attention": "attention", "Mixture": "ffn", "Mlp": "ffn", "Router": "routing"}
LEAST_S, MOST_CALLS = 1.0, 20  # the pass ends after whichever comes first


class NotProfiled(RuntimeError):
    """The parts of the network cannot be timed; the message is the reason."""


def time_shares(
    call: Callable[[], None], model: Model, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the share of each of PARTS in the time of `call`, which runs `model`; the shares add up to 1.

    Raises NotProfiled if the network is compiled, because its parts then run as one.
    """
    if is_compiled(model.dit):
        raise NotProfiled("the network is compiled: its parts run as one")
    device = next(model.dit.parameters()).device
    stopwatch = _Stopwatch(clock, devices.synchronizer(device.type))
    with ExitStack() as stack:
        stack.enter_context(_timed_parts(model.dit, "", "sampler", "embedding", stopwatch))
        vae: Any = model.vae
        for module in (vae.post_quant_conv, vae.decoder) if vae else ():  # a random model has no decoder
            if module is not None:
                stack.enter_context(_timed_forward(module, "vae", stopwatch))
        started = time.perf_counter()
        for _ in range(MOST_CALLS):
            with stopwatch.timed("sampler"):
                call()
            if time.perf_counter() - started >= LEAST_S:
                break
    total = sum(stopwatch.seconds.values())
    return {part: stopwatch.seconds[part] / total for part in PARTS}


def is_compiled(network: nn.Module) -> bool:
    """Return whether the network or a part of it is compiled."""
    return any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in network.modules())


def part_of(name: str, module: nn.Module, parent_part: str) -> str:
    """Return the part of a module that is called `name` in its parent."""
    if name.endswith("_embedder"):
        return "embedding"
    if part := _PART_OF_NAME.get(name):
        return part
    if part := next((part for word, part in _PART_OF_CLASS.items() if word in type(module).__name__), None):
        return part
    if hasattr(module, "adaLN_modulation"):  # a block itself computes norms, scale, shift and gate
        return "modulation"
    return "embedding" if name == "linear" and parent_part == "modulation" else parent_part


class _Stopwatch:
    """Adds up the seconds of each part; parts nest, and time belongs to the innermost one."""

    def __init__(self, clock: Callable[[], float], synchronize: Callable[[], None]) -> None:
        self.clock, self.synchronize = clock, synchronize
        self.seconds, self.stack, self.since = dict.fromkeys(PARTS, 0.0), [], 0.0

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        self.enter(part)
        try:
            yield
        finally:
            self.leave()

    def enter(self, part: str) -> None:
        self._add()
        self.stack.append(part)

    def leave(self) -> None:
        self._add()
        self.stack.pop()

    def _add(self) -> None:
        """Add the time since the last change to the part that ran until now."""
        self.synchronize()
        now = self.clock()
        if self.stack:
            self.seconds[self.stack[-1]] += now - self.since
        self.since = now


@contextmanager
def _timed_parts(module: nn.Module, name: str, outer_part: str, part: str, stopwatch: _Stopwatch) -> Iterator[None]:
    """Time a module if its part differs from `outer_part`, and everything below it."""
    with ExitStack() as stack:
        if part != outer_part:
            stack.enter_context(_timed_forward(module, part, stopwatch))
        if isinstance(getattr(type(module), "weight", None), property):
            stack.enter_context(_timed_weight(module, stopwatch))
        for child_name, child in module.named_children():
            in_embedder = name.endswith("_embedder")
            child_part = part if in_embedder else part_of(child_name, child, part)
            child_path = name if in_embedder else child_name
            stack.enter_context(_timed_parts(child, child_path, part, child_part, stopwatch))
        yield


def _timed_forward(module: nn.Module, part: str, stopwatch: _Stopwatch) -> AbstractContextManager[None]:
    return hooked([module], pre=lambda _, args: stopwatch.enter(part), post=lambda *_: stopwatch.leave())


@contextmanager
def _timed_weight(module: nn.Module, stopwatch: _Stopwatch) -> Iterator[None]:
    """Time the property `weight`, which restores the weight from its stored form at every use: dequantization."""
    kind: Any = type(module)

    def weight(self: nn.Module) -> torch.Tensor:
        with stopwatch.timed("dequantization"):
            return kind.weight.fget(self)

    module.__class__ = type(kind.__name__, (kind,), {"weight": property(weight)})
    try:
        yield
    finally:
        module.__class__ = kind
