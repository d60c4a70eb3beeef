"""Whether a record was made where a run of today would be, and what to say of one that was not. Knows no Streamlit."""

from collections.abc import Iterable
from typing import Any

from dit_core.search import known
from dit_core.spec import RunRecord
from dit_core.ui import reads, words

MACHINE = ("cpu", "gpu", "threads", "system")
VERSIONS = {
    "python": "Python",
    "torch": "torch",
    "torchao": "torchao",
    "diffusers": "diffusers",
    "cuda": "CUDA",
    "driver": "driver",
}


def is_here(record: RunRecord) -> bool:
    """Whether its times may be compared with those of a run of today on this machine."""
    own = _own(record)
    return own is not None and own["fingerprint"] == record.environment["fingerprint"]


def place(record: RunRecord) -> str:
    """Where a record was made in a few words, `AMD EPYC (avx512_vnni), 2 threads`, or with which other versions,
    `torch 2.13.0`; empty where it was made here."""
    if is_here(record):
        return ""
    return _told(record.environment, record)


def whence(record: RunRecord) -> str:
    """The same to stand after `from`: `another machine, AMD EPYC (avx512_vnni), 2 threads`."""
    own = _own(record)
    if own is None or _differ(MACHINE, own, record.environment):
        return f"another machine, {place(record)}"
    return f"this machine with {place(record)}"


def instead(record: RunRecord) -> str:
    """What stands here in place of that, in the same words; empty where this machine has no such device."""
    own = _own(record)
    return "" if own is None else _told(own, record)


def _told(environment: dict[str, Any], record: RunRecord) -> str:
    """Of an environment, what tells this machine's and the record's apart."""
    own = _own(record)
    if own is None or _differ(MACHINE, own, record.environment):
        return ", ".join(filter(None, (words.hardware(environment), words.threads(environment))))
    names = [
        name for name in _differ(VERSIONS, own, record.environment) if own.get(name) and record.environment.get(name)
    ]
    return ", ".join(f"{VERSIONS[name]} {environment[name]}" for name in names) or "other settings"


def _own(record: RunRecord) -> dict[str, Any] | None:
    device = record.environment["device"]
    return known.surroundings(device) if device in reads.devices() else None


def _differ(names: Iterable[str], own: dict[str, Any], there: dict[str, Any]) -> list[str]:
    return [name for name in names if own.get(name) != there.get(name)]
