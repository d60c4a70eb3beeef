"""The store with killed writers, full disks and many writers at once."""

import errno
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dit_core.records.spec import RunSpec
from dit_core.records.store import Store, StoreError
from tests.factory import make_record, make_sheets
from tests.records.test_store import files, put, run_python


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from dit_core.records.store import Store
from tests.factory import make_record, make_sheets

link = os.link
def killing(source, target):
    if str(target).endswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    link(source, target)
os.link = killing
Store(Path(sys.argv[1])).put(make_record(), make_sheets())
"""


@pytest.mark.parametrize("suffix", [".webp", ".json"])
def test_a_writer_killed_before_the_name_appears_leaves_no_record_and_the_next_succeeds(store: Store, suffix: str):
    assert run_python(KILLED, store.root, suffix).returncode == -9
    assert (store.load().records, store.load().skipped) == ([], [])
    path = put(store)
    assert [item.path for item in store.load().records] == [path]


def test_what_killed_writers_left_is_swept_once_it_is_old(store: Store):
    assert run_python(KILLED, store.root, ".json").returncode == -9
    (left,) = (store.root / "local").glob(".*.tmp")
    put(store)
    assert left.exists()  # its writer might still live
    os.utime(left, (time.time() - 7200,) * 2)
    put(store, again=True)
    assert not left.exists()


def test_sheets_are_on_disk_before_the_record_that_names_them(store: Store):
    assert run_python(KILLED, store.root, ".json").returncode == -9
    assert len(files(store.root / "local" / "sheets")) == 2


LIMITED = """
import resource, sys
from pathlib import Path
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store, StoreError
from tests.factory import make_record, make_sheets

record, sheets = make_record(RunSpec(seed=1)), make_sheets()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    Store(Path(sys.argv[1])).put(record, sheets)
except StoreError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("limit", [10, 1000], ids=["no room for a sheet", "no room for the record"])
def test_a_full_disk_leaves_old_results_intact_and_says_one_clear_line(store: Store, limit: int):
    path = put(store)
    before = {name: (store.root / name).read_bytes() for name in files(store.root)}
    result = run_python(LIMITED, store.root, limit)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "was not saved" in result.stderr
    assert "the file is too large for its disk" in result.stderr
    after = {name: (store.root / name).read_bytes() for name in files(store.root)}
    assert {name: after[name] for name in before} == before
    assert [name for name in after if name.endswith((".tmp", ".json"))] == [str(path.relative_to(store.root))]


@pytest.mark.parametrize("nth", [1, 5], ids=["at a sheet", "at the record"])
def test_a_disk_without_space_left_leaves_old_results_intact_and_says_so(store: Store, nth: int, monkeypatch):
    """Where a file system allocates late, a full disk shows itself when a file is synchronized."""
    path, synchronize, calls = put(store), os.fsync, itertools.count(1)
    before = {name: (store.root / name).read_bytes() for name in files(store.root)}

    def full(descriptor: int) -> None:
        if next(calls) >= nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synchronize(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    other = make_record(RunSpec(seed=1))
    with pytest.raises(StoreError, match=r"was not saved: .*the disk is full: free some space") as refusal:
        store.put(other, make_sheets(other))
    assert "\n" not in str(refusal.value)
    after = {name: (store.root / name).read_bytes() for name in files(store.root)}
    assert {name: after[name] for name in before} == before
    assert [name for name in after if name.endswith((".tmp", ".json"))] == [str(path.relative_to(store.root))]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="was not saved"):
        put(Store(tmp_path / "file" / "results"))


WRITER = """
import sys, time
from pathlib import Path
from dit_core.records.store import RecordExists, Store
from tests.factory import make_record, make_sheets

root, number, again = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "again"
record, sheets = make_record(latency={"latency_s": 1.0 + number}), make_sheets()
(root / f"ready{number}").touch()
while not (root / "go").exists():
    time.sleep(0.001)
try:
    print(Store(root).put(record, sheets, again=again))
except RecordExists:
    print("lost")
"""


@pytest.mark.parametrize("mode", ["once", "again"])
def test_eight_processes_write_one_run_and_none_is_lost_or_mixed(store: Store, mode: str):
    command = [sys.executable, "-c", WRITER, str(store.root)]
    writers = [subprocess.Popen([*command, str(n), mode], stdout=subprocess.PIPE, text=True) for n in range(8)]
    while len(list(store.root.glob("ready*"))) < 8:
        time.sleep(0.01)
    (store.root / "go").touch()
    said = [writer.communicate(timeout=60)[0].strip() for writer in writers]
    records = store.load().records
    winners = {said[n]: 1.0 + n for n in range(8) if said[n] != "lost"}
    assert {str(item.path): item.record.latency["latency_s"] for item in records} == winners
    assert len(records) == (1 if mode == "once" else 8)
    assert store.load().skipped == []
    assert not [name for name in files(store.root) if name.endswith(".tmp")]
