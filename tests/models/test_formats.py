"""Every form in which people have the weights of a DiT is read, and every other file is refused in one line."""

import argparse
import io
import json
import pickle
import random
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dit_core.errors import BadRequest
from dit_core.models.formats import headers, normal, size, values
from dit_core.models.sources import find
from dit_core.models.sources.diffusers_pipeline import DiffusersPipeline
from tests.models.published_files import ARGS, SIZE, save_pipeline, state_dict, training_state, transformer

STATE, OTHER = state_dict(), state_dict(seed=1)


def prefixed(*prefixes: str, state=STATE):
    return {"".join(prefixes) + key: value for key, value in state.items()}


def wrapped_blocks(word: str):
    return {key.replace("blocks.0.", f"blocks.0.{word}."): value for key, value in STATE.items()}


TRAINING_STATES = {
    "train.py": training_state(OTHER, STATE),
    "a whole state dict": STATE,
    "only averaged": {"ema": STATE},
    "empty average": {"model": STATE, "ema": None},
    "average without weights": {"model": STATE, "ema": {}},
    "compiled": {"ema": prefixed("_orig_mod.")},
    "in parallel": {"model": prefixed("module."), "ema": None},
    "compiled in parallel": {"ema": prefixed("module._orig_mod.")},
    "parallel and compiled": {"ema": prefixed("_orig_mod.module.")},
    "wrapped three times": {"ema": prefixed("module.", "_orig_mod.", "module.")},
    "compiled block by block": {"ema": wrapped_blocks("_orig_mod")},
    "Lightning": {"state_dict": {**prefixed("model.", state=OTHER), **prefixed("ema_model.")}, "epoch": 3},
    "an average beside it": {**OTHER, **prefixed("ema.")},
    "ema_model": {"ema_model": STATE, "step": 3},
    "model_ema": {"model_ema": STATE, "model": OTHER},
    "an object's state": {"ema": {"shadow": STATE, "decay": 0.9999}, "model": OTHER},
    "with a number": {"ema": {"decay": 0.9999, **STATE}},
    "parameters": {"ema": {key: torch.nn.Parameter(value) for key, value in STATE.items()}},
    "bfloat16": {"ema": {key: value.bfloat16() for key, value in STATE.items()}},
    "a loss of numpy": {"ema": STATE, "best_loss": np.float64(0.1)},
    "a path": {"ema": STATE, "args": argparse.Namespace(results=Path("results"))},
    "no position embedding": {"ema": {key: value for key, value in STATE.items() if key != "pos_embed"}},
}


@pytest.fixture(params=["zip", "before 1.6"])
def saved(request, tmp_path):
    def save(content, name: str = "0400000.pt") -> Path:
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=request.param == "zip")
        return tmp_path / name

    return save


@pytest.mark.parametrize("content", TRAINING_STATES.values(), ids=TRAINING_STATES)
def test_the_weights_of_a_training_state_are_found_under_their_published_names(saved, content):
    path = saved(content)
    weights = normal.find_weights(values.read_values(path), "it")
    state = values.tensors(weights, path)
    for key, value in STATE.items():
        if key in state or key != "pos_embed":
            torch.testing.assert_close(state[key].float(), value, atol=0.02, rtol=0.02)
    found = normal.find_weights(headers.read_headers(path), "it")
    assert found.shapes() == {key: tuple(value.shape) for key, value in state.items()}
    assert (found.place, found.averaged) == (weights.place, weights.averaged)


def test_averaged_and_raw_weights_can_be_chosen_and_are_told(saved):
    path = saved(training_state(OTHER, STATE))
    content = values.read_values(path)
    for which, expected, averaged in ((None, STATE, True), ("ema", STATE, True), ("raw", OTHER, False)):
        weights = normal.find_weights(content, "it", which)
        assert weights.averaged == averaged
        bias = values.tensors(weights, path)["x_embedder.proj.weight"]
        assert torch.equal(bias, expected["x_embedder.proj.weight"])
    for lacking, only in (("ema", {"model": STATE, "ema": None}), ("raw", {"ema": STATE})):
        with pytest.raises(BadRequest, match="it has only"):
            normal.find_weights(only, "it", lacking)


