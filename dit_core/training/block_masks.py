"""Choose the blocks to keep by gradient descent (TinyFusion, arXiv 2412.01199).

Neighbouring blocks form groups, and each group keeps a fixed number of blocks. A pattern is one way to keep that many.
A group has a categorical distribution over its patterns, and every example of a batch samples its own pattern by
straight-through Gumbel-softmax at a falling temperature. The distributions train together with all weights of a copy of
the network, and the network itself is the teacher. They therefore prefer patterns that recover well to patterns whose
error is small before recovery. The copy is then discarded: the result is the most probable pattern of each group.

Shapes: N images, T tokens, D width, P patterns of a group, M blocks of a group.
"""

import copy
import itertools
import json
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_core.errors import BadRequest
from dit_core.models import recovered
from dit_core.recipes.context import Context
from dit_core.system.files import write_text
from dit_core.training import recovery
from dit_core.training.loop import Loss, Progress, Settings, fit

GROUP = 4  # blocks of a group, about; a short training cannot try all patterns of larger groups
TEMPERATURES = (4.0, 0.1)  # at the start and at the end; these and the sharpness are from the paper's code
SHARPNESS = 100.0  # logits per unit of their parameters: they then change as fast as weights
GOAL = recovery.Goal(feature=0.0)  # an example that skips a block has no features of that block
CHOSEN = "blocks.json"
INSTEAD = "set importance to search, influence or even"


def learned_blocks(network: nn.Module, keep: int, steps: int, context: Context) -> list[int]:
    """Train masks for `steps` steps and return the indices of the `keep` blocks to keep, in order.

    `network` is not changed. An interrupted search resumes. A finished search is not repeated, because every process of
    a run asks for its result. Raises BadRequest if there are no images to train on, Cancelled if the context says so.
    """
    if context.model is None or not context.recipe:
        raise BadRequest(f"Learned masks need a model with its data: {INSTEAD}.")
    recovered.check_images(context.name, "The training of masks", INSTEAD, context.images)
    folder = recovery.folder_of(context, "mask")
    if not (folder / CHOSEN).is_file():
        settings = settings_for(steps, context.seed, context.device.type)
        masked = train(Masked(network, keep), network, settings, context, folder)
        write_text(json.dumps(masked.kept()), folder / CHOSEN)
        (folder / "checkpoint.pt").unlink(missing_ok=True)
    return json.loads((folder / CHOSEN).read_text())


def settings_for(steps: int, seed: int, device: str = "cpu") -> Settings:
    """Return the settings of recovery with a short weight average: the final distributions count."""
    settings = recovery.settings_for(steps, recovery.LEARNING_RATE, recovery.BATCH, device)
    return replace(settings, seed=seed, ema=recovery.BATCH, log_every=max(1, min(10, steps)))


def train(masked: "Masked", network: nn.Module, settings: Settings, context: Context, folder: Any) -> "Masked":
    """Train the masks in place and return the averaged masks."""

    def progress(report: Progress) -> None:
        done, of = (count // settings.batch_size for count in (report.samples, report.total))
        context.progress(f"train (masks, loss {report.loss:.4f})", done, of)

    batches = recovery.examples(context, settings.batch_size, INSTEAD)
    loss = masked_loss(recovery.Distillation(network, batches, GOAL), settings.batch_size)
    return fit(masked, loss, settings, folder, progress=progress, cancelled=context.cancelled)  # type: ignore


def masked_loss(loss: Loss, batch_size: int) -> Loss:
    """Return `loss` of the network inside `Masked`, with a sampled pattern for every example of the batch."""

    def sampled_loss(masked: Any, generator: torch.Generator, done: float) -> Tensor:
        masked.draw(batch_size, temperature(done), generator)
        return loss(masked.network, generator, done)

    return sampled_loss


def temperature(done: float) -> float:
    """Return the temperature after the share `done` of the training: linear between `TEMPERATURES`."""
    first, last = TEMPERATURES
    return first + done * (last - first)


def groups_of(depth: int, keep: int) -> list[tuple[int, int]]:
    """Return (kept blocks, all blocks) of each group. Every group keeps and drops a block, so each block can stay."""
    dropped = depth - keep
    count = max(1, min(-(-depth // GROUP), keep, dropped))
    kept_counts = [(keep + index) // count for index in reversed(range(count))]
    dropped_counts = [(dropped + index) // count for index in range(count)]
    return [(kept, kept + out) for kept, out in zip(kept_counts, dropped_counts, strict=True)]


class Gated(nn.Module):
    """A block that an image runs if its `gate` (N,) is 1 and skips if it is 0."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.gate = block, torch.ones(1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return x + self.gate.view(-1, 1, 1) * (self.block(x, c) - x)  # (N, T, D)


class Masked(nn.Module):
    """A copy of a network with gated blocks, and a distribution over the patterns of each group."""

    def __init__(self, network: nn.Module, keep: int) -> None:
        super().__init__()
        self.network: Any = copy.deepcopy(network)
        self.network.blocks = nn.ModuleList(Gated(block) for block in self.network.blocks)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name != "pos_embed")
        device = next(network.parameters()).device
        groups = groups_of(len(self.network.blocks), keep)
        self.patterns = [patterns_of(*group).to(device) for group in groups]
        self.logits = nn.ParameterList(torch.zeros(len(patterns), device=device) for patterns in self.patterns)

    def draw(self, count: int, temperature: float, generator: torch.Generator) -> None:
        """Sample a pattern of every group for each of `count` images: 0 or 1 forward, softmax gradient backward."""
        gates = []
        for logits, patterns in zip(self.logits, self.patterns, strict=True):
            noise = -torch.empty(count, len(logits)).exponential_(generator=generator).log()  # Gumbel
            soft = ((SHARPNESS * logits + noise.to(logits)) / temperature).softmax(1)  # (N, P)
            hard = F.one_hot(soft.argmax(1), len(logits)).to(soft)
            gates.append((hard - soft.detach() + soft) @ patterns)  # (N, M)
        for block, gate in zip(self.network.blocks, torch.cat(gates, dim=1).unbind(1), strict=True):
            block.gate = gate

    def kept(self) -> list[int]:
        """Return the blocks of the most probable pattern of each group."""
        pairs = zip(self.patterns, self.logits, strict=True)
        mask = torch.cat([patterns[int(logits.argmax())] for patterns, logits in pairs])
        return mask.nonzero().flatten().tolist()


def patterns_of(kept: int, blocks: int) -> Tensor:
    """Return (P, M): every way to keep `kept` of `blocks` blocks; 1 marks a kept block."""
    ways = torch.tensor(list(itertools.combinations(range(blocks), kept)))
    return torch.zeros(len(ways), blocks).scatter_(1, ways, 1.0)
