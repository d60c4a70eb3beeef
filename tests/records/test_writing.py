"""Finished work is never lost, and a good file is never torn: faults of the disk at every write."""

import errno
import os
import sqlite3
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from dit_core.cli import outputs
from dit_core.errors import BadRequest
from dit_core.jobs.queue import Queue, QueueError
from dit_core.models.sources import autoencoders
from dit_core.records.spec import RunSpec
from dit_core.records.store import NotSaved, Store, StoreError
from dit_core.system import causes, files
from tests.factory import make_record, make_sheets

CAUSES = [
    (errno.ENOSPC, "the disk is full: free some space, or name another folder"),
    (errno.EACCES, "permission is denied: change its permissions, or name another folder"),
    (errno.EROFS, "its disk is read-only: name another folder"),
    (errno.EIO, "the disk reports an error"),
    (errno.ENOLCK, "its disk has no file locks"),
]


def failing(number):
    def fail(*rest, **options):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(("number", "says"), CAUSES)
def test_a_store_that_cannot_be_written_says_so_before_anything_is_measured(number, says, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_write_durably", failing(number))
    with pytest.raises(StoreError, match="No record can be saved") as error:
        Store(tmp_path).probe()
    assert says in str(error.value)


def test_a_probe_leaves_nothing_behind(tmp_path):
    Store(tmp_path).probe()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("number", "says"), CAUSES)
def test_a_finished_run_that_cannot_be_stored_is_kept_elsewhere(number, says, tmp_path, monkeypatch):
    record = make_record(RunSpec())
    write = files._write_durably

    def fail(content, path):
        if tmp_path in path.parents and "cache" not in path.parts:
            failing(number)()
        write(content, path)

    monkeypatch.setattr(files, "_write_durably", fail)
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(NotSaved, match="It is kept as") as error:
        Store(tmp_path / "results").put_or_keep(record, make_sheets(record))
    assert error.value.record.run_id == record.run_id
    assert says in str(error.value)
    (kept,) = Store(tmp_path / "cache" / "unsaved").load().records
    assert kept.record.run_id == record.run_id
    assert str(kept.path) in str(error.value)


def test_a_finished_run_is_returned_even_if_nothing_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_write_durably", failing(errno.ENOSPC))
    with pytest.raises(NotSaved) as error:
        Store(tmp_path).put_or_keep(record := make_record(RunSpec()), make_sheets(record))
    assert error.value.record.run_id == record.run_id
    assert "kept nowhere else" in str(error.value)


def test_records_are_written_once_on_disks_without_hard_links(tmp_path, monkeypatch):
    monkeypatch.setattr("dit_core.system.files.os.link", failing(errno.EPERM))
    store, record = Store(tmp_path), make_record(RunSpec())
    store.put(record, make_sheets(record))
    with pytest.raises(StoreError, match="already has a record"):
        store.put(record, make_sheets(record))
    assert len(store.load().records) == 1
    with pytest.raises(FileExistsError):
        files.create_bytes(b"new", store.load().records[0].path)


def test_other_faults_of_a_link_are_not_taken_for_missing_support(tmp_path, monkeypatch):
    monkeypatch.setattr("dit_core.system.files.os.link", failing(errno.EIO))
    with pytest.raises(OSError, match="error"):
        files.create_bytes(b"new", tmp_path / "file")