def test_the_size_follows_from_the_shapes_for_any_width_and_depth():
    for width, heads in ((384, 6), (768, 12), (1152, 16), (320, 5)):
        own = replace(SIZE, hidden_size=width, num_heads=heads, depth=3)
        assert size.size_of(size.expected_shapes(own), "it") == own
    odd = replace(SIZE, hidden_size=200, num_heads=5)
    with pytest.raises(BadRequest, match="option heads"):
        size.size_of(size.expected_shapes(odd), "it")
    assert size.size_of(size.expected_shapes(odd), "it", heads=5) == odd
    with pytest.raises(BadRequest, match="do not divide"):
        size.size_of(size.expected_shapes(odd), "it", heads=7)


def test_the_expected_shapes_are_those_of_the_network():
    for own in (SIZE, replace(SIZE, block_embedders=True), replace(SIZE, null_label=False, learn_sigma=False)):
        assert size.expected_shapes(own) == {key: tuple(value.shape) for key, value in state_dict(own).items()}


@pytest.mark.parametrize(("classes", "null"), [(None, True), (10, True), (11, False)])
def test_the_last_label_is_the_null_label_unless_as_many_classes_are_named(classes, null):
    own = size.size_of(size.expected_shapes(SIZE), "it", classes=classes)
    assert (own.null_label, own.labels) == (null, 11)


def test_names_that_do_not_fit_the_labels_are_refused_with_both_numbers():
    with pytest.raises(BadRequest, match=r"11 labels, but 7 classes are named: name 10, or 11"):
        size.size_of(size.expected_shapes(SIZE), "it", classes=7)


def without(*parts: str):
    return {key: value for key, value in STATE.items() if not any(part in key for part in parts)}


STRANGERS = {
    "a missing block": (without("blocks.0.attn"), r"lacks blocks\.0\.attn\.qkv\.weight"),
    "another feed-forward network": (
        {**without("blocks.1.mlp.fc1"), "blocks.1.mlp.w12.weight": torch.zeros(2, 2)},
        r"has blocks\.1\.mlp\.w12\.weight and lacks blocks\.1\.mlp\.fc1\.weight",
    ),
    "normalized queries": (
        {**STATE, "blocks.0.attn.q_norm.weight": torch.ones(64)},
        r"also has blocks\.0\.attn\.q_norm",
    ),
    "a projector": ({**STATE, "projectors.0.weight": torch.zeros(4, 4)}, r"projectors\.0\.weight.*drop_surplus"),
    "another shape": ({**STATE, "blocks.1.mlp.fc1.bias": torch.zeros(5)}, r"blocks\.1\.mlp\.fc1\.bias is 5, expected"),
    "no width": (
        {**STATE, "x_embedder.proj.weight": torch.zeros(0, 4, 2, 2)},
        r"not those of a DiT: x_embedder\.proj\.weight has another shape",
    ),
    "labels in a row": (
        {**STATE, "y_embedder.embedding_table.weight": torch.zeros(11)},
        r"not those of a DiT: y_embedder\.embedding_table\.weight has another shape",
    ),
    "positions in a row": (
        {**STATE, "pos_embed": torch.zeros(6144)},
        r"not those of a DiT: pos_embed has another shape",
    ),
    "a block of a number that no network has": (
        {**STATE, "blocks.999999999.norm1.bias": torch.zeros(2)},
        r"has blocks\.999999999\.norm1\.bias and lacks blocks\.2\.",
    ),
    "no square": ({**STATE, "pos_embed": torch.zeros(1, 6, 384)}, "6 positions, which are no square"),
    "a UNet": ({"conv_in.weight": torch.zeros(2, 2)}, r"not those of a DiT.*begin with conv_in\.weight"),
}


