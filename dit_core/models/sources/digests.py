"""Digests of files of weights, kept in the cache, because a checkpoint may have many gigabytes. Imports no torch."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from dit_core.models.sources.base import FileState, file_state
from dit_core.system.cache import cache_folder, keep

KEPT_FROM_BYTES = 64_000_000  # smaller files are hashed again in every process


def digest_of(files: Iterable[Path], *facts: Any) -> str | None:
    """Return a hash (12 digits) of files and of facts that JSON can hold; None if a file is missing."""
    digests = []
    for path in files:
        state = file_state(path)
        if state is None:
            return None
        digests.append(_file_digest(path.resolve(), state))
    return hashlib.sha256(json.dumps([digests, facts], sort_keys=True).encode()).hexdigest()[:12]


@lru_cache(maxsize=256)
def _file_digest(path: Path, state: FileState) -> str:
    name = hashlib.sha256(f"{path} {state}".encode()).hexdigest()[:24]
    kept = cache_folder() / "digests" / name
    if state[1] >= KEPT_FROM_BYTES:
        with suppress(OSError):
            return kept.read_text()
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if state[1] >= KEPT_FROM_BYTES:
        keep(kept, digest.encode())
    return digest
