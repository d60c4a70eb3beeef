"""Search of recipes: Optuna proposes recipes, and each is evaluated by a stored record or a new run.

The study is rebuilt from the store at every start. A search therefore resumes where it stopped, and also uses the
records of sweeps. Only this process talks to Optuna.
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

from dit_core.errors import BadRequest
from dit_core.experiment.known import current_record, is_current, local_fingerprints
from dit_core.records import metrics, pareto
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.records.toml_files import TABLE, TABLES, read_toml
from dit_core.sweeps import failures, isolated_run
from dit_core.sweeps.grid import shared_fields
from dit_core.sweeps.grid_sweep import print_failures, time_left
from dit_core.sweeps.isolated_run import Measure
from dit_core.sweeps.space import RECIPE, FreeRecipe, read_recipes
from dit_core.system import devices

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

OBJECTIVES = {  # lower is better in each
    metric.name: metric
    for metric in (metrics.PRIMARY_COST, metrics.PRIMARY_QUALITY, metrics.WEIGHT_BYTES, metrics.PEAK_MEMORY)
}
QUALITY = metrics.PRIMARY_QUALITY.name
SAMPLERS = {"tpe": "TPESampler", "nsga2": "NSGAIISampler"}
KINDS: tuple[str, ...] = ("measured", "known", "refused", "failed")
DEFAULTS = {"objectives": [metrics.PRIMARY_COST.name, QUALITY], "sampler": "tpe", "seed": 0}


@dataclass(frozen=True)
class Search:
    """Content of a search file: workload, recipes with free knobs, objectives to minimize, and Optuna's sampler."""

    baseline: RunSpec
    recipes: dict[str, FreeRecipe]
    objectives: tuple[str, ...]
    sampler: str
    seed: int


@dataclass(frozen=True)
class Point:
    """A run on the front, with its figures in the order of the objectives."""

    run_id: str
    label: str
    costs: tuple[float, ...]


@dataclass(frozen=True)
class Found:
    """Result of a search: the `front`, the `volume` that it covers, and the counts of trials by outcome."""

    objectives: tuple[str, ...]
    baseline: Point
    front: list[Point]
    volume: float  # `fronts.coverage`
    trials: dict[str, int]  # measured, known, refused and failed ones


def read_search(path: Path) -> Search:
    """Read a search file: `[protocol]` and `[on_cuda]` as in a grid, `[search]`, and `[[recipes]]` (see `space`).

    Raises BadRequest.
    """
    shapes = {"protocol": TABLE, "on_cuda": TABLE, "search": TABLE, "recipes": TABLES}
    content = read_toml(path, "search", shapes)
    settings = {**DEFAULTS, **content.get("search", {})}
    if unknown := sorted(set(settings) - set(DEFAULTS)):
        raise BadRequest(f"[search] has no {unknown[0]!r}: it has {', '.join(DEFAULTS)}.")
    objectives = settings["objectives"]
    if not _are_names(objectives) or len(objectives) < 2 or len(set(objectives)) < len(objectives):
        raise BadRequest(f"objectives must be two or more of {', '.join(OBJECTIVES)}, got {objectives!r}.")
    if wrong := [name for name in objectives if name not in OBJECTIVES]:
        raise BadRequest(f"Unknown objective {wrong[0]!r}: use some of {', '.join(OBJECTIVES)}.")
    if settings["sampler"] not in list(SAMPLERS):
        raise BadRequest(f"Unknown sampler {settings['sampler']!r}: use one of {', '.join(SAMPLERS)}.")
    if type(settings["seed"]) is not int or settings["seed"] < 0:
        raise BadRequest(f"seed must be a whole number of 0 or more, got {settings['seed']!r}.")
    device = content.get("protocol", {}).get("device", devices.default())
    baseline = RunSpec.from_dict({**shared_fields(content, device), "device": device}).baseline
    if QUALITY in objectives and not baseline.samples:
        raise BadRequest(f"The objective {QUALITY} needs images: set samples in [protocol].")
    recipes = read_recipes(content.get("recipes", []))
    return Search(baseline, recipes, tuple(objectives), settings["sampler"], settings["seed"])


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def explore(
    path: Path,
    trials: int,
    *,
    out: Path | None = None,
    limit_s: float = isolated_run.LIMIT_S,
    progress: Callable[[str, int, int], None] = lambda stage, step, of: None,
    measure: Measure | None = None,
) -> Found:
    """Run `trials` trials. The result of a trial is the stored record if its run is known here, otherwise a new run.

    A recipe that is refused, a run that fails and a figure that is not known are failed trials, which tell the sampler
    nothing. Failures go to the same log as a sweep's.
    """
    search, store = read_search(path), Store(out)
    store.probe(local=out is None)
    environments, failed = local_fingerprints([search.baseline]), {}
    record = partial(
        _record, store, environments, failed, out, measure or partial(isolated_run.measure, limit_s=limit_s)
    )
    base, _ = record(search.baseline)
    if base is None:
        raise RuntimeError(f"The baseline could not be measured: {failed[search.baseline.run_id][1].reason}")
    stored = list(_stored(search, store, base, environments))
    study, points = _study(search, [trial for _, trial in stored]), {point.run_id: point for point, _ in stored}
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
    print_failures(failed.values(), store.root)
    return _found(search, base, list(points.values()), counted)


