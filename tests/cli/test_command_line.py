import json
import os
import re
import subprocess
import sys

import pytest

from dit_core.cli.arguments import parser, spec_of
from dit_core.cli.commands import COMMANDS, main
from dit_core.experiment import known
from dit_core.models import sources
from dit_core.records.record import RunRecord
from dit_core.records.store import Store
from dit_core.sweeps import isolated_run
from dit_core.sweeps.isolated_run import Outcome
from tests.factory import make_record, make_sheets

BRIEF = (  # the program, with as few timed calls as give a spread
    sys.executable,
    "-c",
    "import sys; from dit_core.measure import latency; from dit_core.measure.interleaved import Plan; "
    "latency.PROCESSES, latency.PLAN = 1, Plan(most_s=0); "
    "from dit_core.cli.commands import main; sys.exit(main(sys.argv[1:]))",
)


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
        (["run", "--scheduler", "heun"], "Unknown scheduler"),
        (["sweep", "nowhere.toml"], "cannot be read"),
        (["sweep", "dit_core/sweeps/grid.toml", "--limit", "0"], "limit must be a positive number of seconds"),
        (["sweep", "dit_core/sweeps/grid.toml", "--front", "-1"], "front must be a number of images"),
        (["sweep", "dit_core/sweeps/grid.toml", "--within", "5", "--ray", "local"], "within cannot end a run on Ray"),
        (["explore", "nowhere.toml", "--trials", "3"], "cannot be read"),
        (["explore", "dit_core/sweeps/explore.toml", "--trials", "0"], "trials must be at least 1"),
        (["train", "--config", "nowhere.toml", "--out", "x"], "cannot be read"),
        (["generate", "--out", "nowhere/samples.png"], "name a file in an existing folder"),
        (["export", "--technique", "moe:experts=5", "--out", "x"], "experts 5 does not divide"),
    ],
)
def test_a_bad_request_is_one_line_and_exit_2(arguments, says, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert says in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (["unstructured_pruning:sparsity=1"], "sparsity must be between 0.0 and 0.95"),
        (["depth_pruning:keep=0"], "keep must be between 1 and"),
        (["depth_pruning:keep=9"], "keep at most 8"),
        (["quantization:group_size=128"], "group_size 128 does not divide the 192 inputs"),
        (["quantization:mode=int4,bits=4"], "needs an NVIDIA GPU"),
        (["quantization:method=gptq,calibration=0"], "calibration must be between 1 and"),
        (["moe:experts=4,top_k=5"], "top_k must be between 1 and 4"),
        (["moe:experts=5"], "experts 5 does not divide"),
        (["mediated_attention:mediators=25"], "does not fit 4 x 4 tokens"),
        (["window_attention:window=8"], "window 8 does not divide the 4 tokens"),
        (["grouped_query_attention:kv_heads=4"], "kv_heads 4 does not divide the 6 heads"),
        (["focused_group_query_attention:kv_heads=4"], "kv_heads 4 does not divide the 6 heads"),
        (["quantization", "depth_pruning"], "cannot follow quantization"),
        (["solver:steps=4", "step_distillation:steps=2"], "sample in different ways"),
    ],
)
def test_an_impossible_technique_is_refused_by_a_run_in_one_line(recipe, says, capsys):
    arguments = [part for entry in recipe for part in ("--technique", entry)]
    assert main(["run", "--device", "cpu", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_bundled_weights_are_the_default_of_the_command_line():
    def recovery(technique):
        return spec_of(parser("", COMMANDS).parse_args(["run", "--technique", technique])).techniques[0]["recover"]

    assert recovery("depth_pruning:keep=4") == "bundled"
    assert recovery("depth_pruning:keep=4,recover=none") == "none"
    assert recovery("depth_pruning:keep=5") == "none"


def test_recovery_without_data_is_refused_by_a_run_in_one_line(capsys):
    recipe = ["--technique", "distillation:recover=5"]
    assert main(["run", "--model", "random:DiT-S/8@256", *recipe]) == 2
    assert "recovery cannot train, because" in capsys.readouterr().err


def test_a_run_that_cannot_be_is_refused_before_torch_is_loaded():
    code = "import sys; from dit_core.cli.commands import main; "
    command = f"{code}code = main(['run', '--technique', 'depth_pruning:keep=9'])"
    ended = subprocess.run([sys.executable, "-c", f"{command}; sys.exit(9 if 'torch' in sys.modules else code)"])
    assert ended.returncode == 2


@pytest.mark.parametrize(("problem", "says"), [(KeyboardInterrupt(), "interrupted"), (FloatingPointError("x"), "x")])
def test_what_ends_a_command_early_is_one_line_and_exit_1(problem, says, monkeypatch, capsys):
    def stopped(*args):
        raise problem

    monkeypatch.setattr("dit_core.experiment.doctor.examine", stopped)
    assert main(["doctor"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_doctor_tells_what_runs_here(capsys):
    assert main(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert findings["devices"][-1]["id"] == findings["default_device"] == "cpu"
    assert list(findings["techniques"]["quantization"]["limits"]["cpu"]) == ["mode=int4", "mode=float8"]
    assert findings["techniques"]["unstructured_pruning"]["limits"]["cpu"] == {}
    assert set(sources.bundled_names()) <= {model["name"] for model in findings["models"] if not model["needs"]}


@pytest.mark.slow
def test_a_quantized_run_prints_a_whole_record_and_knows_it_again(tmp_path):
    command = [*BRIEF, "run", "--model", "emoji", "--technique", "quantization:bits=4"]
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
    progress = re.compile(r"[\w ]+: \d+ of \d+ *")  # and no library says anything beside it
    assert all(progress.fullmatch(line) for line in re.split(r"[\r\n]+", first.stderr) if line)

    second = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert json.loads(second.stdout) == json.loads(first.stdout)


@pytest.mark.parametrize("as_data", [False, True])
def test_a_sweep_ends_by_telling_what_it_measured_knew_and_failed(tmp_path, capsys, monkeypatch, as_data):
    def measure(spec, out, limit_s):
        assert limit_s == 60
        record = make_record(spec)
        Store(out).put(record, make_sheets(record), again=True, local=out is None)
        return Outcome("failed", "luck ran out.") if spec.techniques else Outcome("done")

    monkeypatch.setattr(isolated_run, "measure", measure)
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
    assert main(["sweep", "dit_core/sweeps/grid.toml", "--ray"]) == 2
    assert "pip install -r dit_core/sweeps/requirements-cluster.txt" in capsys.readouterr().err


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

    monkeypatch.setattr(isolated_run, "measure", measure)
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


@pytest.mark.slow
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


def test_what_cannot_be_exported_is_refused_before_anything_loads(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dit_core.experiment.export.prepare", None)
    file = tmp_path / "file"
    file.touch()
    assert main(["export", "--out", str(file)]) == 2
    assert f"{file} is a file: name a new folder." in capsys.readouterr().err
    assert main(["export", "--model", "random:DiT-S/2@256", "--out", str(tmp_path / "new")]) == 2
    assert "cannot be exported: it has no autoencoder" in capsys.readouterr().err
