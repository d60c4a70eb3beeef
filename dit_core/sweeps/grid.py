"""Grid files: TOML files that list runs."""

import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.system import devices

GRID = Path(__file__).with_name("grid.toml")  # the bundled protocol and its runs


def read_grid(path: Path) -> list[RunSpec]:
    """Return the runs of a grid file, in order and without repeats.

    `[protocol]` holds the fields that all runs share, `[on_cuda]` those that a run on a CUDA device has instead; each
    `[[runs]]` holds those of its own. A list as a value stands for one run per entry; several lists, in knobs or
    fields, for all their combinations. Without `device` a run uses the best device of this machine.
    """
    grid = read_toml(path, "grid", ("protocol", "on_cuda", "runs"))
    specs = [spec for run in grid.get("runs", []) for spec in _expand(grid, run)]
    return list({spec.run_id: spec for spec in specs}.values())


def judged_images(device: str) -> int:
    """Return the number of images that the bundled protocol (`grid.toml`) judges on a device."""
    grid = read_toml(GRID, "grid", ("protocol", "on_cuda", "runs"))
    return shared_fields(grid, device)["samples"]


def read_toml(path: Path, kind: str, tables: tuple[str, ...]) -> dict[str, Any]:
    """Read a TOML file of a kind. Raises BadRequest if it cannot be read or has other tables than these."""
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRequest(f"{path} cannot be read as a {kind}: {error}") from error
    if unknown := sorted(set(content) - set(tables)):
        raise BadRequest(f"{path} has an unknown table {unknown[0]!r}: a {kind} has {', '.join(tables)}.")
    return content


def _expand(grid: dict[str, Any], run: dict[str, Any]) -> Iterator[RunSpec]:
    """Yield a run for every combination of the lists in its fields and in the knobs of its techniques."""
    chosen = run.get("device", grid.get("protocol", {}).get("device", devices.default()))
    for device in chosen if isinstance(chosen, list) else [chosen]:
        fields = {**shared_fields(grid, device), **run, "device": device}
        recipes = itertools.product(*(_combinations(technique) for technique in fields.pop("techniques", [])))
        combined = _combinations(fields, keep=("classes", "guidance_interval", "metrics"))
        for recipe, values in itertools.product(list(recipes), list(combined)):
            yield RunSpec.from_dict({**values, "techniques": canonical(recipe)})


def shared_fields(grid: dict[str, Any], device: Any) -> dict[str, Any]:
    """Return the fields that all runs of a grid share on a device."""
    on_cuda = isinstance(device, str) and device.partition(":")[0] == "cuda"
    return {**grid.get("protocol", {}), **(grid.get("on_cuda", {}) if on_cuda else {})}


def _combinations(table: dict[str, Any], keep: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    choices = [value if isinstance(value, list) and key not in keep else [value] for key, value in table.items()]
    for values in itertools.product(*choices):
        yield dict(zip(table, values, strict=True))
