"""What pages read from disk."""

from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui import data
from tests.factory import make_record, make_sheets


def test_a_page_lists_the_store_once_and_sees_a_new_record_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path))
    monkeypatch.setattr(data, "KEPT_S", 3600.0)
    version, listed = Store.version, []
    monkeypatch.setattr(Store, "version", lambda store: listed.append(store.root) or version(store))

    for samples in (100, 200):
        record = make_record(RunSpec(samples=samples))
        Store().put(record, make_sheets(record))
        before = len(listed)
        assert record.run_id in {stored.record.run_id for stored in data.loaded().records}
        data.groups()
        assert len(listed) == before + 1
    monkeypatch.setattr(data, "KEPT_S", 0.0)
    data.loaded()
    assert len(listed) == 3
