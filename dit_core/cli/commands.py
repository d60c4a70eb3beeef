"""The commands of the command line, each a function of its parsed options. The docstring is the command's help.

Data goes to standard output, progress to standard error. Exit code 0 means success, 2 a bad request (one line says what
to change), 1 a failure. Torch is imported inside the commands that need it, after the request is checked.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from typing import Any

from dit_core.cli.arguments import limit_of, parser, spec_of, within_of
from dit_core.cli.failures import guarded, say
from dit_core.cli.outputs import MOVE, check_output, save
from dit_core.cli.summary import summary
from dit_core.errors import BadRequest, Cancelled
from dit_core.experiment.checks import check
from dit_core.listener import Listener, show_progress
from dit_core.models import sources
from dit_core.records.spec import RunSpec
from dit_core.system import causes, devices
from dit_core.system.cache import HOME
from dit_core.system.files import check_space

DESCRIPTION = "What each inference optimization of a diffusion transformer costs, and what it buys."


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the arguments name and return the exit code. Every failure becomes one line."""

    def command() -> int | None:
        known = parser(DESCRIPTION, COMMANDS)
        options, options.others = known.parse_known_args(arguments)
        if options.others and options.command is not dashboard:
            known.error(f"unrecognized arguments: {' '.join(options.others)}")
        devices.learn()
        return options.command(options)

    return guarded(command)


def run(options: argparse.Namespace) -> None:
    """Measure one run and print its record."""
    spec = spec_of(options)
    check_here(spec)

    from dit_core.experiment.run import run as measure
    from dit_core.records.store import NotSaved, Store

    describe(spec)
    listener = Listener(progress=show_progress, note=lambda text: print(f"dit_core: {text}", file=sys.stderr))
    local = options.out is None
    not_saved = None
    try:
        record = measure(spec, store=Store(options.out), listener=listener, again=options.again, local=local)
    except NotSaved as error:
        record, not_saved = error.record, error
    print(record.to_json() if options.json else summary(record, spec), end="" if options.json else "\n", flush=True)
    if not_saved:
        raise not_saved


def generate(options: argparse.Namespace) -> int:
    """Generate images and write them as one PNG sheet, or with --npz as an array."""
    spec, out = spec_of(options), options.npz or options.out
    check_here(spec)
    check_output(out)

    from dit_core.experiment.export import sample_file, sample_sheet

    describe(spec)
    notes: list[str] = []
    listener = Listener(progress=show_progress, note=notes.append)
    if options.npz:
        size, write = sample_file(spec, options.count, listener)
        check_space(out.resolve(), size, "The file", MOVE)
        save(write, out)
    else:
        save(sample_sheet(spec, options.count, options.columns, listener), out)
    _print({"out": str(out), "spec": spec.to_dict()}, str(out), options)
    for note in notes:
        say(note)
    return int(bool(notes))


def judge(options: argparse.Namespace) -> None:
    """Compute FID, sFID and inception score of a sample file against a reference file of guided-diffusion."""
    from dit_core.quality import adm, inception
    from dit_core.quality.evaluate import evaluate_against

    images, reference = adm.read_samples(options.samples), adm.read_reference(options.reference)
    figures = evaluate_against(images, inception.load(), reference)
    reasons, intervals = figures.get("reasons", {}), figures["intervals"] or {}
    lines = []
    for name, value in figures.items():
        if not isinstance(value, dict):
            text = f"unknown: {reasons[name]}" if name in reasons else str(value)
            low_high = " [{:.6g}, {:.6g}]".format(*intervals[name]) if name in intervals else ""
            lines.append(f"{name:24}{text}{low_high}")
    _print(figures, "\n".join(lines), options)


def inception(options: argparse.Namespace) -> None:
    """Download the weights of Inception (95 MB), which FID needs, into torch hub's cache."""
    from dit_core.quality import inception as network
    from dit_core.quality.judgement import inception_problem

    path = network.download() if inception_problem() else network.weights_path()
    _print({"out": str(path)}, str(path), options)


