"""Records measured again: all of a store, and a single one."""

import json
from pathlib import Path

import pytest

from dit_core.analysis import verify
from dit_core.cli.commands import main
from dit_core.errors import BadRequest
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.analysis.test_verify import failing, path_of, spec_of, whole
from tests.factory import make_sheets


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for bits in (None, 4, 8):
        record = whole(spec_of(bits))
        store.put(record, make_sheets(record), local=False)
    return store


def test_a_rerun_that_takes_too_long_is_ended_and_says_so():
    with pytest.raises(RuntimeError, match=r"longer than its limit of 0\.5 s"):
        verify.measure_in_new_process(spec_of(4), limit_s=0.5)


def test_times_are_not_compared_between_machines():
    recorded = whole(spec_of(4))
    measured = whole(spec_of(4), environment={"fingerprint": "other"}, latency={"latency_s": 99.0, "raw_s": [99.0] * 5})
    assert failing(recorded, measured) == []


def test_a_rerun_measures_random_records_and_does_not_change_the_store(store):
    before, asked = store.version(), []

    def measure(spec: RunSpec) -> RunRecord:
        asked.append(spec)
        return whole(spec)

    runs = verify.rerun(store, 2, seed=1, measure=measure)
    assert len({spec.run_id for spec in asked}) == 2
    assert all(run.ok and run.comparisons for run in runs)
    assert store.version() == before
    assert [run.file for run in verify.rerun(store, 2, seed=1, measure=measure)] == [run.file for run in runs]
    with pytest.raises(BadRequest, match="between 0 and the number of records, 3"):
        verify.rerun(store, 4, measure=measure)


def test_a_failed_rerun_is_reported_with_its_reason(store):
    def measure(spec: RunSpec) -> RunRecord:
        raise RuntimeError("the device is gone")

    (run,) = verify.rerun(store, 1, measure=measure)
    assert not run.ok
    assert "the device is gone" in verify.report([], [run], 3)


def test_one_record_is_reproduced_by_file_run_id_digits_or_link_name(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verify, "measure_in_new_process", whole)
    run_id, path = spec_of(4).run_id, path_of(store, spec_of(4))
    for name in (str(path), path.name, path.stem, run_id, run_id[:6]):
        assert main(["reproduce", name, "--results", str(tmp_path)]) == 0
        assert f"{path.name} (quantization" in capsys.readouterr().out
    monkeypatch.setattr(verify, "measure_in_new_process", lambda spec: whole(spec, memory={"weight_bytes": 1}))
    before = store.version()
    assert main(["reproduce", run_id, "--results", str(tmp_path), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert [item["field"] for item in result["comparisons"] if not item["ok"]] == ["memory.weight_bytes"]
    assert store.version() == before


def test_of_several_measurements_of_a_run_the_newest_or_the_named_one_is_reproduced(store):
    later = whole(spec_of(4), created_at="2027-01-01T00:00:00+00:00")
    store.put(later, make_sheets(later), local=True)
    run_id = later.run_id
    assert verify.find_record(store, run_id).origin == "local"
    assert verify.find_record(store, f"{run_id}-local").point_id == f"{run_id}-local"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ffffffffffff", "has no record ffffffffffff"),
        ("", "has no record"),
        ("baseline", "has no record baseline"),
        ("broken.json", "is no record"),
        ("list.json", "is no record: not a JSON object"),
    ],
)
def test_a_name_without_a_record_is_refused_in_one_line(store, tmp_path, name, says, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text("{")
    Path("list.json").write_text("[]")
    assert main(["reproduce", name, "--results", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert says in message
    assert len(message.splitlines()) == 1


def test_a_record_whose_run_this_machine_cannot_measure_is_refused_before_anything_is_measured(store, tmp_path, capsys):
    record = whole(RunSpec(model="nowhere.pt", techniques=spec_of(4).techniques))
    store.put(record, make_sheets(record), local=False)
    assert main(["reproduce", record.run_id, "--results", str(tmp_path)]) == 2
    assert "nowhere.pt" in capsys.readouterr().err


def test_a_rerun_says_which_difference_of_the_environment_matters_for_what():
    recorded = whole(spec_of(4), environment={"weights": "a" * 12, "dit_core": "0.2.0"})
    here = {"fingerprint": "other", "cpu": "Other CPU", "torch": "2.15.0", "weights": "b" * 12, "driver": "600"}
    run = verify.compared_with("a.json", recorded, whole(spec_of(4), environment=here))
    texts = {difference.name: str(difference) for difference in run.differences}
    assert set(texts) == {"weights of the model", "processor", "torch"}  # one side does not know the other two
    assert "times are not compared" in texts["processor"]
    assert "(2.14.1 in the record, 2.15.0 here): every figure may differ slightly" in texts["torch"]
    assert "another network: quality" in texts["weights of the model"]
    assert all(text in verify.rerun_report(run) for text in texts.values())
    assert verify.compared_with("a.json", recorded, recorded).differences == ()
