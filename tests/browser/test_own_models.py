"""Models and devices of a visitor: a checkpoint of fast-DiT, a pipeline of diffusers, and a machine with a GPU.

Runs of models are real and timed briefly; those on the GPU, which is not there, are faked.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, expect

from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.browser.conftest import with_worker
from tests.dashboard import ROOT, Dashboard
from tests.models.published_files import SIZE, autoencoder, save_pipeline, state_dict, training_state

RUN_MS = 600_000  # for a whole run on a busy machine
GPU = "NVIDIA H100 80GB HBM3"


@pytest.fixture
def own(tmp_path) -> Iterator[Dashboard]:
    """No records and no models of one's own, and a worker of real runs."""
    folders = {"DIT_DATA": str(tmp_path / "data"), "DIT_CACHE": str(tmp_path / "cache")}
    with with_worker(tmp_path, "tests.brief_job", **folders) as dashboard:
        yield dashboard


@pytest.fixture
def photos(tmp_path) -> Path:
    """Twelve images of 64 pixels."""
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "photos" / f"{index}.png")
    return tmp_path / "photos"


def measured(page: Page, results: Path, title: str) -> RunRecord:
    """Click Run, follow the run to its figures, and return its record."""
    page.locator(".st-key-run button:visible").click()
    page.wait_for_url(re.compile(r"job=\d"))
    expect(page.get_by_text("Speed-up", exact=True)).to_be_visible(timeout=RUN_MS)
    for side in ("Baseline", title):
        expect(page.get_by_role("img", name=re.compile(rf"^{side}, \d+ samples"))).to_be_visible()
    (stored,) = Store(results).load().records
    return stored.record


def test_a_checkpoint_of_fast_dit_with_its_own_names_is_judged_against_ones_own_images(browser, own, photos, tmp_path):
    torch.save(training_state(state_dict(SIZE, seed=1), state_dict(SIZE)), tmp_path / "0400000.pt")
    autoencoder().save_pretrained(tmp_path / "vae")
    (tmp_path / "names.txt").write_text("".join(f"sort {label}\n" for label in range(SIZE.num_classes)))

    page = own.open(browser, "/machine")
    page.locator(".st-key-add-model summary").click()
    entries = {"name": "mine", "target": "0400000.pt", "autoencoder": "vae", "classes": "names.txt"}
    for field, text in entries.items():
        page.locator(f".st-key-add-{field} input").fill(text if field == "name" else str(tmp_path / text))
    page.locator(".st-key-add-submit button").click()
    page.get_by_role("link", name="mine").click()
    page.wait_for_url(re.compile(r"/run_live\?.*model=mine"))
    link = {"technique": "depth_pruning", "depth_pruning_keep": 1, "steps": 2, "batch": 1, "judged": 40}
    page.goto(f"{own.url}/run_live?{urlencode({**link, 'model': 'mine', 'reference': str(photos)})}")

    record = measured(page, own.results, "Depth pruning")
    assert set(record.samples["labels"]) <= {f"sort {label}" for label in range(SIZE.num_classes)}
    assert record.quality["count"] == 40
    assert record.quality["reference"]
    assert record.environment["model"]["autoencoder"] == {"origin": "option", "value": "in the folder vae"}


def test_a_pipeline_of_diffusers_is_measured_under_its_class_names_and_exported_as_one(browser, own, tmp_path):
    save_pipeline(tmp_path / "pipe")
    link = {"model": str(tmp_path / "pipe"), "technique": "quantization", "steps": 2, "batch": 1}
    page = own.open(browser, f"/run_live?{urlencode(link)}")
    expect(page.get_by_text("has no reference images to judge against")).to_be_visible()
    record = measured(page, own.results, "Quantization")
    assert record.samples["labels"][0].startswith("name ")
    assert record.quality["distance"] is None
    page.get_by_role("button", name="Create model file").click()
    expect(page.get_by_role("button", name=re.compile(r"Model \(.* zip\)"))).to_be_visible(timeout=RUN_MS)


def test_a_machine_with_a_gpu_runs_there_in_the_precision_of_gpus_and_shows_its_figures(browser, tmp_path):
    (tmp_path / "driver").mkdir()
    lines = (
        "import sys",
        "from tests.fake_driver import FakeDriver, FakeGpu",
        f"sys.modules['pynvml'] = FakeDriver(FakeGpu({GPU!r}))",
    )
    (tmp_path / "driver" / "pynvml.py").write_text("\n".join(lines))
    there = {
        "PYTHONPATH": f"{tmp_path / 'driver'}:{ROOT}",
        "DIT_DEVICE": "",
        "CUDA_VISIBLE_DEVICES": "0",
        "DIT_CACHE": str(tmp_path / "worker"),  # where torch reports that it finds no such device
    }
    with with_worker(tmp_path, "tests.fake_job", {"DIT_CACHE": str(tmp_path / "server")}, **there) as dashboard:
        page = dashboard.open(browser, "/run_live?quantization_bits=8&steps=5")
        expect(page.get_by_text(GPU).first).to_be_visible()
        page.wait_for_url(re.compile(r"device=cuda"))
        page.locator(".st-key-run button:visible").click()
        page.wait_for_url(re.compile(r"job=\d"))
        expect(page.get_by_text("Speed-up", exact=True)).to_be_visible()
        (stored,) = Store(dashboard.results).load().records
        spec = RunSpec.from_dict(stored.record.spec)
        assert (spec.device, spec.precision) == ("cuda", "tf32")
        page.get_by_role("link", name="Show on the Pareto plots").click()
        page.wait_for_url(re.compile(r"/pareto\?run="))
        expect(page.get_by_role("combobox", name="Machine")).to_have_value(re.compile(re.escape(GPU)))
