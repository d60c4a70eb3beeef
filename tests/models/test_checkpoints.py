import json
import shutil
import struct
from pathlib import Path

import pytest
import torch

from dit_core.errors import BadRequest
from dit_core.models import checkpoints
from dit_core.models.dit import DiTConfig
from dit_core.models.formats import normal, values
from dit_core.models.sources import load_model
from dit_core.models.sources.folder import save_model


def read_values(path: Path) -> dict[str, torch.Tensor]:
    return values.tensors(normal.find_weights(values.read_values(path), str(path)), path)


@pytest.fixture
def saved(tiny_model, tmp_path) -> Path:
    save_model(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_loads_as_it_was(tiny_model, saved):
    loaded = load_model(str(saved))
    assert loaded.config == tiny_model.config
    for key, value in tiny_model.dit.state_dict().items():
        assert torch.equal(loaded.dit.state_dict()[key], value.half().float())


def rewrite(path: Path, change) -> None:
    data = bytearray(path.read_bytes())
    path.write_bytes(change(data))


def flip(data: bytearray) -> bytes:
    data[len(data) // 2] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    "change",
    [lambda data: bytes(data[: len(data) // 2]), flip, lambda data: struct.pack("<Q", 2**62) + bytes(data[8:])],
    ids=["truncated", "bit flipped", "huge header"],
)
def test_a_damaged_weight_file_is_refused_by_its_hash(saved, change):
    rewrite(saved / "dit.safetensors", change)
    with pytest.raises(BadRequest, match="damaged or was changed"):
        load_model(str(saved))


def test_a_truncated_file_without_a_hash_is_refused(saved):
    rewrite(saved / "dit.safetensors", lambda data: bytes(data[:100]))
    with pytest.raises(BadRequest, match="not a whole safetensors file"):
        read_values(saved / "dit.safetensors")


@pytest.mark.parametrize("length", [2**62, 2**27, 10**6], ids=["beyond memory", "beyond the format", "beyond the file"])
def test_a_huge_header_without_a_hash_is_refused_and_nothing_is_allocated_for_it(saved, length):
    rewrite(saved / "dit.safetensors", lambda data: struct.pack("<Q", length) + bytes(data[8:]))
    with pytest.raises(BadRequest, match="not a whole safetensors file"):
        read_values(saved / "dit.safetensors")


def test_a_flipped_bit_without_a_hash_is_refused_where_it_can_be_told(tiny_model, saved):
    """In the header always; among the weights where it makes one infinite or NaN, whatever the suffix."""
    file = saved / "dit.safetensors"
    whole = file.read_bytes()

    def flipped(byte: int, bit: int) -> dict:
        data = bytearray(whole)
        data[byte] ^= 1 << bit
        file.write_bytes(data)
        return read_values(file)

    for byte in (0, 2, 8, whole.index(b"F16"), whole.index(b"data_offsets") + 3):
        with pytest.raises(BadRequest):
            checkpoints.load_dit(flipped(byte, 4), tiny_model.config.dit)
    state = checkpoints.read_safetensors(_with_one(tiny_model, file))
    whole = file.read_bytes()
    ones = torch.ones(1, dtype=torch.float16).numpy().tobytes()  # 1 is 0x3c00: one more bit of its exponent is infinity
    assert torch.isfinite(state["final_layer.linear.bias"]).all()
    (header,) = struct.unpack("<Q", whole[:8])
    place = 8 + header + json.loads(whole[8 : 8 + header])["final_layer.linear.bias"]["data_offsets"][0]
    assert whole[place : place + 2] == ones
    with pytest.raises(BadRequest, match="not finite"):
        checkpoints.load_dit(flipped(place + 1, 6), tiny_model.config.dit)


def _with_one(model, path: Path) -> Path:
    """The weights with a last bias of ones, as float16."""
    state = {key: value.half().clone() for key, value in model.dit.state_dict().items()}
    state["final_layer.linear.bias"].fill_(1)
    checkpoints.write_safetensors(state, path)
    return path


@pytest.mark.parametrize("part", [b"FloatStorage", b"PK\x01\x02"], ids=["in the pickle", "in the archive's directory"])
def test_a_flipped_bit_in_a_fast_dit_file_is_refused(tiny_model, tmp_path, part):
    file = tmp_path / "0400000.pt"
    torch.save({"ema": tiny_model.dit.state_dict()}, file)
    data = bytearray(file.read_bytes())
    data[data.index(part) + 1] ^= 1
    file.write_bytes(data)
    with pytest.raises(BadRequest, match="is damaged"):
        read_values(file)


def test_a_missing_weight_file_is_named(saved):
    (saved / "dit.safetensors").unlink()
    with pytest.raises(BadRequest, match=r"dit\.safetensors is missing"):
        load_model(str(saved))


def test_weights_that_are_not_finite_are_refused(tiny_model):
    state = {key: value.clone() for key, value in tiny_model.dit.state_dict().items()}
    state["blocks.0.mlp.fc1.weight"][0, 0] = float("nan")
    with pytest.raises(BadRequest, match=r"blocks\.0\.mlp\.fc1\.weight are not finite"):
        checkpoints.load_dit(state, tiny_model.config.dit)


def test_weights_of_another_size_are_refused(tiny_model):
    with pytest.raises(BadRequest, match="do not fit"):
        checkpoints.load_dit(tiny_model.dit.state_dict(), DiTConfig(8, 2, 4, 128, 2, 4, 4.0, 3, learn_sigma=False))


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_refused_and_never_runs(tmp_path):
    torch.save({"model": Payload(tmp_path / "executed")}, tmp_path / "evil.pt")
    with pytest.raises(BadRequest, match="more than weights"):
        read_values(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


def test_an_unknown_model_is_refused_with_those_that_exist():
    with pytest.raises(BadRequest, match="Unknown model 'nope': use emoji"):
        load_model("nope")


def test_a_config_that_is_no_json_is_refused(saved):
    (saved / "config.json").write_text("{")
    with pytest.raises(BadRequest, match="not valid JSON"):
        load_model(str(saved))


def test_the_hashes_in_a_config_are_those_of_its_files(saved):
    files = json.loads((saved / "config.json").read_text())["files"]
    assert set(files) == {"dit.safetensors", "vae/diffusion_pytorch_model.safetensors"}


def test_a_model_shares_the_autoencoder_of_the_one_that_it_names(tiny_model, saved, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(saved, other)
    shutil.rmtree(other / "vae")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "vae": str(saved)}))
    latents = torch.randn(2, *tiny_model.latent_shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_model(str(other)).decode(latents), load_model(str(saved)).decode(latents))
    rewrite(saved / "vae" / "diffusion_pytorch_model.safetensors", flip)
    with pytest.raises(BadRequest, match="damaged or was changed"):
        load_model(str(other))


def test_compact_weights_are_half_as_large_and_close(tiny_model):
    state = {key: value.half() for key, value in tiny_model.dit.state_dict().items()}
    small = checkpoints.compact(state, {})
    assert sum(v.nbytes for v in small.values()) < 0.6 * sum(v.nbytes for v in state.values())
    assert_within_half_a_step(checkpoints.expand(small, {}), state)


def test_weights_close_to_their_base_are_as_exact_and_pack_smaller(tiny_model, tmp_path):
    base = tiny_model.dit.state_dict()
    state = {key: value + 0.02 * value.std() * torch.randn_like(value) for key, value in base.items()}
    small = checkpoints.compact(state, base)
    assert any(key.endswith(checkpoints.DIFFERENCE) for key in small)
    assert_within_half_a_step(checkpoints.expand(small, base), state)
    sizes = []
    for name, weights in (("whole", checkpoints.compact(state, {})), ("difference", small)):
        checkpoints.write_safetensors(weights, tmp_path / f"{name}.safetensors.xz")
        sizes.append((tmp_path / f"{name}.safetensors.xz").stat().st_size)
    assert sizes[1] < 0.8 * sizes[0]
    with pytest.raises(BadRequest, match="does not have"):
        checkpoints.expand(small, {})


def test_a_matrix_far_from_its_base_is_kept_whole(tiny_model):
    state = tiny_model.dit.state_dict()
    far = {key: -value for key, value in state.items()}
    assert not any(key.endswith(checkpoints.DIFFERENCE) for key in checkpoints.compact(state, far))


def test_a_packed_file_that_was_cut_off_is_refused(tiny_model, tmp_path):
    path = tmp_path / "weights.safetensors.xz"
    checkpoints.write_safetensors(tiny_model.dit.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BadRequest, match="not a whole safetensors file"):
        checkpoints.read_safetensors(path)


def assert_within_half_a_step(found, state):
    """Equal up to half a step of 254 from the smallest to the largest value of each row."""
    assert found.keys() == state.keys()
    for key, value in state.items():
        step = value.float().abs().amax(-1, keepdim=True) / 127
        assert ((found[key] - value.float()).abs() <= 0.51 * step + 1e-6).all()
