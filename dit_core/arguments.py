"""The options of each command of the command line, and the spec that options describe. Imports no torch."""

import argparse
import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

from dit_core import techniques
from dit_core.errors import BadRequest
from dit_core.models import catalog
from dit_core.search.apart import LIMIT_S
from dit_core.spec import DEVICES, SCHEDULERS, RunSpec

Command = Callable[[argparse.Namespace], int | None]
WORDS_ONLY = ("train", "report", "worker")  # the others can print data instead


def parser(description: str, commands: Iterable[Command]) -> argparse.ArgumentParser:
    """One subcommand for each function: by its name, with its docstring for help and the options listed here."""
    found = argparse.ArgumentParser(prog="python -m dit_core", description=description)
    among = found.add_subparsers(required=True, metavar="COMMAND")
    for function in commands:
        name = function.__name__
        sub = among.add_parser(name, help=function.__doc__, description=function.__doc__)
        sub.set_defaults(command=function)
        if name not in WORDS_ONLY:
            sub.add_argument("--json", action="store_true", help="print data instead of words")
        if name in OPTIONS:
            OPTIONS[name](sub)
    return found


def spec_of(options: argparse.Namespace) -> RunSpec:
    """The spec that the options describe, with every knob written out; refused before anything is loaded.

    An exported model samples as its recipe did, unless the options say otherwise.
    """
    names = {f.name for f in fields(RunSpec)} - {"techniques", "classes"}
    given = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
    recipe = techniques.canonical(techniques.parse_argument(text) for text in options.technique)
    own = dict(zip(("scheduler", "steps"), catalog.sampler(options.model) or (), strict=False))
    classes = tuple(filter(None, (options.classes or "").split(",")))
    spec = RunSpec(techniques=recipe, classes=classes, **{**own, **given})
    catalog.check(spec.model)
    return spec


def limit_of(options: argparse.Namespace) -> float:
    """Seconds for one run; raises BadRequest where that is no time."""
    if not 0 < options.limit < math.inf:
        raise BadRequest(f"limit is a positive number of seconds for one run, got {options.limit:g}.")
    return options.limit


def _run(sub: argparse.ArgumentParser) -> None:
    _spec(sub)
    _out(sub)
    sub.add_argument("--again", action="store_true", help="measure even where a record exists")


def _generate(sub: argparse.ArgumentParser) -> None:
    _spec(sub)
    sub.add_argument("--out", type=Path, default=Path("samples.png"), help="PNG file (default: samples.png)")
    sub.add_argument("--npz", type=Path, help="write arr_0 (N, H, W, 3) and labels to this file instead")
    sub.add_argument("--count", type=int, default=36, help="images (default: 36)")
    sub.add_argument("--columns", type=int, default=18, help="images in a row (default: 18)")


def _judge(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("samples", type=Path, help="npz file with arr_0, uint8 (N, H, W, 3)")
    sub.add_argument("--reference", type=Path, required=True, help="npz file with mu, sigma, mu_s and sigma_s")


def _export(sub: argparse.ArgumentParser) -> None:
    _spec(sub)
    sub.add_argument("--out", type=Path, required=True, help="folder to write the model to")


def _sweep(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("grid", type=Path, help="TOML file with the runs")
    _search(sub)
    sub.add_argument("--again", action="store_true", help="measure even where a record exists")
    sub.add_argument(
        "--front", type=int, default=0, metavar="N", help="instead judge the best of the stored runs on N images"
    )
    sub.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="on a Ray cluster (default: one started on this machine)",
    )


def _explore(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("file", type=Path, help="TOML file with recipes whose knobs range, see dit_core/explore.toml")
    sub.add_argument(
        "--trials", type=int, required=True, metavar="N", help="how many recipes to ask for; known ones cost nothing"
    )
    _search(sub)


def _train(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--config", type=Path, required=True, help="TOML file, see dit_core/training/configs")
    sub.add_argument("--out", type=Path, required=True, help="folder for checkpoint, log, previews and weights")
    sub.add_argument("--samples", type=int, help="train on so many samples instead of the file's number")
    sub.add_argument("--threads", type=int, help="CPU threads (default: all)")
    sub.add_argument("--device", choices=DEVICES, default="cpu", help="what trains (default: cpu)")


def _verify(sub: argparse.ArgumentParser) -> None:
    _results(sub)
    sub.add_argument("--rerun", type=int, default=0, metavar="N", help="measure N records again (default: none)")
    sub.add_argument("--seed", type=int, default=0, help="draws the records to measure again (default: 0)")


def _inside(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--model", default=RunSpec().model, help="a model's name or folder (default: emoji)")
    sub.add_argument("--out", type=Path, help="folder to write to (default: cached_results/inside)")


def _report(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, help="results folder (default: cached_results)")
    sub.add_argument("--write", type=Path, metavar="README", help="file to put the tables into")


def _results(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--results", type=Path, help="results folder (default: cached_results)")


def _search(sub: argparse.ArgumentParser) -> None:
    _out(sub)
    sub.add_argument(
        "--limit",
        type=float,
        default=LIMIT_S,
        metavar="SECONDS",
        help=f"end a run that takes longer (default: {LIMIT_S:g})",
    )


def _out(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, help="folder to write records to (default: the local part of cached_results)")


def _spec(sub: argparse.ArgumentParser) -> None:
    default = RunSpec()
    sub.add_argument("--model", default=default.model, help="a model's name or path (default: emoji)")
    sub.add_argument(
        "--technique", action="append", default=[], metavar="NAME:KNOB=VALUE,...", help="repeat for a recipe, in order"
    )
    sub.add_argument("--scheduler", help=f"one of {', '.join(SCHEDULERS)} (default: {default.scheduler})")
    sub.add_argument("--steps", type=int, help=f"denoising steps (default: {default.steps})")
    sub.add_argument("--guidance", type=float, help=f"guidance scale, 1 is none (default: {default.guidance})")
    sub.add_argument("--guidance-channels", type=int, help="0 guides all channels, 3 the first three (default: 0)")
    sub.add_argument("--batch-size", type=int, help=f"images in the timed call (default: {default.batch_size})")
    sub.add_argument("--samples", type=int, help="images judged for quality (default: none)")
    sub.add_argument("--replicates", type=int, help="sets of so many images, for intervals (default: 1)")
    sub.add_argument("--seed", type=int, help="(default: 0)")
    sub.add_argument("--classes", help="class names with commas (default: all in turn)")
    sub.add_argument("--device", help=f"one of {', '.join(DEVICES)} (default: {default.device})")


OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "run": _run,
    "generate": _generate,
    "judge": _judge,
    "export": _export,
    "sweep": _sweep,
    "explore": _explore,
    "train": _train,
    "verify": _verify,
    "inside": _inside,
    "trajectories": _results,
    "claims": _results,
    "report": _report,
}
