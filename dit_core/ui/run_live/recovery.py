"""Describes the recovery training of a recipe's last technique. Imports neither Streamlit nor torch."""

from collections.abc import Sequence
from typing import Any

from dit_core.errors import BadRequest
from dit_core.models import recovered
from dit_core.recipes.recipe import canonical, has_bundled_weights
from dit_core.ui import format

Recipe = Sequence[dict[str, Any]]
NEAREST = 3  # settings with bundled weights that are named if the chosen one has none


def description(model: str, recipe: Recipe, choice: str) -> str:
    """Return what a recovery choice means, and what else could be chosen.

    `choice` is "none", "bundled" or a number of training steps.
    """
    if choice.isdecimal():
        steps = int(choice)
        return f"Trains for {steps:,} step{'s' * (steps != 1)} on this machine before the measurements."
    bundled = has_bundled_weights(model, recipe)
    if bundled and choice == recovered.NONE:
        return "Not trained. Bundled weights exist for these knobs: choose bundled to use them."
    if bundled:
        steps = recovered.steps(recovered.header(recovered.path(model, canonical(recipe))))
        return f"Uses bundled weights, trained for {steps:,} steps with these knobs."
    nearest = _nearest(model, recipe)
    available = f"They exist for {' or '.join(nearest)}" if nearest else "There are none for this technique"
    return f"No bundled weights for these knobs. {available}. To train on this machine, type a number of steps."


def bundled_values(model: str, recipe: Recipe, knob: str) -> list[Any]:
    """Return the values of a knob of a recipe's last technique that have bundled weights if all other knobs stay.

    Empty if the recipe is invalid.
    """
    try:
        *before, last = canonical(recipe)
        others = recovered.listed(model, last["name"])
    except BadRequest:
        return []

    def rest(entry: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in entry.items() if name not in ("recover", knob)}

    same = (other[-1] for other in others if other[:-1] == before and rest(other[-1]) == rest(last))
    return sorted((entry[knob] for entry in same if knob in entry), key=str)


def _nearest(model: str, recipe: Recipe) -> list[str]:
    """The settings with bundled weights as differences from the chosen knobs, those with the fewest first."""
    try:
        chosen = canonical(recipe)
    except BadRequest:
        return []
    names = [entry["name"] for entry in chosen]
    candidates = []
    for other in recovered.listed(model, chosen[-1]["name"]):
        if [entry["name"] for entry in other] == names:
            changes = {
                f"{format.knob_label(knob).lower()} {format.knob_value(value)}": None
                for theirs, ours in zip(other, chosen, strict=True)
                for knob, value in theirs.items()
                if knob != "recover" and ours.get(knob) != value
            }
            candidates.append((len(changes), ", ".join(changes)))
    return [text for _, text in sorted(candidates)[:NEAREST] if text]
