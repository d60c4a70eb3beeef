"""A machine with a GPU, simulated: its figures come first, and pages open on records like its own."""

import sys

import pytest

from dit_core.records import metrics
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.system import devices
from dit_core.ui import data
from dit_core.ui.components import tiles
from tests.factory import make_record, make_sheets
from tests.fake_driver import FakeDriver, FakeGpu

MEMORY = {"peak_reserved_bytes": 9_000_000}


@pytest.fixture
def with_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_torch_version", lambda: "2.0")

    def plug(*names):
        monkeypatch.setitem(sys.modules, "pynvml", FakeDriver(*map(FakeGpu, names)))
        devices._found.cache_clear()

    yield plug
    devices._found.cache_clear()


def record(device, gpu=None, count=0):
    environment = {"device": device, "gpu": gpu, "fingerprint": gpu or device}
    return make_record(
        RunSpec(device=device, seed=count), environment=environment, memory=MEMORY, energy={"utilization": 0.9}
    )


def test_a_record_of_a_gpu_shows_the_gpu_s_figures_first():
    on_gpu = record("cuda:1", "H100")
    assert tuple(tiles.tiles(on_gpu)[: len(metrics.ON_GPU)]) == metrics.ON_GPU
    assert (metrics.RESERVED_MEMORY.scaled(on_gpu), metrics.UTILIZATION.scaled(on_gpu)) == (9, 90)
    energy = metrics.ENERGY_PER_IMAGE.read(make_record(RunSpec(), energy={"energy_j": 16.0}, latency={"batch_size": 8}))
    assert energy == 2
    assert not {metrics.RESERVED_MEMORY, metrics.UTILIZATION} & set(tiles.tiles(make_record(RunSpec())))


def test_pages_open_on_the_environment_most_like_this_machine(with_gpu):
    many = [record("cpu", count=count) for count in range(3)]
    for each in (*many, record("cuda", "L4", 4), record("cuda", "H100", 5)):
        Store().put(each, make_sheets(each), local=False)

    def first():
        return data.groups()[0].runs[0].record.environment

    with_gpu()
    assert first()["device"] == "cpu"
    with_gpu("H100")
    assert first()["gpu"] == "H100"
    with_gpu("L4")
    assert first()["gpu"] == "L4"
    with_gpu("A100")
    assert first()["device"] == "cuda"


def test_the_form_judges_as_many_images_as_the_bundled_protocol_does_on_the_device(with_gpu):
    Store().put(judged := make_record(RunSpec(samples=1000)), make_sheets(judged), local=False)
    with_gpu()
    assert data.default_spec().samples == 1000
    with_gpu("H100")
    assert data.default_spec().samples == 5000


def test_the_default_device_of_the_page_is_the_gpu(with_gpu, monkeypatch):
    with_gpu("H100", "L4")
    assert data.devices() == ["cuda", "cuda:1", "cpu"]
    monkeypatch.setenv(devices.VARIABLE, "cuda:1")
    assert data.devices()[0] == "cuda:1"
