"""What pages read from disk: records, jobs, models and devices. Cached, so that every rerun of a page can ask.

Nothing in this module loads torch.
"""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from dit_core.errors import BadRequest
from dit_core.experiment import own_metrics
from dit_core.experiment.known import is_current
from dit_core.jobs.queue import Job, Queue
from dit_core.models import sources
from dit_core.records.places import results_root
from dit_core.records.spec import RunSpec
from dit_core.records.store import Loaded, Skipped, Store, Stored
from dit_core.sweeps.grid import judged_images
from dit_core.system import devices as system_devices
from dit_core.ui.comparisons import Comparison, comparisons, judged_alike, point_id, spec_of

JOBS = 200  # latest jobs that pages look at
KEPT_S = 0.3  # seconds for which a version of the store is used again


class _Version(NamedTuple):
    """A version of the store, when it was read, and the times of the folders before that."""

    at: float
    times: tuple[int, ...]
    version: str


_VERSIONS: dict[Path, _Version] = {}


@dataclass(frozen=True)
class Runs:
    """Records as a cache key: equal if they are the same objects. The store reads a file once while it is unchanged."""

    ids: tuple[int, ...]
    records: tuple[Stored, ...] = field(compare=False)  # keeps the objects alive, so that no id is used twice

    @classmethod
    def of(cls, runs: Sequence[Stored]) -> "Runs":
        return cls(tuple(id(stored.record) for stored in runs), tuple(runs))


def loaded() -> Loaded:
    """Return all records of present weights, and the files that were skipped with their reasons.

    A record that was measured with other weights than its model has now is skipped.
    """
    version = _version(results_root())
    return _loaded(results_root(), version, _weights(results_root(), version))


def groups(only: str | None = None) -> list[Comparison]:
    """Return the groups of comparable records; `only` keeps "bundled" or "local" records.

    First come those of an environment like this machine's (the same GPU, else the same kind of device), then those
    with the most techniques, then the largest.
    """
    found = system_devices.find(default_device())
    version = _version(results_root())
    found_groups = _groups(results_root(), version, _weights(results_root(), version), only)
    return sorted(found_groups, key=lambda group: _unlikeness(group.runs[0].record.environment, found))


def alike(stored: Stored) -> tuple[Stored, ...]:
    """Return the runs that may be compared with a run: the newest of each run of its machine and workload."""
    return next((group.runs for group in groups() if any(point_id(run) == point_id(stored) for run in group.runs)), ())


def find(identifier: str) -> Stored | None:
    """Return the record of a point identifier, as links and clicks use it, or the newest record of a run id."""
    if not identifier:
        return None
    by_point = {point_id(stored): stored for stored in loaded().records}
    if stored := by_point.get(identifier):
        return stored
    stored = Store().get(identifier)
    return stored if stored and is_current(stored.record) else None


def baseline_of(stored: Stored) -> Stored | None:
    """Return the record of the same workload without techniques, from the same environment."""
    spec, environment = spec_of(stored), stored.record.environment["fingerprint"]
    if not spec.techniques:
        return None
    return next(
        (
            other
            for other in loaded().records
            if other.record.run_id == spec.baseline.run_id and other.record.environment["fingerprint"] == environment
        ),
        None,
    )


def quality_baseline(stored: Stored) -> Stored | None:
    """Return the baseline record that a run's quality is compared with.

    It is the baseline of the run's environment, else a bundled one with the same seeds, number of images and metric:
    unlike time and memory, quality hardly depends on the processor.
    """
    own = baseline_of(stored)
    if own and judged_alike(stored.record, own.record):
        return own
    spec = spec_of(stored)
    if not spec.techniques or not is_current(stored.record):
        return None
    bundled = (
        other
        for other in loaded().records
        if other.record.run_id == spec.baseline.run_id and other.origin == "bundled" and is_current(other.record)
    )
    return next((other for other in bundled if judged_alike(stored.record, other.record)), None)


