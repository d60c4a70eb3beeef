"""Temporary forward hooks: observe what modules receive and return while a block of code runs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def hooked(
    modules: Iterable[nn.Module] | Mapping[Any, nn.Module],
    pre: Callable[[Any, tuple[Any, ...]], object] | None = None,
    post: Callable[[Any, tuple[Any, ...], Any], object] | None = None,
) -> Iterator[None]:
    """Call `pre(key, args)` before and `post(key, args, output)` after each forward of `modules` within the block.

    A key is the module's key in a mapping or its index in a sequence. `args` are the positional arguments of the call.
    The hooks only observe: what `pre` and `post` return is ignored. All hooks are removed at the end of the block, also
    after an exception. Compiled networks run uncompiled within the block, because compiled code calls no hooks.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        for key, module in modules.items() if isinstance(modules, Mapping) else enumerate(modules):
            if pre:
                stack.enter_context(module.register_forward_pre_hook(_pre_hook(pre, key)))
            if post:
                stack.enter_context(module.register_forward_hook(_post_hook(post, key)))
        yield


def _pre_hook(function: Callable[[Any, tuple[Any, ...]], object], key: Any) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        function(key, args)

    return hook


def _post_hook(function: Callable[[Any, tuple[Any, ...], Any], object], key: Any) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        function(key, args, output)

    return hook