@pytest.mark.parametrize("form", ["published", "diffusers"])
def test_a_weight_of_any_other_shape_is_a_bad_request(tmp_path, form):
    small = replace(SIZE, hidden_size=64, depth=1, num_heads=1)
    state = {key: value.clone() for key, value in state_dict(small).items()}
    if form == "diffusers":
        parts = normal.to_diffusers(state, small.depth, lambda value: value.chunk(3))
        state = {key: value.clone() for key, value in parts.items()}
    save_file(state, tmp_path / "whole.safetensors")
    assert find(str(tmp_path / "whole.safetensors")).size.hidden_size == 64
    for key in state:
        for shape in ((), (5,), (5, 0), (2, 1, 2), (1, 2, 2, 2, 1), (*state[key].shape[:-1], 7)):
            save_file({**state, key: torch.zeros(shape)}, tmp_path / f"{key}-{len(shape)}.safetensors")
            with pytest.raises(BadRequest):
                find(str(tmp_path / f"{key}-{len(shape)}.safetensors"))


@pytest.mark.parametrize(("state", "message"), STRANGERS.values(), ids=STRANGERS)
def test_weights_of_another_network_are_refused_and_named_by_their_headers(tmp_path, state, message):
    save_file(state, tmp_path / "it.safetensors")
    with pytest.raises(BadRequest, match=message):
        find(str(tmp_path / "it.safetensors"))


def test_weights_beside_the_network_can_be_dropped_and_those_inside_cannot():
    shapes = size.expected_shapes(SIZE)
    beside = {**shapes, "projectors.0.weight": (4, 4)}
    assert size.check_keys(beside, SIZE, "it", drop_surplus=True) == ("projectors.0.weight",)
    with pytest.raises(BadRequest, match="another network"):
        size.check_keys({**shapes, "blocks.0.attn.q_norm.weight": (64,)}, SIZE, "it", drop_surplus=True)


def noise(own):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, own.in_channels, own.input_size, own.input_size, generator=generator)
    return x, torch.tensor([10, 900]), torch.tensor([0, own.num_classes])


@pytest.mark.parametrize("how", [{}, {"max_shard_size": "5MB"}, {"safe_serialization": False}], ids=str)
def test_a_network_of_diffusers_computes_what_diffusers_computes(tmp_path, how):
    theirs, own = transformer(replace(SIZE, mlp_ratio=4.0)), replace(SIZE, mlp_ratio=4.0)
    theirs.save_pretrained(tmp_path / "it", **how)
    source = DiffusersPipeline("it", tmp_path / "it")
    assert source.size == replace(own, block_embedders=True, frequency_shift=1)
    x, t, y = noise(own)
    with torch.no_grad():
        expected = theirs(x, t, class_labels=y).sample
        torch.testing.assert_close(source._network()(x, t, y), expected, atol=1e-4, rtol=1e-4)


def test_a_network_of_diffusers_that_was_converted_from_a_dit_is_that_dit(tmp_path):
    theirs = transformer(replace(SIZE, mlp_ratio=4.0))
    first = theirs.transformer_blocks[0].norm1.emb.state_dict()
    for block in theirs.transformer_blocks:
        block.norm1.emb.load_state_dict(first)
        block.norm1.emb.time_proj.downscale_freq_shift = 0  # as in DiT, which the weights were trained with
    theirs.save_pretrained(tmp_path / "it")
    source = DiffusersPipeline("it", tmp_path / "it")
    assert source.size == replace(SIZE, mlp_ratio=4.0)
    x, t, y = noise(SIZE)
    with torch.no_grad():
        expected = theirs(x, t, class_labels=y).sample
        torch.testing.assert_close(source._network()(x, t, y), expected, atol=1e-4, rtol=1e-4)


