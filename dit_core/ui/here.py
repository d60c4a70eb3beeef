"""Whether a record was made where a run of today would be, and what to say of one that was not. Knows no Streamlit."""

from typing import Any

from dit_core.search import known
from dit_core.spec import RunRecord
from dit_core.ui import reads, words

MACHINE = ("cpu", "gpu", "threads", "system")
VERSIONS = ("python", "torch", "torchao", "diffusers", "cuda", "driver")


def is_here(record: RunRecord) -> bool:
    """Whether its times may be compared with those of a run of today on this machine."""
    own = _own(record)
    return own is not None and own["fingerprint"] == record.environment["fingerprint"]


def place(record: RunRecord) -> str:
    """Where a record was made in a few words, `AMD EPYC (avx512_vnni), 2 threads`, or with which other versions,
    `torch 2.13.0`; empty where it was made here."""
    if is_here(record):
        return ""
    own, there = _own(record), record.environment
    if own is None or _differ(MACHINE, own, there):
        threads = there.get("threads")
        return ", ".join(filter(None, (words.hardware(record), threads and f"{threads} threads")))
    other = _differ(VERSIONS, own, there)
    return ", ".join(f"{name} {there.get(name)}" for name in other)


def whence(record: RunRecord) -> str:
    """The same to stand after `from`: `another machine, AMD EPYC (avx512_vnni), 2 threads`."""
    own = _own(record)
    if own is None or _differ(MACHINE, own, record.environment):
        return f"another machine, {place(record)}"
    return f"this machine with {place(record)}"


def _own(record: RunRecord) -> dict[str, Any] | None:
    device = record.environment["device"]
    return known.surroundings(device) if device in reads.devices() else None


def _differ(names: tuple[str, ...], own: dict[str, Any], there: dict[str, Any]) -> list[str]:
    return [name for name in names if own.get(name) != there.get(name)]
