"""The devices of a machine, with a stand-in for the NVIDIA driver: no GPU is needed."""

import json
import sys

import pytest

from dit_core.errors import BadRequest
from dit_core.records.spec import RunSpec
from dit_core.system import devices
from tests.fake_driver import FakeDriver, FakeGpu


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """`machine(gpu, ...)`: this machine has these GPUs, and a torch for them."""
    monkeypatch.setenv("DIT_CACHE", str(tmp_path))
    for name in (devices.VARIABLE, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "_torch_version", lambda: "2.0")

    def with_gpus(*gpus):
        monkeypatch.setitem(sys.modules, "pynvml", FakeDriver(*gpus))
        devices._found.cache_clear()

    yield with_gpus
    devices._found.cache_clear()


def names():
    return [device.id for device in devices.usable()]


def test_the_best_device_is_the_default_and_the_variable_overrides_it(machine, monkeypatch):
    machine(FakeGpu("H100"), FakeGpu("L4"))
    assert names() == ["cuda", "cuda:1", "cpu"]
    assert devices.default() == "cuda"
    assert (devices.find("cuda:1").name, devices.find("cuda:1").capability) == ("L4", (9, 0))
    monkeypatch.setenv(devices.VARIABLE, "cuda:1")
    assert devices.default() == "cuda:1"
    monkeypatch.setenv(devices.VARIABLE, "gpu")
    with pytest.raises(BadRequest, match="Unknown device 'gpu'"):
        devices.default()


def test_without_a_gpu_the_processor_is_the_default(machine):
    machine()
    assert devices.default() == "cpu"
    assert devices.missing("cuda") == "This machine has no cuda device. Use cpu."


def test_a_lost_gpu_does_not_hide_the_others_and_says_why(machine):
    machine(FakeGpu("H100", lost=True), FakeGpu("L4"))
    assert names() == ["cuda:1", "cpu"]
    assert "lost contact" in devices.missing("cuda")
    assert devices.default() == "cuda:1"


def test_a_divided_gpu_shows_its_first_part_and_does_not_hide_the_others(machine, monkeypatch):
    machine(FakeGpu("H100", parts=2), FakeGpu("L4"))
    assert names() == ["cuda", "cuda:1", "cpu"]
    assert devices.find("cuda:1").name == "L4"
    assert "CUDA_VISIBLE_DEVICES=MIG-0-1" in devices.find("MIG-0-1").reason
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0-1")
    assert names() == ["cuda", "cpu"]


@pytest.mark.parametrize(
    ("visible", "found"), [("", []), ("1", ["L4"]), ("1,0", ["L4", "H100"]), ("0,9,1", ["H100"]), ("GPU-1", ["L4"])]
)
def test_hidden_gpus_are_not_counted(machine, monkeypatch, visible, found):
    machine(FakeGpu("H100"), FakeGpu("L4"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [device.name for device in devices.found()][:-1] == found
    assert names() == [f"cuda:{number}" if number else "cuda" for number in range(len(found))] + ["cpu"]


def test_a_report_adds_what_the_driver_does_not_know_and_corrects_what_torch_cannot_use(machine, tmp_path):
    report = {"torch": "2.0", "visible": None, "devices": [{"id": "mps", "name": "Apple M4 GPU"}]}
    (tmp_path / "devices.json").write_text(json.dumps(report))
    machine()
    assert (names(), devices.find("mps").name) == (["mps", "cpu"], "Apple M4 GPU")
    machine(FakeGpu("H100"))
    assert "torch cannot use it" in devices.missing("cuda")
    (tmp_path / "devices.json").write_text(json.dumps({**report, "torch": "1.0"}))  # of another installation
    machine(FakeGpu("H100"))
    assert names() == ["cuda", "cpu"]


def test_a_torch_without_cuda_is_a_reason(machine, monkeypatch):
    monkeypatch.setattr(devices, "_torch_version", lambda: "2.0+cpu")
    machine(FakeGpu("H100"))
    assert names() == ["cpu"]
    assert "install a build of torch" in devices.missing("cuda")


def test_names_have_one_form():
    assert RunSpec(device="cuda:0").run_id == RunSpec(device="cuda").run_id
    assert (devices.kind("cuda:12"), devices.index("cuda:12")) == ("cuda", 12)
    for wrong in ("cpu:1", "mps:0", "cuda:", "CUDA", "tpu"):
        with pytest.raises(BadRequest, match="Unknown device"):
            devices.parse(wrong)


def test_precision_is_part_of_a_run_and_omitted_at_the_default_of_the_device():
    assert (RunSpec().precision, RunSpec(device="cuda").precision) == ("float32", "tf32")
    assert "precision" not in RunSpec(precision="float32").to_dict()
    half = RunSpec(device="cuda", precision="bfloat16")
    assert half.run_id != RunSpec(device="cuda").run_id
    assert "--precision bfloat16" in half.command()
    assert RunSpec.from_dict(half.to_dict()) == half
    assert "--precision float32" in RunSpec(device="cuda", precision="float32").command()
    with pytest.raises(BadRequest, match="tf32 needs an NVIDIA GPU"):
        RunSpec(precision="tf32")
    with pytest.raises(BadRequest, match="Unknown precision"):
        RunSpec(precision="int8")
