"""Compilation: torch.compile on top of any recipe."""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.recipes.context import Context
from dit_core.recipes.registry import technique
from dit_core.system.compiler import keep_compiled_code, missing_compiler

if TYPE_CHECKING:
    from torch import nn

MOST_VARIANTS = 256  # of a block in one process: kinds of blocks times batch sizes times networks


@dataclass(frozen=True)
class Compilation:
    """Fuse operators into compiled kernels with torch.compile (PyTorch 2, ASPLOS 2024; torch.fx, arXiv 2112.08429).

    The arithmetic stays the same up to rounding; norms, modulation, activations and the scales of dynamic int8 become
    few passes over memory. The first call of every batch size compiles, which takes seconds to minutes; the record
    states this time apart, and after how many images it has paid for itself. Compiled code is kept on disk. Peak memory
    includes the compiler. An exported network is not compiled; its folder names the setting.
    """

    scope: str = field(
        default="block",
        metadata={
            "help": "block: compile a block and use it for all blocks of the same kind. whole: compile the network as "
            "one, which takes about as many times longer as there are blocks.",
            "choices": ("block", "whole"),
        },
    )
    mode: str = field(
        default="default",
        metadata={
            "help": "default, or max-autotune-no-cudagraphs: time several kernels for each matrix product and use the "
            "fastest; takes longer to compile.",
            "choices": ("default", "max-autotune-no-cudagraphs"),
        },
    )


def unsupported(config: Compilation, device: str) -> str | None:
    """Return an error message if this machine has no compiler for the device, else None."""
    return missing_compiler(device)


@technique(Compilation, title="Compilation", family="compilation", unsupported=unsupported, on_top=True)
def compile_network(model: Any, config: Compilation, context: Context) -> "nn.Module":
    """Return a network that shares all weights with `model`, and is compiled at its first call of each batch size.

    All blocks of one kind share their compiled code, because weights are inputs of it. Shapes are static: a block that
    was compiled for any batch size would be slower for each.
    """
    keep_compiled_code()
    weights = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    compiled: Any = copy.deepcopy(model, weights)  # type: ignore[arg-type]
    parts = compiled.blocks if config.scope == "block" else [compiled]
    for part in parts:
        part.compile(mode=config.mode, dynamic=False, recompile_limit=MOST_VARIANTS)
    return compiled
