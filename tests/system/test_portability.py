"""The program starts and finds its way on a system that lacks what only Linux or only Unix has."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# libraries that have read the name of the system before it is taken away, and expect on Linux what Linux has
LIBRARIES = "import dit_core.ui.main, dit_core.ui.run_live.job_panel, dit_core.measure.timing_process\n"
WITHOUT = {
    "sched_getaffinity": "import os; del os.sched_getaffinity",
    "cpu_affinity": "import psutil; del psutil.Process.cpu_affinity",
    "/proc": """
import pathlib
def refuse(read):
    def guarded(self, *rest, **options):
        if str(self).startswith(("/proc", "/sys")):
            raise FileNotFoundError(self)
        return read(self, *rest, **options)
    return guarded
for name in ("read_text", "read_bytes", "write_text", "open"):
    setattr(pathlib.Path, name, refuse(getattr(pathlib.Path, name)))
""",
    "prctl": """
import ctypes
load = ctypes.CDLL
ctypes.CDLL = lambda name=None, *rest, **how: object() if not name or "libc" in name else load(name, *rest, **how)
""",
    "fork": "import os; del os.fork",
    "fcntl": "import sys; sys.modules['fcntl'] = None",
    "uname": LIBRARIES + "import os; del os.uname",
    "sessions": "import os; del os.setsid, os.getsid, os.killpg, os.getpgrp",
    "sensors": "import psutil; del psutil.sensors_temperatures",
    "MAP_PRIVATE": LIBRARIES + "import mmap; del mmap.MAP_PRIVATE",
}
START = """
import dit_core.ui.main, dit_core.ui.server, dit_core.ui.run_live.job_panel
import dit_core.jobs.worker, dit_core.cli.commands, dit_core.measure.timing_process
from dit_core.experiment.checks import check
from dit_core.experiment.known import local_environment
from dit_core.records.spec import RunSpec
from dit_core.system import devices, monitor, processes
from dit_core.system.lock import Lock
from pathlib import Path
check(RunSpec())
assert devices.usable()[-1].id == "cpu"
assert local_environment("cpu")["threads"] >= 1
monitor.Monitor("cpu").read()
processes.end_first("dit-test")
processes.end_family("nobody/has/this/mark")
dit_core.measure.timing_process._shift_addresses()
lock, other = Lock(Path("{folder}/lock")), Lock(Path("{folder}/lock"))
assert lock.holder() is None
assert lock.take() and not other.take()
assert other.holder()["pid"]
lock.close()
assert other.take()
shared, asking = Lock(Path("{folder}/shared")), Lock(Path("{folder}/shared"))
assert not asking.is_held()
shared.share()
assert asking.is_held()
print("started")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", WITHOUT)
def test_the_program_starts_without(name, tmp_path):
    code = WITHOUT[name] + START.format(folder=tmp_path)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("started\n"), done.stderr