def half_written(stream):
    stream.write(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_good_file_survives_a_disk_that_fills_up(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "samples.npz"
    outputs.save(lambda stream: np.savez(stream, np.zeros(3)), path)
    with pytest.raises(StoreError, match="the disk is full"):
        outputs.save(half_written, path)
    assert np.load(path)["arr_0"].shape == (3,)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["samples.npz"]


def test_an_output_that_cannot_be_written_is_kept_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    known = files._temporary

    def refuse(path):
        return failing(errno.EACCES)() if path.parent == tmp_path else known(path)

    monkeypatch.setattr(files, "_temporary", refuse)
    with pytest.raises(StoreError, match="It is kept as"):
        outputs.save(b"sheet", tmp_path / "sheet.png")
    assert (tmp_path / "cache" / "unsaved" / "sheet.png").read_bytes() == b"sheet"


def test_an_output_goes_to_the_target_of_a_link_and_to_devices(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "target.png")
    outputs.save(b"sheet", tmp_path / "link.png")
    assert (tmp_path / "target.png").read_bytes() == b"sheet"
    outputs.check_output(Path(os.devnull))
    outputs.save(b"sheet", Path(os.devnull))
    assert not Path(os.devnull).is_file()


def test_a_rewritten_file_keeps_its_mode(tmp_path):
    (tmp_path / "README.md").write_text("old")
    (tmp_path / "README.md").chmod(0o640)
    outputs.save(b"new", tmp_path / "README.md")
    assert (tmp_path / "README.md").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_whole_or_not_at_all(exists, tmp_path):
    folder = tmp_path / "model"
    if exists:
        folder.mkdir()
    with suppress(ZeroDivisionError), files.new_folder(folder) as work:
        (work / "inner").mkdir()
        (work / "inner" / "half").write_text("half")
        raise ZeroDivisionError
    assert [path for path in tmp_path.rglob("*") if path != folder] == []
    with files.new_folder(folder) as work:
        (work / "whole").write_text("whole")
    assert (folder / "whole").read_text() == "whole"


@pytest.mark.parametrize("number", [number for number, _ in CAUSES])
def test_a_cause_is_found_below_the_error_of_a_library(number):
    try:
        try:
            failing(number)()
        except OSError as inner:
            raise RuntimeError("the library says nothing") from inner
    except RuntimeError as error:
        found = causes.system_error(error)
    assert found is not None
    assert found.errno == number
    rust = causes.system_error(ValueError(f"Error while serializing: I/O error: x (os error {number})"))
    assert rust is not None
    assert rust.errno == number


def test_an_error_without_a_cause_of_the_system_has_none():
    assert causes.system_error(zipfile.BadZipFile("not a zip")) is None
    assert "not a zip" in causes.not_read("file", zipfile.BadZipFile("not a zip"))
    assert isinstance(BadRequest("x"), ValueError)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("locking protocol", "its disk has no file locks: set DIT_QUEUE to another folder"),
        ("database or disk is full", "the disk is full: free some space, or set DIT_QUEUE"),
        ("attempt to write a readonly database", "its disk is read-only: set DIT_QUEUE"),
        ("unable to open database file", "permission is denied"),
        ("database disk image is malformed", "the file is damaged: move it away, or set DIT_QUEUE"),
        ("database is locked", "another program holds it: try again"),
    ],
)
def test_a_queue_that_cannot_be_used_names_the_cause_and_what_moves_it(message, says, tmp_path, monkeypatch):
    queue = Queue(tmp_path)
    queue.submit(RunSpec())

    def refuse(*rest, **options):
        raise sqlite3.OperationalError(message)

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(QueueError) as error:
        queue.list()
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_queue_can_be_made_on_a_disk_without_hard_links(tmp_path, monkeypatch):
    monkeypatch.setattr("dit_core.system.files.os.link", failing(errno.EPERM))
    queue = Queue(tmp_path)
    assert queue.get(queue.submit(RunSpec())) is not None


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "set HF_HOME to a folder on another disk"),
        (errno.EACCES, "permission is denied: change its permissions, or set HF_HOME"),
        (errno.ECONNREFUSED, "connect to the internet"),
    ],
)
def test_a_download_that_fails_names_its_cause(number, says):
    error = RuntimeError("the library says nothing")
    error.__cause__ = OSError(number, os.strerror(number))
    assert says in str(autoencoders.not_downloaded(error, "a/model", "HF_HOME"))


def test_the_results_folder_of_the_environment_is_moved_by_its_variable(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="set DIT_RESULTS to another folder"):
        Store().probe()
    with pytest.raises(StoreError, match="set DIT_RESULTS to another folder"):
        Store().check_readable()


def test_a_results_folder_that_cannot_be_read_is_named_and_nothing_fails(tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file")
    loaded = store.load()
    assert not loaded.records
    assert {skipped.reason for skipped in loaded.skipped} == {"cannot be read, because a part of the path is a file"}
    assert store.version()
    assert store.get("0" * 12) is None
    with pytest.raises(StoreError, match="name another folder"):
        store.check_readable()
    Store(tmp_path / "missing").check_readable()
