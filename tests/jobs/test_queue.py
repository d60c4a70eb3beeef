import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dit_core.errors import BadRequest
from dit_core.jobs.queue import Job, Queue, QueueError
from dit_core.jobs.table import STATES
from dit_core.records.spec import RunSpec


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue")


def job(queue: Queue, job_id: int) -> Job:
    found = queue.get(job_id)
    assert found is not None
    return found


def test_a_submitted_job_waits_with_its_spec_and_its_limit(queue: Queue):
    spec = RunSpec(techniques=({"name": "quantization", "bits": 4},), seed=3)
    found = job(queue, queue.submit(spec, time_limit_s=60, again=True))
    assert (found.state, found.spec, found.time_limit_s, found.again) == ("queued", spec, 60.0, True)
    assert (found.started_at, found.ended_at, found.run_id, found.reason) == (None, None, None, "")
    assert found.active


def test_a_job_of_no_id_is_none(queue: Queue):
    assert queue.get(1) is None
    assert queue.list() == []
    assert queue.claim() is None
    queue.cancel(1)


def test_the_queue_outlives_the_process(queue: Queue):
    job_id = queue.submit(RunSpec(seed=7))
    assert job(Queue(queue.root), job_id).spec.seed == 7


def test_the_folder_can_be_named_by_the_environment_and_follows_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("DIT_QUEUE", raising=False)
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    assert Queue().root == (tmp_path / "results" / "local" / "queue").resolve()
    monkeypatch.setenv("DIT_QUEUE", str(tmp_path / "elsewhere"))
    assert Queue().root == (tmp_path / "elsewhere").resolve()


def test_jobs_run_in_the_order_they_came(queue: Queue):
    ids = [queue.submit(RunSpec(seed=seed)) for seed in range(3)]
    claimed = []
    while found := queue.claim():
        claimed.append(found.id)
    assert claimed == ids
    assert {job(queue, job_id).state for job_id in ids} == {"running"}


def test_jobs_are_listed_newest_first_up_to_the_limit(queue: Queue):
    ids = [queue.submit(RunSpec()) for _ in range(4)]
    assert [found.id for found in queue.list(limit=3)] == ids[:0:-1]


def test_the_position_counts_the_jobs_that_come_before(queue: Queue):
    first, second, third = (queue.submit(RunSpec()) for _ in range(3))
    assert [queue.position(i) for i in (first, second, third)] == [0, 1, 2]
    queue.claim()
    assert [queue.position(i) for i in (first, second, third)] == [0, 1, 2]
    queue.finish(first, "done")
    assert [queue.position(i) for i in (first, second, third)] == [0, 0, 1]


def test_progress_is_seen_while_the_job_runs_and_is_kept_when_it_ends(queue: Queue):
    job_id = queue.submit(RunSpec())
    queue.progress(job_id, "load", 1, 1)
    assert job(queue, job_id).stage == ""
    queue.claim()
    queue.progress(job_id, "candidate", 3, 20)
    queue.finish(job_id, "done", run_id="0123456789ab")
    queue.progress(job_id, "quality", 1, 1)
    found = job(queue, job_id)
    assert (found.stage, found.step, found.of, found.run_id) == ("candidate", 3, 20, "0123456789ab")
    assert found.started_at is not None
    assert found.ended_at is not None
    assert found.created_at <= found.started_at <= found.ended_at


def test_a_queued_job_is_cancelled_at_once_and_never_claimed(queue: Queue):
    first, second = queue.submit(RunSpec()), queue.submit(RunSpec())
    queue.cancel(first)
    found = job(queue, first)
    assert (found.state, found.active) == ("cancelled", False)
    claimed = queue.claim()
    assert claimed is not None
    assert claimed.id == second


def test_a_running_job_is_asked_to_stop_and_goes_on_until_it_does(queue: Queue):
    job_id = queue.submit(RunSpec())
    queue.claim()
    queue.cancel(job_id)
    assert (job(queue, job_id).state, job(queue, job_id).cancelling) == ("running", True)
    queue.finish(job_id, "cancelled", reason="Cancelled while it ran.")
    assert (job(queue, job_id).state, job(queue, job_id).cancelling) == ("cancelled", False)


