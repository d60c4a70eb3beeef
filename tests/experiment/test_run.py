"""What a run and the command line make of a network that is broken."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from dit_core.cli.commands import main
from dit_core.experiment import prepare, run
from dit_core.models.model import Model
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import generate, generate_and_check

pytestmark = pytest.mark.slow

CLASSES = ("activity", "animal", "building")  # three of the bundled data's, so that its references serve


def broken_in(model: Model, classes: slice) -> Model:
    """The same network with NaN where these classes are embedded."""
    other = Model(_copy(model.dit), model.vae, replace(model.config, classes=CLASSES))
    other.dit.y_embedder.embedding_table.weight[classes] = torch.nan
    return other


def _copy(dit: nn.Module) -> Any:
    twin = type(dit)(dit.config)
    twin.load_state_dict(dit.state_dict())
    return twin.eval().requires_grad_(False)


@pytest.fixture
def load(monkeypatch, tiny_model, untimed):
    """Runs and commands on a tiny network that is broken in some classes; what it costs is made up."""

    def load_broken(classes: slice) -> None:
        broken = broken_in(tiny_model, classes)
        monkeypatch.setattr(prepare, "load_model", lambda name, device: broken)
        monkeypatch.setattr(prepare.runtime, "set_up", torch.device)  # one thread, as every test has
        monkeypatch.setattr(prepare, "SHEET_IMAGES", 6)

    return load_broken


def test_images_that_are_not_finite_are_black_and_told_one_by_one(tiny_model):
    broken = broken_in(tiny_model, slice(1, 2))
    decoded = generate_and_check(broken, [0, 1, 2, 1], batch_size=2, sampling=SamplingConfig(steps=2))
    assert decoded.finite.tolist() == [True, False, True, False]
    assert decoded.broken == 2
    assert not decoded.images[1].any()
    whole = generate(tiny_model, [0, 1, 2, 1], batch_size=2, sampling=SamplingConfig(steps=2))
    assert torch.equal(decoded.images[0], whole[0])


@pytest.mark.parametrize(
    ("classes", "judged", "shown"),
    [(slice(None), "6 of 6 images", "6 of 6 images"), (slice(1, 2), "2 of 6 images", "2 of 6 images")],
    ids=["every image", "a class"],
)
def test_a_run_of_a_broken_network_ends_with_a_record_whose_quality_is_null_with_the_reason(
    load, classes, judged, shown
):
    load(classes)
    one = run.run(RunSpec(steps=2, batch_size=2, samples=6, classes=CLASSES))
    assert one.quality["distance"] is one.quality["kid"] is None
    assert judged in one.quality["reason"]
    assert one.quality["not_finite_images"] == int(judged[0])
    solved = {"name": "solver", "scheduler": "ddim", "steps": 1}
    record = run.run(RunSpec(steps=2, batch_size=2, samples=6, classes=CLASSES, techniques=(solved,)))
    assert record.fidelity["psnr_db"] is record.fidelity["ssim"] is None
    assert shown in record.fidelity["reason"]
    assert record.status == "done"


def test_a_finite_network_is_judged(load):
    load(slice(0, 0))
    record = run.run(RunSpec(steps=2, batch_size=2, samples=6, classes=CLASSES))
    assert record.quality["not_finite_images"] == 0
    assert record.quality["kid"] is not None
    assert record.fidelity["not_finite_images"] == 0


def test_generate_says_in_one_line_that_images_are_broken_and_fails(load, tmp_path, capsys):
    load(slice(1, 2))
    out = tmp_path / "sheet.png"
    command = ["generate", "--out", str(out), "--count", "3", "--steps", "2", "--classes", ",".join(CLASSES)]
    assert main(command) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "not finite" in line]
    assert len(told) == 1
    assert "1 of 3 images" in told[0]
    assert out.is_file()


def test_a_candidate_is_compared_with_its_baseline_on_the_same_seeds(load):
    load(slice(0, 0))
    unchanged = {"name": "unstructured_pruning", "sparsity": 0.0}
    spec = RunSpec(steps=1, batch_size=2, samples=100, classes=CLASSES, techniques=(unchanged,))
    record = run.run(spec)
    assert record.quality["difference"] == pytest.approx(0, abs=1e-6)
    assert record.quality["difference_method"].startswith("16 random halves of 100 pairs")
