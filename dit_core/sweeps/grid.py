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


def read_grid(path: Path) -> list[RunSpec]:
    """Return the runs of a grid file, in order and without repeats.

    `[protocol]` holds the fields that all runs share; each `[[runs]]` holds those of its own. A list as a value stands
    for one run per entry; several lists, in knobs or fields, for all their combinations. Without `device` a run uses
    the best device of this machine.
    """
    grid = read_toml(path, "grid", ("protocol", "runs"))
    specs = [spec for run in grid.get("runs", []) for spec in _expand({**grid.get("protocol", {}), **run})]
    return list({spec.run_id: spec for spec in specs}.values())


def read_toml(path: Path, kind: str, tables: tuple[str, ...]) -> dict[str, Any]:
    """Read a TOML file of a kind. Raises BadRequest if it cannot be read or has other tables than these."""
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRequest(f"{path} cannot be read as a {kind}: {error}") from error
    if unknown := sorted(set(content) - set(tables)):
        raise BadRequest(f"{path} has an unknown table {unknown[0]!r}: a {kind} has {', '.join(tables)}.")
    return content


def _expand(run: dict[str, Any]) -> Iterator[RunSpec]:
    """Yield a run for every combination of the lists in its fields and in the knobs of its techniques."""
    recipe = run.pop("techniques", [])
    recipes = itertools.product(*(_combinations(technique) for technique in recipe))
    fields = _combinations(run, keep=("classes", "guidance_interval", "metrics"))
    for chosen, values in itertools.product(list(recipes), list(fields)):
        yield RunSpec.from_dict({"device": devices.default(), **values, "techniques": canonical(chosen)})


def _combinations(table: dict[str, Any], keep: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    choices = [value if isinstance(value, list) and key not in keep else [value] for key, value in table.items()]
    for values in itertools.product(*choices):
        yield dict(zip(table, values, strict=True))
