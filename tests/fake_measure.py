"""What a fresh process does for a test, as its standard input asks."""

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    {"look": _look, "kill": _kill, "exit": _exit, "raise": _raise, "mumble": _mumble, "hang": _hang, "note": _note}[
        sys.stdin.read()
    ]()


def _look() -> None:
    """What there is in this process."""
    zygote = sys.modules.get("dit_core.zygote")
    files = [one for one in Path("/proc/self/fd").iterdir() if int(one.name) > 2 and one.is_symlink()]
    kinds = [str(one.readlink()) for one in files if os.path.lexists(one)]
    heap = [line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if "[heap]" in line]
    print("a library talks")
    told = {
        "pid": os.getpid(),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "extra": hasattr(zygote, "extra"),
        "forked": zygote is not None and __name__ != "__main__",
        "files": [kind for kind in kinds if not kind.startswith(("socket:", "/proc/"))],
        "heap": heap[-1].split("-")[1],
    }
    print(json.dumps(told))


def _kill() -> None:
    os.kill(os.getpid(), 9)


def _exit() -> None:
    raise SystemExit("no memory is left")


def _raise() -> None:
    raise ValueError("wrong")


def _mumble() -> None:
    print("no JSON")


def _hang() -> None:
    time.sleep(600)


def _note() -> None:
    Path(os.environ["NOTE"]).write_text(str(os.getpid()))
    time.sleep(600)


if __name__ == "__main__":
    main()
