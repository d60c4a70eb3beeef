"""Depth pruning: remove whole transformer blocks."""

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dit_core.errors import Cancelled
from dit_core.models.recovered import BUNDLED
from dit_core.models.structure import ATTENTION, MLP, Block, Structure
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import recover_knob
from dit_core.recipes.registry import technique

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dit_core.compression.calibration import Inputs


@dataclass(frozen=True)
class DepthPruning:
    """Remove whole transformer blocks (TinyFusion, arXiv 2412.01199; ShortGPT, arXiv 2403.03853).

    Weights, operations and time fall in proportion to the number of blocks. At equal size a shallow network is faster
    than a narrow one. The blocks to remove are chosen by a measured score. Quality drops sharply, and recovery training
    restores most of it.
    """

    keep: int = field(default=4, metadata={"help": "Number of blocks to keep.", "min": 1, "max": 28})
    importance: str = field(
        default="influence",
        metadata={
            "help": "How blocks are chosen. influence: keep the blocks that change their input most. even: keep evenly "
            "spaced blocks, with the first and the last. search: remove one block at a time, always the one whose "
            "removal changes the output least. learned: train masks that keep the blocks that recover best "
            "(TinyFusion); takes minutes.",
            "choices": ("influence", "even", "search", "learned"),
        },
    )
    calibration: int = field(
        default=64,
        metadata={
            "help": "Number of calibration inputs for influence and search; number of training steps for learned.",
            "min": 1,
            "max": 1024,
            "active_when": ({"importance": ("influence", "search", "learned")},),
        },
    )
    recover: str = recover_knob()


def incompatible(config: DepthPruning, network: Structure) -> str | None:
    """Return an error message if more blocks should be kept than the network has."""
    if config.keep > (depth := len(network.blocks)):
        return f"it has {depth} blocks, so keep cannot be {config.keep}: keep at most {depth}."
    return None


def needs_images(config: DepthPruning) -> str | None:
    """Return what to do without images if masks are trained; bundled weights need no masks."""
    if config.importance == "learned" and config.recover != BUNDLED:
        return "set importance to search, influence or even"
    return None


def output_structure(config: DepthPruning, network: Structure) -> Structure:
    """Return the structure with fewer blocks.

    If measuring decides which blocks stay and their kinds differ, every block counts as a changed one.
    """
    blocks = network.blocks
    if config.keep == len(blocks):
        return network
    if config.importance == "even":
        return network.with_blocks([blocks[index] for index in spread(config.keep, len(blocks))])
    return network.with_blocks([any_of(blocks)] * config.keep)


def any_of(blocks: tuple[Block, ...]) -> Block:
    """Return a block with the changed attention and the changed MLP of any of these blocks."""
    attention = next((block.attention for block in blocks if block.attention != ATTENTION), ATTENTION)
    other = next((block for block in blocks if block.mlp != MLP), blocks[0])
    return replace(other, attention=attention)


@technique(
    DepthPruning,
    title="Depth pruning",
    family="pruning",
    incompatible=incompatible,
    output_structure=output_structure,
    needs_images=needs_images,
)
def drop_blocks(model: "nn.Module", config: DepthPruning, context: Context) -> "nn.Module":
    """Return a copy of the network with fewer blocks."""
    from torch import nn

    from dit_core.training.recovery import recover

    student: Any = copy.deepcopy(model)
    if config.keep < len(student.blocks):
        kept = CHOICES[config.importance](student, config, context)
        student.blocks = nn.ModuleList(student.blocks[index] for index in kept)
        student.config = replace(student.config, depth=config.keep)
    return recover(student, model, config.recover, context)


def even(model: Any, config: DepthPruning, context: Context) -> list[int]:
    """Return evenly spaced blocks from the first to the last; only the first if one block is kept."""
    return spread(config.keep, len(model.blocks))


def spread(keep: int, depth: int) -> list[int]:
    """Return `keep` evenly spaced indices below `depth`."""
    last, gaps = depth - 1, max(1, keep - 1)
    return [round(index * last / gaps) for index in range(keep)]


def influential(model: Any, config: DepthPruning, context: Context) -> list[int]:
    """Return the blocks of greatest influence, in network order."""
    from dit_core.compression.calibration import calibration

    influence = block_influence(model, calibration(model, context, config.calibration))
    best = sorted(range(len(influence)), key=lambda index: influence[index], reverse=True)
    return sorted(best[: config.keep])


def search(model: Any, config: DepthPruning, context: Context) -> list[int]:
    """Return the blocks left after greedy removal by output error, or evenly spaced blocks if their error is lower."""
    from dit_core.compression.calibration import calibration

    inputs = calibration(model, context, config.calibration)
    kept = list(range(len(model.blocks)))
    expected = outputs(model, kept, inputs)
    done, total = 0, sum(range(config.keep + 1, len(kept) + 1)) + 2

    def error(trial: list[int]) -> float:
        nonlocal done
        if context.cancelled():
            raise Cancelled("The run was cancelled.")
        done += 1
        context.progress("search", done, total)
        return (outputs(model, trial, inputs) - expected).square().mean().item()

    while len(kept) > config.keep:
        kept = min(([*kept[:i], *kept[i + 1 :]] for i in range(len(kept))), key=error)
    return min(kept, even(model, config, context), key=error)


def learned(model: Any, config: DepthPruning, context: Context) -> list[int]:
    """Return the blocks that trained masks keep. With bundled weights any blocks do, as all weights are loaded."""
    from dit_core.training.block_masks import learned_blocks

    if not needs_images(config):
        return even(model, config, context)
    return learned_blocks(model, config.keep, config.calibration, context)


def block_influence(model: Any, inputs: "Inputs") -> list[float]:
    """Return 1 - cosine similarity of each block's input and output tokens, averaged (ShortGPT, equation 1)."""
    import torch
    import torch.nn.functional as F

    from dit_core.compression.calibration import batches
    from dit_core.models.hooks import hooked

    similarity = [0.0] * len(model.blocks)

    def add(index: int, args: Any, output: Any) -> None:
        similarity[index] += float(F.cosine_similarity(args[0].float(), output.float(), dim=-1).mean(1).sum())

    with hooked(model.blocks, post=add), torch.no_grad():
        for batch in batches(inputs):
            model(*batch)
    return [1 - total / len(inputs[0]) for total in similarity]


def outputs(model: Any, kept: list[int], inputs: "Inputs") -> "Tensor":
    """Return the output (N, C, h, w) of the network with only these blocks."""
    import torch
    from torch import nn

    from dit_core.compression.calibration import batches

    blocks = model.blocks
    model.blocks = nn.ModuleList(blocks[index] for index in kept)
    try:
        with torch.no_grad():
            return torch.cat([model(*batch) for batch in batches(inputs)])
    finally:
        model.blocks = blocks


CHOICES = {"influence": influential, "even": even, "search": search, "learned": learned}
