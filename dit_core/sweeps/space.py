"""The search space: recipes with free knobs as parameters of Optuna, and the parameters of a recipe.

    [[recipes]]
    techniques = [{ name = "quantization", bits = {}, group_size = [64, 128], method = "hqq" }]

A knob that is `{}` ranges over all that its technique allows, `{ min = 2, max = 4, step = 2 }` narrows that, a list
names the values, a plain value holds it fixed, and a knob that is not named keeps its default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest
from dit_core.recipes import registry as techniques
from dit_core.recipes.knobs import Knob
from dit_core.recipes.recipe import canonical
from dit_core.recipes.registry import Technique
from dit_core.records.toml_files import tables

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

RECIPE = "recipe"  # the parameter that chooses among recipes
DIGITS = 10  # of a knob: a step of 0.05 must not make 0.15000000000000002


@dataclass(frozen=True)
class FreeRecipe:
    """One recipe of a search: its techniques with the fixed knobs, and the free knobs by parameter name."""

    name: str
    techniques: tuple[dict[str, Any], ...]
    ranging: "dict[str, tuple[int, str, BaseDistribution]]"  # parameter -> place of the technique, knob, distribution

    def filled(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """Return the canonical recipe with these parameters. Raises BadRequest if knobs do not fit together."""
        recipe = [dict(entry) for entry in self.techniques]
        for parameter, (place, knob, _) in self.ranging.items():
            value = values[parameter]
            recipe[place][knob] = round(value, DIGITS) if isinstance(value, float) else value
        return canonical(recipe)

    def proposed(self, trial: "Trial") -> tuple[dict[str, Any], ...]:
        """Return the recipe that a trial proposes. Raises BadRequest if its knobs do not fit together."""
        return self.filled({name: _suggest(trial, name, free) for name, free in self.distributions.items()})

    @property
    def distributions(self) -> "dict[str, BaseDistribution]":
        return {parameter: free for parameter, (_, _, free) in self.ranging.items()}

    def values(self, recipe: tuple[dict[str, Any], ...]) -> dict[str, Any] | None:
        """Return the parameters that give this recipe, in range or not; None if it has another form."""
        if [entry["name"] for entry in recipe] != [entry["name"] for entry in self.techniques]:
            return None
        values = {parameter: recipe[place][knob] for parameter, (place, knob, _) in self.ranging.items()}
        try:
            return values if self.filled(values) == recipe else None
        except BadRequest:
            return None


def read_recipes(tables: list[dict[str, Any]]) -> dict[str, FreeRecipe]:
    """Read the recipes of a search, by name. Raises BadRequest on an unknown technique, knob or range."""
    if not tables:
        raise BadRequest("A search needs [[recipes]] with techniques whose knobs range.")
    recipes = [_recipe(number, table) for number, table in enumerate(tables, start=1)]
    return {recipe.name: recipe for recipe in recipes}


def _recipe(number: int, table: dict[str, Any]) -> FreeRecipe:
    if set(table) != {"techniques"} or not table["techniques"]:
        raise BadRequest(f"Recipe {number} must be a list of techniques and nothing else.")
    entries = tables(table["techniques"], f"techniques of recipe {number}", '{ name = "quantization", bits = {} }')
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
    canonical(fixed)
    name = f"{number}. " + " + ".join(entry["name"] for entry in entries)
    return FreeRecipe(name, tuple(fixed), ranging)


def _distribution(found: Technique, knob: Knob, wanted: "dict[str, Any] | list[Any]") -> "BaseDistribution":
    """Return the distribution of a knob: its whole range, or the part that the file names."""
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
        return CategoricalDistribution([knob.check(found.name, value) for value in choices])
    low, high = (bounds.get(end, own) for end, own in (("min", knob.min), ("max", knob.max)))
    step = bounds.get("step", knob.step)
    if low is None or high is None:
        raise BadRequest(f"{where} has no range of its own: name its values in a list.")
    low, high = (knob.check(found.name, end) for end in (low, high))
    whole = knob.kind is int
    if low > high or (step is not None and (type(step) not in ((int,) if whole else (int, float)) or not step > 0)):
        raise BadRequest(f"{where} needs min below max and a positive step, got {low} to {high} by {step}.")
    if whole:
        return IntDistribution(low, high, step=step or 1)
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
