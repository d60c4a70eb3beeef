"""TOML files that people write: shapes and types are checked where they are read, so that a slip is one line."""

import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from dit_core.errors import BadRequest
from dit_core.system import causes

Config = TypeVar("Config")
TABLE, TABLES, VALUE = "a table", "tables", "a value"  # what an entry of a file is
_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes", list: "a list"}


def read_toml(path: Path, kind: str, entries: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of a TOML file of a kind, such as a grid.

    `entries` names its entries, and for each whether it is a TABLE, TABLES or a VALUE. Raises BadRequest if the file
    cannot be read, or has other entries or other shapes than these.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(causes.not_read(path, error)) from error
    except (ValueError, RecursionError) as error:  # not TOML, or not text
        raise BadRequest(f"{path} cannot be read as a {kind}: {error}") from error
    if unknown := sorted(set(content) - set(entries)):
        raise BadRequest(f"{path} has an unknown table {unknown[0]!r}: a {kind} has {', '.join(entries)}.")
    for name, value in content.items():
        if entries[name] == TABLE:
            table(value, f"{path}: {name}", f"[{name}]")
        elif entries[name] == TABLES:
            tables(value, f"{path}: {name}", f"[[{name}]]")
    return content


def table(value: Any, where: str, header: str = "") -> dict[str, Any]:
    """Return a value that must be a table. Raises BadRequest if it is anything else."""
    if not isinstance(value, dict):
        raise BadRequest(f"{where} must be one table{f', written {header}' if header else ''}, got {_short(value)}.")
    return value


def tables(value: Any, where: str, header: str = "") -> list[dict[str, Any]]:
    """Return a value that must be a list of tables. Raises BadRequest if it is anything else."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        written = f", each written {header}" if header else ""
        raise BadRequest(f"{where} must be a list of tables{written}, got {_short(value)}.")
    return value


def typed(kind: type[Config], data: Any, where: str) -> Config:
    """Make a dataclass of numbers, words and switches from a table.

    Raises BadRequest if it is no table, or on an unknown name, a missing name or a value of another type.
    """
    data = table(data, where)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(data) - set(known)):
        raise BadRequest(f"{where} has an unknown setting {unknown[0]!r}: use some of {', '.join(known)}.")
    hints = typing.get_type_hints(kind)
    values = {name: value_of(value, hints[name], f"{where}: {name}") for name, value in data.items()}
    try:
        return kind(**values)
    except BadRequest as error:
        raise BadRequest(f"{where}: {error}") from error
    except TypeError as error:  # a name without a default
        raise BadRequest(f"{where} is not complete: {error}.") from error


def value_of(value: Any, hint: Any, where: str) -> Any:
    """Return a value of one of the types bool, int, float, str and list. Raises BadRequest if it has another type."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (typing.get_origin(hint) or hint,)
    if float in options and type(value) is int:
        return float(value)
    if type(value) not in options:
        kinds = " or ".join(_TYPES.get(each, str(each)) for each in options)
        raise BadRequest(f"{where} must be {kinds}, got {value!r}.")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
