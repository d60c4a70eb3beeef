"""Which blocks to keep, learned by gradient descent (TinyFusion, arXiv 2412.01199).

The blocks are divided into groups of neighbours, of each of which a fixed number stays. A group has a categorical
distribution over its patterns, the ways to keep that many; every example of a batch draws a pattern of its own by
Gumbel-softmax, straight through, at a temperature that falls. The distributions learn together with the weights of a
copy of the network, all of them, against the network itself, so that they come to prefer what recovers well over what
errs least at first. The copy is thrown away: only the most probable pattern of each group comes out.

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

from dit_core.errors import BadRequest, Cancelled
from dit_core.files import write_text
from dit_core.models import recovered
from dit_core.models.model import Model
from dit_core.techniques import Context
from dit_core.training import recovery
from dit_core.training.loop import Loss, Progress, Settings, fit

GROUP = 4  # blocks of a group, about: larger ones have too many patterns to try them all in a short training
TEMPERATURES = (4.0, 0.1)  # at the beginning and at the end; these and the sharpness are the paper's own code's
SHARPNESS = 100.0  # logits of a unit of their parameters, so that they move at the rate of weights
GOAL = recovery.Goal(feature=0.0)  # features of a block that an example skips are not its own
CHOSEN = "blocks.json"
INSTEAD = "set importance to search, influence or even"


def learned_blocks(network: nn.Module, keep: int, steps: int, context: Context) -> list[int]:
    """The `keep` blocks of `network` that a training of so many steps finds, in their order. `network` stays as it is.

    A search that was cut off goes on where it stopped; one that has ended is not repeated, as every process of a run
    asks for it. Raises BadRequest where there is nothing to train on, Cancelled where the context says so.
    """
    if context.model is None or not context.recipe:
        raise BadRequest(f"Learned masks need a model with its data: {INSTEAD}.")
    name = context.model.config.name
    recovered.check_images(name, "The training of masks", INSTEAD)
    folder = recovery.folder_of(context, "mask")
    if not (folder / CHOSEN).is_file():
        settings = settings_for(steps, context.seed, context.device.type)
        masked = train(Masked(network, keep), network, context.model, settings, context, folder)
        write_text(json.dumps(masked.kept()), folder / CHOSEN)
        (folder / "checkpoint.pt").unlink(missing_ok=True)
    return json.loads((folder / CHOSEN).read_text())


def settings_for(steps: int, seed: int, device: str = "cpu") -> Settings:
    """As recovery trains; averages are short, since what counts is where the distributions end."""
    settings = recovery.settings_for(steps, recovery.LEARNING_RATE, recovery.BATCH, device)
    return replace(settings, seed=seed, ema=recovery.BATCH, log_every=max(1, min(10, steps)))


def train(
    masked: "Masked", network: nn.Module, model: Model, settings: Settings, context: Context, folder: Any
) -> "Masked":
    """Learn the masks in place; returns their average."""

    def progress(report: Progress) -> None:
        done, of = (count // settings.batch_size for count in (report.samples, report.total))
        context.progress(f"train (masks, loss {report.loss:.4f})", done, of)

    batches = recovery.examples(model, settings.batch_size, INSTEAD)
    loss = masked_loss(recovery.Distillation(network, batches, GOAL), settings.batch_size)
    average: Any = fit(masked, loss, settings, folder, progress=progress, cancelled=context.cancelled)
    if context.cancelled():
        raise Cancelled("The search for blocks was stopped: run it again and it goes on from here.")
    return average


def masked_loss(loss: Loss, batch_size: int) -> Loss:
    """`loss` of the network, every example of whose batch runs the blocks of a pattern that it draws."""

    def of_masked(masked: Any, generator: torch.Generator, done: float) -> Tensor:
        masked.draw(batch_size, temperature(done), generator)
        return loss(masked.network, generator, done)

    return of_masked


def temperature(done: float) -> float:
    """Falls evenly from the first to the last of `TEMPERATURES`."""
    first, last = TEMPERATURES
    return first + done * (last - first)


def groups_of(depth: int, keep: int) -> list[tuple[int, int]]:
    """(kept, blocks) of each group. Of every group some block stays and some goes, so any block can be the one."""
    gone = depth - keep
    count = max(1, min(-(-depth // GROUP), keep, gone))
    stays = [(keep + index) // count for index in reversed(range(count))]
    goes = [(gone + index) // count for index in range(count)]
    return [(stay, stay + go) for stay, go in zip(stays, goes, strict=True)]


class Gated(nn.Module):
    """A block that some images run, where `gate` (N,) is 1, and others skip, where it is 0."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.gate = block, torch.ones(1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return x + self.gate.view(-1, 1, 1) * (self.block(x, c) - x)  # (N, T, D)


class Masked(nn.Module):
    """A copy of a network with gated blocks, and the distributions over the patterns of its groups."""

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
        """Give each of `count` images a pattern of every group: 0 or 1 forward, the softmax's gradient backward."""
        gates = []
        for logits, patterns in zip(self.logits, self.patterns, strict=True):
            noise = -torch.empty(count, len(logits)).exponential_(generator=generator).log()  # Gumbel
            soft = ((SHARPNESS * logits + noise.to(logits)) / temperature).softmax(1)  # (N, P)
            hard = F.one_hot(soft.argmax(1), len(logits)).to(soft)
            gates.append((hard - soft.detach() + soft) @ patterns)  # (N, M)
        for block, gate in zip(self.network.blocks, torch.cat(gates, dim=1).unbind(1), strict=True):
            block.gate = gate

    def kept(self) -> list[int]:
        """The blocks of the most probable pattern of each group."""
        pairs = zip(self.patterns, self.logits, strict=True)
        mask = torch.cat([patterns[int(logits.argmax())] for patterns, logits in pairs])
        return mask.nonzero().flatten().tolist()


def patterns_of(kept: int, blocks: int) -> Tensor:
    """(P, M), all ways to keep so many of so many blocks, 1 for one that stays."""
    ways = torch.tensor(list(itertools.combinations(range(blocks), kept)))
    return torch.zeros(len(ways), blocks).scatter_(1, ways, 1.0)
