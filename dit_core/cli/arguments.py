"""The options of each command, and the spec that options describe. Imports no torch."""

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from dit_core.cli.paths import usable_path
from dit_core.errors import BadRequest
from dit_core.models import sources
from dit_core.quality.judgement import own_choice
from dit_core.recipes.recipe import parse_argument, recover_by_default
from dit_core.records.spec import ALL, SCHEDULERS, RunSpec, checked_interval, split_names
from dit_core.sampling.config import AS_PUBLISHED
from dit_core.sweeps.isolated_run import LIMIT_S
from dit_core.system import devices

Command = Callable[[argparse.Namespace], int | None]
PROGRAM = "dit-core"  # of an installed package
WITHOUT_JSON = (  # commands without --json, or whose actions have it
    "train",
    "report",
    "worker",
    "dashboard",
    "models",
    "records",
)


def parser(description: str, commands: Iterable[Command]) -> argparse.ArgumentParser:
    """Return a parser with one subcommand for each function: its name, its docstring as help, its OPTIONS."""
    name = Path(sys.argv[0]).name
    root = Parser(prog=name if name == PROGRAM else "python -m dit_core", description=description)
    subparsers = root.add_subparsers(required=True, metavar="COMMAND")
    for function in commands:
        name = function.__name__
        command = subparsers.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(command=function)
        if name not in WITHOUT_JSON:
            command.add_argument("--json", action="store_true", help="print JSON instead of text")
        if name in OPTIONS:
            OPTIONS[name](command)
    return root


def spec_of(options: argparse.Namespace) -> RunSpec:
    """Return the spec that the options describe, with a value for every knob.

    The knob `recover` is bundled by default where bundled weights exist for the other knobs, else none.
    What a model was exported for is the default for scheduler, steps and the steps with guidance. Raises BadRequest if
    the model, a technique or a value does not exist.
    """
    names = {field.name for field in fields(RunSpec)} - {"techniques", "classes"}
    given = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
    recipe = recover_by_default(options.model, map(parse_argument, options.technique))
    source = sources.find(options.model)
    classes = () if options.classes in (None, ALL) else split_names(options.classes)
    published = AS_PUBLISHED[options.as_published] if options.as_published else {}
    if "reference" in given:
        given["reference"] = own_choice(source, given["reference"])
    known = {"device": devices.default(), **source.run_fields, **published, **given}
    known["guidance_interval"] = known.get("guidance_interval") or None  # (): `all`
    return RunSpec(techniques=recipe, classes=classes, **known)


def limit_of(options: argparse.Namespace) -> float:
    """Return the time limit of one run in seconds. Raises BadRequest if it is not positive."""
    if not 0 < options.limit < math.inf:
        raise BadRequest(f"limit must be a positive number of seconds, got {options.limit:g}.")
    return options.limit


def within_of(options: argparse.Namespace) -> float:
    """Return the time in seconds after which a sweep or a training stops. Raises BadRequest if it is not positive."""
    if not options.within > 0:
        raise BadRequest(f"within must be a positive number of seconds, got {options.within:g}.")
    return options.within


def _run(command: argparse.ArgumentParser) -> None:
    _spec(command)
    _out(command)
    command.add_argument("--again", action="store_true", help="measure even if there is a record")


def _generate(command: argparse.ArgumentParser) -> None:
    _spec(command)
    command.add_argument("--out", type=usable_path, default=Path("samples.png"), help="PNG file (default: samples.png)")
    command.add_argument("--npz", type=usable_path, help="write images (N, H, W, 3) as arr_0 and labels here instead")
    command.add_argument("--count", type=int, default=36, help="number of images (default: 36)")
    command.add_argument("--columns", type=int, default=18, help="images in a row of the sheet (default: 18)")


def _judge(command: argparse.ArgumentParser) -> None:
    command.add_argument("samples", type=usable_path, help="npz file with arr_0, uint8 (N, H, W, 3)")
    command.add_argument("--reference", type=usable_path, required=True, help="npz file: mu, sigma, mu_s, sigma_s")


def _export(command: argparse.ArgumentParser) -> None:
    _spec(command)
    command.add_argument("--out", type=usable_path, required=True, help="new folder for the model")
    command.add_argument(
        "--format",
        default="folder",
        help="folder (any network, read by this program), or for an unchanged DiT: diffusers, pt (fast-DiT) or "
        "safetensors (default: folder)",
    )


