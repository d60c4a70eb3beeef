"""Two versions of this program side by side: `python -m tests.benchmarks.isolation OLD NEW`, two checkouts.

Each has a worker of its own, which has been idle long enough to be ready. The same run is submitted to both in random
order, one at a time. Reported are, for each version, the seconds from the click to the first picture and to the end of
the run, and the ratio of new to old with its range over the pairs; then the median seconds of each stage.
"""

import argparse
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SUBMIT = """
import json, sys
try:
    from dit_core.jobs.queue import Queue
    from dit_core.records.spec import RunSpec
except ImportError:  # before folders were introduced
    from dit_core.jobs import Queue
    from dit_core.spec import RunSpec
print(Queue().submit(RunSpec(**json.loads(sys.argv[1])), again=True))
"""
FIGURES = ("first picture", "whole run")
ENDED = ("done", "failed", "cancelled", "out-of-memory", "timed-out")


class Times(NamedTuple):
    """Seconds from the click to the first picture and to the end of the run, and in each stage."""

    first_s: float
    whole_s: float
    stages: Counter[str]


@dataclass(frozen=True)
class Version:
    """A checkout with a queue and results of its own."""

    name: str
    checkout: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        folders = {"DIT_QUEUE": str(self.folder / "queue"), "DIT_RESULTS": str(self.folder / "results")}
        return {**os.environ, **folders, "PYTHONPATH": str(self.checkout)}

    def start_worker(self) -> subprocess.Popen:
        (self.folder / "results").mkdir(parents=True)
        command = [sys.executable, "-m", "dit_core", "worker"]
        return subprocess.Popen(command, cwd=self.checkout, env=self.environment, start_new_session=True)

    def run(self, spec: str) -> "Times":
        """Submit a run and return its times."""
        command = [sys.executable, "-c", SUBMIT, spec]
        answer = subprocess.run(command, cwd=self.checkout, env=self.environment, capture_output=True, check=True)
        began, job_id = time.monotonic(), int(answer.stdout)  # right after the click
        picture, first_s = self.folder / "queue" / "jobs" / str(job_id) / "baseline.png", None
        stages: Counter[str] = Counter()
        seen_at = began
        while (state := self.state(job_id))[0] not in ENDED:
            if first_s is None and picture.exists():
                first_s = time.monotonic() - began
            time.sleep(0.01)
            stages[state[1].partition(" ")[0] or "start"] += time.monotonic() - seen_at
            seen_at = time.monotonic()
        if state[0] != "done" or first_s is None:
            raise SystemExit(f"The run of {self.name} ended as {state[0]}: see {picture.parent / 'log.txt'}.")
        return Times(first_s, time.monotonic() - began, stages)

    def state(self, job_id: int) -> tuple[str, str]:
        """State and latest stage of a job."""
        address = f"{(self.folder / 'queue' / 'jobs.sqlite3').as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=20)) as db:
            return db.execute("SELECT state, stage FROM jobs WHERE id = ?", (job_id,)).fetchone()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rest", type=float, default=60, help="idle seconds before each run: 15 and the imports")
    parser.add_argument(
        "--spec",
        default='{"techniques": [{"name": "quantization"}], "steps": 20, "samples": 100}',
        help="keywords of RunSpec as JSON",
    )
    options = parser.parse_args()
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dit-core-isolation-")))
        names = (("old", options.old), ("new", options.new))
        versions = [Version(name, path.resolve(), root / name) for name, path in names]
        for version in versions:
            worker = version.start_worker()
            stack.callback(worker.wait)
            stack.callback(worker.terminate)
        compare(versions, options.pairs, options.rest, options.spec)


def compare(versions: list[Version], pairs: int, rest_s: float, spec: str) -> None:
    """Run pairs of both versions and print what each took, then the figures."""
    times: dict[str, list[Times]] = {version.name: [] for version in versions}
    for _ in range(pairs):
        for version in random.sample(versions, len(versions)):
            time.sleep(rest_s)
            times[version.name].append(version.run(spec))
            first_s, whole_s, _ = times[version.name][-1]
            print(f"{version.name}: first picture {first_s:.2f} s, whole run {whole_s:.1f} s", flush=True)
    for index, figure in enumerate(FIGURES):
        old, new = ([pair[index] for pair in times[name]] for name in ("old", "new"))
        ratios = [after / before for before, after in zip(old, new, strict=True)]
        middle = statistics.median(new) / statistics.median(old)
        print(
            f"{figure}: {statistics.median(old):.2f} s before, {statistics.median(new):.2f} s now, ratio of medians "
            f"{middle:.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )
    for name in dict.fromkeys(name for runs in times.values() for run in runs for name in run.stages):
        old, new = (statistics.median(run.stages[name] for run in times[version]) for version in ("old", "new"))
        print(f"stage {name}: {old:.2f} s before, {new:.2f} s now")


if __name__ == "__main__":
    main()
