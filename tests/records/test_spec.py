import json
import shlex
from typing import Any

import pytest

from dit_core.cli.arguments import parser, spec_of
from dit_core.cli.commands import COMMANDS
from dit_core.errors import BadRequest
from dit_core.recipes.recipe import canonical
from dit_core.records.record import RecordError, RunRecord
from dit_core.records.schema import REQUIRED
from dit_core.records.spec import RunSpec
from tests.factory import make_record

INT4 = {"name": "quantization", "bits": 4}


def test_the_run_id_depends_neither_on_the_order_of_keys_nor_on_the_type_of_a_number():
    spec = RunSpec(techniques=({"name": "quantization", "bits": 4},), guidance=2)
    same = RunSpec(techniques=({"bits": 4, "name": "quantization"},), guidance=2.0)
    assert spec.run_id == same.run_id == RunSpec.from_dict(json.loads(spec.to_json())).run_id


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"}, {"techniques": (INT4,)}, {"scheduler": "ddim"}, {"steps": 21}, {"guidance": 2.5},
        {"seed": 1}, {"guidance_channels": 3}, {"batch_size": 9}, {"samples": 10}, {"classes": ("food",)},
        {"device": "cuda"}, {"replicates": 2},
    ],
    ids=str,
)  # fmt: skip
def test_every_field_of_a_spec_changes_the_run_id(change: dict[str, Any]):
    assert RunSpec(**change).run_id != RunSpec().run_id


def test_the_order_of_techniques_changes_the_run_id():
    other = {"name": "depth_pruning", "keep": 6}
    assert RunSpec(techniques=(INT4, other)).run_id != RunSpec(techniques=(other, INT4)).run_id


def test_a_spec_keeps_its_own_copy_of_the_recipe():
    technique = dict(INT4)
    spec = RunSpec(techniques=(technique,))
    technique["bits"] = 8
    assert spec.techniques == (INT4,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0), ("steps", -1), ("steps", 1.5), ("steps", True), ("steps", "20"), ("batch_size", 0),
        ("samples", -1), ("seed", -1), ("guidance", -1), ("guidance", float("nan")), ("guidance", "2"),
        ("guidance_channels", 2), ("replicates", 0), ("scheduler", "heun"), ("device", "tpu"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_or_of_another_type_is_refused_with_the_name_of_its_field(name: str, value: Any):
    with pytest.raises(BadRequest, match=name) as refusal:
        RunSpec(**{name: value})
    assert "\n" not in str(refusal.value)


def test_an_unknown_field_and_a_technique_without_a_name_are_refused():
    with pytest.raises(BadRequest, match="'stepps'"):
        RunSpec.from_dict({"stepps": 3})
    with pytest.raises(BadRequest, match="needs a name"):
        RunSpec(techniques=({"bits": 4},))


def test_the_baseline_is_the_same_workload_without_techniques():
    spec = RunSpec(techniques=(INT4,), steps=7, seed=3)
    assert spec.baseline == RunSpec(steps=7, seed=3)
    assert (spec.label(), spec.baseline.label()) == ("quantization bits=4", "baseline")


def test_the_command_has_only_options_that_differ_from_the_defaults():
    spec = RunSpec(techniques=(INT4,), steps=7, classes=("food", "heart"), guidance=1.5)
    options = "--technique quantization:bits=4 --steps 7 --guidance 1.5 --classes food,heart"
    assert spec.command() == f"python -m dit_core run --model emoji {options}"
    assert RunSpec().command() == "python -m dit_core run --model emoji"


@pytest.mark.parametrize(
    "spec",
    [
        RunSpec(guidance=2.00000001),
        RunSpec(guidance=1 / 3, model="random:DiT-S/8@256", classes=("class 1", "class 2")),
        RunSpec(techniques=canonical([{"name": "moe", "balance": 0.1234567890123}])),
    ],
)
def test_the_command_gives_the_same_run(spec: RunSpec):
    assert spec_of(parser("", COMMANDS).parse_args(shlex.split(spec.command())[3:])).run_id == spec.run_id


def test_the_command_is_quoted_for_a_shell():
    assert RunSpec(model="my models/it's").command() == """python -m dit_core run --model 'my models/it'"'"'s'"""


def test_a_record_is_the_same_after_json():
    record = make_record(RunSpec(techniques=(INT4,), samples=1000))
    assert RunRecord.from_dict(json.loads(record.to_json())) == record


@pytest.mark.parametrize(("section", "name"), [(s, n) for s, names in REQUIRED.items() for n in names])
def test_a_record_without_a_required_field_is_refused_by_name(section: str, name: str):
    data = make_record().to_dict()
    del data[section][name]
    with pytest.raises(RecordError, match=f"{section}.{name} is missing"):
        RunRecord.from_dict(data)


def test_a_null_value_needs_a_reason():
    data = make_record().to_dict()
    data["memory"]["peak_memory_bytes"] = None
    with pytest.raises(RecordError, match=r"memory\.peak_memory_bytes is null without a reason"):
        RunRecord.from_dict(data)
    data["memory"]["reason"] = "VmHWM cannot be read here"
    assert RunRecord.from_dict(data).memory["peak_memory_bytes"] is None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused_at_any_depth(number: float):
    data = make_record().to_dict()
    data["latency"]["raw_s"][2] = number
    with pytest.raises(RecordError, match=r"latency\.raw_s\.2 is not a finite number"):
        RunRecord.from_dict(data)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 99}, "schema 99"),
        ({"run_id": "0" * 12}, "does not belong to its spec"),
        ({"spec": {"steps": 0}}, "steps must be between"),
        ({"latencies": {}}, "'latencies' is not a field"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(change: dict[str, Any], reason: str):
    with pytest.raises(RecordError, match=reason):
        RunRecord.from_dict({**make_record().to_dict(), **change})


@pytest.mark.parametrize("data", [None, [], "text", 5, {}])
def test_data_that_is_no_record_is_refused(data: Any):
    with pytest.raises(RecordError):
        RunRecord.from_dict(data)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"classes": "cat"}, "classes must be a list"),
        ({"classes": None}, "classes must be a list"),
        ({"techniques": None}, "techniques must be a list"),
        ({"techniques": [{"name": "moe", 1: 2}]}, "techniques must be a list"),
        ({"model": 5}, "model must be a name"),
        ({"techniques": ["x"]}, "techniques must be a list"),
        ({"techniques": [{"name": "quantization", "bits": float("nan")}]}, "must be a finite number"),
    ],
)
def test_an_invalid_spec_is_refused_with_the_field(fields, says):
    with pytest.raises(BadRequest, match=says):
        RunSpec.from_dict(fields)


