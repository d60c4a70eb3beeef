"""Count which denoising step computes which block, and for how many rows."""

from collections.abc import Callable
from typing import Any

from torch import nn

from dit_core.models.hooks import hooked


def block_evaluations(generate: Callable[[], Any], network: Any, steps: int, images: int) -> list[list[float]]:
    """Return how often each block runs per image, [step][block], while `generate` draws `images` in `steps` steps.

    2 is both guidance branches, 0 a block that is reused; a fraction means that it ran for some of the images only.
    """
    blocks: nn.ModuleList = network.blocks
    calls: list[list[int]] = []

    def add_rows(index: int, args: tuple[Any, ...]) -> None:
        calls[-1][index] += len(args[0])

    with hooked([network], pre=lambda *_: calls.append([0] * len(blocks))), hooked(blocks, pre=add_rows):
        generate()
    return [
        [sum(call[index] for call in calls[step::steps]) / images for index in range(len(blocks))]
        for step in range(steps)
    ]


def add_block_evaluations(
    flops: dict[str, Any], generate: Callable[[], Any], network: Any, steps: int, images: int
) -> None:
    """Add `block_evaluations` to the flops section, in place; null with a reason if it has nothing to tell."""
    counts = block_evaluations(generate, network, steps, images)
    if any(step != counts[0] for step in counts):
        flops["block_evaluations"] = counts
        return
    flops["block_evaluations"] = None
    flops["reasons"] = {**flops.get("reasons", {}), "block_evaluations": "all steps compute the same blocks"}
