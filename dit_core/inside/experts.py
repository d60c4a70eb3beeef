"""Mixture of experts: which expert each token of a picture goes to, and how evenly the experts are loaded."""

from typing import Any

import torch
from torch import Tensor

from dit_core.inside import INPUTS, Panel, scenes
from dit_core.measure.routing import routing
from dit_core.models import catalog, recovered
from dit_core.models.experts import mixtures
from dit_core.models.model import Model
from dit_core.techniques import Context, apply_recipe, canonical
from dit_core.training.calibration import Inputs, batches, calibration

STEPS = (2, 8, 14, 20)  # of the sampler
BUCKETS = 4  # of timesteps


@torch.no_grad()
def panel(model: Model, context: Context) -> Panel:
    """Every mixture with bundled weights; the usual one as it is split, without training, where there is none."""
    seen = scenes.scenes(model, context.seed, STEPS)
    inputs = calibration(model.dit, context, INPUTS)
    runs = []
    for entry in recipes(model):
        network = apply_recipe(model.dit, [entry], context)
        runs.append({"knobs": entry, **routed(network, inputs, model.config.schedule.train_steps)})
        runs[-1]["chosen"] = [chosen(network, one) for one in seen.inputs]  # [step][layer][picture][token]
    return Panel(
        {
            "classes": [model.classes[label] for label in seen.labels],
            "timesteps": seen.timesteps,
            "grid": model.config.dit.grid,
            "runs": runs,
            "inputs": len(inputs[0]),
        },
        {"estimates": scenes.sheet(list(seen.estimates))},
        recovered=True,
    )


def recipes(model: Model) -> list[dict[str, Any]]:
    """Knobs of the mixtures to show."""
    name = model.config.name
    known = recovered.listed(name, "moe") if name in catalog.bundled() else []
    alone = [recipe[0] for recipe in known if len(recipe) == 1]
    entries = [{**entry, "recover": recovered.BUNDLED} for entry in alone] or [{"name": "moe"}]
    return list(canonical(entries))


def routed(network: Any, inputs: Inputs, train_steps: int) -> dict[str, Any]:
    """Tokens per expert, [layer][bucket][expert], and their balance: 1 is even."""
    with routing(network, BUCKETS, train_steps) as counted:
        for batch in batches(inputs):
            network(*batch)
    return counted.as_dict()


def chosen(network: Any, inputs: Inputs) -> list[list[list[int]]]:
    """The expert of highest score for each token: [layer][picture][token]."""
    best: list[Tensor] = []

    def note(router: Any, args: tuple[Tensor, ...]) -> None:
        best.append(torch.nn.functional.linear(args[0], router.weight, router.bias).argmax(1))

    hooks = [mixture.router.register_forward_pre_hook(note) for mixture in mixtures(network)]
    try:
        network(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [layer.view(len(inputs[0]), -1).tolist() for layer in best]
