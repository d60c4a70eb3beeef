"""The space of a search: recipes whose knobs range, as Optuna's parameters, and back from a recipe to these.

    [[recipes]]
    techniques = [{ name = "quantization", bits = {}, group_size = [64, 128], method = "hqq" }]

A knob that is `{}` ranges over all that its technique allows, `{ min = 2, max = 4, step = 2 }` narrows that, a list
names the values, a plain value holds it fixed, and a knob that is not named keeps its default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dit_core import techniques
from dit_core.errors import BadRequest
from dit_core.techniques import Knob, Technique

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

RECIPE = "recipe"  # the parameter that chooses among recipes
DIGITS = 10  # of a knob: a step of 0.05 must not make 0.15000000000000002


@dataclass(frozen=True)
class Recipe:
    """One recipe of a search: its techniques with the knobs that are fixed, and those that range by parameter name."""

    name: str
    techniques: tuple[dict[str, Any], ...]
    ranging: "dict[str, tuple[int, str, BaseDistribution]]"  # parameter -> place of the technique, knob, distribution

    def filled(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """The recipe with these parameters, every knob written out; raises BadRequest where knobs do not fit."""
        recipe = [dict(entry) for entry in self.techniques]
        for parameter, (place, knob, _) in self.ranging.items():
            value = values[parameter]
            recipe[place][knob] = round(value, DIGITS) if isinstance(value, float) else value
        return techniques.canonical(recipe)

    def proposed(self, trial: "Trial") -> tuple[dict[str, Any], ...]:
        """The recipe that a trial asks for; raises BadRequest where its knobs do not fit."""
        return self.filled({name: _suggest(trial, name, free) for name, free in self.distributions.items()})

    @property
    def distributions(self) -> "dict[str, BaseDistribution]":
        return {parameter: free for parameter, (_, _, free) in self.ranging.items()}

    def values(self, recipe: tuple[dict[str, Any], ...]) -> dict[str, Any] | None:
        """The parameters that make this recipe, within range or not; None where it is not of this form."""
        if [entry["name"] for entry in recipe] != [entry["name"] for entry in self.techniques]:
            return None
        values = {parameter: recipe[place][knob] for parameter, (place, knob, _) in self.ranging.items()}
        try:
            return values if self.filled(values) == recipe else None
        except BadRequest:
            return None


def read_recipes(tables: list[dict[str, Any]]) -> dict[str, Recipe]:
    """The recipes of a search by name; raises BadRequest for what is no technique, knob or range."""
    if not tables:
        raise BadRequest("A search needs [[recipes]] with techniques whose knobs range.")
    recipes = [_recipe(number, table) for number, table in enumerate(tables, start=1)]
    return {recipe.name: recipe for recipe in recipes}


def _recipe(number: int, table: dict[str, Any]) -> Recipe:
    entries = table.get("techniques")
    if set(table) != {"techniques"} or not isinstance(entries, list) or not entries:
        raise BadRequest(f"Recipe {number} must be a list of techniques and nothing else.")
    fixed, ranging = [], {}
    for place, entry in enumerate(entries):
        found = techniques.get(str(entry.get("name")))
        known = {knob.name: knob for knob in found.knobs}
        if unknown := sorted(set(entry) - set(known) - {"name"}):
            raise BadRequest(f"{entry['name']} has no knob {unknown[0]!r}: it has {', '.join(known)}.")
        free = {key: value for key, value in entry.items() if isinstance(value, dict | list)}
        fixed.append({key: value for key, value in entry.items() if key not in free})
        for key, wanted in free.items():
            ranging[f"{number}.{place + 1} {found.name} {key}"] = (place, key, _distribution(found, known[key], wanted))
    techniques.canonical(fixed)
    name = f"{number}. " + " + ".join(entry["name"] for entry in entries)
    return Recipe(name, tuple(fixed), ranging)


def _distribution(found: Technique, knob: Knob, wanted: "dict[str, Any] | list[Any]") -> "BaseDistribution":
    """What a knob ranges over: all that its metadata allows, or the part of it that the file names."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    where = f"{found.name}: {knob.name}"
    bounds = {} if isinstance(wanted, list) else wanted
    if unknown := sorted(set(bounds) - {"min", "max", "step"}):
        raise BadRequest(f"{where} is narrowed by min, max and step or by a list, not by {unknown[0]!r}.")
    choices = wanted if isinstance(wanted, list) else _choices(knob)
    if isinstance(wanted, list) or choices:
        if bounds or not choices:
            known = ", ".join(map(str, _choices(knob))) or "its values"
            raise BadRequest(f"{where} takes a list: name some of {known}.")
        return CategoricalDistribution([techniques.checked(found.name, knob, value) for value in choices])
    low, high = (bounds.get(end, own) for end, own in (("min", knob.min), ("max", knob.max)))
    step = bounds.get("step", knob.step)
    if low is None or high is None:
        raise BadRequest(f"{where} has no range of its own: name its values in a list.")
    low, high = (techniques.checked(found.name, knob, end) for end in (low, high))
    if low > high or (step is not None and not (isinstance(step, int | float) and step > 0)):
        raise BadRequest(f"{where} needs min below max and a positive step, got {low} to {high} by {step}.")
    if knob.kind is int:
        return IntDistribution(low, high, step=int(step or 1))
    return FloatDistribution(low, high, step=step)


def _suggest(trial: "Trial", name: str, free: Any) -> Any:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(free, CategoricalDistribution):
        return trial.suggest_categorical(name, free.choices)
    suggest = trial.suggest_int if isinstance(free, IntDistribution) else trial.suggest_float
    return suggest(name, free.low, free.high, step=free.step)


def _choices(knob: Knob) -> list[Any]:
    if knob.kind is bool:
        return [False, True]
    return list(knob.choices or (knob.suggestions if knob.min is None else ()))
