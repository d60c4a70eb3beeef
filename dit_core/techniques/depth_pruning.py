"""Depth pruning: whole transformer blocks leave."""

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dit_core.errors import Cancelled
from dit_core.models.outline import ATTENTION, MLP, Block, Outline
from dit_core.models.recovered import BUNDLED
from dit_core.techniques import Context, recover_knob, technique

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dit_core.training.calibration import Inputs


@dataclass(frozen=True)
class DepthPruning:
    """Drop whole transformer blocks (TinyFusion, arXiv 2412.01199; ShortGPT, arXiv 2403.03853).

    Bytes, arithmetic and time fall with the number of blocks, and at equal size a shallow network is faster than a
    narrow one. Which blocks can go best is measured; what they did has to be learned again by recovery training.
    """

    keep: int = field(default=4, metadata={"help": "Blocks that stay.", "min": 1, "max": 28})
    importance: str = field(
        default="influence",
        metadata={
            "help": "Which blocks stay. influence: those that turn their input most. even: evenly spaced, with the "
            "first and the last. search: blocks leave one by one, each time the one whose loss changes the output "
            "least. learned: masks are trained, with a copy of the weights, for those that recover best "
            "(TinyFusion); takes minutes.",
            "choices": ("influence", "even", "search", "learned"),
        },
    )
    calibration: int = field(
        default=64,
        metadata={
            "help": "Calibration inputs for influence and search, steps of training for learned; even needs none.",
            "min": 1,
            "max": 1024,
            "used": ({"importance": ("influence", "search", "learned")},),
        },
    )
    recover: str = recover_knob()


def unfit(config: DepthPruning, network: Outline) -> str | None:
    """No more blocks can stay than there are."""
    if config.keep > (depth := len(network.blocks)):
        return f"it has {depth} blocks, so keep cannot be {config.keep}: keep at most {depth}."
    return None


def learns(config: DepthPruning) -> str | None:
    """Learned masks train on images, unless the blocks come with bundled weights."""
    if config.importance == "learned" and config.recover != BUNDLED:
        return "set importance to search, influence or even"
    return None


def leaves(config: DepthPruning, network: Outline) -> Outline:
    """Fewer blocks. Where measuring decides which of several kinds stay, each may be one that was changed."""
    blocks = network.blocks
    if config.keep == len(blocks):
        return network
    if config.importance == "even":
        return network.with_blocks([blocks[index] for index in spread(config.keep, len(blocks))])
    return network.with_blocks([any_of(blocks)] * config.keep)


def any_of(blocks: tuple[Block, ...]) -> Block:
    """A block that is of another kind wherever one of these is."""
    attention = next((block.attention for block in blocks if block.attention != ATTENTION), ATTENTION)
    other = next((block for block in blocks if block.mlp != MLP), blocks[0])
    return replace(other, attention=attention)


@technique(DepthPruning, title="Depth pruning", family="pruning", unfit=unfit, leaves=leaves, learns=learns)
def drop_blocks(model: "nn.Module", config: DepthPruning, context: Context) -> "nn.Module":
    """A shallower copy of the network."""
    from torch import nn

    from dit_core.training.recovery import recover

    student: Any = copy.deepcopy(model)
    if config.keep < len(student.blocks):
        kept = CHOICES[config.importance](student, config, context)
        student.blocks = nn.ModuleList(student.blocks[index] for index in kept)
        student.config = replace(student.config, depth=config.keep)
    return recover(student, model, config.recover, context)


def even(model: Any, config: DepthPruning, context: Context) -> list[int]:
    """Evenly spaced blocks from the first to the last; the first alone where one stays."""
    return spread(config.keep, len(model.blocks))


def spread(keep: int, depth: int) -> list[int]:
    """`keep` indices below `depth`, evenly spaced."""
    last, gaps = depth - 1, max(1, keep - 1)
    return [round(index * last / gaps) for index in range(keep)]


def influential(model: Any, config: DepthPruning, context: Context) -> list[int]:
    """The blocks of greatest influence, in their order."""
    from dit_core.training.calibration import calibration

    influence = block_influence(model, calibration(model, context, config.calibration))
    best = sorted(range(len(influence)), key=lambda index: influence[index], reverse=True)
    return sorted(best[: config.keep])


def search(model: Any, config: DepthPruning, context: Context) -> list[int]:
    """Blocks left after greedy removal by output error, or the evenly spaced ones where those err less."""
    from dit_core.training.calibration import calibration

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
    """The blocks that a short training of masks prefers; any will do where bundled weights take their place."""
    from dit_core.training.masks import learned_blocks

    if not learns(config):
        return even(model, config, context)
    return learned_blocks(model, config.keep, config.calibration, context)


def block_influence(model: Any, inputs: "Inputs") -> list[float]:
    """1 - cosine similarity of a block's input and output tokens, the mean over `inputs` (ShortGPT, equation 1)."""
    import torch
    import torch.nn.functional as F

    from dit_core.training.calibration import batches

    similarity = [0.0] * len(model.blocks)

    def watch(index: int, block: Any) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            similarity[index] += float(F.cosine_similarity(args[0].float(), output.float(), dim=-1).mean(1).sum())

        return block.register_forward_hook(hook)

    hooks = [watch(index, block) for index, block in enumerate(model.blocks)]
    try:
        with torch.no_grad():
            for batch in batches(inputs):
                model(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    return [1 - total / len(inputs[0]) for total in similarity]


def outputs(model: Any, kept: list[int], inputs: "Inputs") -> "Tensor":
    """What the network returns with only these blocks: (N, C, h, w)."""
    import torch
    from torch import nn

    from dit_core.training.calibration import batches

    blocks = model.blocks
    model.blocks = nn.ModuleList(blocks[index] for index in kept)
    try:
        with torch.no_grad():
            return torch.cat([model(*batch) for batch in batches(inputs)])
    finally:
        model.blocks = blocks


CHOICES = {"influence": influential, "even": even, "search": search, "learned": learned}
