"""Every kind of model answers the same questions without torch, and only its file knows the kind."""

import json
import re
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from dit_core.errors import BadRequest
from dit_core.models import sources
from dit_core.models.dit import PRESETS, DiTConfig
from dit_core.models.model import build_dit
from dit_core.models.schedule import ScheduleConfig
from dit_core.models.sources import Missing, ModelSource, find, folder, load_model
from dit_core.models.structure import Structure, structure_of
from tests.test_imports import loaded_after

ROOT = Path(sources.__file__).parents[2]
SIZE = DiTConfig(8, 2, 4, 384, 12, 6, 1.0, 10, learn_sigma=True)  # width and depth of DiT-S
LISTED = sources.names()


@pytest.fixture(scope="session")
def by_path(tiny_model, tmp_path_factory) -> dict[str, str]:
    """A name of each kind of model that is found by its path."""
    root = tmp_path_factory.mktemp("models")
    folder.save_model(tiny_model, root / "folder")
    state = {name: value.contiguous() for name, value in build_dit(SIZE).state_dict().items()}
    save_file(state, root / "dit.safetensors")
    torch.save({"ema": state}, root / "dit.pt")
    return {path.name: str(path) for path in root.iterdir()}


@pytest.fixture(params=[*LISTED, "folder", "dit.safetensors", "dit.pt"])
def source(request, by_path) -> ModelSource:
    return find(by_path.get(request.param, request.param))


def test_a_source_answers_every_question(source):
    assert source.size is None or isinstance(source.size, DiTConfig)
    assert isinstance(source.schedule, ScheduleConfig)
    assert isinstance(source.reference_images, str | Missing)
    assert isinstance(source.training_images, str | Missing)
    assert source.autoencoder or source.export_problem
    assert source.digest is None or re.fullmatch("[0-9a-f]{12}", source.digest)
    assert not Path(source.portable_name).is_absolute()
    assert all(isinstance(need, str) for need in source.needs)
    assert source.recovered_folder is None or source.recovered_folder.parent.is_dir()  # made with the first weights
    if source.size is None:
        assert source.structure is source.class_names is source.null_label is None
    else:
        assert isinstance(source.structure, Structure)
        assert len(source.class_names or ()) == source.size.num_classes
        assert source.null_label in (None, source.size.num_classes)


def test_a_source_with_images_names_a_set_and_one_without_names_itself(source):
    own = "emoji64" if source.name == "emoji64" else "emoji"
    for images in (source.reference_images, source.training_images):
        assert images == own if isinstance(images, str) else source.name in images.reason


@pytest.mark.parametrize("name", [*sources.bundled_names(), "random:DiT-XS/8@64", "folder", "dit.safetensors"])
def test_the_facts_of_a_source_are_those_of_the_loaded_model(name, by_path, tiny_model, monkeypatch):
    source = find(by_path.get(name, name))
    if name == "dit.safetensors":  # its autoencoder would have to be downloaded
        monkeypatch.setattr(AutoencoderKL, "from_pretrained", lambda *args, **options: tiny_model.vae)
    model = load_model(source.name)
    assert model.config.dit == source.size
    assert model.classes == source.class_names
    assert model.config.schedule == source.schedule
    assert structure_of(model.dit) == source.structure
    assert (model.vae is None) == (source.autoencoder is None)


@pytest.mark.parametrize("file", ["dit.safetensors", "dit.pt"])
def test_a_checkpoint_states_its_size_before_it_is_loaded(by_path, file):
    assert find(by_path[file]).size == SIZE


def test_a_changed_checkpoint_has_another_digest(by_path, tmp_path):
    file = tmp_path / "mine.pt"
    state = build_dit(SIZE).state_dict()
    torch.save(state, file)
    before = find(str(file)).digest
    state["x_embedder.proj.bias"][0] += 1
    torch.save(state, file)
    assert before != find(str(file)).digest


def test_a_changed_folder_is_read_again(tiny_model, tmp_path):
    folder.save_model(tiny_model, tmp_path / "mine")
    config = tmp_path / "mine" / "config.json"
    assert find(str(tmp_path / "mine")).sampler is None
    config.write_text(json.dumps({**json.loads(config.read_text()), "sampler": {"scheduler": "ddim", "steps": 4}}))
    assert find(str(tmp_path / "mine")).sampler == ("ddim", 4)


def test_weights_of_another_kind_of_network_are_refused_before_they_are_loaded(tmp_path):
    save_file({"unet.weight": torch.zeros(2)}, tmp_path / "unet.safetensors")
    with pytest.raises(BadRequest, match="not those of a DiT"):
        find(str(tmp_path / "unet.safetensors"))


@pytest.mark.parametrize("name", ["nope", "", ".", "..", "a" * 5000, "with\0null", "emoji/../emoji", "DiT-XL/2"])
def test_a_name_of_no_model_is_refused_with_the_models_that_exist(name):
    with pytest.raises(BadRequest) as error:
        find(name)
    assert all(listed in str(error.value) for listed in LISTED)
    assert "\n" not in str(error.value)
    assert sources.find_if_known(name) is None
    assert not sources.is_cost_only(name)


@pytest.mark.parametrize("name", [None, 7, [], {}, ["emoji"]])
def test_a_name_that_is_no_text_is_refused(name):
    with pytest.raises(BadRequest, match="must be text"):
        find(name)


def test_a_published_name_has_the_size_of_its_preset_at_its_resolution():
    size = find("DiT-XL/2-512").size
    assert size is not None
    assert (size.tokens, size.hidden_size) == (1024, PRESETS["DiT-XL/2"].hidden_size)


def test_sources_are_found_without_torch():
    assert "torch" not in loaded_after(
        "from dit_core.models import sources\n"
        "for name in sources.names(): s = sources.find(name); s.structure, s.class_names, s.digest, s.facts"
    )


def test_no_other_code_knows_the_kinds_of_models():
    """Nothing outside the folder asks for the file of a kind, except for `save_model`, or for the prefix of a name."""
    kinds = "|".join({kind.__module__.rpartition(".")[2] for kind in sources.kinds()})
    imported = rf"models\.sources\.({kinds})\b(?! import save_model)"
    pattern = re.compile(rf"{imported}|(?<!models\.)\bsources\.(kinds|{kinds})\b|[\"']random:[\"']")
    others = [path for path in ROOT.rglob("*.py") if "sources" not in path.relative_to(ROOT).parts]
    assert len(others) > 100
    package = ROOT / "models" / "__init__.py"  # names the home of `save_model`
    assert not [str(path) for path in others if pattern.search(path.read_text()) and path != package]
