"""Where the time of a call goes, from a pass of its own: hooks around modules that a network's names tell apart.

No technique knows of it: a part is told by the last word of a module's path or by its class. A moment belongs to the
innermost part that runs; what runs in no part of the network or the decoder is the sampler's. On CUDA the device is
awaited at each change of part, so shares are of a run without overlap.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from dit_core.models.model import Model

PARTS = ("attention", "ffn", "modulation", "embedding", "dequantization", "routing", "sampler", "vae")
_BY_NAME = {"attn": "attention", "mlp": "ffn", "router": "routing", "adaLN_modulation": "modulation"}
_BY_CLASS = {"Attention": "attention", "Mixture": "ffn", "Mlp": "ffn", "Router": "routing"}
ENOUGH_S, MOST_CALLS = 1.0, 20


def time_shares(call: Callable[[], None], model: Model, clock: Callable[[], float] = time.perf_counter) -> dict:
    """The share of each of PARTS in the time of `call`, which runs `model`; they add up to one.

    Raises NotProfiled where the network's parts cannot be told apart.
    """
    if reason := compiled(model.dit):
        raise NotProfiled(reason)
    device = next(model.dit.parameters()).device
    watch = _Watch(clock, torch.cuda.synchronize if device.type == "cuda" else lambda: None)
    with ExitStack() as stack:
        stack.enter_context(_watched(model.dit, "", "sampler", "embedding", watch))
        vae: Any = model.vae
        for module in (vae.post_quant_conv, vae.decoder) if vae else ():  # a random model has none
            if module is not None:
                stack.enter_context(_hooked(module, "vae", watch))
        started = time.perf_counter()
        for _ in range(MOST_CALLS):
            with watch.within("sampler"):
                call()
            if time.perf_counter() - started >= ENOUGH_S:
                break
    total = sum(watch.seconds.values())
    return {part: watch.seconds[part] / total for part in PARTS}


class NotProfiled(RuntimeError):
    """The message is the reason."""


def compiled(network: nn.Module) -> str:
    """Why a network has no parts while it runs; empty where it has."""
    if any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in network.modules()):
        return "the network is compiled: its parts run as one"
    return ""


def part_of(name: str, module: nn.Module, inherited: str) -> str:
    """The part that a module called `name` within its parent belongs to."""
    if name.endswith("_embedder"):
        return "embedding"
    if named := _BY_NAME.get(name):
        return named
    if found := next((part for word, part in _BY_CLASS.items() if word in type(module).__name__), None):
        return found
    if hasattr(module, "adaLN_modulation"):  # what a block does itself is norms, scale, shift and gate
        return "modulation"
    return "embedding" if name == "linear" and inherited == "modulation" else inherited


class _Watch:
    """Adds up seconds by part; parts nest."""

    def __init__(self, clock: Callable[[], float], wait: Callable[[], None]) -> None:
        self.clock, self.wait = clock, wait
        self.seconds, self.stack, self.since = dict.fromkeys(PARTS, 0.0), [], 0.0

    @contextmanager
    def within(self, part: str) -> Iterator[None]:
        self.enter(part)
        try:
            yield
        finally:
            self.leave()

    def enter(self, part: str) -> None:
        self._book()
        self.stack.append(part)

    def leave(self) -> None:
        self._book()
        self.stack.pop()

    def _book(self) -> None:
        self.wait()
        now = self.clock()
        if self.stack:
            self.seconds[self.stack[-1]] += now - self.since
        self.since = now


@contextmanager
def _watched(module: nn.Module, name: str, outside: str, part: str, watch: _Watch) -> Iterator[None]:
    """Hooks on a module where its part differs from what is `outside`, and on everything below."""
    with ExitStack() as stack:
        if part != outside:
            stack.enter_context(_hooked(module, part, watch))
        if isinstance(getattr(type(module), "weight", None), property):
            stack.enter_context(_timed_weight(module, watch))
        for child_name, child in module.named_children():
            inner = part if name.endswith("_embedder") else part_of(child_name, child, part)
            below = name if name.endswith("_embedder") else child_name
            stack.enter_context(_watched(child, below, part, inner, watch))
        yield


@contextmanager
def _hooked(module: nn.Module, part: str, watch: _Watch) -> Iterator[None]:
    before = module.register_forward_pre_hook(lambda m, inputs: watch.enter(part))
    after = module.register_forward_hook(lambda m, inputs, output: watch.leave(), always_call=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()


@contextmanager
def _timed_weight(module: nn.Module, watch: _Watch) -> Iterator[None]:
    """A weight that is a property is made anew at every use: that is dequantization."""
    kind: Any = type(module)

    def weight(self: nn.Module) -> torch.Tensor:
        with watch.within("dequantization"):
            return kind.weight.fget(self)

    module.__class__ = type(kind.__name__, (kind,), {"weight": property(weight)})
    try:
        yield
    finally:
        module.__class__ = kind