def _sweep(command: argparse.ArgumentParser) -> None:
    command.add_argument("grid", type=usable_path, help="TOML file with the runs")
    _search(command)
    command.add_argument("--again", action="store_true", help="measure even if there is a record")
    command.add_argument(
        "--front",
        type=int,
        default=0,
        metavar="N",
        help="instead evaluate the stored runs on the Pareto front again, with N images",
    )
    _within(command, "end the sweep after this time, also a run that is not finished")
    command.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="run on a Ray cluster (without an address: start one on this machine)",
    )


def _explore(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file", type=usable_path, help="TOML file with recipes and ranges of knobs, see dit_core/sweeps/explore.toml"
    )
    command.add_argument(
        "--trials",
        type=int,
        required=True,
        metavar="N",
        help="number of recipes to try; those with a record are not measured again",
    )
    _search(command)


def _train(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=usable_path, required=True, help="TOML file, see dit_core/training/configs")
    command.add_argument("--out", type=usable_path, required=True, help="folder of checkpoint, log, previews, weights")
    command.add_argument("--samples", type=int, help="number of training samples (default: the number in the file)")
    command.add_argument("--threads", type=int, help="CPU threads (default: all)")
    command.add_argument("--device", help="device to train on (default: the best)")
    _within(command, "stop the training after this time, with a checkpoint")


def _within(command: argparse.ArgumentParser, effect: str) -> None:
    text = f"{effect}; repeat the command to go on"
    command.add_argument("--within", type=float, default=math.inf, metavar="SECONDS", help=text)


def _verify(command: argparse.ArgumentParser) -> None:
    _results(command)
    command.add_argument("--rerun", type=int, default=0, metavar="N", help="measure N records again (default: 0)")
    command.add_argument("--seed", type=int, default=0, help="seed of the choice of these records (default: 0)")


def _reproduce(command: argparse.ArgumentParser) -> None:
    command.add_argument("record", metavar="RECORD", help="record file, run id or its first six digits")
    _results(command)


