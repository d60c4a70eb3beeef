"""From a file as others write it to a measured record and to an export that others read."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dit_core.errors import BadRequest
from dit_core.experiment.checks import check
from dit_core.experiment.export import export
from dit_core.experiment.known import is_current
from dit_core.experiment.run import run
from dit_core.models.formats import FORMS
from dit_core.models.formats.export import WRITERS
from dit_core.models.sources import Options, add, bundled_names, find, load_model
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.models.published_files import SIZE, autoencoder, save_pipeline, state_dict, training_state
from tests.workers import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("timed_briefly")]

WIDE = replace(SIZE, mlp_ratio=4.0)
FILE = {"pt": "dit.pt", "safetensors": "dit.safetensors"}
HALF = canonical([{"name": "depth_pruning", "keep": 1, "calibration": 1}])


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A checkpoint of fast-DiT that is kept under a name, with own class names and autoencoder."""
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("dit_core.data.own_images.LISTED_FOR_S", 1e-9)
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    torch.save(training_state(state_dict(WIDE, seed=1), state_dict(WIDE)), tmp_path / "0400000.pt")
    autoencoder().save_pretrained(tmp_path / "vae")
    names = tuple(f"sort {label}" for label in range(10))
    add("mine", str(tmp_path / "0400000.pt"), Options(autoencoder=str(tmp_path / "vae"), classes=names))
    return "mine"


def test_every_format_has_a_writer():
    assert (*WRITERS,) == FORMS[1:]


@pytest.fixture
def photos(tmp_path):
    """Twelve images in a folder for each of two classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), np.uint8)
    for index, image in enumerate(pixels):
        path = tmp_path / "photos" / f"sort {3 + index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return str(tmp_path / "photos")


def outputs(model):
    """The network's output for fixed inputs, with and without class."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, *model.latent_shape, generator=generator)
    with torch.no_grad():
        return model.dit(x, torch.tensor([20, 800]), torch.tensor([3, 10]))


@pytest.mark.parametrize("form", FORMS)
def test_every_format_is_read_again_as_the_same_model_and_tells_all_of_it(mine, tmp_path, form):
    export(RunSpec(model=mine), tmp_path / "out", form=form)
    place = tmp_path / "out" / FILE.get(form, "")
    source, model, before = find(str(place)), load_model(str(place)), load_model(mine)
    assert source.class_names == before.classes
    assert source.schedule == before.config.schedule
    assert source.size == before.config.dit
    assert not [fact for fact in source.facts if fact.origin == "assumed"]
    torch.testing.assert_close(outputs(model), outputs(before), atol=0.02, rtol=0.02)
    latents = torch.randn(1, *model.latent_shape)
    assert (model.decode(latents).int() - before.decode(latents).int()).abs().max() <= 2


def test_a_pipeline_computes_in_diffusers_what_its_card_says(mine, tmp_path):
    from diffusers import DiTPipeline

    export(RunSpec(model=mine), tmp_path / "out", form="diffusers")
    lines = (tmp_path / "out" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert "downscale_freq_shift = 0" in lines
    pipeline = DiTPipeline.from_pretrained(tmp_path / "out")
    for block in pipeline.transformer.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    x, t, y = torch.randn(2, 4, 8, 8), torch.tensor([20, 800]), torch.tensor([3, 10])
    with torch.no_grad():
        theirs = pipeline.transformer(x, t, class_labels=y).sample
        torch.testing.assert_close(theirs, load_model(mine).dit(x, t, y), atol=1e-4, rtol=1e-4)
    assert pipeline.labels["sort 3"] == 3


def test_a_pipeline_survives_the_way_in_and_out(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    save_pipeline(tmp_path / "pipe")
    export(RunSpec(model=str(tmp_path / "pipe")), tmp_path / "out", form="diffusers")
    assert torch.equal(outputs(load_model(str(tmp_path / "pipe"))), outputs(load_model(str(tmp_path / "out"))))
    for form in FILE:
        with pytest.raises(BadRequest, match="set format to folder or diffusers"):
            export(RunSpec(model=str(tmp_path / "pipe")), tmp_path / form, form=form)


@pytest.mark.parametrize("form", FILE)
def test_the_six_lines_of_a_card_load_the_network_that_they_name(mine, tmp_path, monkeypatch, form):
    """Executed with a stand-in for fast-DiT's `models.py`, whose `DiT` takes the same arguments in the same order."""
    from types import SimpleNamespace

    from dit_core.models.dit import DiT, DiTConfig

    def public_dit(size, patch, channels, width, depth, heads, ratio, dropout, classes, learn_sigma):
        return DiT(DiTConfig(size, patch, channels, width, depth, heads, ratio, classes, learn_sigma, dropout > 0))

    export(RunSpec(model=mine), tmp_path / "exported", form=form)
    card = (tmp_path / "exported" / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line]) <= 6
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "models", SimpleNamespace(DiT=public_dit))
    found: dict = {}
    exec(code, found)
    assert torch.equal(outputs(load_model(mine).with_dit(found["network"])), outputs(load_model(mine)))


@pytest.mark.parametrize(("form", "made"), [("folder", "len(images)"), ("diffusers", "images[0].size")])
def test_the_lines_of_a_card_make_images_in_a_fresh_process(mine, tmp_path, form, made):
    export(RunSpec(model=mine, steps=2), tmp_path / "exported", form=form)
    code = (tmp_path / "exported" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "lines.py").write_text(f"{code}print({made})\n")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "lines.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == {"folder": "4", "diffusers": "(64, 64)"}[form]


