"""Parts of a model that do not fit together are refused when the model is loaded, before anything is computed."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from dit_core.cli.commands import main
from dit_core.data.build import CLASS_OF_SUBGROUP
from dit_core.data.images import EMOJI, SETS, ImageSet
from dit_core.errors import BadRequest
from dit_core.models import checkpoints, sources
from dit_core.models.sources.folder import save_model


@pytest.fixture
def folder(tiny_model, tmp_path):
    save_model(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def config(folder, **changes):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    for name, value in changes.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(content))


def other_decoder(folder):
    vae = AutoencoderKL(latent_channels=3, block_out_channels=(8,), norm_num_groups=4, layers_per_block=1)
    vae.save_pretrained(folder / "vae")


def other_shapes(folder):
    state = checkpoints.read_safetensors(folder / "dit.safetensors")
    state["final_layer.linear.bias"] = torch.zeros(5)
    checkpoints.write_safetensors(state, folder / "dit.safetensors")


def surplus_weights(folder):
    state = checkpoints.read_safetensors(folder / "dit.safetensors")
    checkpoints.write_safetensors({**state, "blocks.0.attn.q_norm.weight": torch.zeros(4)}, folder / "dit.safetensors")


BROKEN = {
    "a decoder of other channels": (other_decoder, "latent channels"),
    "no decoder": (lambda folder: shutil.rmtree(folder / "vae"), "restore it"),
    "no weights of the decoder": (
        lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink(),
        "restore it",
    ),
    "a decoder that describes nothing": (lambda folder: (folder / "vae" / "config.json").write_text("[]"), "config"),
    "no weights": (lambda folder: (folder / "dit.safetensors").unlink(), "restore it"),
    "weights of another shape": (other_shapes, "does not fit one network"),
    "weights of another network": (surplus_weights, "another network"),
    "another depth": (lambda folder: config(folder, dit={"depth": 3}), "not complete"),
    "a negative depth": (lambda folder: config(folder, dit={"depth": -1}), "depth"),
    "a depth in words": (lambda folder: config(folder, dit={"depth": "2"}), "depth"),
    "heads that do not divide": (lambda folder: config(folder, dit={"num_heads": 5}), "num_heads"),
    "a patch that does not divide": (lambda folder: config(folder, dit={"patch_size": 3}), "patch_size"),
    "an unknown schedule": (lambda folder: config(folder, schedule={"beta_schedule": "cosine"}), "beta_schedule"),
    "an unknown size": (lambda folder: config(folder, dit={"colour": 3}), "colour"),
    "classes that the network does not have": (lambda folder: config(folder, classes=["one"]), "classes"),
    "classes that are no names": (lambda folder: config(folder, classes=[1, 2, 3]), "classes"),
    "a list for the files": (lambda folder: config(folder, files=[1]), "files"),
    "files without a network": (lambda folder: config(folder, files=[]), "lists no files"),
    "numbers for hashes": (lambda folder: config(folder, files={"dit.safetensors": 1}), "lists no files"),
    "no object at all": (lambda folder: (folder / "config.json").write_text("[1]"), "config.json"),
    "half a configuration": (lambda folder: (folder / "config.json").write_text('{"dit":'), "config.json"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_parts_that_do_not_fit_are_exit_2_before_anything_is_loaded(name, folder, monkeypatch, capsys):
    breaks, says = BROKEN[name]
    breaks(folder)
    monkeypatch.setattr(sources.folder.Folder, "load", None)
    assert main(["generate", "--model", str(folder), "--device", "cpu", "--out", str(folder / "out.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert str(folder) in line


def test_parts_that_fit_are_accepted(folder):
    sources.find(str(folder)).check()


def test_a_device_that_is_not_there_is_exit_2(capsys):
    for command in (["run"], ["generate"], ["export", "--out", "x"]):
        assert main([*command, "--device", "cuda:7"]) == 2
        assert "This machine has no cuda:7 device" in capsys.readouterr().err


@pytest.mark.parametrize("name", sources.bundled_names())
def test_the_bundled_models_fit(name):
    sources.find(name).check()


@pytest.fixture
def few_images(monkeypatch):
    """A training reads one image of each class: the whole set takes seconds."""
    from dit_core.training import run

    classes = tuple(CLASS_OF_SUBGROUP.values())
    count, side = len(set(classes)), SETS[EMOJI].side
    pixels = np.zeros((count, side, side, 3), np.uint8)
    names = tuple(sorted(set(classes)))
    images = ImageSet(pixels, np.arange(count), names, names, names, SETS[EMOJI].sha256)
    monkeypatch.setattr(run, "load_images", lambda split, name: images)
    monkeypatch.setattr(run, "fit", None)


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize("text", ["depth = -1", "depth = 2.5", 'depth = "8"', "num_heads = 7", "patch_size = 3"])
def test_a_training_of_an_impossible_network_is_refused_before_it_begins(text, tmp_path):
    from dit_core.training import run

    base = """kind = "base"\nname = "x"\nvae = "dit_core/models/weights/emoji/vae"\n[dit]\ninput_size = 8\n
in_channels = 8\npatch_size = 2\nhidden_size = 16\ndepth = 1\nnum_heads = 2\nlearn_sigma = false\n"""
    name = text.split(" =")[0]
    lines = [text if line.startswith(f"{name} =") else line for line in base.splitlines()]
    (tmp_path / "file.toml").write_text("\n".join(lines))
    with pytest.raises(BadRequest, match=name):
        run.train(tmp_path / "file.toml", tmp_path / "out")


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('kind = "base"', 'kind = "base"\nsettings = 5'),
        ('kind = "base"', 'kind = "base"\nmoe = 5'),
        ('kind = "base"', 'kind = "base"\nsurprise = 5'),
        ('name = "x"', "name = 5"),
        ("dit_core/models/weights/emoji/vae", "nowhere"),
        ("in_channels = 8", "in_channels = 4"),
        ("input_size = 8", "input_size = 16"),
        ("[dit]", '[settings]\nbatch_size = "128"\n[dit]'),
        ("[dit]", "[settings]\nbatch_size = 0\n[dit]"),
        ("[dit]", "[settings]\nwarmpu = 0\n[dit]"),
        ("[dit]", "[objective]\nlabel_dropout = true\n[dit]"),
        ("[dit]", '[schedule]\nprediction = ["epsilon"]\n[dit]'),
    ],
)
def test_a_mistyped_training_is_refused_before_it_begins(before, after, tmp_path, capsys):
    text = """kind = "base"\nname = "x"\nvae = "dit_core/models/weights/emoji/vae"\n[dit]\ninput_size = 8\n
in_channels = 8\npatch_size = 2\nhidden_size = 16\ndepth = 1\nnum_heads = 2\nlearn_sigma = false\n"""
    assert before in text
    (tmp_path / "file.toml").write_text(text.replace(before, after))
    assert main(["train", "--config", str(tmp_path / "file.toml"), "--out", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
