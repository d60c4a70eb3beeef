"""What training there is for a recipe's last technique, in plain words. Knows neither Streamlit nor torch."""

from collections.abc import Sequence
from typing import Any

from dit_core.errors import BadRequest
from dit_core.models import catalog, recovered
from dit_core.techniques import canonical
from dit_core.ui import words

Recipe = Sequence[dict[str, Any]]
NEAREST = 3  # knobs with bundled weights that are named where those chosen have none


def is_bundled(model: str, recipe: Recipe) -> bool:
    """Whether the last technique of a recipe, with just these knobs, has weights that ship with the project."""
    try:
        return model in catalog.bundled() and recovered.path(model, canonical(recipe)).is_file()
    except BadRequest:  # knobs that no run could have
        return False


def told(model: str, recipe: Recipe, how: str) -> str:
    """What the choice `how` means for the last technique of a recipe, and what else there is."""
    if how.isdecimal():
        return f"Trains {int(how):,} steps on this machine before anything is measured."
    there = is_bundled(model, recipe)
    if there and how == recovered.NONE:
        return "Not trained. There are bundled weights for just these knobs: choose bundled."
    if there:
        steps = recovered.steps(recovered.header(recovered.path(model, canonical(recipe))))
        return f"Bundled: weights that {steps:,} steps of training left for just these knobs."
    near = _nearest(model, recipe)
    some = f"There are some for {' or '.join(near)}" if near else "There are none for this technique"
    return f"No bundled weights for these knobs. {some}. A number of steps trains here and now."


def _nearest(model: str, recipe: Recipe) -> list[str]:
    """How the knobs with bundled weights differ from those chosen, the least different first."""
    try:
        chosen = canonical(recipe)
    except BadRequest:
        return []
    found = []
    for other in recovered.listed(model, chosen[-1]["name"]) if model in catalog.bundled() else []:
        names = [entry["name"] for entry in other]
        if names == [entry["name"] for entry in chosen]:
            changed = {
                f"{words.knob_label(knob).lower()} {words.knob_value(value)}": None
                for one, mine in zip(other, chosen, strict=True)
                for knob, value in one.items()
                if knob != "recover" and mine.get(knob) != value
            }
            found.append((len(changed), ", ".join(changed)))
    return [text for _, text in sorted(found)[:NEAREST] if text]
