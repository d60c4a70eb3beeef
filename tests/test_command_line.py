import json
import os
import subprocess
import sys

import pytest

from dit_core.__main__ import main
from dit_core.spec import RunRecord


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
