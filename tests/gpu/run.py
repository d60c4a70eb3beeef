"""Measure a grid, train, and run the tests of the GPU within a time limit; collect records, weights and logs.

    python -m tests.gpu.run --out gpu --within 540
    python -m tests.gpu.run --out gpu --within 540 --train dit_core/training/configs/emoji64.toml
    DIT_DEVICE=cpu python -m tests.gpu.run --out try --within 60 --grid my-grid.toml

Repeated with the same folder, it goes on where it stopped. Needs the requirements of the tests.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from dit_core.records.store import Store

ROOT = Path(__file__).resolve().parents[2]
GRID = ROOT / "dit_core" / "sweeps" / "gpu.toml"
TESTS_S = 120.0  # at most, and at most a quarter of the time


def main() -> int:
    options = _options()
    out, until = options.out.resolve(), time.monotonic() + options.within
    out.mkdir(parents=True, exist_ok=True)
    os.environ["DIT_RESULTS"] = str(out / "results")  # weights that a run trains are kept there, too
    os.environ["DIT_CACHE"] = str(out / "cache")
    program = [sys.executable, "-m", "dit_core"]
    _logged([*program, "doctor", "--json"], out / "doctor.json", until)
    _logged([sys.executable, "-m", "pytest", "-n", "0", "tests/gpu"], out / "tests.log", _tests_until(options.within))
    grid_s = (until - time.monotonic()) * (1 - options.train_share * bool(options.train))
    if grid_s > 0:
        how = [str(options.grid.resolve()), "--within", f"{grid_s:.0f}", "--out", str(out / "records")]
        _logged([*program, "sweep", *how], out / "sweep.log", time.monotonic() + grid_s + 30)  # it ends itself
    for config in options.train:
        left_s = until - time.monotonic()
        if left_s > 0:
            how = ["--config", str(config.resolve()), "--out", str(out / config.stem), "--within", f"{left_s:.0f}"]
            _logged([*program, "train", *how], out / f"{config.stem}.log", until + 30)
    count = len(Store(out / "records").load().records)
    print(f"{count} records in {out}")
    return int(not count)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--within", type=float, default=540.0, help="seconds (default: 540)")
    parser.add_argument("--train", type=Path, action="append", default=[], help="file of a training; may be repeated")
    parser.add_argument("--train-share", type=float, default=0.5, help="share of the time for it (default: 0.5)")
    parser.add_argument("--grid", type=Path, default=GRID, help="grid file (default: dit_core/sweeps/gpu.toml)")
    return parser.parse_args()


def _tests_until(within_s: float) -> float:
    return time.monotonic() + min(TESTS_S, within_s / 4)


def _logged(command: list[str], log: Path, until: float) -> None:
    """Run a command until a moment at most, with its output in a file."""
    with log.open("wb") as file:
        try:
            subprocess.run(
                command,
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT if log.suffix == ".log" else None,
                timeout=max(1.0, until - time.monotonic()),
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"{' '.join(command)} was ended after its time.", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