def costs_of(search: Search, record: RunRecord, base: RunRecord) -> tuple[float, ...] | None:
    """Return a record's figures in the order of the objectives; None if one is unknown or of another quality method."""
    figures = [OBJECTIVES[name].read(record) for name in search.objectives]
    same = all(OBJECTIVES[name].method(record) == OBJECTIVES[name].method(base) for name in search.objectives)
    finite = tuple(figure for figure in figures if figure is not None and math.isfinite(figure))
    return finite if same and len(finite) == len(figures) else None


def report(found: Found) -> str:
    """Return the front, its volume and the counts of trials as text."""
    heads = [*(name.replace("_", " ") for name in found.objectives), "recipe"]
    rows = [[*(f"{cost:.4g}" for cost in point.costs), point.label] for point in found.front]
    lines = ["  ".join(f"{cell:>17}" for cell in row[:-1]) + f"  {row[-1]}" for row in (heads, *rows)]
    reference = ", ".join(f"{pareto.REFERENCE * cost:.4g}" for cost in found.baseline.costs)
    trials = ", ".join(f"{count} {kind}" for kind, count in found.trials.items())
    volume = f"Hypervolume {found.volume:.3f}, the baseline has 1; reference point: {reference}."
    notes = [f"{OBJECTIVES[name].title}: {OBJECTIVES[name].help}" for name in found.objectives if name == QUALITY]
    return "\n".join([*lines, *notes, volume, f"Trials: {trials}."])


def as_json(found: Found) -> str:
    """Return the front, its volume and the counts of trials as JSON."""

    def entry(point: Point) -> dict[str, Any]:
        return {"run_id": point.run_id, "label": point.label, **dict(zip(found.objectives, point.costs, strict=True))}

    result = {"front": [entry(point) for point in found.front], "hypervolume": found.volume, "trials": found.trials}
    reference = [pareto.REFERENCE * cost for cost in found.baseline.costs]
    return json.dumps({**result, "reference": dict(zip(found.objectives, reference, strict=True))})


def _found(search: Search, base: RunRecord, points: list[Point], counted: dict[str, int]) -> Found:
    costs = costs_of(search, base, base)
    if costs is None or not all(costs):
        raise RuntimeError(f"The baseline lacks one of {', '.join(search.objectives)}: leave that objective out.")
    baseline = Point(base.run_id, search.baseline.label(), costs)
    every = [baseline, *points]
    front = [every[i] for i in pareto.front([point.costs for point in every])]
    volume = pareto.coverage([point.costs for point in front], costs)
    return Found(search.objectives, baseline, front, volume, counted)


def _record(
    store: Store, environments: set[str], failed: dict[str, Any], out: Path | None, measure: Measure, spec: RunSpec
) -> tuple[RunRecord | None, str]:
    """Return the record of a run and how it was obtained: known, measured or failed. A failed run is not repeated."""
    if record := current_record(store, spec, environments):
        return record, "known"
    if spec.run_id not in failed:
        outcome = measure(spec, out)
        if outcome.done and (record := current_record(store, spec, environments)):
            return record, "measured"
        outcome = replace(outcome, state="failed", reason="It left no record.") if outcome.done else outcome
        failed[spec.run_id] = spec, outcome
        failures.add(store.root, spec, outcome)
    return None, "failed"


def _study(search: Search, trials: Sequence["FrozenTrial"]) -> "Study":
    """Return a study with the stored trials. Its proposals depend only on them and the seed."""
    import optuna
    from optuna.study import StudyDirection

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = getattr(optuna.samplers, SAMPLERS[search.sampler])(seed=search.seed + len(trials))
    study = optuna.create_study(directions=[StudyDirection.MINIMIZE for _ in search.objectives], sampler=sampler)
    study.add_trials(trials)
    return study


def _stored(
    search: Search, store: Store, base: RunRecord, environments: set[str]
) -> "Iterator[tuple[Point, FrozenTrial]]":
    """Yield the stored runs of this workload, environment and quality method that a recipe of the search can make."""
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
    """Return the trial that proposes this run; None if no recipe of the search does."""
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
    """Return the run that a trial proposes. Raises BadRequest if it is not valid or cannot run here."""
    from dit_core.experiment.checks import check

    recipe = search.recipes[trial.suggest_categorical(RECIPE, list(search.recipes))]
    spec = replace(search.baseline, techniques=recipe.proposed(trial))
    check(spec)
    return spec


def _tell(study: "Study", trial: "Trial", costs: Sequence[float] | None) -> None:
    from optuna.trial import TrialState

    study.tell(trial, list(costs) if costs else None, state=TrialState.COMPLETE if costs else TrialState.FAIL)
