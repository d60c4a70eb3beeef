"""A search: Optuna asks for recipes where fronts can still move, and is told what the store holds or a run measures.

The store is the only truth: the study is made again from it at every start, so that a search goes on where it stopped,
and after a sweep begins with what that has measured. This process alone asks and tells.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_core import fronts
from dit_core.errors import BadRequest
from dit_core.search import apart, failures
from dit_core.search.apart import Measure
from dit_core.search.grid import read_toml
from dit_core.search.known import here, known
from dit_core.search.space import RECIPE, Recipe, read_recipes
from dit_core.search.sweeps import relative_time, tell_failed, time_left
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Store, is_current

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

OBJECTIVES: dict[str, Callable[[RunRecord], float | None]] = {  # less is better in each
    "relative_time": relative_time,
    "distance": lambda record: record.quality["distance"],
    "weight_bytes": lambda record: record.memory["weight_bytes"],
    "peak_memory_bytes": lambda record: record.memory["peak_memory_bytes"],
}
SAMPLERS = {"tpe": "TPESampler", "nsga2": "NSGAIISampler"}
KINDS: tuple[str, ...] = ("measured", "known", "refused", "failed")
DEFAULTS = {"objectives": ["relative_time", "distance"], "sampler": "tpe", "seed": 0}


@dataclass(frozen=True)
class Search:
    """What a file asks for: the workload, the recipes that range, what to make small, and who proposes."""

    baseline: RunSpec
    recipes: dict[str, Recipe]
    objectives: tuple[str, ...]
    sampler: str
    seed: int


@dataclass(frozen=True)
class Point:
    """A run that the front is made of, with its figures in the order of the objectives."""

    run_id: str
    label: str
    costs: tuple[float, ...]


@dataclass(frozen=True)
class Found:
    """What a search has found so far: `front` with the `volume` that it covers, and what became of the trials."""

    objectives: tuple[str, ...]
    baseline: Point
    front: list[Point]
    volume: float  # `fronts.coverage`
    trials: dict[str, int]  # measured, known, refused and failed ones


def read_search(path: Path) -> Search:
    """The search that a TOML file describes: `[protocol]` as in a grid, `[search]`, and `[[recipes]]` (`space`)."""
    content = read_toml(path, "search", ("protocol", "search", "recipes"))
    told = {**DEFAULTS, **content.get("search", {})}
    if unknown := sorted(set(told) - set(DEFAULTS)):
        raise BadRequest(f"[search] has no {unknown[0]!r}: it has {', '.join(DEFAULTS)}.")
    objectives = told["objectives"]
    if not isinstance(objectives, list) or len(objectives) < 2 or len(set(map(str, objectives))) < len(objectives):
        raise BadRequest(f"objectives must be two or more of {', '.join(OBJECTIVES)}, got {objectives!r}.")
    if wrong := [name for name in objectives if name not in OBJECTIVES]:
        raise BadRequest(f"Unknown objective {wrong[0]!r}: use some of {', '.join(OBJECTIVES)}.")
    if told["sampler"] not in SAMPLERS:
        raise BadRequest(f"Unknown sampler {told['sampler']!r}: use one of {', '.join(SAMPLERS)}.")
    if type(told["seed"]) is not int or told["seed"] < 0:
        raise BadRequest(f"seed must be a whole number of 0 or more, got {told['seed']!r}.")
    baseline = RunSpec.from_dict(content.get("protocol", {})).baseline
    if "distance" in objectives and not baseline.samples:
        raise BadRequest("A distance needs images to judge: set samples in [protocol].")
    recipes = read_recipes(content.get("recipes", []))
    return Search(baseline, recipes, tuple(objectives), told["sampler"], told["seed"])


def explore(
    path: Path,
    trials: int,
    *,
    out: Path | None = None,
    limit_s: float = apart.LIMIT_S,
    progress: Callable[[str, int, int], None] = lambda stage, step, of: None,
    measure: Measure | None = None,
) -> Found:
    """Ask for so many trials and tell each: from the store where its run is known here, else from measuring it.

    A recipe that is refused, a run that fails and a figure that is not known are failed trials, which tell the sampler
    nothing. Failures go to the same log as a sweep's.
    """
    search, store = read_search(path), Store(out)
    environments, failed = here([search.baseline]), {}
    record = partial(_record, store, environments, failed, out, measure or partial(apart.measure, limit_s=limit_s))
    base, _ = record(search.baseline)
    if base is None:
        raise RuntimeError(f"The baseline could not be measured: {failed[search.baseline.run_id][1].reason}")
    told = list(_stored(search, store, base, environments))
    study, points = _study(search, [trial for _, trial in told]), {point.run_id: point for point, _ in told}
    counted, started = dict.fromkeys(KINDS, 0), time.monotonic()
    for done in range(trials):
        trial = study.ask()
        left = time_left(time.monotonic() - started, done, trials)
        try:
            spec = _proposed(search, trial)
        except BadRequest as error:
            kind, costs, words = "refused", None, f"refused: {error}"
        else:
            found, kind = record(spec)
            costs = costs_of(search, found, base) if found else None
            kind = kind if costs else "failed"
            words = f"{kind}: {spec.label()}"
            points.update({spec.run_id: Point(spec.run_id, spec.label(), costs)} if costs else {})
        _tell(study, trial, costs)
        counted[kind] += 1
        print(", ".join(filter(None, [f"trial {done + 1} {words}", left])), file=sys.stderr, flush=True)
        progress("explore", done + 1, trials)
    tell_failed(failed.values(), store.root)
    return _found(search, base, list(points.values()), counted)


def costs_of(search: Search, record: RunRecord, base: RunRecord) -> tuple[float, ...] | None:
    """A record's figures in the order of the objectives; None where one is not known or of another metric."""
    figures = [OBJECTIVES[name](record) for name in search.objectives]
    same = "distance" not in search.objectives or record.quality["metric"] == base.quality["metric"]
    told = tuple(figure for figure in figures if figure is not None and math.isfinite(figure))
    return told if same and len(told) == len(figures) else None


