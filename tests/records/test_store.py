import lzma
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from dit_core.experiment.known import is_current
from dit_core.models import recovered
from dit_core.models.sources.bundled import Bundled
from dit_core.recipes.naming import file_name
from dit_core.recipes.recipe import canonical
from dit_core.records.places import results_root
from dit_core.records.record import RecordError, RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import RecordExists, Store
from tests.factory import make_record, make_sheets


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def put(store: Store, spec: RunSpec | None = None, **options: bool) -> Path:
    record = make_record(spec)
    return store.put(record, make_sheets(record), **options)


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_was_put_comes_back_with_its_sheets(store: Store):
    record = make_record(RunSpec(seed=5))
    sheets = make_sheets(record)
    path = store.put(record, sheets)
    stored = store.get(record.run_id)
    assert stored is not None
    assert (stored.path, stored.origin) == (path, "local")
    assert stored.record.latency == record.latency
    assert {which: store.sheet(stored, which) for which in sheets} == sheets


def test_an_empty_or_missing_folder_is_an_empty_store(tmp_path: Path):
    store = Store(tmp_path / "missing")
    assert (store.load().records, store.load().skipped, store.get("0" * 12)) == ([], [], None)
    assert store.version() == Store(tmp_path).version()


def test_the_folder_can_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path))
    assert Store().root == tmp_path.resolve()
    monkeypatch.delenv("DIT_RESULTS")
    assert results_root() == Path(__file__).resolve().parents[2] / "cached_results"


def test_a_second_record_of_one_run_is_refused_and_the_first_stays(store: Store):
    path = put(store)
    before = path.read_bytes()
    with pytest.raises(RecordExists):
        store.put(make_record(latency={"latency_s": 99.0}), make_sheets())
    assert path.read_bytes() == before


def test_a_repetition_is_kept_beside_the_first_and_the_newest_is_given(store: Store):
    for latency_s in (1.0, 2.0, *range(3, 12)):
        store.put(make_record(latency={"latency_s": float(latency_s)}), make_sheets(), again=True)
    assert len(store.load().records) == 11
    newest = store.get(make_record().run_id)
    assert newest is not None
    assert (newest.record.latency["latency_s"], newest.path.name) == (
        11.0,
        f"baseline-{newest.record.run_id[:6]}.11.json",
    )


def test_a_record_is_named_by_its_recipe_and_the_first_digits_of_its_run_id(store: Store):
    recipe = canonical([{"name": "depth_pruning", "keep": 6}, {"name": "quantization"}])
    record = make_record(RunSpec(techniques=recipe))
    path = store.put(record, make_sheets(), name=file_name(recipe))
    assert path.name == f"depth_pruning-keep6+quantization-{record.run_id[:6]}.json"


def test_the_name_of_a_record_has_its_model_unless_it_is_the_usual_one(store: Store):
    record = make_record(RunSpec(model="random:DiT-S/2@512"))
    assert store.put(record, make_sheets()).name == f"random_DiT-S_2@512-baseline-{record.run_id[:6]}.json"


def test_a_record_of_an_earlier_version_is_read_by_its_old_name_and_counts_as_present(store: Store):
    path = put(store)
    old = path.rename(path.with_name(f"{make_record().run_id}.json"))
    stored = store.get(make_record().run_id)
    assert stored is not None
    assert stored.path == old
    with pytest.raises(RecordExists):
        put(store)
    assert put(store, again=True).name == f"baseline-{make_record().run_id[:6]}.2.json"


def test_two_runs_whose_ids_begin_alike_are_told_apart(store: Store):
    path = put(store)
    path.rename(path.with_name(f"another-{make_record().run_id[:6]}.json"))
    assert store.get(make_record().run_id) is not None
    assert store.get(make_record().run_id[:6] + "000000") is None


def test_a_local_record_is_given_before_a_bundled_one_and_both_are_listed(store: Store):
    put(store, local=False)
    assert [item.origin for item in store.load().records] == ["bundled"]
    put(store)
    found = store.get(make_record().run_id)
    assert found is not None
    assert found.origin == "local"
    assert sorted(item.origin for item in store.load().records) == ["bundled", "local"]


def test_records_are_listed_newest_first(store: Store):
    for day in (2, 3, 1):
        store.put(make_record(RunSpec(seed=day), created_at=f"2026-01-0{day}T00:00:00+00:00"), make_sheets())
    assert [item.record.spec["seed"] for item in store.load().records] == [3, 2, 1]


def test_of_records_made_in_the_same_second_the_last_repetition_and_the_local_one_are_the_newest(store: Store):
    record = make_record()
    for again in range(11):
        put(store, again=bool(again))
    store.put(record, make_sheets(), local=False)
    listed = [(item.origin, item.repetition) for item in store.load().records]
    assert listed == [*(("local", number) for number in range(11, 0, -1)), ("bundled", 1)]


def test_equal_baseline_sheets_of_many_runs_are_one_file(store: Store):
    for seed in range(5):
        put(store, RunSpec(seed=seed))
    candidates = {make_sheets(make_record(RunSpec(seed=seed)))["candidate"] for seed in range(5)}
    assert len(files(store.root / "local" / "sheets")) == len(candidates) + 1


def test_a_sheet_that_was_not_made_needs_a_reason_and_is_none(store: Store):
    with pytest.raises(RecordError, match=r"samples\.sheet is null without a reason"):
        store.put(make_record(), {})
    assert files(store.root) == []
    store.put(make_record(samples={"reason": "no samples were asked for"}), {})
    stored = store.get(make_record().run_id)
    assert stored is not None
    assert store.sheet(stored, "candidate") is None


