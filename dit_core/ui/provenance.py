"""Whether a record was measured in the environment of this machine, and how its environment differs if not.

Knows no Streamlit.
"""

from collections.abc import Iterable
from typing import Any

from dit_core.experiment import known
from dit_core.records.record import RunRecord
from dit_core.ui import data, format

MACHINE = ("cpu", "gpu", "threads", "system")
VERSIONS = {
    "python": "Python",
    "torch": "torch",
    "torchao": "torchao",
    "diffusers": "diffusers",
    "cuda": "CUDA",
    "driver": "driver",
}


def measured_here(record: RunRecord) -> bool:
    """Whether a record's times can be compared with those of a run on this machine today."""
    current = _current_environment(record)
    return current is not None and current["fingerprint"] == record.environment["fingerprint"]


def difference(record: RunRecord) -> str:
    """Return what differs about a record's environment: the machine or the versions; empty if nothing does.

    Examples: `AMD EPYC (avx512_vnni), 2 threads` for another machine, `torch 2.13.0` for another version.
    """
    return "" if measured_here(record) else _difference(record.environment, record)


def source(record: RunRecord) -> str:
    """Return `difference` as a phrase that follows "from": `another machine, AMD EPYC (avx512_vnni), 2 threads`."""
    if _is_other_machine(record):
        return f"another machine, {difference(record)}"
    return f"this machine with {difference(record)}"


def counterpart(record: RunRecord) -> str:
    """Return this machine's side of `difference`; empty if it has no device of the record's kind."""
    environment = _current_environment(record)
    return "" if environment is None else _difference(environment, record)


def _difference(environment: dict[str, Any], record: RunRecord) -> str:
    """Describe `environment`, a record's or this machine's, by the properties in which those two differ."""
    current = _current_environment(record)
    if current is None or _is_other_machine(record):
        return ", ".join(filter(None, (format.hardware(environment), format.threads(environment))))
    names = [
        name
        for name in _differing(VERSIONS, current, record.environment)
        if current.get(name) and record.environment.get(name)
    ]
    return ", ".join(f"{VERSIONS[name]} {environment[name]}" for name in names) or "other settings"


def _is_other_machine(record: RunRecord) -> bool:
    current = _current_environment(record)
    return current is None or bool(_differing(MACHINE, current, record.environment))


def _current_environment(record: RunRecord) -> dict[str, Any] | None:
    device = record.environment["device"]
    return known.local_environment(device) if device in data.devices() else None


def _differing(names: Iterable[str], first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    return [name for name in names if first.get(name) != second.get(name)]
