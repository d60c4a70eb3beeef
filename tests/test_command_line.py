import json
import os
import subprocess
import sys

import pytest

from dit_core.__main__ import main
from dit_core.search import apart, known
from dit_core.search.apart import Outcome
from dit_core.spec import RunRecord
from dit_core.store import Store
from tests.factory import make_record, make_sheets


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--technique", "magic"], "Unknown technique"),
        (["run", "--technique", "quantization:bits=1"], "bits must be between 2 and 8"),
        (["run", "--technique", "quantization:colour=1"], "no knob 'colour'"),
        (["run", "--model", "nope"], "Unknown model"),
        (["run", "--steps", "0"], "steps must be between"),
        (["run", "--batch-size", "-1"], "batch_size must be between"),
        (["run", "--samples", "-5"], "samples must be between"),
        (["run", "--classes", "unicorn"], "no class 'unicorn'"),
        (["run", "--scheduler", "euler"], "Unknown scheduler"),
        (["sweep", "nowhere.toml"], "cannot be read"),
        (["sweep", "dit_core/grid.toml", "--limit", "0"], "limit is a positive number of seconds"),
        (["sweep", "dit_core/grid.toml", "--front", "-1"], "front is a number of images"),
        (["explore", "nowhere.toml", "--trials", "3"], "cannot be read"),
        (["explore", "dit_core/explore.toml", "--trials", "0"], "trials must be at least 1"),
        (["train", "--config", "nowhere.toml", "--out", "x"], "cannot be read"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_2(arguments, says, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert says in err
    assert len(err.strip().splitlines()) == 1


def test_doctor_tells_what_runs_here(capsys):
    assert main(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert findings["devices"][0] == "cpu"
    assert list(findings["techniques"]["quantization"]["cpu"]) == ["mode=float8"]
    assert findings["techniques"]["unstructured_pruning"]["cpu"] == {}
    assert findings["models"] == ["emoji", "emoji-wide"]


def test_a_quantized_run_prints_a_whole_record_and_knows_it_again(tmp_path):
    command = [sys.executable, "-m", "dit_core", "run", "--model", "emoji", "--technique", "quantization:bits=4"]
    command += ["--steps", "2", "--batch-size", "1", "--samples", "40", "--out", str(tmp_path), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    record = RunRecord.from_dict(json.loads(first.stdout))
    assert record.memory["weight_bytes"] < 0.2 * record.memory["baseline_weight_bytes"]
    assert record.memory["peak_memory_bytes"] > 0
    assert record.flops["macs"] == record.flops["baseline_macs"] > 0
    assert not record.flops["uncounted"]
    assert record.quality["kid"] > 0
    assert "too few" in record.quality["reasons"]["distance"]
    assert record.fidelity["psnr_db"] > 10
    assert record.speedup["low"] <= record.speedup["ratio"] <= record.speedup["high"]
    assert (tmp_path / "sheets" / record.samples["sheet"]).exists()
    assert "quality" in first.stderr

    second = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert json.loads(second.stdout) == json.loads(first.stdout)


@pytest.mark.parametrize("as_data", [False, True])
def test_a_sweep_ends_by_telling_what_it_measured_knew_and_failed(tmp_path, capsys, monkeypatch, as_data):
    def measure(spec, out, limit_s):
        assert limit_s == 60
        record = make_record(spec)
        Store(out).put(record, make_sheets(record), again=True, local=out is None)
        return Outcome("failed", "luck ran out.") if spec.techniques else Outcome("done")

    monkeypatch.setattr(apart, "measure", measure)
    monkeypatch.setattr(known, "fingerprint", lambda device: "elsewhere")
    grid = tmp_path / "grid.toml"
    grid.write_text('[[runs]]\n[[runs]]\ntechniques = [{ name = "quantization" }]')
    options = ["--out", str(tmp_path / "out"), "--limit", "60", *(["--json"] if as_data else [])]
    assert main(["sweep", str(grid), *options]) == 1
    out, err = capsys.readouterr()
    if as_data:
        told = json.loads(out)
        assert (len(told["measured"]), told["known"], len(told["failed"])) == (1, [], 1)
    else:
        assert out == "1 measured, 0 known already, 1 failed\n"
    assert "luck ran out." in err


def test_a_sweep_over_a_cluster_without_ray_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["sweep", "dit_core/grid.toml", "--ray"]) == 2
    assert "pip install -r dit_core/requirements-cluster.txt" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["sweep", "explore"])
def test_the_help_names_every_option_of_a_search(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    out = capsys.readouterr().out
    options = {"sweep": ["--front", "--again", "--ray"], "explore": ["--trials"]}[command]
    assert all(option in out for option in ["--out", "--limit", "--json", *options])


@pytest.mark.parametrize("as_data", [False, True])
def test_a_search_ends_by_telling_its_front_and_its_hypervolume(tmp_path, capsys, monkeypatch, as_data):
    def measure(spec, out, limit_s):
        base = {} if spec.techniques else {"speedup": {"ratio": None, "low": None, "high": None, "reason": "baseline"}}
        record = make_record(spec, **base)
        Store(out).put(record, make_sheets(record), again=True, local=out is None)
        return Outcome("done")

    monkeypatch.setattr(apart, "measure", measure)
    monkeypatch.setattr(known, "fingerprint", lambda device: "test-machine")
    file = tmp_path / "explore.toml"
    file.write_text("[protocol]\nsamples = 9\n[[recipes]]\ntechniques = [{ name = 'quantization', bits = [4] }]")
    options = ["--trials", "2", "--out", str(tmp_path / "out"), *(["--json"] if as_data else [])]
    assert main(["explore", str(file), *options]) == 0
    out, _ = capsys.readouterr()
    if as_data:
        told = json.loads(out)
        assert told["trials"] == {"measured": 1, "known": 1, "refused": 0, "failed": 0}
        assert {point["label"].split()[0] for point in told["front"]} == {"baseline", "quantization"}
        assert told["hypervolume"] > 1
    else:
        assert "Hypervolume 1." in out
        assert "Trials: 1 measured, 1 known, 0 refused, 0 failed." in out


def test_an_exported_model_is_a_model_like_any_other(tmp_path, capsys):
    recipe = ["--technique", "depth_pruning:keep=2,importance=even", "--technique", "quantization:bits=4"]
    assert main(["export", *recipe, "--out", str(tmp_path / "small"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == sum(file.stat().st_size for file in (tmp_path / "small").rglob("*") if file.is_file())
    sheets = []
    for arguments in (["--model", str(tmp_path / "small")], recipe):
        picture = tmp_path / "sheet.png"
        assert main(["generate", *arguments, "--steps", "2", "--count", "4", "--out", str(picture)]) == 0
        sheets.append(picture.read_bytes())
    assert sheets[0] == sheets[1]
    assert main(["export", *recipe, "--out", str(tmp_path / "small")]) == 2
    assert "is not empty" in capsys.readouterr().err