def report(found: Found) -> str:
    """The front, its volume and the trials in words."""
    heads = [*(name.replace("_", " ") for name in found.objectives), "recipe"]
    rows = [[*(f"{cost:.4g}" for cost in point.costs), point.label] for point in found.front]
    lines = ["  ".join(f"{cell:>17}" for cell in row[:-1]) + f"  {row[-1]}" for row in (heads, *rows)]
    reference = ", ".join(f"{fronts.REFERENCE * cost:.4g}" for cost in found.baseline.costs)
    trials = ", ".join(f"{count} {kind}" for kind, count in found.trials.items())
    volume = f"Hypervolume {found.volume:.3f}, where the baseline alone has 1; reference point: {reference}."
    return "\n".join([*lines, volume, f"Trials: {trials}."])


def as_json(found: Found) -> str:
    """The same as data."""

    def entry(point: Point) -> dict[str, Any]:
        return {"run_id": point.run_id, "label": point.label, **dict(zip(found.objectives, point.costs, strict=True))}

    told = {"front": [entry(point) for point in found.front], "hypervolume": found.volume, "trials": found.trials}
    reference = [fronts.REFERENCE * cost for cost in found.baseline.costs]
    return json.dumps({**told, "reference": dict(zip(found.objectives, reference, strict=True))})


def _found(search: Search, base: RunRecord, points: list[Point], counted: dict[str, int]) -> Found:
    costs = costs_of(search, base, base)
    if costs is None or not all(costs):
        raise RuntimeError(f"The baseline lacks one of {', '.join(search.objectives)}: leave that objective out.")
    baseline = Point(base.run_id, search.baseline.label(), costs)
    every = [baseline, *points]
    front = [every[i] for i in fronts.front([point.costs for point in every])]
    volume = fronts.coverage([point.costs for point in front], costs)
    return Found(search.objectives, baseline, front, volume, counted)


def _record(
    store: Store, environments: set[str], failed: dict[str, Any], out: Path | None, measure: Measure, spec: RunSpec
) -> tuple[RunRecord | None, str]:
    """The record of a run, and whether it was known or measured or failed; what failed is not tried again."""
    if record := known(store, spec, environments):
        return record, "known"
    if spec.run_id not in failed:
        outcome = measure(spec, out)
        if outcome.done and (record := known(store, spec, environments)):
            return record, "measured"
        outcome = replace(outcome, state="failed", reason="It left no record.") if outcome.done else outcome
        failed[spec.run_id] = spec, outcome
        failures.add(store.root, spec, outcome)
    return None, "failed"


def _study(search: Search, told: Sequence["FrozenTrial"]) -> "Study":
    """A study that has been told what the store holds. What it asks next follows from that and the seed alone."""
    import optuna
    from optuna.study import StudyDirection

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = getattr(optuna.samplers, SAMPLERS[search.sampler])(seed=search.seed + len(told))
    study = optuna.create_study(directions=[StudyDirection.MINIMIZE for _ in search.objectives], sampler=sampler)
    study.add_trials(told)
    return study


def _stored(
    search: Search, store: Store, base: RunRecord, environments: set[str]
) -> "Iterator[tuple[Point, FrozenTrial]]":
    """The runs of this workload, environment and metric that the store holds and the recipes can make."""
    seen: set[str] = set()
    for record in (stored.record for stored in store.load().records):
        if record.run_id in seen or record.environment["fingerprint"] not in environments or not is_current(record):
            continue
        seen.add(record.run_id)
        spec = RunSpec.from_dict(record.spec)
        costs = costs_of(search, record, base) if spec.baseline == search.baseline else None
        if costs and (trial := _trial(search, spec, costs)):
            yield Point(spec.run_id, spec.label(), costs), trial


def _trial(search: Search, spec: RunSpec, costs: Sequence[float]) -> "FrozenTrial | None":
    """The trial that would have proposed this run; None where no recipe of the search does."""
    from optuna import create_trial
    from optuna.distributions import CategoricalDistribution

    choice = CategoricalDistribution(list(search.recipes))
    for name, recipe in search.recipes.items():
        values = recipe.values(spec.techniques)
        with suppress(ValueError):  # a value out of its range
            if values is not None:
                free = {RECIPE: choice, **recipe.distributions}
                return create_trial(params={RECIPE: name, **values}, distributions=free, values=list(costs))
    return None


def _proposed(search: Search, trial: "Trial") -> RunSpec:
    """The run that a trial asks for; raises BadRequest where it cannot be made or does not run here."""
    from dit_core import experiment

    recipe = search.recipes[trial.suggest_categorical(RECIPE, list(search.recipes))]
    spec = replace(search.baseline, techniques=recipe.proposed(trial))
    experiment.check(spec)
    return spec


def _tell(study: "Study", trial: "Trial", costs: Sequence[float] | None) -> None:
    from optuna.trial import TrialState

    study.tell(trial, list(costs) if costs else None, state=TrialState.COMPLETE if costs else TrialState.FAIL)
