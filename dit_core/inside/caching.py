"""Caching: which step computes which block, and what the images look like."""

from typing import Any

import torch

from dit_core.inside import Panel, scenes
from dit_core.measure.block_evaluations import block_evaluations
from dit_core.models.model import Model
from dit_core.models.state import METHODS
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, canonical

RECIPES: tuple[dict[str, Any], ...] = (
    *({"name": "feature_caching", "method": method} for method in METHODS),
    {"name": "guidance_interval"},
    {"name": "guidance_caching"},
)


@torch.no_grad()
def panel(model: Model, context: Context) -> Panel:
    """Count the evaluations of every block in every step for each method, while it generates some pictures."""
    rows, runs = [scenes.drawn(model, context.seed)], []
    for entry in canonical(RECIPES):
        recipe = Recipe.parse([entry])
        changed = model.with_dit(recipe.apply(model.dit, context))
        sampling = recipe.sampling(scenes.SAMPLING)

        def draw(changed: Model = changed, sampling: Any = sampling) -> None:
            rows.append(scenes.drawn(changed, context.seed, sampling))

        counts = block_evaluations(draw, changed.dit, sampling.steps, scenes.COUNT)
        runs.append({"knobs": entry, "evaluations": counts})
    return Panel({"runs": runs, "branches": 2}, {"samples": scenes.sheet(rows)})
