"""Log of failed runs of sweeps and searches: one JSON line each, in `local/failures.jsonl` of the results folder."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dit_core.records.spec import RunSpec
from dit_core.sweeps.isolated_run import Outcome, as_data


def path_in(root: Path) -> Path:
    return root / "local" / "failures.jsonl"


def add(root: Path, spec: RunSpec, outcome: Outcome) -> None:
    """Append a failure with its reason and time, on a new line even if the last line is incomplete."""
    path, now = path_in(root), datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({**as_data(spec, outcome), "at": now}).encode()
    with suppress(OSError):  # a full disk costs this line, not the sweep, which also prints its failures
        path.parent.mkdir(parents=True, exist_ok=True)
        _append(line, path)


def _append(line: bytes, path: Path) -> None:
    with path.open("a+b") as file:
        if end := file.seek(0, os.SEEK_END):
            file.seek(end - 1)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(root: Path) -> list[dict[str, Any]]:
    """Return all failures in order, without incomplete lines."""
    found = []
    with suppress(FileNotFoundError):
        for line in path_in(root).read_bytes().splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
    return [entry for entry in found if isinstance(entry, dict)]