def _inside(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", default=RunSpec().model, help="name or folder of a model (default: emoji)")
    command.add_argument("--out", type=usable_path, help="folder to write to (default: cached_results/inside)")


def _report(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=usable_path, help="results folder to read (default: cached_results)")
    command.add_argument("--write", type=usable_path, metavar="README", help="file to write the tables into")


def _models(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    helps = {
        "add": "keep a model under a short name, with options for what its file does not tell",
        "list": "list all models and what each still needs",
        "show": "show what is known of a model, and what is only assumed",
        "remove": "forget a name; the files of the model stay",
    }
    parsers = {name: actions.add_parser(name, help=text, description=text.capitalize()) for name, text in helps.items()}
    for name, action in parsers.items():
        action.add_argument("--json", action="store_true", help="print JSON instead of text")
        if name != "list":
            action.add_argument("name", help="short name" if name == "add" else "name of a model")
    parsers["add"].add_argument("target", metavar="MODEL", help="path of a model, or its name on Hugging Face")
    for option in fields(sources.Options):
        choices = [str(choice).lower() for choice in option.metadata["choices"]]
        text = option.metadata["help"] + (f": {' or '.join(choices)}" if choices else "")
        parsers["add"].add_argument(f"--{option.name.replace('_', '-')}", default="", help=text)


def _worker(command: argparse.ArgumentParser) -> None:
    command.add_argument("--stop", action="store_true", help="end the worker and the job that it runs")


def _records(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    helps = {
        "export": "write all records of this machine with their pictures into one file",
        "import": "check records of other machines and add them under their own environments",
    }
    parsers = {name: actions.add_parser(name, help=text, description=text.capitalize()) for name, text in helps.items()}
    for action in parsers.values():
        action.add_argument("--json", action="store_true", help="print JSON instead of text")
        _results(action)
    parsers["export"].add_argument("file", type=usable_path, help="zip file to write")
    parsers["export"].add_argument("--all", action="store_true", help="also the bundled and the imported records")
    parsers["import"].add_argument(
        "source", type=usable_path, help="file of an export, a results folder, or a folder with exports"
    )


def _results(command: argparse.ArgumentParser) -> None:
    command.add_argument("--results", type=usable_path, help="results folder (default: cached_results)")


def _search(command: argparse.ArgumentParser) -> None:
    _out(command)
    command.add_argument(
        "--limit",
        type=float,
        default=LIMIT_S,
        metavar="SECONDS",
        help=f"time limit of one run (default: {LIMIT_S:g})",
    )


def _out(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=usable_path, help="folder for records (default: cached_results/local)")


def _spec(command: argparse.ArgumentParser) -> None:
    default = RunSpec()
    command.add_argument("--model", default=default.model, help="name or path of a model (default: emoji)")
    command.add_argument(
        "--technique",
        action="append",
        default=[],
        metavar="NAME:KNOB=VALUE,...",
        help="technique with its knobs; repeat the option for a recipe of several techniques, in order. The knob "
        "recover is bundled by default if there are bundled weights for the other knobs, else none",
    )
    command.add_argument(
        "--as-published",
        choices=tuple(AS_PUBLISHED),
        help="sample as the DiT code does: 250 steps of DDPM, three guided channels, guidance 4 for pictures, 1.5 for "
        "evaluation; other options take precedence",
    )
    command.add_argument("--scheduler", help=f"one of {', '.join(SCHEDULERS)} (default: {default.scheduler})")
    command.add_argument("--steps", type=int, help=f"denoising steps (default: {default.steps})")
    command.add_argument("--guidance", type=float, help=f"guidance scale, 1 for none (default: {default.guidance})")
    command.add_argument("--guidance-channels", type=int, help="0 guides all channels, 3 the first three (default: 0)")
    command.add_argument(
        "--guidance-interval", type=_timesteps, metavar="LOW,HIGH", help="timesteps with guidance (default: all)"
    )
    command.add_argument("--guidance-every", type=int, help="run the unguided branch every n-th step (default: 1)")
    command.add_argument("--batch-size", type=int, help=f"images in the timed call (default: {default.batch_size})")
    command.add_argument("--samples", type=int, help="images to evaluate the quality with (default: 0)")
    command.add_argument(
        "--reference",
        metavar="PATH",
        help="real images to judge quality against: a folder, or an npz file with arr_0 or with mu and sigma (default: "
        "those of the model, if it has some)",
    )
    command.add_argument(
        "--training-images",
        metavar="PATH",
        help="images for calibration, recovery and distillation: a folder with one folder for each class, or the "
        "folder with fast-DiT's imagenet256_features and imagenet256_labels (default: the model's)",
    )
    command.add_argument(
        "--metric",
        action="append",
        dest="metrics",
        metavar="FILE",
        help="own metric: a Python file with BETTER and a function metric(images) of uint8 (N, H, W, 3) that returns "
        "value, low, high, or a name of the entry point group dit_core.metrics; repeat it for several",
    )
    command.add_argument("--replicates", type=int, help="independent image sets, for intervals (default: 1)")
    command.add_argument("--seed", type=int, help="seed of the noise (default: 0)")
    command.add_argument(
        "--classes", help="class names, separated by commas; a name with a comma in double quotes (default: all)"
    )
    command.add_argument("--device", help=f"{', '.join(devices.KINDS)} or for example cuda:1 (default: the best)")
    command.add_argument(
        "--precision", help=f"of both sides: {', '.join(devices.PRECISIONS)} (default: tf32 on CUDA, else float32)"
    )


class Parser(argparse.ArgumentParser):
    """A parser that refuses an option that is given twice, where the last value would silently win."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register("action", None, _Once)
        self.register("action", "store", _Once)


class _Once(argparse.Action):
    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        given: set[str] = namespace.__dict__.setdefault("_given", set())
        if option_string and self.dest in given:
            raise argparse.ArgumentError(self, "given twice, leave one out")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


def _timesteps(text: str) -> tuple[int, ...]:
    """Return two timesteps, or () for `all`."""
    try:
        return () if text == ALL else checked_interval([int(part) for part in text.split(",")])
    except ValueError as error:  # a BadRequest is one, too
        reason = str(error) if isinstance(error, BadRequest) else "expected LOW,HIGH or all"
        raise argparse.ArgumentTypeError(f"{reason} (got {text!r})") from error


OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "run": _run,
    "generate": _generate,
    "judge": _judge,
    "export": _export,
    "sweep": _sweep,
    "explore": _explore,
    "train": _train,
    "verify": _verify,
    "reproduce": _reproduce,
    "inside": _inside,
    "models": _models,
    "worker": _worker,
    "records": _records,
    "trajectories": _results,
    "claims": _results,
    "report": _report,
}
