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

GRID = Path(__file__).with_name("grid.toml")  # the bundled protocol and its runs
SHAPES = {"protocol": TABLE, "on_cuda": TABLE, "runs": TABLES}
MOST_RUNS = 10_000


def read_grid(path: Path) -> list[RunSpec]:
    """Return the runs of a grid file, in order and without repeats.

    `[protocol]` holds the fields that all runs share, `[on_cuda]` those that a run on a CUDA device has instead; each
    `[[runs]]` holds those of its own. A list as a value stands for one run per entry; several lists, in knobs or
    fields, for all their combinations. Without `device` a run uses the best device of this machine. Raises BadRequest
    if the file cannot be read, if a table or a value is not valid, and if there are no runs or too many.
    """
    grid = read_toml(path, "grid", SHAPES)
    runs = (spec for run in grid.get("runs", []) for spec in _expand(grid, run))
    specs = {spec.run_id: spec for spec in itertools.islice(runs, MOST_RUNS)}
    if next(runs, None):
        raise BadRequest(f"{path} has more than {MOST_RUNS:,} runs: split it into several files.")
    if not specs:
        raise BadRequest(f"{path} has no runs: add [[runs]], once for each.")
    return list(specs.values())


def judged_images(device: str) -> int:
    """Return the number of images that the bundled protocol (`grid.toml`) judges on a device."""
    return shared_fields(read_toml(GRID, "grid", SHAPES), device)["samples"]


def _expand(grid: dict[str, Any], run: dict[str, Any]) -> Iterator[RunSpec]:
    """Yield a run for every combination of the lists in its fields and in the knobs of its techniques."""
    chosen = run.get("device", grid.get("protocol", {}).get("device", devices.default()))
    for device in chosen if isinstance(chosen, list) else [chosen]:
        fields = {**shared_fields(grid, device), **run, "device": device}
        recipe = tables(fields.pop("techniques", []), "techniques", '{ name = "quantization", bits = 4 }')
        recipes = itertools.product(*(_combinations(technique) for technique in recipe))
        combined = _combinations(fields, keep=("classes", "guidance_interval", "metrics"))
        for combination, values in itertools.product(list(recipes), list(combined)):
            yield RunSpec.from_dict({**values, "techniques": canonical(combination)})


def shared_fields(grid: dict[str, Any], device: Any) -> dict[str, Any]:
    """Return the fields that all runs of a grid share on a device."""
    on_cuda = isinstance(device, str) and device.partition(":")[0] == "cuda"
    return {**grid.get("protocol", {}), **(grid.get("on_cuda", {}) if on_cuda else {})}


def _combinations(table: dict[str, Any], keep: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    choices = [value if isinstance(value, list) and key not in keep else [value] for key, value in table.items()]
    if empty := [key for key, values in zip(table, choices, strict=True) if not values]:
        raise BadRequest(f"{empty[0]} is an empty list, so no run has a value: name one, or leave it out.")
    for values in itertools.product(*choices):
        yield dict(zip(table, values, strict=True))