def test_shards_under_published_names_are_one_state_dict(tmp_path):
    keys = sorted(STATE)
    for number, part in enumerate((keys[::2], keys[1::2]), start=1):
        save_file({key: STATE[key] for key in part}, tmp_path / f"model-{number}.safetensors")
    places = {key: f"model-{1 + index % 2}.safetensors" for index, key in enumerate(keys)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert values.read_values(tmp_path).keys() == STATE.keys() == headers.read_headers(tmp_path).keys()
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(BadRequest, match=r"lacks model-2\.safetensors"):
        headers.read_headers(tmp_path)


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", ["args", "model", "ema"])
def test_code_is_refused_by_name_and_never_runs_where_data_is_accepted(saved, tmp_path, place):
    path = saved({**training_state(OTHER, STATE), place: Payload(tmp_path / "executed")})
    for read in (headers.read_headers, values.read_values):
        with pytest.raises(BadRequest, match=r"more than weights \([\w.]+\)"):
            read(path)
    assert not (tmp_path / "executed").exists()


def test_a_whole_module_is_refused_with_what_to_save_instead(saved):
    path = saved(torch.nn.Linear(2, 2))
    for read in (headers.read_headers, values.read_values):
        with pytest.raises(BadRequest, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"):
            read(path)


def odd_files() -> dict[str, bytes]:
    rng = random.Random(0)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "hello")
    saved = {name: io.BytesIO() for name in ("list", "tensor", "numbers", "empty", "none")}
    for name, content in zip(saved, ([STATE["pos_embed"]], torch.zeros(3), {1: torch.zeros(3)}, {}, None), strict=True):
        torch.save(content, saved[name])
    return {
        **{f"byte {b:02x}": bytes([b]) + b":x:0:0:root:/root:/bin/bash\n" * 3 for b in range(256)},
        **{f"random {i}": rng.randbytes(200) for i in range(200)},
        "empty": b"",
        "zip": archive.getvalue(),
        "page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "picture": b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
        "pickle": pickle.dumps({"model": 3}),
        **{f"saved {name}": content.getvalue() for name, content in saved.items()},
    }


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ""])
def test_any_other_file_is_refused_with_one_line_that_names_it(tmp_path, suffix):
    path = tmp_path / f"odd{suffix}"
    for content in odd_files().values():
        path.write_bytes(content)
        with pytest.raises(BadRequest) as error:
            normal.find_weights(headers.read_headers(path), str(path))
        assert path.name in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["it.SAFETENSORS", "it", "it.ckpt", "ck pt é.bin"])
def test_a_format_is_told_by_content_not_by_name(tmp_path, name):
    save_file(STATE, tmp_path / name)
    assert values.read_values(tmp_path / name).keys() == STATE.keys()
    torch.save(STATE, tmp_path / name)
    if not name.lower().endswith("safetensors"):
        assert values.read_values(tmp_path / name).keys() == STATE.keys()


def test_a_file_that_cannot_be_opened_is_told_apart_from_a_damaged_one(tmp_path):
    with pytest.raises(BadRequest, match="cannot be read, because there is no such file"):
        headers.read_headers(tmp_path / "missing.pt")


@pytest.mark.slow
def test_the_state_of_the_optimizer_is_not_read_into_memory(tmp_path):
    """Reading allocates the weights that are used; the optimizer's state, 200 MB here, stays on the disk."""
    moments = {index: {"exp_avg": torch.zeros(25_000_000)} for index in range(2)}
    torch.save({**training_state(OTHER, STATE), "opt": {"state": moments}}, tmp_path / "0400000.pt")
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom dit_core.models.formats import normal, values\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nbefore = peak()\n"
        "weights = values.tensors(normal.find_weights(values.read_values(Path(sys.argv[1])), 'it'), Path())\n"
        "print((peak() - before) * 1024, sum(value.nbytes for value in weights.values()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "0400000.pt"], capture_output=True, text=True, check=True
    )
    peak, used = map(int, done.stdout.split())
    assert peak < 4 * used + 20e6 < 150e6


def test_the_arguments_of_a_training_tell_what_shapes_do_not(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.save(training_state(OTHER, STATE), tmp_path / "0400000.pt")
    facts = {fact.name: fact for fact in find(str(tmp_path / "0400000.pt")).facts}
    assert facts["autoencoder"].value == "stabilityai/sd-vae-ft-mse"
    assert {facts[name].origin for name in ("heads", "autoencoder", "null label")} == {"file"}
    assert {facts[name].origin for name in ("prediction", "noise schedule")} == {"assumed"}
    assert ARGS["num_classes"] == 10


def test_a_pipeline_tells_names_schedule_and_autoencoder(tmp_path):
    save_pipeline(tmp_path / "pipe")
    source = find(str(tmp_path / "pipe"))
    assert source.class_names == tuple(f"name {label}" for label in range(10))
    assert (source.schedule.prediction, source.schedule.beta_schedule) == ("v_prediction", "squaredcos_cap_v2")
    assert source.autoencoder == str(tmp_path / "pipe" / "vae")
    assert {fact.origin for fact in source.facts if fact.name != "frequency shift"} == {"file"}