def test_a_single_replicate_is_not_written_so_that_older_runs_keep_their_ids():
    assert "replicates" not in RunSpec().to_dict()
    assert RunSpec.from_dict(RunSpec(replicates=3).to_dict()).replicates == 3
    assert RunSpec(replicates=3).command().endswith("--replicates 3")


def test_a_negative_zero_is_the_same_run():
    assert RunSpec(guidance=-0.0).run_id == RunSpec(guidance=0.0).run_id


@pytest.mark.parametrize(
    ("section", "name", "value", "says"),
    [
        ("latency", "latency_s", "fast", "a number above 0"),
        ("latency", "latency_s", True, "a number above 0"),
        ("latency", "latency_s", 0.0, "a number above 0"),
        ("latency", "load_s", -0.1, "at least 0"),
        ("latency", "raw_s", [0.1, "0.2"], "a list, each a number above 0"),
        ("latency", "raw_s", 0.1, "a list"),
        ("latency", "calls", 2.5, "a whole number"),
        ("latency", "latency_s", 10**400, "a number above 0"),
        ("latency", "latency_p25_s", "low", "a number"),
        ("latency", "latency_p25_s", -0.1, "above 0"),
        ("latency", "settled_s", -0.1, "at least 0"),
        ("latency", "batch_size", 10**400, "a whole number"),
        ("flops", "routing", {"tokens": [[[5, -5]]]}, "tokens by layer"),
        ("flops", "routing", {"tokens": [[[5, 5]]], "balance": [[1.0, 1.0]]}, "with their balance"),
        ("flops", "roofline", {"compute_s": "fast"}, "at least 0"),
        ("memory", "weight_bytes", 12.5, "a whole number"),
        ("memory", "peak_memory_bytes", -1, "at least 0"),
        ("flops", "uncounted", {"aten.mm": "3"}, "a table"),
        ("energy", "energy_j", -5.0, "above 0"),
        ("quality", "distance", -1.0, "at least 0"),
        ("quality", "kid", "0.1", "a number"),
        ("fidelity", "ssim", 3.0, "from -1 to 1"),
        ("speedup", "confidence", 95, "from 0 to 1"),
        ("samples", "labels", "cat", "a list, each text"),
        ("environment", "threads", "two", "a whole number"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_the_expected_kind(section: str, name: str, value: Any, says: str):
    data = make_record(RunSpec(samples=1000)).to_dict()
    data[section][name] = value
    with pytest.raises(RecordError, match=rf"{section}\.{name} must be .*{says}") as refusal:
        RunRecord.from_dict(data)
    assert "\n" not in str(refusal.value)


def test_a_section_that_is_no_object_and_a_reversed_interval_are_refused():
    with pytest.raises(RecordError, match="latency must be a JSON object"):
        RunRecord.from_dict({**make_record().to_dict(), "latency": [1]})
    with pytest.raises(RecordError, match=r"speedup\.low is above"):
        make_record(speedup={"low": 2.0, "high": 1.0})


def test_kid_can_be_negative_because_its_estimate_is_unbiased():
    assert make_record(RunSpec(samples=1000), quality={"kid": -0.001}).quality["kid"] == -0.001


def test_a_single_null_value_can_have_its_own_reason():
    data = make_record().to_dict()
    data["memory"]["peak_memory_bytes"] = None
    data["memory"]["reasons"] = {"peak_memory_bytes": "VmHWM cannot be read here"}
    assert RunRecord.from_dict(data).memory["peak_memory_bytes"] is None
    data["memory"]["weight_bytes"] = None
    with pytest.raises(RecordError, match=r"memory\.weight_bytes is null without a reason"):
        RunRecord.from_dict(data)
