"""Which runs are known: those whose records were measured in this environment, with the weights of today."""

import json
import subprocess
import sys
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

from dit_core.environment import environment
from dit_core.search.apart import environ
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Store, is_current

_CODE = "import json, sys; from dit_core.environment import environment; print(json.dumps(environment(sys.argv[1])))"


def known(store: Store, spec: RunSpec, environments: Collection[str]) -> RunRecord | None:
    """The newest record of a run that was made in one of these environments; None where it must be measured.

    So a bundled record of another machine is not known here, nor is one of this machine with other libraries.
    """
    stored = store.get(spec.run_id, environments)
    return stored.record if stored and is_current(stored.record) else None


def here(specs: Iterable[RunSpec]) -> set[str]:
    """Fingerprints of the environments that these runs would be measured in on this machine."""
    return set(filter(None, map(fingerprint, {spec.device for spec in specs})))


def fingerprint(device: str) -> str | None:
    """That of this machine with a device; None where it has none such, so that nothing is known of it."""
    found = surroundings(device)
    return found["fingerprint"] if found else None


@cache
def surroundings(device: str) -> dict[str, Any] | None:
    """The environment that this machine would write into a record of that device; None where it has none such.

    A GPU is asked in a process apart: what CUDA sets up would stay in memory while runs are measured.
    """
    if device == "cpu":
        return environment(device)
    command = [sys.executable, "-c", _CODE, device]
    told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ(), check=False)
    return None if told.returncode else json.loads(told.stdout.decode().splitlines()[-1])
