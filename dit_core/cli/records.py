"""The actions of the command `records`. Each returns data for --json and text for people. Imports no torch."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from dit_core.analysis import archive
from dit_core.cli.outputs import check_output, save
from dit_core.records.store import Origin, Store
from dit_core.system import causes

Answer = tuple[Any, str]


def export(options: argparse.Namespace) -> Answer:
    """Write all records of this machine with their pictures into one file."""
    check_output(options.file)
    origins: tuple[Origin, ...] = ("local", "bundled", "imported") if options.all else ("local",)
    content = archive.pack(Store(options.results), origins)
    save(content, options.file)
    return {"out": str(options.file), "bytes": len(content)}, f"{options.file}, {causes.size(len(content))}"


def merge(options: argparse.Namespace) -> Answer:
    """Check the records of other machines and add them under their own environments."""
    result = archive.merge(Store(options.results), options.source)
    refused = [f"refused {name}: {reason}" for name, reason in result.refused.items()]
    return asdict(result), "\n".join([str(result), *refused])


ACTIONS: dict[str, Callable[[argparse.Namespace], Answer]] = {"export": export, "import": merge}
