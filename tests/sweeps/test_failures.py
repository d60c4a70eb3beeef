"""The log of failures."""

from dit_core.records.spec import RunSpec
from dit_core.sweeps import failures
from dit_core.sweeps.isolated_run import Outcome


def test_a_failure_is_kept_with_its_reason_and_its_time(tmp_path):
    assert failures.read(tmp_path) == []
    failures.add(tmp_path, RunSpec(steps=3), Outcome("failed", "keep is too large", 2.0))
    (entry,) = failures.read(tmp_path)
    assert (entry["run_id"], entry["state"], entry["reason"]) == (
        RunSpec(steps=3).run_id,
        "failed",
        "keep is too large",
    )
    assert entry["at"].startswith("20")
    assert RunSpec.from_dict(entry["spec"]) == RunSpec(steps=3)


def test_a_torn_last_line_is_left_out_and_the_next_one_stands_on_its_own(tmp_path):
    failures.add(tmp_path, RunSpec(), Outcome("failed", "first"))
    path = failures.path_in(tmp_path)
    path.write_bytes(path.read_bytes() + path.read_bytes()[:20])
    assert [entry["reason"] for entry in failures.read(tmp_path)] == ["first"]
    failures.add(tmp_path, RunSpec(), Outcome("failed", "second"))
    assert [entry["reason"] for entry in failures.read(tmp_path)] == ["first", "second"]
