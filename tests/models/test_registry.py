"""Models that a person keeps under a name, with options for what their files do not tell."""

import json
from dataclasses import replace

import pytest
import torch

from dit_core.errors import BadRequest
from dit_core.models import sources
from dit_core.models.sources import Options, add, digests, find, registry
from dit_core.models.sources.options import imagenet_names, names_of, parse_options, read_classes
from dit_core.models.sources.published import Published
from tests.models.published_files import SIZE, autoencoder, in_hub_cache, save_pipeline, state_dict, training_state

RAW, AVERAGED = state_dict(seed=1), state_dict()


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """A data folder and a Hugging Face cache of the test, without a network."""
    from huggingface_hub import constants

    monkeypatch.setenv("DIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def checkpoint(tmp_path):
    torch.save({**training_state(RAW, AVERAGED), "args": None}, tmp_path / "0400000.pt")
    return tmp_path / "0400000.pt"


@pytest.fixture
def vae(tmp_path):
    autoencoder().save_pretrained(tmp_path / "vae")
    return str(tmp_path / "vae")


def test_a_kept_name_is_a_model_with_its_options(checkpoint, vae):
    names = tuple(f"sort {label}" for label in range(10))
    options = Options(weights="raw", prediction="v_prediction", autoencoder=vae, classes=names)
    source = add("mine", str(checkpoint), options)
    assert sources.find("mine") is sources.find("mine")
    assert "mine" in sources.names()
    assert source.portable_name == "mine"
    assert (source.schedule.prediction, source.class_names, source.autoencoder) == ("v_prediction", names, vae)
    model = sources.load_model("mine")
    assert model.config.classes == names
    assert torch.equal(model.dit.state_dict()["x_embedder.proj.weight"], RAW["x_embedder.proj.weight"])
    origins = {fact.name: fact.origin for fact in source.facts}
    assert {origins[name] for name in ("prediction", "autoencoder", "classes")} == {"option"}
    assert origins["noise schedule"] == "assumed"
    registry.remove("mine")
    with pytest.raises(BadRequest, match="Unknown model 'mine'"):
        find("mine")


def test_a_name_of_another_model_is_refused_and_a_path_is_never_hidden(checkpoint, monkeypatch):
    for name in ("emoji", "DiT-XL/2-256", "random:DiT-S/2@256", "a/b", "", ".hidden"):
        with pytest.raises(BadRequest, match=r"cannot be a name|name of another model"):
            add(name, str(checkpoint))
    add("0400000.pt", str(checkpoint), Options(prediction="v_prediction"))
    monkeypatch.chdir(checkpoint.parent)
    assert find("0400000.pt").schedule.prediction == "v_prediction"
    assert find("./0400000.pt").schedule.prediction == "epsilon"


def test_a_kept_path_does_not_depend_on_the_working_folder(checkpoint, monkeypatch, tmp_path):
    monkeypatch.chdir(checkpoint.parent)
    add("mine", checkpoint.name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert find("mine").size == SIZE


def test_a_model_that_is_gone_stays_in_the_list_with_the_reason(checkpoint):
    add("mine", str(checkpoint))
    checkpoint.unlink()
    (listed,) = [listed for listed in sources.overview() if listed.name == "mine"]
    assert "Unknown model" in listed.needs[0]


def test_every_model_in_the_list_says_what_it_needs(checkpoint, vae):
    add("mine", str(checkpoint), Options(autoencoder=vae))
    needs = {listed.name: " ".join(listed.needs) for listed in sources.overview()}
    assert needs.keys() == set(sources.names())
    assert needs["emoji"] == ""
    assert "reference images" in needs["mine"]
    assert "download" not in needs["mine"]
    for name in Published.names():
        assert "GB" in needs[name]
        assert "autoencoder" in needs[name]


def test_a_damaged_file_of_names_is_named(tmp_path):
    registry.path().parent.mkdir(parents=True)
    registry.path().write_text("{")
    with pytest.raises(BadRequest, match=r"models\.json is damaged"):
        registry.entries()


@pytest.mark.parametrize(
    "change",
    [
        {"prediction": "v_prediction"},
        {"prediction": "sit"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"weights": "raw"},
        {"null_label": False},
    ],
    ids=str,
)
def test_another_option_is_another_digest(checkpoint, vae, change):
    before = add("mine", str(checkpoint), Options(autoencoder=vae)).digest
    assert add("mine", str(checkpoint), replace(Options(autoencoder=vae), **change)).digest != before
    assert add("mine", str(checkpoint), Options(autoencoder=vae)).digest == before


def test_another_autoencoder_in_the_same_folder_is_another_digest(checkpoint, vae):
    before = add("mine", str(checkpoint), Options(autoencoder=vae)).digest
    autoencoder(seed=1).save_pretrained(vae)
    assert find("mine").digest != before


def test_the_same_file_by_two_paths_has_one_digest(checkpoint, tmp_path):
    (tmp_path / "link.pt").symlink_to(checkpoint)
    assert find(str(checkpoint)).digest == find(str(tmp_path / "link.pt")).digest


def test_the_digest_of_a_large_file_is_kept_between_processes(checkpoint, monkeypatch):
    monkeypatch.setattr(digests, "KEPT_FROM_BYTES", 0)
    before = find(str(checkpoint)).digest
    digests._file_digest.cache_clear()
    monkeypatch.setattr(digests.hashlib, "file_digest", lambda *_: pytest.fail("the file was read again"))
    assert find(str(checkpoint)).digest == before


def test_an_autoencoder_of_other_channels_is_refused_before_anything_is_loaded(checkpoint, tmp_path):
    autoencoder(latent_channels=16).save_pretrained(tmp_path / "vae16")
    with pytest.raises(BadRequest, match=r"4 latent channels, but the autoencoder .* has 16"):
        add("mine", str(checkpoint), Options(autoencoder=str(tmp_path / "vae16")))
    assert not registry.entries()


@pytest.mark.parametrize("what", ["no folder", "no config", "no weights"])
def test_a_missing_autoencoder_is_refused_before_anything_is_loaded(checkpoint, tmp_path, vae, what):
    if what == "no folder":
        vae = str(tmp_path / "nowhere" / "vae" / "x")
    else:
        file = {"no config": "config.json", "no weights": "diffusion_pytorch_model.safetensors"}[what]
        (tmp_path / "vae" / file).unlink()
    with pytest.raises(BadRequest, match=r"autoencoder|lacks"):
        add("mine", str(checkpoint), Options(autoencoder=vae))


def test_an_autoencoder_in_the_cache_of_the_hub_is_found_and_one_that_is_not_says_so(checkpoint, tmp_path):
    with pytest.raises(BadRequest, match="sd-vae-ft-ema, which is not on this machine: connect to the internet"):
        find(str(checkpoint)).load()
    in_hub_cache(tmp_path / "hf", "stabilityai/sd-vae-ft-mse", autoencoder().save_pretrained)
    source = add("mine", str(checkpoint), Options(autoencoder="mse"))
    assert not [need for need in source.needs if "download" in need]
    assert source.load().image_size == 64


def test_a_pipeline_in_the_cache_of_the_hub_is_found_by_its_name(tmp_path):
    in_hub_cache(tmp_path / "hf", "somebody/DiT-tiny", save_pipeline)
    source = find("somebody/DiT-tiny")
    assert source.portable_name == "somebody/DiT-tiny"
    assert source.load().classes == source.class_names
    with pytest.raises(BadRequest, match="models add NAME somebody/else"):
        find("somebody/else")
    with pytest.raises(BadRequest, match="connect to the internet"):
        add("other", "somebody/else")


@pytest.mark.parametrize(
    "change",
    [
        lambda path: torch.save({"ema": {**RAW, "new": RAW["x_embedder.proj.bias"]}}, path),
        lambda path: torch.save({"ema": AVERAGED, "model": RAW}, path),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.unlink(),
    ],
    ids=["other weights", "the same weights", "cut off", "removed"],
)
def test_a_checkpoint_that_is_overwritten_while_it_is_read_says_so(checkpoint, vae, monkeypatch, change):
    add("mine", str(checkpoint), Options(autoencoder=vae))
    source = find("mine")
    from dit_core.models.formats import values

    read = values.read_values

    def read_and_overwrite(path):
        content = read(path)
        change(checkpoint)
        return content

    monkeypatch.setattr(values, "read_values", read_and_overwrite)
    with pytest.raises(BadRequest, match="overwritten while it was read"):
        source.load()


def test_a_download_that_does_not_fit_on_the_disk_is_refused_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    in_hub_cache(tmp_path / "hf", "stabilityai/sd-vae-ft-ema", autoencoder().save_pretrained)
    with pytest.raises(BadRequest, match=r"needs 2\.70 GB.*TORCH_HOME"):
        find("DiT-XL/2-256").load()


def test_class_names_come_from_imagenet_a_text_file_a_list_or_a_table(tmp_path):
    assert len(imagenet_names()) == len(set(imagenet_names())) == 1000
    assert imagenet_names()[0] == "tench"
    (tmp_path / "names.txt").write_text("ä b\n\n c, d \n")
    assert read_classes(str(tmp_path / "names.txt")) == ("ä b", "c, d")
    (tmp_path / "list.json").write_text(json.dumps(["x", "y"]))
    assert read_classes(str(tmp_path / "list.json")) == ("x", "y")
    (tmp_path / "table.json").write_text(
        json.dumps({"id2label": {"1": "crane, machine", "0": "crane", "2": "tench, Tinca"}})
    )
    assert read_classes(str(tmp_path / "table.json")) == ("crane (0)", "crane (1)", "tench")


@pytest.mark.parametrize("content", ["a\na", "", "[]", '{"1": "x"}', "{", '"text"'])
def test_files_without_class_names_are_refused_by_name(tmp_path, content):
    path = tmp_path / ("names.json" if content[:1] in ("[", "{", '"') else "names.txt")
    path.write_text(content)
    with pytest.raises(BadRequest, match=path.name):
        read_classes(str(path))


@pytest.mark.parametrize(
    "texts",
    [
        {"heads": "0"},
        {"heads": "six"},
        {"prediction": "sample"},
        {"null_label": "perhaps"},
        {"image_size": "-1"},
        {"weights": "best"},
    ],
    ids=str,
)
def test_an_option_that_is_not_possible_is_refused_by_name(texts):
    with pytest.raises(BadRequest, match=next(iter(texts))):
        parse_options(texts)


def test_a_model_that_tells_everything_takes_no_options():
    with pytest.raises(BadRequest, match="tells everything itself"):
        add("mine", "emoji", Options(prediction="epsilon"))
    assert add("mine", "emoji").digest == find("emoji").digest


def test_a_gap_in_the_labels_is_refused():
    with pytest.raises(BadRequest, match="without a gap"):
        names_of({"0": "a", "2": "b"}, "index.json")


@pytest.mark.slow
@pytest.mark.parametrize("velocity", ["flow", "sit"])
def test_a_velocity_is_an_option_that_changes_the_images_and_survives_an_export(checkpoint, vae, tmp_path, velocity):
    from dit_core.experiment.export import export
    from dit_core.experiment.prepare import prepare
    from dit_core.records.spec import RunSpec

    usual = add("usual", str(checkpoint), Options(autoencoder=vae))
    source = add("moving", str(checkpoint), Options(autoencoder=vae, prediction=velocity))
    assert source.size.velocity == velocity
    assert f"prediction {velocity}" in source.description
    assert "assumed" not in next(str(fact) for fact in source.facts if fact.name == "noise schedule")
    drawn = [
        prepared.decoded(prepared.baseline, 2).images
        for name in (usual.name, source.name)
        for prepared in [prepare(RunSpec(model=name, scheduler="ddpm", steps=3))]
    ]
    assert not torch.equal(*drawn)
    for form, file in (("folder", ""), ("safetensors", "dit.safetensors")):
        export(RunSpec(model="moving"), tmp_path / form, form=form)
        assert find(str(tmp_path / form / file)).size.velocity == velocity
    with pytest.raises(BadRequest, match="no beta_schedule"):
        add("both", str(checkpoint), Options(prediction=velocity, beta_schedule="linear"))


@pytest.mark.parametrize("null", [True, False])
def test_a_null_label_that_contradicts_the_class_names_is_refused(checkpoint, vae, tmp_path, null):
    names = tuple(f"sort {label}" for label in range(11 if null else 10))
    with pytest.raises(BadRequest, match="change classes or null_label"):
        add("mine", str(checkpoint), Options(autoencoder=vae, classes=names, null_label=null))
    save_pipeline(tmp_path / "pipe")
    if not null:
        with pytest.raises(BadRequest, match="change classes or null_label"):
            add("mine", str(tmp_path / "pipe"), Options(null_label=False))
    assert not registry.entries()
