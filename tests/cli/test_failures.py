"""Every failure of a command is one line and an exit code, whatever went wrong."""

import builtins
import errno
import os
import string
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dit_core.cli.commands import main
from dit_core.errors import BadRequest
from dit_core.sweeps.explore import read_search
from dit_core.sweeps.grid import read_grid

FULL = Path("/dev/full")
QUANTIZATION = '[[recipes]]\ntechniques = [{ name = "quantization", bits = {} }]\n'
GRIDS = {
    "techniques is text": '[[runs]]\ntechniques = "quantization"\n',
    "techniques is a list of text": '[[runs]]\ntechniques = ["quantization"]\n',
    "techniques is a table": '[[runs]]\ntechniques = { name = "quantization" }\n',
    "runs is one table": "[runs]\nsteps = 4\n",
    "runs is a number": "runs = 4\n",
    "runs holds numbers": "runs = [1, 2]\n",
    "protocol is a list": "[[protocol]]\nsteps = 4\n[[runs]]\n",
    "empty file": "",
    "no runs": "[protocol]\nsteps = 4\n",
    "an empty list of values": "[[runs]]\nsteps = []\n",
    "an empty list of knobs": '[[runs]]\ntechniques = [{ name = "quantization", bits = [] }]\n',
    "a nested list": "[[runs]]\nsteps = [[4]]\n",
    "a date": "[[runs]]\nsteps = 2026-01-01\n",
    "more runs than anyone waits for": f"[[runs]]\nseed = [{','.join(map(str, range(200)))}]\n"
    f"steps = [{','.join(map(str, range(1, 101)))}]\n",
}
SEARCHES = {
    "search is a list": "[protocol]\nsamples = 9\n[[search]]\n" + QUANTIZATION,
    "recipes is text": 'recipes = "x"\n[protocol]\nsamples = 9\n',
    "recipes of numbers": "recipes = [1]\n[protocol]\nsamples = 9\n",
    "protocol is a list": "protocol = [1]\n" + QUANTIZATION,
    "objectives are lists": '[protocol]\nsamples = 9\n[search]\nobjectives = [["a"], ["b"]]\n' + QUANTIZATION,
    "sampler is a list": '[protocol]\nsamples = 9\n[search]\nsampler = ["tpe"]\n' + QUANTIZATION,
    "techniques are text": '[protocol]\nsamples = 9\n[[recipes]]\ntechniques = ["quantization"]\n',
    "techniques are one text": '[protocol]\nsamples = 9\n[[recipes]]\ntechniques = "quantization"\n',
    "half a step": "[protocol]\nsamples = 9\n[[recipes]]\ntechniques = "
    '[{ name = "quantization", bits = { step = 0.5 } }]\n',
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_mistyped_grid_is_one_line_and_exit_2(name, tmp_path, capsys):
    (tmp_path / "file.toml").write_text(GRIDS[name])
    assert main(["sweep", str(tmp_path / "file.toml"), "--out", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", SEARCHES)
def test_a_mistyped_search_is_one_line_and_exit_2(name, tmp_path, capsys):
    (tmp_path / "file.toml").write_text(SEARCHES[name])
    assert main(["explore", str(tmp_path / "file.toml"), "--trials", "1", "--out", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


NAMES = st.sampled_from(
    ["protocol", "runs", "search", "recipes", "techniques", "name", "bits", "steps", "classes", "model", "min", "max"]
)
WORDS = st.sampled_from(["quantization", "solver", "emoji", "tpe", "", "4", "é,\"'"])
SCALARS = st.one_of(WORDS, st.integers(-3, 3), st.floats(allow_nan=True), st.booleans())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)


def toml(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value).lower()


@pytest.mark.parametrize("read", [read_grid, read_search])
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(NAMES, VALUES, max_size=4))
def test_a_file_of_any_shape_is_read_or_refused(read, content, tmp_path):
    path = tmp_path / "file.toml"
    path.write_text("\n".join(f"{name} = {toml(value)}" for name, value in content.items()))
    with suppress(BadRequest):  # any other error fails the test
        assert read(path)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), RecursionError(), MemoryError(), AssertionError()])
def test_what_nobody_expected_is_one_line_with_the_log_that_tells_all(error, monkeypatch, capsys):
    def fails():
        raise error

    monkeypatch.setattr("dit_core.experiment.doctor.examine", fails)
    assert main(["doctor"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    path = line.split("Details are in ")[1].removesuffix(".")
    with open(path) as log:  # noqa: PTH123
        assert "in fails" in log.read()


def test_what_nobody_expected_is_one_line_where_no_log_can_be_written(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("dit_core.experiment.doctor.examine", lambda: 1 / 0)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == "dit_core: ZeroDivisionError: division by zero.\n"


@pytest.mark.parametrize("library", ["optuna", "torch", "diffusers", "pynvml", "psutil"])
def test_a_missing_library_is_named_with_what_installs_it(library, monkeypatch, capsys):
    known = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return known(name, *rest)

    monkeypatch.setattr("dit_core.experiment.doctor.examine", lambda: without(library))
    assert main(["doctor"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert library in line
    assert "pip install -r" in line


def test_letters_that_the_terminal_lacks_are_escaped():
    command = [sys.executable, "-m", "dit_core", "generate", "--model", "missing é"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 2
    assert "missing \\xe9" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EACCES, "permission is denied: change its permissions"),
        (errno.EROFS, "its disk is read-only: name another file"),
        (errno.EIO, "the disk reports an error"),
    ],
)
def test_the_cause_of_a_failed_write_is_named_before_anything_is_computed(number, says, monkeypatch, tmp_path, capsys):
    def refuse(folder):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("dit_core.cli.outputs.probe", refuse)
    assert main(["generate", "--out", str(tmp_path / "sheet.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_an_output_that_takes_no_more_is_named():
    with FULL.open("w") as full:
        command = [sys.executable, "-m", "dit_core", "doctor", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    says = "The output cannot be written, because the disk is full: free some space, or send it to another place."
    assert done.stderr == f"dit_core: {says}\n"


def test_closed_streams_are_given_to_nobody_and_do_not_end_a_command(tmp_path):
    script = (
        "import sys\nfrom dit_core.cli.failures import guarded\n"
        "from dit_core.listener import show_progress\n"
        "def command():\n    show_progress('load', 1, 1)\n    print('done')\n"
        "    print(open(sys.argv[1], 'w').fileno())\n"
        "sys.exit(guarded(command))\n"
    )
    shell = f'exec "{sys.executable}" -c "$1" "{tmp_path}/file" <&- 2>&-'
    done = subprocess.run(["bash", "-c", shell, "bash", script], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    said, number = done.stdout.split()
    assert (said, int(number) > 2) == ("done", True)


def test_the_reader_of_the_output_may_go_away():
    command = f"{sys.executable} -m dit_core claims | head -c 1"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert not ended.stderr


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=string.printable + "é中", max_size=30))
def test_any_text_as_technique_or_model_is_refused_in_one_line(text, capsys):
    for option in ("--technique", "--model"):
        assert main(["run", f"{option}={text}", "--steps", "0"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("module", ["argparse", "dit_core.cli.commands", "psutil", "dit_core.records.spec"])
def test_an_interrupt_while_the_program_is_imported_is_one_line(module):
    code = f"""
import sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.modules.pop({module!r}, None)
sys.meta_path.insert(0, Interrupts())
import runpy
runpy.run_module("dit_core", run_name="__main__")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr == "dit_core: interrupted\n"
