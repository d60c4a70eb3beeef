"""Fuzzing by hand: `python -m tests.fuzzing.run --seed 1 --minutes 60`. Not a part of the test suite.

Hypothesis makes command lines, links, files and records until the time is over, in rounds: round n of a target has the
seed `seed + n`, so that `--seed` and `--round` repeat it. A target fails at an exception that is no refusal. Each
finding is printed with its smallest example. The last line counts examples and findings; exits with 1 after a finding.
All that the program writes goes to a temporary folder; no network is used.
"""

import argparse
import os
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = 40  # of a target in one round
Target = tuple[Any, Callable[[Any], None]]  # a strategy of hypothesis, and what must not fail on its examples
SLOW = {"links": 8, "record_pages": 8, "loading": 20}  # fewer, where an example takes seconds


def main() -> int:
    """Run rounds of all targets until the time is over and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--round", type=int, default=0, help="first round (default: 0)")
    parser.add_argument("--only", action="append", metavar="TARGET", help="repeat it for several (default: all)")
    options = parser.parse_args()
    counts, findings = Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="dit-core-fuzzing-") as folder:
        own_places(Path(folder))
        known = targets(Path(folder))
        chosen = {name: known[name] for name in options.only or known}
        number, until = options.round, time.monotonic() + 60 * options.minutes
        while time.monotonic() < until:
            for name, target in chosen.items():
                if time.monotonic() >= until:
                    break
                findings += not passes(name, target, options.seed + number, counts)
            print(f"round {number}: {sum(counts.values())} examples, {findings} findings", flush=True)
            number += 1
    print(f"seed {options.seed}: {dict(counts)}; {sum(counts.values())} examples, {findings} findings", flush=True)
    return int(findings > 0)


def passes(name: str, target: Target, seed: int, counts: Counter[str]) -> bool:
    """Run one round of a target and print what it finds."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as seeded

    strategy, function = target

    def counted(example: Any) -> None:
        counts[name] += 1
        function(example)

    how = settings(
        max_examples=SLOW.get(name, EXAMPLES),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    try:
        seeded(seed)(how(given(example=strategy)(counted)))()
    except Exception as error:
        print(f"FOUND {name}, seed {seed}", *getattr(error, "__notes__", ()), sep="\n  ")
        print("".join(traceback.format_exception(error, limit=-6)), flush=True)
        return False
    return True


def own_places(folder: Path) -> None:
    """Send all that the program reads from its surroundings and writes to a folder."""
    for name in ("DIT_RESULTS", "DIT_QUEUE", "DIT_DATA", "DIT_CACHE", "HF_HOME", "HOME"):
        os.environ[name] = str(folder / name.lower())
        (folder / name.lower()).mkdir()
    os.environ.update(DIT_DEVICE="cpu", DIT_INCEPTION="off", HF_HUB_OFFLINE="1")
    (folder / "work").mkdir()
    os.chdir(folder / "work")


def targets(folder: Path) -> dict[str, Target]:
    """Return all targets by name. They are imported here, after the places are set."""
    from tests.fuzzing import command_lines, files, links, records

    return {
        name: target
        for module in (records, links, command_lines, files)
        for name, target in module.targets(folder).items()
    }


if __name__ == "__main__":
    raise SystemExit(main())
