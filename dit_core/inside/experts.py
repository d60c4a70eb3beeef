"""Mixture of experts: the expert of each token of a picture, and the load of the experts."""

from typing import Any

import torch
from torch import Tensor

from dit_core.compression.calibration import Inputs, batches, calibration
from dit_core.inside import INPUTS, Panel, scenes
from dit_core.measure.routing import count_routing
from dit_core.models import recovered
from dit_core.models.experts import mixtures
from dit_core.models.hooks import hooked
from dit_core.models.model import Model
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe, canonical

STEPS = (2, 8, 14, 20)  # of the sampler
BUCKETS = 4  # of timesteps


@torch.no_grad()
def panel(model: Model, context: Context) -> Panel:
    """Compute routing and load of every mixture with bundled weights, or of an untrained split if there is none."""
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
    """Return the recipe entries of the mixtures to show."""
    alone = [recipe[0] for recipe in recovered.listed(model.config.name, "moe") if len(recipe) == 1]
    entries = [{**entry, "recover": recovered.BUNDLED} for entry in alone] or [{"name": "moe"}]
    return list(canonical(entries))


def routed(network: Any, inputs: Inputs, train_steps: int) -> dict[str, Any]:
    """Return tokens per expert, [layer][bucket][expert], and their balance; 1 is an even load."""
    with count_routing(network, BUCKETS, train_steps) as routing:
        for batch in batches(inputs):
            network(*batch)
    return routing.as_dict()


def chosen(network: Any, inputs: Inputs) -> list[list[list[int]]]:
    """Return the expert with the highest score for each token: [layer][picture][token]."""
    best: list[Tensor] = []

    routers = [mixture.router for mixture in mixtures(network)]

    def note(layer: int, args: tuple[Any, ...]) -> None:
        router = routers[layer]
        best.append(torch.nn.functional.linear(args[0], router.weight, router.bias).argmax(1))

    with hooked(routers, pre=note):
        network(*inputs)
    return [layer.view(len(inputs[0]), -1).tolist() for layer in best]
