"""What many tests share: one thread, and a tiny model that is real in every part.

Torch is imported where tests run: the process that hands them out needs none, and has nothing to say after its summary.
"""

import importlib
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(tempfile.mkdtemp(prefix="dit-core-tests-"))
settings.register_profile("tests", derandomize=True, database=None, deadline=None)  # the same examples in every run
settings.load_profile("tests")
os.environ["DIT_CACHE"] = tempfile.mkdtemp(prefix="dit-core-tests-")
os.environ["DIT_DEVICE"] = "cpu"  # the same runs on every machine
os.environ["DIT_DATA"] = tempfile.mkdtemp(prefix="dit-core-tests-")
os.environ["OMP_WAIT_POLICY"] = "passive"  # threads that wait leave the processor to the other tests
os.environ["DIT_INCEPTION"] = "off"  # FID costs minutes where its weights happen to be at hand

CLASSES = ("circle", "square", "star")
BROWSER = Path(__file__).parent / "browser"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with its tier: browser by its folder, slow by its own mark, otherwise fast."""
    for item in items:
        if BROWSER in item.path.parents:
            item.add_marker(pytest.mark.browser)
        elif item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.fast)


@pytest.fixture(autouse=True)
def _one_thread():
    """A test that runs an experiment in its own process sets the number of threads for all that follow."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model():
    """A `Model`: three classes, 16 tokens, width 64, depth 2, random but lively weights; do not change it."""
    import torch
    from diffusers import AutoencoderKL

    from dit_core.models.dit import DiTConfig
    from dit_core.models.model import Model, ModelConfig, build_dit
    from dit_core.models.schedule import ScheduleConfig

    dit_config = DiTConfig(8, 2, 4, 64, 2, 4, 4.0, len(CLASSES), learn_sigma=False)
    dit = build_dit(dit_config, seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in dit.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=4,
            mid_block_add_attention=False,
            scaling_factor=1.0,
            shift_factor=0.0,
        )
    schedule = ScheduleConfig("squaredcos_cap_v2", "v_prediction")
    config = ModelConfig("tiny", CLASSES, dit_config, schedule)
    return Model(dit.eval().requires_grad_(False), vae.eval().requires_grad_(False), config)


@pytest.fixture
def timed_briefly(monkeypatch):
    """Runs in this process time each side in one process, for as few calls as give a spread, and no peak of memory."""
    from dit_core.measure import latency
    from dit_core.measure.interleaved import Plan

    memory = importlib.import_module("dit_core.measure.memory")
    monkeypatch.setattr(latency, "PROCESSES", 1)
    monkeypatch.setattr(latency, "PLAN", Plan(most_s=0))
    peak = {"peak_memory_bytes": None, "peak_kind": memory.CPU_PEAK, "reason": "not measured in this test"}
    monkeypatch.setattr(memory, "peak_memory", lambda *rest, **options: peak)


@pytest.fixture
def untimed(monkeypatch):
    """Runs in this process draw and judge, and what they cost is made up: they start no other process."""
    from dit_core.experiment import run
    from tests.factory import make_record

    costs = ("latency", "speedup", "memory", "flops", "energy")
    made = make_record().to_dict()
    monkeypatch.setattr(run, "_measured", lambda *rest: {name: dict(made[name]) for name in costs})
    monkeypatch.setattr(run, "_estimate", lambda *rest: None)
    monkeypatch.setattr(run.measure, "peak_memory_alongside", lambda workload: nullcontext(lambda watch: {}))
    monkeypatch.setattr(run.isolation, "warm", lambda *modules: True)