def test_a_damaged_or_missing_sheet_is_none(store: Store):
    put(store)
    stored = store.load().records[0]
    path = stored.path.parent / "sheets" / stored.record.samples["sheet"]
    path.write_bytes(path.read_bytes()[:-1])
    assert store.sheet(stored, "candidate") is None
    path.unlink()
    assert store.sheet(stored, "candidate") is None


def test_a_record_cannot_name_a_file_outside_the_sheets(store: Store, tmp_path: Path):
    path = put(store)
    (tmp_path / "secret").write_text("secret")
    record = make_record(samples={"sheet": "../../secret"})
    path.write_text(record.to_json())
    stored = store.get(record.run_id)
    assert stored is not None
    assert store.sheet(stored, "candidate") is None


def test_a_record_that_could_not_be_read_back_is_not_written(store: Store):
    record = make_record()
    record.latency["latency_s"] = float("nan")
    with pytest.raises(RecordError, match=r"latency\.latency_s is not a finite number"):
        store.put(record, make_sheets())
    assert files(store.root) == []


WHOLE = make_record().to_json()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (WHOLE[: len(WHOLE) // 2], "not whole JSON"),
        (bytes(range(256)), "not whole JSON"),
        ("[" * 100_000, "not whole JSON"),
        ("[1, 2]", "not a JSON object"),
        (WHOLE.replace('"ssim": ', '"ssim": NaN, "was": '), "fidelity.ssim is not a finite number"),
        (WHOLE.replace('"schema": 1', '"schema": 2'), "schema 2 is not 1"),
        (WHOLE.replace('"latency_s"', '"latency"'), "latency.latency_s is missing"),
        (WHOLE.replace('"seed": 0', '"seed": 1'), "run_id does not belong to its spec"),
        (WHOLE.replace('"energy": {', '"energy": null, "x": {'), "'x' is not a field"),
    ],
    ids=["empty", "truncated", "binary", "deep", "list", "nan", "schema", "unit", "edited", "shape"],
)
def test_a_record_that_cannot_be_trusted_is_skipped_and_named(store: Store, text: str | bytes, reason: str):
    good = put(store, RunSpec(seed=1))
    bad = store.root / "local" / f"{make_record().run_id}.json"
    bad.write_bytes(text.encode() if isinstance(text, str) else text)
    loaded = store.load()
    assert [item.path for item in loaded.records] == [good]
    assert [item.path for item in loaded.skipped] == [bad]
    assert reason in loaded.skipped[0].reason
    assert "\n" not in loaded.skipped[0].reason
    assert store.get(make_record().run_id) is None


def test_a_section_of_another_shape_is_skipped_and_named(store: Store):
    path = put(store)
    data = {**make_record().to_dict(), "memory": None}
    path.write_text(RunRecord(**data).to_json())
    assert [item.path for item in store.load().skipped] == [path]


def test_a_record_under_the_name_of_another_run_or_none_is_skipped_and_named(store: Store):
    path = put(store)
    for name in (f"{'0' * 12}.json", "copy of a record.json"):
        (path.parent / name).write_bytes(path.read_bytes())
    assert [item.path.name for item in store.load().skipped] == [f"{'0' * 12}.json", "copy of a record.json"]


def test_what_is_not_a_readable_file_is_skipped_and_named(store: Store):
    path = put(store)
    (path.parent / f"{'0' * 12}.json").mkdir()
    (path.parent / f"{'1' * 12}.json").symlink_to("nowhere")
    assert len(store.load().skipped) == 2
    assert len(store.load().records) == 1


def test_a_damaged_repetition_does_not_hide_the_good_one(store: Store):
    put(store)
    put(store, again=True).write_text("{")
    stored = store.get(make_record().run_id)
    assert stored is not None
    assert stored.path.name == f"baseline-{stored.record.run_id[:6]}.json"


@pytest.mark.parametrize("run_id", ["*", "../local", "", "0" * 11, "?" * 12])
def test_a_run_id_from_outside_is_never_a_pattern_or_a_path(store: Store, run_id: str):
    put(store)
    assert store.get(run_id) is None


def test_the_version_changes_with_every_record_and_with_nothing_else(store: Store):
    seen = [store.version()]
    for seed in range(3):
        put(store, RunSpec(seed=seed), local=seed != 1)
        seen.append(store.version())
    store.load()
    (store.root / ".x.tmp").write_text("")
    assert len(set(seen)) == 4
    assert store.version() == seen[-1]


def test_an_unchanged_record_is_read_from_disk_once(store: Store, monkeypatch: pytest.MonkeyPatch):
    path = put(store)
    assert len(store.load().records) == 1
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail(f"{self} was read again"))
    assert len(Store(store.root).load().records) == 1
    monkeypatch.undo()
    path.write_text("{")
    assert len(store.load().skipped) == 1


def test_a_record_of_other_weights_is_not_current(monkeypatch):
    monkeypatch.setattr(Bundled, "digest", "0123456789ab")
    record = make_record()
    assert is_current(record)  # names none
    assert is_current(replace(record, environment={**record.environment, "weights": "0123456789ab"}))
    assert not is_current(replace(record, environment={**record.environment, "weights": "ba9876543210"}))


def test_a_record_of_other_recovered_weights_is_not_current(monkeypatch, tmp_path):
    monkeypatch.setattr(recovered, "path", lambda model, recipe: tmp_path / "weights")
    monkeypatch.setattr(Bundled, "digest", "0123456789ab")
    recipe = canonical([{"name": "depth_pruning", "recover": "bundled"}])
    (tmp_path / "weights").write_bytes(lzma.compress(b"first"))
    record = make_record(RunSpec(techniques=recipe))
    record.environment["weights"] = recovered.weights_digest("emoji", recipe)
    assert is_current(record)
    (tmp_path / "weights").write_bytes(lzma.compress(b"second"))
    assert not is_current(record)
