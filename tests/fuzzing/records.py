"""Records with changed values: the store skips a record with the reason, or all that reads records can use it."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from dit_core.analysis import archive, claims, report, scaling, verify
from dit_core.errors import BadRequest
from dit_core.experiment import known
from dit_core.records import metrics
from dit_core.records.record import RecordError, RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui import comparisons, format
from tests.fuzzing.links import texts_of
from tests.fuzzing.odd import JSON, changed
from tests.fuzzing.run import REPOSITORY, Target

KEPT = 12  # records of each store
PAGES = ("home", "pareto", "compare", "claims", "tour", "scale", "machine")


def targets(folder: Path) -> dict[str, Target]:
    """Targets that read a changed record beside good ones."""
    paths = sorted((REPOSITORY / "cached_results").glob("*.json"))
    chosen = paths[:: len(paths) // KEPT]
    contents = [json.loads(path.read_text()) for path in chosen]
    place = folder / "records"
    (place / "sheets").mkdir(parents=True)
    for path in chosen:
        shutil.copy(path, place)
        for name in json.loads(path.read_text())["samples"].values():
            if isinstance(name, str) and (path.parent / "sheets" / name).is_file():
                shutil.copy(path.parent / "sheets" / name, place / "sheets")
    examples = st.integers(0, len(contents) - 1).flatmap(
        lambda i: st.tuples(st.just(chosen[i].name), changed(contents[i]))
    )
    return {
        "records": (examples, lambda example: _readers(place, *example)),
        "record_pages": (st.tuples(examples, st.sampled_from(PAGES)), lambda each: _pages(place, *each[0], each[1])),
        "specs": (changed(contents[0]["spec"]) | JSON, _spec),
    }


@contextlib.contextmanager
def _in_place(place: Path, name: str, content: Any) -> Any:
    before = (place / name).read_bytes()
    if isinstance(content, dict) and isinstance(content.get("run_id"), str) and isinstance(content.get("spec"), dict):
        with contextlib.suppress(BadRequest):  # so that the run id seldom hides what else was changed
            content = {**content, "run_id": RunSpec.from_dict(content["spec"]).run_id}
            name = f"changed-{content['run_id'][:6]}.json"
    try:
        (place / name).write_text(json.dumps(content))
        yield
    finally:
        if name.startswith("changed-"):
            (place / name).unlink(missing_ok=True)
        else:
            (place / name).write_bytes(before)


def _readers(place: Path, name: str, content: Any) -> None:
    with _in_place(place, name, content):
        store = Store(place)
        loaded = store.load()
        verdicts = claims.verdicts(loaded.records)
        assert claims.report(verdicts)
        json.loads(claims.as_json(verdicts))
        with contextlib.suppress(BadRequest):
            report.sections(loaded)
        verify.check(store)
        archive.pack(store, ("bundled",))
        scaling.scalings([stored.record for stored in loaded.records], "tokens")
        for group in comparisons.comparisons(loaded.records):
            assert group.title
        for stored in loaded.records:
            record = stored.record
            spec = RunSpec.from_dict(record.spec)
            for text in (format.title(spec), format.workload(spec), format.environment(record), format.machine(record)):
                assert text
            known.is_current(record)
            for metric in metrics.METRICS:
                assert all(read(record) is not NotImplemented for read in (metric.read, metric.interval, metric.reason))
            verify.compared_with(stored.path.name, record, record)
            assert RunRecord.from_dict(json.loads(record.to_json())) == record


def _pages(place: Path, name: str, content: Any, page: str) -> None:
    with _in_place(place, name, content):
        run = content.get("run_id") if isinstance(content, dict) else ""
        texts_of(page, {"run": str(run)} if page == "pareto" else {}, place)


def _spec(content: Any) -> None:
    with contextlib.suppress(BadRequest, RecordError):
        spec = RunSpec.from_dict(content)
        assert RunSpec.from_dict(json.loads(spec.to_json())).run_id == spec.run_id
        print(spec.command(), spec.label(), file=io.StringIO())