def export(options: argparse.Namespace) -> None:
    """Write the optimized model as a folder, which can be used like any other model: give its path as --model."""
    spec = spec_of(options)
    check_here(spec)

    from dit_core.experiment.export import export as export_model

    describe(spec)
    size = export_model(spec, options.out, Listener(progress=show_progress), options.format)
    _print({"out": str(options.out), "bytes": size, "spec": spec.to_dict()}, str(options.out), options)


def sweep(options: argparse.Namespace) -> int:
    """Measure all runs of a grid file that have no record yet."""
    from dit_core import sweeps

    if options.front < 0:
        raise BadRequest(f"front must be a number of images, 0 or more, got {options.front}.")
    how = {"again": options.again, "front": options.front, "limit_s": limit_of(options), "progress": show_progress}
    within_s = within_of(options)
    if options.ray is not None and within_s < math.inf:
        raise BadRequest("within cannot end a run on Ray: leave out within, or ray.")
    for spec in {spec.model: spec for spec in sweeps.read_grid(options.grid)}.values():  # refuses a bad file first
        describe(spec)
    if options.ray is None:
        outcome = sweeps.sweep(options.grid, out=options.out, within_s=within_s, **how)
    else:
        from dit_core.sweeps import cluster

        with cluster.connected(options.ray, limit_s=how["limit_s"]) as place:
            outcome = sweeps.sweep(options.grid, out=options.out, place=place, **how)
    _print(outcome, sweeps.counts(outcome), options)
    return int(bool(outcome["failed"]))


def explore(options: argparse.Namespace) -> None:
    """Search for recipes that extend the Pareto front, with Optuna, and print the front."""
    from dit_core.sweeps import explore as search

    if options.trials < 1:
        raise BadRequest(f"trials must be at least 1, got {options.trials}.")
    how = {"out": options.out, "limit_s": limit_of(options), "progress": show_progress}
    result = search.explore(options.file, options.trials, **how)
    print(search.as_json(result) if options.json else search.report(result))


def train(options: argparse.Namespace) -> None:
    """Run the training that a configuration file describes. An interrupted training continues."""
    until = time.monotonic() + within_of(options)
    if not options.config.is_file():
        raise BadRequest(f"{options.config} cannot be read: name a TOML file, see dit_core/training/configs.")
    device = devices.parse(options.device) if options.device else devices.default()
    if reason := devices.missing(device):
        raise BadRequest(reason)

    from dit_core.system import runtime
    from dit_core.training.run import train as start

    runtime.set_up(device, options.threads)
    try:
        print(start(options.config, options.out, options.samples, device, lambda: time.monotonic() > until))
    except Cancelled as stopped:
        print(stopped, file=sys.stderr)


def worker(options: argparse.Namespace) -> int | None:
    """Run the jobs of the queue until stopped. Only one worker runs at a time."""
    from dit_core.jobs import worker as jobs_worker
    from dit_core.jobs.queue import Queue

    if options.stop:
        return jobs_worker.stop_worker(Queue())
    return jobs_worker.main()


def dashboard(options: argparse.Namespace) -> int:
    """Open the dashboard. All other options go to Streamlit, for example --server.port=8080."""
    command = [sys.executable, "-m", "streamlit", "run", str(HOME / "app.py"), *options.others]
    if os.name == "posix":
        os.execv(sys.executable, command)  # so that signals reach the server itself
    return subprocess.run(command, check=False).returncode


def doctor(options: argparse.Namespace) -> None:
    """Show what this machine can run, what it cannot run and why, and which settings have bundled recovered weights."""
    from dit_core.experiment.doctor import examine, report

    findings = examine()
    print(json.dumps(findings, indent=1) if options.json else report(findings))


def verify(options: argparse.Namespace) -> int:
    """Check every stored record, and with --rerun measure some of them again."""
    from dit_core.analysis import verify as checks
    from dit_core.records.store import Store

    store = Store(options.results)
    if not store.root.is_dir():
        raise BadRequest(f"{store.root} is not a folder: name a folder with records.")
    records = len(store.load().records)
    reruns = checks.rerun(store, options.rerun, options.seed, progress=show_progress)
    problems = checks.check(store)
    outcome = problems, reruns, records
    print(json.dumps(checks.as_data(*outcome), indent=1) if options.json else checks.report(*outcome))
    return int(bool(problems) or not all(rerun.ok for rerun in reruns))