def default_spec() -> RunSpec:
    """Return the workload that most bundled records share, so that a first run can be compared with them.

    On CUDA it judges as many images as the bundled protocol does there.
    """
    specs = Counter(spec_of(stored).baseline for stored in loaded().records if stored.origin == "bundled")
    spec = specs.most_common(1)[0][0] if specs else RunSpec(samples=judged_images("cpu"))
    device = default_device()
    return replace(spec, samples=judged_images(device)) if system_devices.kind(device) == "cuda" else spec


def classes(model: str) -> tuple[str, ...]:
    """Return the class names of a model; empty if its folder does not exist."""
    source = sources.find_if_known(model)
    return (source.class_names or ()) if source else ()


def models() -> list[str]:
    """Return the names of the models to offer."""
    return sources.names()


@cache
def installed_metrics() -> list[str]:
    """Return the names of the own metrics that packages on this machine bring along."""
    return own_metrics.installed()


def devices() -> list[str]:
    """Return the devices that a run can use on this machine, the default first; found without torch."""
    names = [device.id for device in system_devices.usable()]
    return sorted(names, key=lambda name: name != default_device())


def default_device() -> str:
    """Return the device of DIT_DEVICE if it can be used, else the best."""
    names = [device.id for device in system_devices.usable()]
    with suppress(BadRequest):
        if (chosen := system_devices.default()) in names:
            return chosen
    return names[0]


def assumed_fields(model: str) -> dict[str, Any]:
    """Return the fields that a command for a model has on this machine if its options are left out."""
    source = sources.find_if_known(model)
    return {"device": default_device(), **(source.run_fields if source else {})}


def history() -> list[Job]:
    """Return the latest jobs of the queue, newest first."""
    return Queue().list(JOBS)


def _version(root: Path) -> str:
    """Return the version of the store, which lists every record: once for all questions of a page.

    A record that appears or disappears changes the time of its folder and is seen at once; one that is edited in place,
    which this program never does, is seen after KEPT_S.
    """
    times = tuple(folder.stat().st_mtime_ns if folder.is_dir() else 0 for folder in Store(root).folders.values())
    known = _VERSIONS.get(root)
    if known and known.times == times and time.monotonic() - known.at < KEPT_S:
        return known.version
    at, version = time.monotonic(), Store(root).version()
    _VERSIONS.clear()
    _VERSIONS[root] = _Version(at, times, version)
    return version


def _unlikeness(environment: dict[str, Any], device: system_devices.Device | None) -> int:
    """Return 0 for an environment with this GPU, or with a CPU if the device is one; 1 for its kind, 2 for another."""
    if device is None or system_devices.kind(environment["device"]) != system_devices.kind(device.id):
        return 2
    return int(device.id != "cpu" and environment.get("gpu") != device.name)


def _weights(root: Path, version: str) -> tuple[str | None, ...]:
    """Return the present digest of each model that has records: a cache key that changes when weights change."""
    found = [sources.find_if_known(model) for model in _models(root, version)]
    return tuple(source.digest if source else None for source in found)


@lru_cache(maxsize=2)
def _models(root: Path, version: str) -> list[str]:
    return sorted({stored.record.spec["model"] for stored in Store(root).load().records})


@lru_cache(maxsize=2)
def _loaded(root: Path, version: str, weights: tuple[str | None, ...]) -> Loaded:
    everything = Store(root).load()
    outdated = [stored for stored in everything.records if not is_current(stored.record)]
    paths = {stored.path for stored in outdated}
    skipped = [Skipped(path, "measured with other weights than its model has now") for path in sorted(paths)]
    records = [stored for stored in everything.records if stored.path not in paths]
    return Loaded(records, [*everything.skipped, *skipped])


@lru_cache(maxsize=8)
def _groups(root: Path, version: str, weights: tuple[str | None, ...], only: str | None) -> list[Comparison]:
    return comparisons([stored for stored in _loaded(root, version, weights).records if only in (None, stored.origin)])