@pytest.mark.parametrize("state", [s for s in STATES if s not in ("queued", "running")])
def test_a_job_ends_once(queue: Queue, state: str):
    job_id = queue.submit(RunSpec())
    queue.claim()
    queue.finish(job_id, state, reason="first", hint="hint")
    ended = job(queue, job_id)
    queue.finish(job_id, "failed", reason="second")
    queue.cancel(job_id)
    queue.recover()
    assert job(queue, job_id) == ended
    assert (ended.state, ended.reason, ended.hint) == (state, "first", "hint")


def test_a_state_that_does_not_exist_is_refused(queue: Queue):
    job_id = queue.submit(RunSpec())
    queue.claim()
    with pytest.raises(QueueError):
        queue.finish(job_id, "exploded")
    assert job(queue, job_id).state == "running"


def test_cancelling_one_job_touches_no_other_of_the_same_spec(queue: Queue):
    mine, theirs = queue.submit(RunSpec()), queue.submit(RunSpec())
    before = job(queue, theirs)
    queue.cancel(mine)
    assert job(queue, theirs) == before
    assert queue.folder(mine) != queue.folder(theirs)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), "60", None])
def test_a_time_limit_that_is_none_is_refused(queue: Queue, limit: Any):
    with pytest.raises(BadRequest, match="time limit"):
        queue.submit(RunSpec(), time_limit_s=limit)
    assert queue.list() == []


def test_what_a_dead_worker_left_running_fails_or_is_cancelled_if_that_was_asked(queue: Queue):
    ids = [queue.submit(RunSpec()) for _ in range(3)]
    queue.claim()
    queue.claim()
    queue.cancel(ids[1])
    queue.recover()
    assert [job(queue, i).state for i in ids] == ["failed", "cancelled", "queued"]
    assert "worker died" in job(queue, ids[0]).reason


def test_a_spec_of_another_version_fails_with_a_reason_and_hides_no_other_job(queue: Queue):
    old, new = queue.submit(RunSpec()), queue.submit(RunSpec())
    with sqlite3.connect(queue.root / "jobs.sqlite3") as db:
        db.execute("UPDATE jobs SET spec = '{\"colour\": 1}' WHERE id = ?", (old,))
    assert [found.id for found in queue.list()] == [new]
    claimed = queue.claim()
    assert claimed is not None
    assert claimed.id == new
    with sqlite3.connect(queue.root / "jobs.sqlite3") as db:
        assert db.execute("SELECT state, ended_at IS NULL FROM jobs WHERE id = ?", (old,)).fetchone() == ("failed", 0)


def test_a_file_that_is_no_queue_is_one_clear_line(queue: Queue):
    queue.submit(RunSpec())
    for path in queue.root.glob("jobs.sqlite3*"):
        path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(QueueError, match="cannot be written, because the file is damaged") as failure:
        queue.list()
    assert "\n" not in str(failure.value)


def test_a_queue_whose_damage_is_no_text_is_one_clear_line(queue: Queue):
    """SQLite quotes the broken name in its message, which Python then cannot decode."""
    queue.submit(RunSpec())
    path = queue.root / "jobs.sqlite3"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    assert b"tablejobsjobs" in content
    path.write_bytes(content.replace(b"tablejobsjobs", b"tablej\x80bsjobs").replace(b"CREATE TABLE", b"CREATE TABBE"))
    with pytest.raises(QueueError, match="because the file is damaged: move it away") as failure:
        queue.list()
    assert isinstance(failure.value.__cause__, UnicodeDecodeError)


def test_a_page_reads_while_another_process_writes(queue: Queue):
    job_id = queue.submit(RunSpec())
    with sqlite3.connect(queue.root / "jobs.sqlite3", isolation_level=None) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE jobs SET step = 9")
        assert job(queue, job_id).step == 0
        db.execute("COMMIT")
    db.close()
    assert job(queue, job_id).step == 9