def reproduce(options: argparse.Namespace) -> int:
    """Measure one record again on this machine and compare figure by figure. The stored record stays as it is."""
    from dit_core.analysis import verify as checks
    from dit_core.records.store import Store

    result = checks.reproduce(Store(options.results), options.record)
    print(json.dumps(checks.rerun_data(result), indent=1) if options.json else checks.rerun_report(result))
    return int(not result.ok)


def inside(options: argparse.Namespace) -> None:
    """Compute what each technique changes inside a model, for the page Inside."""
    from dit_core import inside as panels
    from dit_core.inside import files
    from dit_core.records.places import results_root

    folder = options.out or results_root() / files.FOLDER
    size = panels.compute(options.model, folder, show_progress)
    _print({"out": str(folder), "bytes": size}, str(folder), options)


def trajectories(options: argparse.Namespace) -> None:
    """Draw the denoising steps of every stored run that has no such picture yet, for the page Compare."""
    from dit_core.experiment import trajectories as pictures
    from dit_core.experiment.export import trajectory
    from dit_core.experiment.known import is_current
    from dit_core.records.store import Store

    store = Store(options.results)
    store.check_readable()
    runs = [stored for stored in store.load().records if pictures.is_drawable(stored.record)]
    missing = [stored for stored in runs if pictures.read(stored) is None and is_current(stored.record)]
    for done, stored in enumerate(missing, start=1):
        pictures.write(stored, trajectory(RunSpec.from_dict(stored.record.spec)))
        show_progress("trajectories", done, len(missing))
    _print({"drawn": len(missing)}, f"{len(missing)} drawn", options)


def claims(options: argparse.Namespace) -> None:
    """Check the claims of papers against the stored records, with the runs that would test the others."""
    from dit_core.analysis import claims as reported
    from dit_core.records.store import Store

    store = Store(options.results)
    store.check_readable()
    verdicts = reported.verdicts(store.load().records)
    print(reported.as_json(verdicts) if options.json else reported.report(verdicts))


def report(options: argparse.Namespace) -> None:
    """Print the bundled records and the targets as Markdown tables, or write them into a README between its markers."""
    from dit_core.analysis import report as tables
    from dit_core.records.store import Store

    store = Store(options.out)
    store.check_readable()
    contents = tables.sections(store.load())
    if options.write is None:
        print("\n\n".join(contents.values()))
        return
    try:
        text = options.write.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(causes.not_read(options.write, error)) from error
    for name, content in contents.items():
        text = tables.with_section(text, name, content)
    save(text.encode(), options.write)
    print(options.write)


def check_here(spec: RunSpec) -> None:
    """Raise BadRequest if a spec cannot run, or not on this machine."""
    check(spec)
    if reason := devices.missing(spec.device):
        raise BadRequest(reason)


def describe(spec: RunSpec) -> None:
    """Say on standard error what is known of a model, and what is only assumed."""
    if description := sources.find(spec.model).description:
        print(description, file=sys.stderr)


def models(options: argparse.Namespace) -> None:
    """List all models and what each still needs, or keep own models under short names."""
    from dit_core.cli import models as actions

    data, text = actions.ACTIONS[options.action](options)
    _print(data, text, options)


def records(options: argparse.Namespace) -> None:
    """Write the records of this machine into one file, or add those of other machines."""
    from dit_core.cli import records as actions

    data, text = actions.ACTIONS[options.action](options)
    _print(data, text, options)


def _print(data: Any, text: str, options: argparse.Namespace) -> None:
    print(json.dumps(data) if options.json else text)


COMMANDS = (
    run,
    generate,
    judge,
    inception,
    export,
    sweep,
    explore,
    train,
    verify,
    reproduce,
    inside,
    models,
    records,
    trajectories,
    claims,
    report,
    worker,
    dashboard,
    doctor,
)
