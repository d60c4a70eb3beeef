"""What torch.compile needs from the machine, and where compiled code is kept. Imports no torch."""

import os
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from dit_core.system import devices
from dit_core.system.cache import cache_folder

CACHES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}  # variable -> folder of the cache


def missing_compiler(device: str) -> str | None:
    """Return what torch.compile lacks on this machine as one line; None if it can compile for the device."""
    if devices.kind(device) in ("cuda", "xpu"):
        if find_spec("triton") is None:
            return "torch.compile needs Triton on a GPU: install triton or leave compilation out."
        return _missing_program(os.environ.get("CC"), ("gcc", "clang", "cc"), "C")
    if reason := _missing_program(os.environ.get("CXX"), ("clang++" if sys.platform == "darwin" else "g++",), "C++"):
        return reason
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        return "torch.compile needs Python's header files: install them (python3-dev) or leave compilation out."
    return None


def keep_compiled_code() -> None:
    """Let torch.compile keep compiled code in the project's cache folder, for later runs and other processes.

    Folders that the environment names already stay.
    """
    for variable, folder in CACHES.items():
        os.environ.setdefault(variable, str(cache_folder() / folder))


def _missing_program(named: str | None, usual: tuple[str, ...], language: str) -> str | None:
    programs = (named,) if named else usual
    if any(map(shutil.which, programs)):
        return None
    return (
        f"torch.compile needs a {language} compiler, and there is no {' or '.join(programs)} here: install {usual[0]} "
        "or leave compilation out."
    )