def test_while_a_worker_holds_the_queue_open_a_change_does_not_write_everything_back(queue: Queue):
    queue.submit(RunSpec())
    assert not (queue.root / "jobs.sqlite3-wal").exists()
    with queue.held_open():
        queue.submit(RunSpec())
        assert (queue.root / "jobs.sqlite3-wal").stat().st_size > 0
    assert len(queue.list()) == 2


LIMITED = """
import resource, sys
from pathlib import Path
from dit_core.jobs.queue import Queue, QueueError
from dit_core.records.spec import RunSpec

resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
queue = Queue(Path(sys.argv[1]))
try:
    while True:
        queue.submit(RunSpec(seed=1))
except QueueError as error:
    sys.exit(str(error))
"""


def test_a_full_disk_refuses_new_jobs_in_one_line_and_keeps_the_old_ones(queue: Queue):
    ids = [queue.submit(RunSpec()) for _ in range(3)]
    result = subprocess.run([sys.executable, "-c", LIMITED, str(queue.root)], capture_output=True, text=True)
    assert "cannot be written" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [job(queue, i).state for i in ids] == ["queued"] * 3
    assert job(queue, queue.submit(RunSpec(seed=2))).state == "queued"


def test_who_creates_the_queue_second_works_on_that_of_the_first(queue: Queue, monkeypatch: pytest.MonkeyPatch):
    link = os.link

    def overtaken(source: Path, target: Path) -> None:
        monkeypatch.setattr("os.link", link)
        queue.submit(RunSpec(seed=7))
        link(source, target)

    monkeypatch.setattr("os.link", overtaken)
    assert [found.spec.seed for found in queue.list()] == [7]
    assert [path.name for path in queue.root.iterdir()] == ["jobs.sqlite3"]


MEMBER = """
import sys, time
from pathlib import Path
from dit_core.jobs.queue import Queue
from dit_core.records.spec import RunSpec

root, number = Path(sys.argv[1]), int(sys.argv[2])
(root / f"ready{number}").touch()
while not (root / "go").exists():
    time.sleep(0.001)
queue = Queue(root / "queue")
for _ in range(10):
    queue.submit(RunSpec(seed=number))
while job := queue.claim():
    print(job.id)
    queue.finish(job.id, "done")
"""


def test_eight_processes_open_a_new_queue_at_once_and_each_job_is_claimed_once(tmp_path: Path):
    command = [sys.executable, "-c", MEMBER, str(tmp_path)]
    members = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(8)]
    while len(list(tmp_path.glob("ready*"))) < 8:
        time.sleep(0.01)
    (tmp_path / "go").touch()
    claimed = [int(line) for member in members for line in member.communicate(timeout=60)[0].split()]
    assert sorted(claimed) == list(range(1, 81))
    assert {found.state for found in Queue(tmp_path / "queue").list(100)} == {"done"}


def test_many_threads_of_one_server_submit_without_losing_a_job(queue: Queue):
    threads = [threading.Thread(target=queue.submit, args=(RunSpec(seed=n),)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {found.spec.seed for found in queue.list()} == set(range(16))


def test_a_queue_of_an_earlier_version_goes_on(queue: Queue):
    old = queue.submit(RunSpec(seed=1))
    with closing(sqlite3.connect(queue.root / "jobs.sqlite3", isolation_level=None)) as db:
        db.execute("ALTER TABLE jobs DROP COLUMN kind")
        db.execute("PRAGMA user_version = 0")
    new = queue.submit(RunSpec(seed=1), kind="export")
    assert [(found.id, found.kind) for found in queue.list()] == [(new, "export"), (old, "run")]


def test_a_job_of_an_unknown_kind_is_refused(queue: Queue):
    with pytest.raises(BadRequest, match="one of run, export"):
        queue.submit(RunSpec(), kind="dance")
