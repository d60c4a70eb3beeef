"""What a sweep on this machine comes to."""

import pytest

from dit_core.experiment import known
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.sweeps.plan import plan
from tests.factory import make_record, make_sheets


def cut(keep: int, **fields) -> RunSpec:
    return RunSpec(techniques=canonical([{"name": "depth_pruning", "keep": keep}]), **fields)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(known, "fingerprint", {"cpu": "this-machine"}.get)
    return Store(tmp_path)


def put(store: Store, spec: RunSpec, fingerprint: str, **environment: str) -> None:
    record = make_record(spec, environment={"fingerprint": fingerprint, **environment})
    store.put(record, make_sheets(record), again=True)


def test_runs_are_sorted_by_what_is_to_be_done_with_them(store):
    put(store, cut(2), "this-machine")
    put(store, cut(4), "another-machine")
    found = plan([RunSpec(), cut(2), cut(4), cut(6), cut(9), cut(4)], store.load().records, {cut(6).run_id, "other"})
    assert found.todo == (RunSpec(), cut(4))
    assert list(found.known) == [cut(2).run_id]
    assert found.waiting == {cut(6).run_id}
    assert found.refused.keys() == {cut(9).run_id}
    assert "keep at most 8" in found.refused[cut(9).run_id]


def test_a_record_of_other_weights_is_not_known(store):
    put(store, cut(2), "this-machine", weights="0" * 12)
    assert plan([cut(2)], store.load().records).todo == (cut(2),)


def test_a_run_for_a_device_that_is_not_here_is_refused(store):
    found = plan([cut(4), cut(4, device="cuda")], [])
    assert found.todo == (cut(4),)
    assert list(found.refused.values()) == ["This machine has no cuda device. Use cpu."]