def test_a_network_that_techniques_changed_is_refused_before_it_is_loaded(mine, tmp_path, monkeypatch):
    monkeypatch.setattr("dit_core.experiment.export.prepare", lambda *args, **options: pytest.fail("it was loaded"))
    recipe = canonical([{"name": "quantization", "bits": 8, "group_size": 32}])
    for form in FORMS[1:]:
        with pytest.raises(BadRequest, match="set format to folder"):
            export(RunSpec(model=mine, techniques=recipe), tmp_path / "out", form=form)
    with pytest.raises(BadRequest, match="Unknown format 'onnx'"):
        export(RunSpec(model=mine), tmp_path / "out", form="onnx")


@pytest.mark.parametrize("form", FORMS)
def test_an_exported_bundled_model_is_judged_and_trained_as_that_model_in_every_format(tmp_path, monkeypatch, form):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    bundled = bundled_names()[0]
    place = str(tmp_path / "out" / FILE.get(form, ""))
    export(RunSpec(model=bundled), tmp_path / "out", form=form)
    source, original = find(place), find(bundled)
    assert source.class_names == original.class_names
    assert (source.reference_images, source.training_images) == (original.reference_images, original.training_images)
    check(RunSpec(model=place, samples=1))
    export(RunSpec(model=place), tmp_path / "again", form=form)
    assert find(str(tmp_path / "again" / FILE.get(form, ""))).reference_images == original.reference_images


def test_a_checkpoint_goes_from_its_file_to_a_judged_record_and_an_export(mine, photos, tmp_path):
    spec = RunSpec(model=mine, techniques=HALF, steps=1, batch_size=1, samples=12, classes=("sort 3", "sort 7"))
    with pytest.raises(BadRequest, match="mine has no reference images to judge against: set reference to"):
        check(spec)
    spec = replace(spec, reference=photos, training_images=photos)
    record = run(spec, store=Store())
    model = record.environment["model"]
    assert model["weights"]["value"] == "averaged (ema)"
    assert model["prediction"] == {"value": "epsilon", "origin": "assumed"}
    assert model["classes"]["origin"] == "option"
    assert record.environment["weights"]
    assert "photos, 12 images" in record.quality["reference"]
    assert record.samples["labels"][:2] == ["sort 3", "sort 7"]
    export(spec, tmp_path / "half", form="pt")
    card = (tmp_path / "half" / "README.md").read_text()
    assert f"{record.latency['latency_s'] * 1000:.4g} ms" in card
    assert "depth_pruning" in card
    assert str(tmp_path) not in card
    assert load_model(str(tmp_path / "half" / "dit.pt")).config.dit.depth == 1
    assert is_current(record)
    (tmp_path / "photos" / "sort 4" / "1.png").unlink()
    assert not is_current(record)
    torch.save({"ema": state_dict(WIDE, seed=9)}, tmp_path / "0400000.pt")
    assert not is_current(record)
    again = run(spec, store=Store())
    assert again.environment["weights"] != record.environment["weights"]
    assert is_current(again)


def test_every_format_goes_from_its_file_to_a_judged_record_with_the_same_quality(mine, photos, tmp_path, untimed):
    places = {}
    for form in FORMS:
        export(RunSpec(model=mine), tmp_path / form, form=form)
        places[form] = str(tmp_path / form / FILE.get(form, ""))
    judged = {"reference": photos, "samples": 100, "steps": 1, "guidance": 1.0}
    first, *others = (run(RunSpec(model=place, **judged), store=Store()) for place in (mine, *places.values()))
    assert first.quality["distance"] > 0
    for form, record in zip(places, others, strict=True):
        assert record.quality["distance"] == pytest.approx(first.quality["distance"], rel=0.02), form
        assert record.environment["weights"] != first.environment["weights"]
        assert record.samples["labels"] == first.samples["labels"]


def test_a_change_of_the_weights_during_a_run_leaves_no_record(mine, tmp_path, monkeypatch):
    from dit_core.experiment import run as running

    measured = running._measured

    def measure_and_overwrite(*arguments):
        sections = measured(*arguments)
        torch.save({"ema": state_dict(WIDE, seed=9)}, tmp_path / "0400000.pt")
        return sections

    monkeypatch.setattr(running, "_measured", measure_and_overwrite)
    with pytest.raises(BadRequest, match="changed while they were measured"):
        run(RunSpec(model=mine, steps=1, batch_size=1), store=Store())
    assert not Store().load().records


def test_a_network_without_a_null_label_runs_without_guidance_only(tmp_path, monkeypatch):
    from dit_core.experiment.checks import check
    from dit_core.experiment.prepare import prepare

    monkeypatch.setenv("DIT_DATA", str(tmp_path / "data"))
    torch.save(state_dict(replace(SIZE, null_label=False)), tmp_path / "plain.pt")
    autoencoder().save_pretrained(tmp_path / "vae")
    add("plain", str(tmp_path / "plain.pt"), Options(null_label=False, autoencoder=str(tmp_path / "vae")))
    with pytest.raises(BadRequest, match="set guidance to 1"):
        check(RunSpec(model="plain", guidance=2.0))
    prepared = prepare(RunSpec(model="plain", guidance=1.0, steps=1))
    assert prepared.decoded(prepared.baseline, 2).images.shape == (2, 3, 64, 64)
