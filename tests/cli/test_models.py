"""The command `models`: what it keeps, what it prints, and what it refuses in one line."""

import json

import pytest
import torch

from dit_core import sweeps
from dit_core.cli.commands import main
from dit_core.models import sources
from dit_core.models.sources import Options
from tests.models.published_files import autoencoder, state_dict


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_DATA", str(tmp_path / "data"))
    autoencoder().save_pretrained(tmp_path / "vae")
    (tmp_path / "names.txt").write_text("\n".join(f"sort {label}" for label in range(10)))
    torch.save(state_dict(), tmp_path / "0400000.pt")
    return tmp_path


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(["models", *arguments])
    return code, *capsys.readouterr()


def test_a_model_is_added_listed_shown_and_removed(checkpoint, capsys):
    options = (
        "--classes",
        str(checkpoint / "names.txt"),
        "--autoencoder",
        str(checkpoint / "vae"),
        "--null-label",
        "yes",
    )
    code, out, _ = run(capsys, "add", "mine", str(checkpoint / "0400000.pt"), *options, "--json")
    assert code == 0
    added = json.loads(out)
    assert added["options"]["classes"][3] == "sort 3"
    assert added["options"]["null_label"] is True
    facts = {fact["name"]: fact["origin"] for fact in added["facts"]}
    assert (facts["classes"], facts["prediction"]) == ("option", "assumed")
    assert {listed["name"] for listed in json.loads(run(capsys, "list", "--json")[1])} == set(sources.names())
    assert "needs reference images" in run(capsys, "list")[1]
    assert "prediction epsilon (assumed)" in run(capsys, "show", "mine")[1]
    assert run(capsys, "remove", "mine")[0] == 0
    assert run(capsys, "show", "mine")[0] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--heads", "7"), "7 heads do not divide"),
        (("--prediction", "noise"), "prediction must be one of"),
        (("--classes", "nowhere.txt"), "nowhere.txt"),
        (("--autoencoder", "/nowhere/vae"), "neither a folder nor a Hugging Face name"),
        (("--weights", "ema"), "has only raw weights"),
        (("--image-size", "100"), "multiple of 16"),
    ],
    ids=str,
)
def test_an_option_that_does_not_fit_is_refused_in_one_line(checkpoint, capsys, options, message):
    code, out, err = run(capsys, "add", "mine", str(checkpoint / "0400000.pt"), *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_every_option_can_be_given(capsys):
    with pytest.raises(SystemExit):
        main(["models", "add", "--help"])
    text = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in text for name in Options.__dataclass_fields__)


@pytest.mark.slow
def test_the_first_line_of_a_run_says_what_is_assumed(checkpoint, capsys):
    run(capsys, "add", "mine", str(checkpoint / "0400000.pt"), "--autoencoder", str(checkpoint / "vae"))
    out = checkpoint / "sheet.png"
    assert main(["generate", "--model", "mine", "--steps", "1", "--count", "1", "--out", str(out)]) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("mine: weights")
    assert "prediction epsilon (assumed)" in first


def test_a_sweep_says_what_is_assumed_of_each_model_before_it_starts(checkpoint, capsys, monkeypatch):
    run(capsys, "add", "mine", str(checkpoint / "0400000.pt"), "--autoencoder", str(checkpoint / "vae"))
    grid = checkpoint / "grid.toml"
    grid.write_text('[[runs]]\nmodel = ["mine", "emoji"]\nsteps = [1, 2]\nsamples = 0\n')
    monkeypatch.setattr(sweeps, "sweep", lambda *rest, **options: {"measured": [], "known": [], "failed": []})
    assert main(["sweep", str(grid)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mine: weights")
    assert "prediction epsilon (assumed)" in line
