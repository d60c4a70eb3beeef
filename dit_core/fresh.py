"""A module's `main` in a fresh process: a fork of this run's zygote, or without one a new interpreter.

It reads a request from its standard input and answers with one line of JSON.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from dit_core import zygote

POLL_S = 0.2


class Failed(RuntimeError):
    """There is no answer. The message is the reason."""


def ask(module: str, request: str, limit_s: float, watch: Callable[[], None] = lambda: None) -> Any:
    """The answer of a fresh process, which is killed after `limit_s` seconds, or when `watch`, called all the time,
    raises."""
    until = time.monotonic() + limit_s
    try:
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as complaint:
            given.write(request.encode())
            given.seek(0)
            files = [one.fileno() for one in (given, told, complaint)]
            process = zygote.fork(module, files) or _Interpreter(command(module), *files)
            try:
                while (code := process.wait_for(POLL_S)) is None:
                    watch()
                    if time.monotonic() > until:
                        raise Failed("it took too long")
            finally:
                process.kill()
            if code:
                raise Failed(_last(complaint)[:300] or f"it ended with {code} and left no word")
            return json.loads(_last(told))
    except OSError as error:
        raise Failed(f"it could not be started: {error}") from error
    except ValueError as error:
        raise Failed("it did not tell what it found") from error


def command(module: str) -> list[str]:
    """A new interpreter that runs the module."""
    return [sys.executable, "-m", module]


class _Interpreter(subprocess.Popen):
    """With the interface of `zygote.Forked`."""

    def __init__(self, command: list[str], *files: int) -> None:
        super().__init__(command, stdin=files[0], stdout=files[1], stderr=files[2])

    def wait_for(self, seconds: float) -> int | None:
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it, if it lives, and wait until it is gone."""
        super().kill()
        self.wait()


def _last(file: Any) -> str:
    """The last line that is not empty."""
    file.seek(0)
    lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
