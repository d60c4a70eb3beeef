"""A recovery as a run meets it: what a listener hears and sees of it, and the model that it leaves."""

import io
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dit_core.experiment.export import export
from dit_core.experiment.prepare import SHEET_COLUMNS, SHEET_IMAGES, prepare
from dit_core.listener import Listener
from dit_core.models.sources import bundled, load_model
from dit_core.models.sources.folder import save_model
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.training import recovery
from tests.training.short_recovery import images_of

pytestmark = pytest.mark.slow

STEPS = 4
RECIPE = ({"name": "depth_pruning", "keep": 1, "importance": "even", "recover": str(STEPS)},)
SPEC = RunSpec(model="tiny", techniques=canonical(RECIPE))


@pytest.fixture(autouse=True)
def tiny(tiny_model, tmp_path, monkeypatch):
    """The tiny model as a bundled one; trainings preview after every step and log every other."""
    settings_for = recovery.settings_for
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})  # one thread is enough
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path / "weights")
    save_model(tiny_model, tmp_path / "weights" / "tiny")
    monkeypatch.setattr(recovery, "load_images", lambda split, name: images_of(tiny_model.classes))
    monkeypatch.setattr(
        recovery, "settings_for", lambda *args: replace(settings_for(*args), preview_every_s=0.0, log_every=2)
    )


def test_a_training_tells_its_loss_and_shows_what_the_network_can_do_so_far(tmp_path):
    heard, sheets = [], []
    listener = Listener(
        progress=lambda stage, step, of: heard.append((stage, step, of)),
        preview=lambda which, png: sheets.append((which, png)),
    )
    prepared = prepare(SPEC, listener)

    trained = [(stage, step, of) for stage, step, of in heard if stage.startswith("train")]
    assert [(step, of) for _, step, of in trained] == [(2, STEPS), (4, STEPS)]
    losses = [float(stage.removeprefix("train (loss ").removesuffix(")")) for stage, _, _ in trained]
    (log,) = (tmp_path / "results").glob("**/log.csv")
    assert losses == pytest.approx([float(row.split(",")[1]) for row in log.read_text().splitlines()[1:]], abs=1e-4)
    assert min(losses) > 0

    assert [which for which, _ in sheets] == ["candidate"] * STEPS
    pictures = [np.asarray(Image.open(io.BytesIO(png))) for _, png in sheets]
    side = 3 * 32  # tiles of 32 pixels, enlarged
    assert pictures[0].shape == (SHEET_IMAGES // SHEET_COLUMNS * side, SHEET_COLUMNS * side, 3)
    assert not np.array_equal(pictures[0], pictures[-1])
    assert prepared.candidate.dit.config.depth == 1


def test_a_recovered_network_is_exported_as_a_model_like_any_other(tmp_path):
    candidate = prepare(SPEC).candidate.dit
    export(SPEC, tmp_path / "exported")
    loaded = load_model(str(tmp_path / "exported"))
    x, t, y = torch.randn(2, 4, 8, 8), torch.tensor([1, 900]), torch.tensor([0, 3])
    with torch.inference_mode():
        torch.testing.assert_close(loaded.dit(x, t, y), candidate(x, t, y), rtol=0, atol=0)
        untrained = load_model("tiny").dit
        untrained.blocks = untrained.blocks[:1]
        assert (loaded.dit(x, t, y) - untrained(x, t, y)).abs().max() > 1e-3
    again = RunSpec(model=str(tmp_path / "exported"), techniques=canonical([{"name": "quantization", "bits": 8}]))
    assert prepare(again).candidate.dit.config.depth == 1
