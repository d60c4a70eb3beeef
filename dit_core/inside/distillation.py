"""Students and their teacher: how alike their features are, block by block, before recovery training and after it."""

from typing import Any

import torch
from torch import Tensor

from dit_core.inside import Panel, scenes
from dit_core.models import catalog, recovered
from dit_core.models.model import Model
from dit_core.techniques import Context, apply_recipe, canonical, registry
from dit_core.training.calibration import Inputs, batches, calibration

INPUTS = 64
USUAL = {"name": "distillation"}


@torch.no_grad()
def panel(model: Model, context: Context) -> Panel:
    """Every recipe of one technique with bundled weights, beside the same cut without training; else a cut alone."""
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
    """Knobs of the students to show."""
    name = model.config.name
    known = registry() if name in catalog.bundled() else ()
    alone = [recipe[0] for technique in known for recipe in recovered.listed(name, technique) if len(recipe) == 1]
    return list(canonical([{**entry, "recover": recovered.BUNDLED} for entry in alone] or [USUAL]))


def features(dit: Any, inputs: Inputs) -> tuple[list[Tensor], Tensor]:
    """Outputs (N T, D) of each block, and of the network (N, C, h, w)."""
    found: list[list[Tensor]] = [[] for _ in dit.blocks]
    hooks = [
        block.register_forward_hook(lambda module, args, output, to=to: to.append(output.flatten(0, 1)))
        for block, to in zip(dit.blocks, found, strict=True)
    ]
    try:
        outputs = torch.cat([dit(*batch) for batch in batches(inputs)])
    finally:
        for hook in hooks:
            hook.remove()
    return [torch.cat(parts) for parts in found], outputs


def similarity(a: Tensor, b: Tensor) -> float:
    """Linear centred kernel alignment of features (R, D) and (R, D') (Kornblith et al., arXiv 1905.00414): 1 if alike.

    Blind to rotation and scale of the features, so that widths may differ.
    """
    a, b = a - a.mean(0), b - b.mean(0)
    return ((a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())).item()


def _classes(model: Model) -> list[str]:
    return [model.classes[label] for label in scenes.labels_of(model)]
