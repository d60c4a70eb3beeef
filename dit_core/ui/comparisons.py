"""Records grouped by what may be compared: one environment and one workload. Imports no Streamlit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dit_core.records import metrics
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.ui import format

MAX_SPECS = 4096  # parsed specs that are kept; the oldest is dropped first
_SPECS: dict[str, RunSpec] = {}


@dataclass(frozen=True)
class Comparison:
    """Runs that may share a plot. `earlier` is the number of older measurements of the same runs."""

    environment: str
    workload: str
    runs: tuple[Stored, ...]
    earlier: int

    @property
    def title(self) -> str:
        return f"{self.workload} · {self.environment}"


def spec_of(stored: Stored) -> RunSpec:
    """Return the spec of a record. It is parsed once for each run id, which is a hash of the spec."""
    run_id = stored.record.run_id
    spec = _SPECS.get(run_id)
    if spec is None:
        if len(_SPECS) >= MAX_SPECS:
            _SPECS.pop(next(iter(_SPECS)), None)
        spec = _SPECS[run_id] = RunSpec.from_dict(stored.record.spec)
    return spec


def comparisons(records: Sequence[Stored]) -> list[Comparison]:
    """Return the newest record of each run, grouped by environment and workload, the largest group first."""
    groups: dict[tuple[str, str], dict[str, list[Stored]]] = {}
    for stored in records:
        key = (str(stored.record.environment["fingerprint"]), spec_of(stored).baseline.run_id)
        groups.setdefault(key, {}).setdefault(stored.record.run_id, []).append(stored)
    result = []
    for by_run in groups.values():
        newest = tuple(max(repeats, key=lambda stored: stored.record.created_at) for repeats in by_run.values())
        earlier = sum(len(repeats) - 1 for repeats in by_run.values())
        workload = format.workload(spec_of(newest[0]))
        result.append(Comparison(format.machine(newest[0].record), workload, newest, earlier))
    return sorted(_with_distinct_titles(result), key=lambda group: -len(group.runs))


def judged_alike(record: RunRecord, base: RunRecord | None) -> bool:
    """Return whether both records have a quality from the same metric, number of images and reference."""
    if base is None or not metrics.PRIMARY_QUALITY.comparable(record, base):
        return False
    counts = metrics.JUDGED_IMAGES.read(record), metrics.JUDGED_IMAGES.read(base)
    return counts[0] == counts[1] and record.quality["reference"] == base.quality["reference"]


def point_id(stored: Stored) -> str:
    """Return the name of a record in links: `3f2a91c0d4e7.2-local` for the second local record of its run.

    The name does not depend on the readable part of the file name, so that links to a record stay valid.
    """
    repetition = f".{stored.repetition}" if stored.repetition > 1 else ""
    return f"{stored.record.run_id}{repetition}{'' if stored.origin == 'bundled' else f'-{stored.origin}'}"


def _with_distinct_titles(groups: Sequence[Comparison]) -> list[Comparison]:
    """Number the environments of groups with equal titles, because groups are chosen by title."""
    counts: dict[str, int] = {}
    result = []
    for group in groups:
        counts[group.title] = number = counts.get(group.title, 0) + 1
        environment = f"{group.environment} ({number})" if number > 1 else group.environment
        result.append(replace(group, environment=environment))
    return result
