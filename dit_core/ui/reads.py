"""What pages read from disk, cheap enough for every rerun. Nothing here loads torch."""

import os
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from dit_core.jobs import Job, Queue
from dit_core.models import catalog, recovered
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Loaded, Store, Stored, is_current, results_root
from dit_core.ui import images, points
from dit_core.ui.points import Comparison, comparisons, point_id
from dit_core.ui.verdict import judged_alike

JUDGED = 1000  # images judged for quality where no bundled record says how many
RECENT = 9  # finished jobs whose median is usual: what the machine did long ago says less


@dataclass(frozen=True)
class Runs:
    """Runs with a key for caches: equal where they are the same records. A record is read once while its file stays."""

    ids: tuple[int, ...]
    every: tuple[Stored, ...] = field(compare=False)  # holds the records, so that no other gets one of these ids

    @classmethod
    def of(cls, runs: Sequence[Stored]) -> "Runs":
        return cls(tuple(id(one.record) for one in runs), tuple(runs))


def loaded() -> Loaded:
    """All records and the files that were skipped."""
    return _loaded(results_root(), Store().version())


def groups(only: str | None = None) -> list[Comparison]:
    """Records that may be compared, the largest group first; `only` "bundled" or "local" ones if given."""
    return _groups(results_root(), Store().version(), only)


def find(identifier: str) -> Stored | None:
    """The record that a link or a click names: a point, or the newest of a run id."""
    if not identifier:
        return None
    by_point = {point_id(stored): stored for stored in loaded().records}
    return by_point.get(identifier) or Store().get(identifier)


def baseline_of(stored: Stored) -> Stored | None:
    """The record of the same workload without techniques, from the same environment."""
    spec, environment = points.spec_of(stored), stored.record.environment["fingerprint"]
    if not spec.techniques:
        return None
    wanted = spec.baseline.run_id
    same = (one for one in loaded().records if one.record.run_id == wanted)
    return next((one for one in same if one.record.environment["fingerprint"] == environment), None)


def judged_beside(stored: Stored) -> Stored | None:
    """The baseline that a run's quality is compared with: of its environment, else a bundled one of the same seeds, as
    many images and the same metric. Unlike time and memory, quality hardly depends on the processor."""
    if (own := baseline_of(stored)) and judged_alike(stored.record, own.record):
        return own
    spec = points.spec_of(stored)
    if not spec.techniques or not is_current(stored.record):
        return None
    same = [one for one in loaded().records if one.record.run_id == spec.baseline.run_id and one.origin == "bundled"]
    return next((one for one in same if is_current(one.record) and judged_alike(stored.record, one.record)), None)


def default_spec() -> RunSpec:
    """The workload that most bundled records share, so that a first run lands among them."""
    specs = Counter(points.spec_of(one).baseline for one in loaded().records if one.origin == "bundled")
    return specs.most_common(1)[0][0] if specs else RunSpec(samples=JUDGED)


def sheet(stored: Stored, which: str, across: int | None = None) -> bytes | None:
    """A record's sheet as a labelled PNG, `across` tiles in a row; None if it is not there or damaged."""
    data, (tile, columns) = Store().sheet(stored, which), _grid(stored.record)
    return images.labelled(data, tile, columns, labels(stored.record), across or columns) if data else None


def strip(stored: Stored, which: str, picked: tuple[int, ...]) -> bytes | None:
    """Some tiles of a record's sheet in one row, as PNG."""
    data = Store().sheet(stored, which)
    return images.strip(data, *_grid(stored.record), picked) if data else None


def tiles(stored: Stored, picked: tuple[int, ...], across: int) -> bytes | None:
    """Some tiles of a run's sheet at their own size, `across` in a row, as PNG; None if it is not there or damaged."""
    data = Store().sheet(stored, "candidate")
    return images.tiles(data, *_grid(stored.record), picked, across) if data else None


def labels(record: RunRecord) -> tuple[str, ...]:
    return tuple(map(str, record.samples.get("labels") or ()))


def preview(path: Path) -> bytes | None:
    """The picture that a running job last left in a slot, enlarged; None before the first."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _preview(path, status.st_mtime_ns, status.st_size)


def classes(model: str) -> tuple[str, ...]:
    """Class names of a model; none where its folder is not there."""
    try:
        return catalog.classes(model)
    except ValueError:
        return ()


def models() -> list[str]:
    return catalog.bundled() or ["emoji"]


def devices() -> list[str]:
    """Devices that a run can ask for here, told without loading torch."""
    return ["cpu", *(["cuda"] if Path("/proc/driver/nvidia/version").exists() else [])]


def usual_seconds(spec: RunSpec, jobs: Sequence[Job]) -> float | None:
    """How long finished jobs of the same kind took: the lower median of the latest with the same workload size.

    `jobs` are the newest first. Of two, the one that other work slowed down less is usual.
    """
    size = _size(spec)
    took = [
        job.ended_at - job.started_at
        for job in jobs
        if job.state == "done" and job.kind == "run" and job.started_at and job.ended_at and _size(job.spec) == size
    ]
    return statistics.median_low(took[:RECENT]) if took else None


def usual_pace(
    spec: RunSpec, among: Callable[[RunRecord], bool] = lambda record: True
) -> tuple[float, RunRecord] | None:
    """Seconds that the images of a run take at the median pace of records of its model on such a device, and one that
    has that pace; None without any `among` those asked for. Both sides draw a sheet, and the candidate what is judged.
    """
    same = [one for one in loaded().records if _like(points.spec_of(one)) == _like(spec) and among(one.record)]
    alike = [one for one in same if points.spec_of(one).techniques == spec.techniques] or same
    paces = sorted(
        (one.record.latency["latency_s"] / points.spec_of(one).batch_size / points.spec_of(one).steps, i)
        for i, one in enumerate(alike)
        if one.record.latency["latency_s"]
    )
    if not paces:
        return None
    pace, i = paces[len(paces) // 2]
    sheets = len(alike[i].record.samples.get("labels") or ())
    images = sheets * (1 + bool(spec.techniques)) + max(0, spec.samples * spec.replicates - sheets)
    return pace * images * spec.steps, alike[i].record


def history() -> list[Job]:
    return Queue().list(200)


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return os.uname().machine
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), os.uname().machine)


def _size(spec: RunSpec) -> tuple:
    trained = tuple(entry["recover"] for entry in spec.techniques if recovered.trains([entry]))
    return spec.model, spec.steps, spec.samples, spec.batch_size, spec.device, bool(spec.techniques), trained


def _like(spec: RunSpec) -> tuple:
    return spec.model, spec.device, spec.guidance == 1


def _grid(record: RunRecord) -> tuple[int, int]:
    return int(record.samples.get("tile") or 0), int(record.samples.get("columns") or 0)


@lru_cache(maxsize=2)
def _loaded(root: Path, version: str) -> Loaded:
    return Store(root).load()


@lru_cache(maxsize=8)
def _groups(root: Path, version: str, only: str | None) -> list[Comparison]:
    return comparisons([stored for stored in _loaded(root, version).records if only in (None, stored.origin)])


@lru_cache(maxsize=32)
def _preview(path: Path, mtime_ns: int, size: int) -> bytes | None:
    try:
        return images.enlarge(path.read_bytes())
    except OSError:
        return None
