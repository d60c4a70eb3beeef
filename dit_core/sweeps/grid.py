"""Grid files: TOML files that list runs."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.toml_files import TABLE, TABLES, read_toml, tables
from dit_core.system import devices

MOST_RUNS = 10_000


def read_grid(path: Path) -> list[RunSpec]:
    """Return the runs of a grid file, in order and without repeats.

    `[protocol]` holds the fields that all runs share; each `[[runs]]` holds those of its own. A list as a value stands
    for one run per entry; several lists, in knobs or fields, for all their combinations. Without `device` a run uses
    the best device of this machine. Raises BadRequest if the file cannot be read, if a table or a value is not valid,
    and if there are no runs or too many.
    """
    grid = read_toml(path, "grid", {"protocol": TABLE, "runs": TABLES})
    runs = (spec for run in grid.get("runs", []) for spec in _expand({**grid.get("protocol", {}), **run}))
    specs = {spec.run_id: spec for spec in itertools.islice(runs, MOST_RUNS)}
    if next(runs, None):
        raise BadRequest(f"{path} has more than {MOST_RUNS:,} runs: split it into several files.")
    if not specs:
        raise BadRequest(f"{path} has no runs: add [[runs]], once for each.")
    return list(specs.values())


def _expand(run: dict[str, Any]) -> Iterator[RunSpec]:
    """Yield a run for every combination of the lists in its fields and in the knobs of its techniques."""
    recipe = tables(run.pop("techniques", []), "techniques", '{ name = "quantization", bits = 4 }')
    recipes = itertools.product(*(_combinations(technique) for technique in recipe))
    fields = _combinations(run, keep=("classes", "guidance_interval"))
    for chosen, values in itertools.product(list(recipes), list(fields)):
        yield RunSpec.from_dict({"device": devices.default(), **values, "techniques": canonical(chosen)})


def _combinations(table: dict[str, Any], keep: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    choices = [value if isinstance(value, list) and key not in keep else [value] for key, value in table.items()]
    if empty := [key for key, values in zip(table, choices, strict=True) if not values]:
        raise BadRequest(f"{empty[0]} is an empty list, so no run has a value: name one, or leave it out.")
    for values in itertools.product(*choices):
        yield dict(zip(table, values, strict=True))
