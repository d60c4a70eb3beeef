"""The command line: `python -m dit_core COMMAND`.

Data goes to standard output, progress to standard error. Exit 0 on success, 2 on a request that cannot be met (one line
says what to change), 1 on a failure.
"""

import argparse
import json
import sys
from typing import Any

from dit_core.arguments import limit_of, parser, spec_of
from dit_core.checks import check
from dit_core.errors import BadRequest, Cancelled
from dit_core.listener import Listener, show_progress
from dit_core.spec import RunSpec


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, run the command, and turn every failure into one line and an exit code."""
    try:
        options = parser((__doc__ or "").splitlines()[0], COMMANDS).parse_args(arguments)
        return options.command(options) or 0
    except BadRequest as error:
        print(f"dit_core: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dit_core: interrupted", file=sys.stderr)
        return 1
    except (Cancelled, OSError, RuntimeError, ArithmeticError) as error:
        print(
            f"dit_core: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}",
            file=sys.stderr,
        )
        return 1


def run(options: argparse.Namespace) -> None:
    """Measure one run and print its record."""
    spec = spec_of(options)
    check(spec)  # in an instant: torch takes seconds to load

    from dit_core import child
    from dit_core.store import Store

    listener, local = Listener(progress=show_progress), options.out is None
    record = child.experiment()(spec, store=Store(options.out), listener=listener, again=options.again, local=local)
    print(record.to_json() if options.json else summary(record.to_dict(), spec), end="" if options.json else "\n")


def generate(options: argparse.Namespace) -> int:
    """Write a sheet of samples, or with --npz the samples themselves."""
    spec, out = spec_of(options), options.npz or options.out
    check(spec)
    if not out.parent.is_dir() or out.is_dir():
        raise BadRequest(f"{out} cannot be written: name a file in a folder that is there.")

    from dit_core import outputs

    notes: list[str] = []
    listener = Listener(progress=show_progress, note=notes.append)
    if options.npz:
        content = outputs.sample_file(spec, options.count, listener)
    else:
        content = outputs.sample_sheet(spec, options.count, options.columns, listener)
    out.write_bytes(content)
    print(json.dumps({"out": str(out), "spec": spec.to_dict()}) if options.json else out)
    for note in notes:
        print(f"dit_core: {note}", file=sys.stderr)
    return int(bool(notes))


def judge(options: argparse.Namespace) -> None:
    """FID, sFID and inception score of a sample file against a reference file, both as guided-diffusion writes them."""
    from dit_core.quality import adm, fid, inception

    images, known = adm.read_samples(options.samples), adm.read_reference(options.reference)
    found = fid.against(images, inception.load(), known)
    why, around = found.get("reasons", {}), found["intervals"]
    told = {name: value for name, value in found.items() if not isinstance(value, dict)}
    lines = [
        f"{name.ljust(24)}{f'unknown: {why[name]}' if name in why else value}{_ends(around.get(name))}"
        for name, value in told.items()
    ]
    print(json.dumps(found) if options.json else "\n".join(lines))


def export(options: argparse.Namespace) -> None:
    """Write the optimized model as a folder that loads like any other: give its path as --model."""
    spec = spec_of(options)
    check(spec)

    from dit_core import outputs

    size = outputs.export(spec, options.out, Listener(progress=show_progress))
    print(json.dumps({"out": str(options.out), "bytes": size, "spec": spec.to_dict()}) if options.json else options.out)


def sweep(options: argparse.Namespace) -> int:
    """Measure every run of a grid file that is not known here yet."""
    from dit_core import search

    if options.front < 0:
        raise BadRequest(f"front is a number of images, got {options.front}.")
    how = {"again": options.again, "front": options.front, "limit_s": limit_of(options), "progress": show_progress}
    if options.ray is None:
        done = search.sweep(options.grid, out=options.out, **how)
    else:
        from dit_core.search import cluster

        search.read_grid(options.grid)  # refused before a cluster is waited for
        with cluster.connected(options.ray, limit_s=how["limit_s"]) as place:
            done = search.sweep(options.grid, out=options.out, place=place, **how)
    print(json.dumps(done) if options.json else search.counts(done))
    return int(bool(done["failed"]))


def explore(options: argparse.Namespace) -> None:
    """Let Optuna look for recipes that move the front of a search file, and print the front found."""
    from dit_core.search import explore as search

    if options.trials < 1:
        raise BadRequest(f"trials must be at least 1, got {options.trials}.")
    how = {"out": options.out, "limit_s": limit_of(options), "progress": show_progress}
    found = search.explore(options.file, options.trials, **how)
    print(search.as_json(found) if options.json else search.report(found))


def train(options: argparse.Namespace) -> None:
    """Train what a configuration file describes; goes on where it stopped."""
    if not options.config.is_file():  # in an instant: torch takes seconds to load
        raise BadRequest(f"{options.config} cannot be read: name a TOML file, see dit_core/training/configs.")

    from dit_core import runtime
    from dit_core.training.run import train as start

    runtime.set_up(options.device, options.threads)
    print(start(options.config, options.out, options.samples, options.device))


def worker(options: argparse.Namespace) -> int | None:
    """Own the device and work through the queue until stopped."""
    from dit_core import worker as owner

    return owner.main()


def doctor(options: argparse.Namespace) -> None:
    """Tell what this machine can run, technique by technique and knob by knob, and why not."""
    from dit_core.doctor import examine, report

    findings = examine()
    print(json.dumps(findings, indent=1) if options.json else report(findings))


def verify(options: argparse.Namespace) -> int:
    """Check every stored record, and with --rerun measure some of them again."""
    from dit_core import verify as checks
    from dit_core.store import Store

    store = Store(options.results)
    if not store.root.is_dir():
        raise BadRequest(f"{store.root} is no folder: name one with records.")
    records = len(store.load().records)
    reruns = checks.rerun(store, options.rerun, options.seed, progress=show_progress)
    problems = checks.check(store)
    outcome = problems, reruns, records
    print(json.dumps(checks.as_data(*outcome), indent=1) if options.json else checks.report(*outcome))
    return int(bool(problems) or not all(run.ok for run in reruns))


def inside(options: argparse.Namespace) -> None:
    """Compute what each technique does inside the bundled model, for the page Inside."""
    from dit_core import inside as panels
    from dit_core.inside import files

    folder = options.out or files.folder()
    size = panels.compute(options.model, folder, show_progress)
    print(json.dumps({"out": str(folder), "bytes": size}) if options.json else folder)


def trajectories(options: argparse.Namespace) -> None:
    """Draw how the images of every stored run form, where that is not kept yet, for the page Compare."""
    from dit_core import outputs
    from dit_core import trajectories as kept
    from dit_core.store import Store, is_current

    stored = [one for one in Store(options.results).load().records if kept.wanted(one.record)]
    lacking = [one for one in stored if kept.read(one) is None and is_current(one.record)]
    for done, one in enumerate(lacking, start=1):
        kept.write(one, outputs.trajectory(RunSpec.from_dict(one.record.spec)))
        show_progress("trajectories", done, len(lacking))
    print(json.dumps({"drawn": len(lacking)}) if options.json else f"{len(lacking)} drawn")


def claims(options: argparse.Namespace) -> None:
    """Judge from the stored records what the paper and its summaries report."""
    from dit_core import claims as reported
    from dit_core.store import Store

    records = [stored.record for stored in Store(options.results).load().records]
    verdicts = reported.judge(reported.read(), records)
    print(reported.as_json(verdicts) if options.json else reported.report(verdicts))


def report(options: argparse.Namespace) -> None:
    """Print the bundled records and the targets as Markdown tables, or put them into a README between its markers."""
    from dit_core import report as writer
    from dit_core.store import Store

    contents = writer.sections(Store(options.out).load())
    if options.write is None:
        print("\n\n".join(contents.values()))
        return
    text = options.write.read_text()
    for name, content in contents.items():
        text = writer.with_section(text, name, content)
    options.write.write_text(text)
    print(options.write)


def _ends(interval: list[float] | None) -> str:
    return f" [{interval[0]:.6g}, {interval[1]:.6g}]" if interval else ""


def summary(record: dict[str, Any], spec: RunSpec) -> str:
    """A record in a few lines, for a person."""
    latency, memory, quality, speedup = (record[key] for key in ("latency", "memory", "quality", "speedup"))
    lines = [f"{record['run_id']}  {spec.label()} on {record['environment']['cpu']}"]
    lines.append(f"latency   {latency['latency_s']:.3f} s for {latency['batch_size']} images, n = {latency['calls']}")
    if speedup["ratio"] is not None:
        lines.append(
            f"speed-up  {speedup['ratio']:.2f}x [{speedup['low']:.2f}, {speedup['high']:.2f}] over the baseline"
        )
    lines.append(
        f"weights   {memory['weight_bytes'] / 1e6:.2f} MB, baseline {memory['baseline_weight_bytes'] / 1e6:.2f} MB"
    )
    lines.append(f"compute   {record['flops']['macs'] / 1e9:.1f} GMAC for one call")
    if quality["distance"] is not None:
        lines.append(f"quality   {quality['metric']} = {quality['distance']:.1f}, n = {quality['count']}")
    elif quality.get("reason"):
        lines.append(f"quality   unknown: {quality['reason']}")
    return "\n".join(lines)


COMMANDS = (
    run,
    generate,
    judge,
    export,
    sweep,
    explore,
    train,
    verify,
    inside,
    trajectories,
    claims,
    report,
    worker,
    doctor,
)


if __name__ == "__main__":
    sys.exit(main())
