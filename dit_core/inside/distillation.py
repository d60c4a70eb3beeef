"""Distillation: the similarity of features of students and teacher, block by block, before and after recovery."""

from typing import Any

import torch
from torch import Tensor

from dit_core.compression.calibration import Inputs, batches, calibration
from dit_core.inside import Panel, scenes
from dit_core.models import recovered
from dit_core.models.hooks import hooked
from dit_core.models.model import Model
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe, canonical
from dit_core.recipes.registry import registry

INPUTS = 64
USUAL = {"name": "distillation"}


@torch.no_grad()
def panel(model: Model, context: Context) -> Panel:
    """Compare every single technique with bundled weights, and its network before recovery, with the teacher."""
    inputs = calibration(model.dit, context, INPUTS)
    teacher, expected = features(model.dit, inputs)
    students, rows = [], [scenes.drawn(model, context.seed)]
    for entry in recipes(model):
        for how in dict.fromkeys((recovered.NONE, entry["recover"])):
            network = apply_recipe(model.dit, [{**entry, "recover": how}], context)
            found, output = features(network, inputs)
            students.append(
                {
                    "technique": entry["name"],
                    "knobs": recovered.words([entry], entry["name"]).partition(":")[2],
                    "recovered": how == recovered.BUNDLED,
                    "similarity": [[similarity(a, b) for b in teacher] for a in found],  # [student's][teacher's]
                    "error": ((output - expected).norm() / expected.norm()).item(),
                    "row": len(rows),
                }
            )
            rows.append(scenes.drawn(model.with_dit(network), context.seed))
    data = {"students": students, "inputs": len(inputs[0]), "classes": _classes(model)}
    return Panel(data, {"samples": scenes.sheet(rows)}, recovered=True)


def recipes(model: Model) -> list[dict[str, Any]]:
    """Return the recipe entries of the students to show."""
    name = model.config.name
    alone = [recipe[0] for technique in registry() for recipe in recovered.listed(name, technique) if len(recipe) == 1]
    return list(canonical([{**entry, "recover": recovered.BUNDLED} for entry in alone] or [USUAL]))


def features(dit: Any, inputs: Inputs) -> tuple[list[Tensor], Tensor]:
    """Return the outputs (N T, D) of each block and the output (N, C, h, w) of the network."""
    found: list[list[Tensor]] = [[] for _ in dit.blocks]
    with hooked(dit.blocks, post=lambda index, args, output: found[index].append(output.flatten(0, 1))):
        outputs = torch.cat([dit(*batch) for batch in batches(inputs)])
    return [torch.cat(parts) for parts in found], outputs


def similarity(a: Tensor, b: Tensor) -> float:
    """Return the linear centred kernel alignment of (R, D) and (R, D') features (Kornblith et al., arXiv 1905.00414).

    It is 1 for equal features up to rotation and scale, and the widths may differ.
    """
    a, b = a - a.mean(0), b - b.mean(0)
    return ((a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())).item()


def _classes(model: Model) -> list[str]:
    return [model.classes[label] for label in scenes.labels_of(model)]
