"""Command lines of right, mistyped and odd words: every one ends with exit code 0, 1 or 2, and one line if it fails.

What would compute for long is replaced: a command that comes that far has passed all checks.
"""

import contextlib
import io
import shlex
import shutil
from pathlib import Path
from unittest import mock

from hypothesis import strategies as st

from dit_core.cli import commands
from dit_core.cli.arguments import parser, spec_of
from dit_core.recipes.registry import registry
from dit_core.records.spec import SCHEDULERS
from tests.fuzzing.odd import TEXT
from tests.fuzzing.run import REPOSITORY, Target

COMPUTES = (
    "dit_core.experiment.export.sample_sheet",
    "dit_core.experiment.export.sample_file",
    "dit_core.experiment.export.export",
    "dit_core.experiment.export.trajectory",
    "dit_core.sweeps.sweep",
    "dit_core.sweeps.explore.explore",
    "dit_core.training.run._train_vae",
    "dit_core.training.run._train_base",
    "dit_core.training.run._train_recoveries",
    "dit_core.inside.compute",
    "dit_core.quality.inception.download",
    "dit_core.analysis.verify.measure_in_new_process",
    "dit_core.jobs.worker.main",
    "dit_core.jobs.worker.stop_worker",
    "dit_core.experiment.doctor.examine",
    "os.execv",
)
OWN = ("", "grid.toml", "search.toml", "training.toml", "metric.py", "names.txt", "records", "records.zip", "image.png")
FILES = st.sampled_from([*OWN, "missing.toml", ".", "folder", "é 中"])
MODELS = st.sampled_from(
    ["emoji", "emoji-wide", "random:DiT-XS/8@64", "random:DiT-S", "DiT-XL/2-256", "records", "mine"]
)
NUMBERS = st.integers(-2, 2000).map(str) | st.floats(-1, 40).map(str)


@st.composite
def techniques(draw) -> str:
    known = draw(st.sampled_from(list(registry().values())))
    parts = []
    for knob in draw(st.lists(st.sampled_from(known.knobs), max_size=3)):
        values = st.sampled_from([str(value) for value in (*knob.choices, *knob.suggestions, knob.default)])
        parts.append(f"{knob.name}={draw(values | NUMBERS | TEXT)}")
    return known.name + (":" if parts else "") + draw(st.sampled_from([",", ",", ",,"])).join(parts)


OPTIONS = {
    "--model": MODELS,
    "--technique": techniques(),
    "--scheduler": st.sampled_from(SCHEDULERS),
    "--guidance-interval": st.sampled_from(["200,800", "all", "5", "9,1"]),
    "--classes": st.sampled_from(["food", "all", "food,hand", '"food"']),
    "--device": st.sampled_from(["cpu", "cuda", "cuda:7", "mps"]),
    "--precision": st.sampled_from(["float32", "bfloat16", "tf32"]),
    "--as-published": st.sampled_from(["pictures", "evaluation"]),
    "--format": st.sampled_from(["folder", "pt", "diffusers"]),
    **dict.fromkeys(("--out", "--npz", "--reference", "--training-images", "--metric", "--results", "--write"), FILES),
    **dict.fromkeys(("--config", "--autoencoder"), FILES),
    **dict.fromkeys(
        ("--steps", "--guidance", "--batch-size", "--samples", "--replicates", "--seed", "--count"), NUMBERS
    ),
    **dict.fromkeys(("--columns", "--front", "--within", "--limit", "--trials", "--threads", "--rerun"), NUMBERS),
    **dict.fromkeys(("--guidance-every", "--guidance-channels", "--heads", "--image-size"), NUMBERS),
    **dict.fromkeys(("--json", "--again", "--all", "--stop", "--help"), st.just(None)),
}
SPEC = [name for name in OPTIONS if name not in ("--help", "--all", "--stop")]
NAMES = [command.__name__ for command in commands.COMMANDS]
FIRST = {"sweep": ["grid.toml"], "explore": ["search.toml"], "judge": ["samples.npz"], "reproduce": ["629cef"]}
ACTIONS = {"models": ["add", "list", "show", "remove"], "records": ["export", "import"]}


@st.composite
def command_lines(draw) -> list[str]:
    name = draw(st.sampled_from(NAMES) | st.sampled_from(["run", "generate", "export", "models", "records"]))
    words = [name, *([draw(st.sampled_from(ACTIONS[name]))] if name in ACTIONS else [])]
    if name == "train":
        words += ["--config", draw(FILES)]
    words += draw(st.just(FIRST.get(name, [])) | st.lists(FILES | MODELS | TEXT, max_size=3))
    for option in draw(st.lists(st.sampled_from(SPEC) | st.sampled_from(list(OPTIONS)), max_size=5)):
        value = draw(OPTIONS[option] | (TEXT if option not in ("--json", "--again") else st.just(None)))
        words += [option] if value is None else draw(st.sampled_from([[option, value], [f"{option}={value}"]]))
    return words + draw(st.just([]) | st.lists(TEXT, max_size=1))


class Reached(BaseException):
    """A command passed all checks."""


def targets(folder: Path) -> dict[str, Target]:
    """A target whose command lines run in a folder that has a file of every kind."""
    (folder / "work" / "folder").mkdir()
    for name in ("grid", "explore"):
        shutil.copy(REPOSITORY / f"dit_core/sweeps/{name}.toml", {"grid": "grid.toml", "explore": "search.toml"}[name])
    shutil.copy(REPOSITORY / "dit_core/training/configs/emoji.toml", "training.toml")
    Path("metric.py").write_text('BETTER = "lower"\ndef metric(images):\n    return 1, 0, 2\n')
    Path("names.txt").write_text("one\ntwo\n")
    Path("records").mkdir()
    for path in sorted((REPOSITORY / "cached_results").glob("baseline-*.json")):
        shutil.copy(path, "records")
    return {"command_lines": (command_lines(), check)}


def check(words: list[str]) -> None:
    """Run a command and raise AssertionError if it ends in any other way than with a result or one line."""
    output, errors = io.StringIO(), io.StringIO()
    spec, said = None, "dit_core: "

    def reached(*rest, **options) -> None:
        raise Reached

    def measured(given, **options) -> None:
        nonlocal spec
        spec = given
        raise Reached

    def unexpected(error: Exception) -> None:
        raise AssertionError(f"{shlex.join(words)}: an error that nobody expected") from error

    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(errors))
        for name in COMPUTES:
            stack.enter_context(mock.patch(name, reached))
        stack.enter_context(mock.patch("dit_core.experiment.run.run", measured))
        stack.enter_context(mock.patch("dit_core.cli.failures.keep_log", unexpected))
        try:
            code = commands.main(words)
        except Reached:
            code = 0
        except SystemExit as ended:  # argparse: help, or a mistake
            code = ended.code
            said = "usage: "
    lines = errors.getvalue().splitlines()
    assert code in (0, 1, 2), code
    if code:
        assert lines or output.getvalue(), "no reason"
    if code == 2:
        assert any(line.startswith(said) for line in lines), lines[-1]
    if spec is not None:
        again = spec_of(parser("", commands.COMMANDS).parse_args(shlex.split(spec.command())[3:]))
        assert again == spec, f"{spec.command()} asks for {again}"
