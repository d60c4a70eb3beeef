"""Records of one machine, exported into a file and merged into the store of another one."""

import errno
import io
import json
import os
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dit_core.analysis import archive, verify
from dit_core.cli.commands import main
from dit_core.errors import BadRequest
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui.comparisons import comparisons, point_id
from tests.factory import make_record, make_sheets
from tests.fuzzing.odd import damaged


def quantized(bits: int) -> RunSpec:
    return RunSpec(techniques=canonical([{"name": "quantization", "bits": bits}]), samples=1000)


@pytest.fixture
def other(tmp_path) -> Store:
    """The store of another machine: a recipe that was measured once, and one that was measured twice."""
    store = Store(tmp_path / "other")
    for bits, again, day in ((8, False, 1), (4, False, 1), (4, True, 2)):
        times = {"environment": {"fingerprint": "0123abcd"}, "created_at": f"2026-01-0{day}T12:00:00+00:00"}
        record = make_record(quantized(bits), **times)
        store.put(record, make_sheets(record), name="a-recipe", again=again)
    return store


def test_records_of_another_machine_are_merged_under_their_environment_with_their_pictures(tmp_path, other):
    own = Store(tmp_path / "own")
    record = make_record(quantized(4))
    own.put(record, make_sheets(record))
    result = archive.merge(own, archive.pack(other))
    assert (len(result.added), result.known, result.refused) == (3, 0, {})
    assert sorted(len(group.runs) for group in comparisons(own.load().records)) == [1, 2]
    imported = [stored for stored in own.load().records if stored.origin == "imported"]
    assert {stored.record.environment["fingerprint"] for stored in imported} == {"0123abcd"}
    assert all(own.sheet(stored, "candidate") for stored in imported)
    assert len(set(map(point_id, own.load().records))) == 4
    assert verify.check(own) == []
    assert own.get(record.run_id).origin == "local"  # a record of this machine comes first

    again = archive.merge(own, archive.pack(other))
    assert (again.added, again.known) == ([], 3)


def test_a_folder_with_exports_and_a_results_folder_are_merged_too(tmp_path, other):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "machine.zip").write_bytes(archive.pack(other))
    assert len(archive.merge(Store(tmp_path / "first"), shared).added) == 3
    assert len(archive.merge(Store(tmp_path / "second"), other.root).added) == 3


def test_a_record_that_fails_a_check_is_refused_with_the_reason_and_the_others_are_added(tmp_path, other):
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive.pack(other))) as read, zipfile.ZipFile(changed, "w") as written:
        for entry in read.infolist():
            data = read.read(entry)
            if entry.filename.startswith("a-recipe") and ".2." in entry.filename:
                data = json.dumps({**json.loads(data), "run_id": "0" * 12}).encode()
            written.writestr(f"../{entry.filename}", data)  # nothing is written outside the store
    result = archive.merge(Store(tmp_path / "own"), changed.getvalue())
    assert len(result.added) == 2
    assert list(result.refused.values()) == ["its run_id does not belong to its spec"]
    assert str(result) == "2 records imported, 0 already known, 1 refused"


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_a_file_without_records_is_refused(tmp_path, data):
    with pytest.raises(BadRequest, match=r"not a readable export|no records"):
        archive.merge(Store(tmp_path), data)


def test_the_command_line_exports_and_imports(tmp_path, other, capsys):
    file = tmp_path / "records.zip"
    assert main(["records", "export", str(file), "--results", str(other.root)]) == 0
    assert main(["records", "import", str(file), "--results", str(tmp_path / "own"), "--json"]) == 0
    assert '"known": 0' in capsys.readouterr().out
    assert len(Store(tmp_path / "own").load().records) == 3
    assert main(["records", "export", str(file), "--results", str(tmp_path / "empty")]) == 2
    assert "has no local records" in capsys.readouterr().err


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_archive_is_read_or_refused(data, tmp_path, other):
    good = archive.pack(other)
    with suppress(BadRequest):  # any other error fails the test
        archive.merge(Store(tmp_path / "own"), data.draw(st.just(good[1:]) | damaged(good)))


def test_a_full_disk_is_not_taken_for_a_damaged_archive(tmp_path, other, monkeypatch):
    def refuse(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    packed = archive.pack(other)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(BadRequest, match=r"the disk is full.*TMPDIR"):
        archive.merge(Store(tmp_path / "own"), packed)
