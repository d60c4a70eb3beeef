import re
from typing import Any

import pytest
import torch
from torch import nn

from dit_core.compression.packing import low_rank_linear, packed_linear, rotated_linear
from dit_core.compression.rounding import Moments, low_rank
from dit_core.errors import BadRequest
from dit_core.measure.profile import time_shares
from dit_core.models import sources
from dit_core.models.experts import mixtures
from dit_core.models.int8 import Int8Linear
from dit_core.models.model import build_dit
from dit_core.models.packed import PackedLinear, PackedMixture, rotate, round_tokens
from dit_core.models.serialization import read_network, write_network
from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, apply_recipe
from dit_core.system import devices
from dit_core.techniques.quantization import CALIBRATED, Quantization, dynamic_int8, quantize, unsupported

CONTEXT = Context(torch.device("cpu"))
OTHER = re.compile(r"router|embedding_table")  # matrices that stay in float


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(128, 96).requires_grad_(False)


def bytes_of(module: nn.Module) -> int:
    return sum(t.untyped_storage().nbytes() for t in [*module.buffers(), *module.parameters()])


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_are_stored_in_exactly_their_bits(layer, bits):
    packed = packed_linear(layer, bits, group_size=32)
    codes, groups, bias = 96 * 128 * bits // 8, 96 * 4 * (2 + 1), 96 * 4
    assert bytes_of(packed) == codes + groups + bias


@pytest.mark.parametrize("bits", range(2, 9))
def test_each_weight_moves_by_at_most_half_a_step(layer, bits):
    packed = packed_linear(layer, bits, group_size=32)
    groups = layer.weight.view(96, 4, 32)
    step = (groups.amax(-1).clamp(min=0) - groups.amin(-1).clamp(max=0)) / (2**bits - 1)
    error = (packed.weight.view(96, 4, 32) - groups).abs().amax(-1)
    assert (error <= 0.5 * step * 1.01 + 1e-3 * groups.abs().amax(-1)).all()  # scales are float16


def test_error_falls_with_bits_and_with_smaller_groups(layer):
    def error(bits, group_size):
        return (packed_linear(layer, bits, group_size).weight - layer.weight).norm().item()

    by_bits = [error(bits, 64) for bits in range(2, 9)]
    assert by_bits == sorted(by_bits, reverse=True)
    assert by_bits[0] > 50 * by_bits[-1]
    assert error(4, 32) < error(4, 128)


def test_a_packed_layer_computes_with_its_dequantized_weight(layer):
    packed = packed_linear(layer, 3, 64)
    x = torch.randn(5, 128)
    torch.testing.assert_close(packed(x), x @ packed.weight.T + layer.bias)


def test_a_constant_weight_is_kept():
    layer = nn.Linear(64, 4).requires_grad_(False)
    layer.weight.fill_(0.25)
    torch.testing.assert_close(packed_linear(layer, 2, 64).weight, layer.weight, atol=1e-3, rtol=0)


def test_eight_bits_weigh_a_quarter_of_the_blocks(tiny_model):
    quantized = quantize(tiny_model.dit, Quantization(bits=8, group_size=64), CONTEXT)
    blocks, before = bytes_of(quantized.blocks), bytes_of(tiny_model.dit.blocks)
    assert 0.25 < blocks / before < 0.28


def inputs_of(count: int = 8):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 4, 8, 8, generator=generator)
    return x, torch.randint(1000, (count,), generator=generator), torch.arange(count) % 4


def error(network, reference) -> float:
    """Relative error of the network's output."""
    with torch.inference_mode():
        expected = reference(*inputs_of())
        return ((network(*inputs_of()) - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(
    ("skip", "few", "kept"),
    [
        ("none", "final_layer.linear", None),
        ("outer", "blocks.0.adaLN_modulation.1", "final_layer.linear"),
        ("outer+modulation", "blocks.1.mlp.fc1", "blocks.0.adaLN_modulation.1"),
    ],
)
def test_skipped_layers_keep_eight_bits(tiny_model, skip, few, kept):
    quantized = quantize(tiny_model.dit, Quantization(bits=4, skip=skip, group_size=32), CONTEXT)
    assert quantized.get_submodule(few).bits == 4
    assert kept is None or quantized.get_submodule(kept).bits == 8


@pytest.mark.parametrize(("bits", "share"), [(8, 0.27), (4, 0.15)])
@pytest.mark.parametrize("skip", ["none", "outer"])
def test_a_whole_network_of_the_bundled_size_shrinks_to_its_share(bits, share, skip):
    dit = build_dit(sources.find("emoji").size).requires_grad_(False)
    assert bytes_of(quantize(dit, Quantization(bits=bits, skip=skip), CONTEXT)) < share * bytes_of(dit)


def test_dynamic_int8_leaves_skipped_layers_in_float(tiny_model):
    quantized = quantize(tiny_model.dit, Quantization(mode="dynamic-int8"), CONTEXT)
    assert type(quantized.final_layer.linear) is nn.Linear
    assert isinstance(quantized.blocks[0].mlp.fc1, Int8Linear)


def test_dynamic_int8_stays_close_and_stores_int8(tiny_model):
    quantized = quantize(tiny_model.dit, Quantization(mode="dynamic-int8"), CONTEXT)
    assert 0 < error(quantized, tiny_model.dit) < 0.05
    assert quantized.blocks[0].mlp.fc1.codes.dtype == torch.int8


def test_dynamic_int8_scales_every_token_by_itself(layer):
    quantized = dynamic_int8(layer, torch.device("cpu"))
    x = torch.randn(3, 7, 128)
    x[1, 2] *= 1000
    together, alone = quantized(x), quantized(x[:1])
    assert together.shape == (3, 7, 96)
    assert torch.equal(together[:1], alone)
    torch.testing.assert_close(together, layer(x), atol=0.02 * layer(x).abs().amax(-1, keepdim=True).max(), rtol=0)


@pytest.mark.parametrize(("mode", "close"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_a_cast_network_halves_its_bytes_and_still_speaks_float32(tiny_model, mode, close):
    cast = quantize(tiny_model.dit, Quantization(mode=mode), CONTEXT)
    assert bytes_of(cast) == bytes_of(tiny_model.dit) / 2
    assert cast(*inputs_of()).dtype == torch.float32
    assert 0 < error(cast, tiny_model.dit) < close


@pytest.mark.parametrize("method", ["hqq", "gptq"])
def test_every_method_stores_as_many_bytes_and_finds_other_codes(tiny_model, method):
    plain = quantize(tiny_model.dit, Quantization(bits=2, group_size=32), CONTEXT)
    other = quantize(tiny_model.dit, Quantization(bits=2, group_size=32, method=method, calibration=64), CONTEXT)
    assert bytes_of(other) == bytes_of(plain)
    assert error(other, plain) > 0.01


def test_gptq_brings_the_network_closer_than_the_nearest_codes(tiny_model):
    plain, better = (
        quantize(tiny_model.dit, Quantization(bits=2, group_size=32, method=method, calibration=256), CONTEXT)
        for method in ("nearest", "gptq")
    )
    assert error(better, tiny_model.dit) < 0.8 * error(plain, tiny_model.dit)


@pytest.mark.parametrize(("method", "activation_bits"), [("low_rank", 8), ("rotated", 8), ("rotated", 32)])
def test_low_rank_and_rotated_err_less_than_the_nearest_codes(tiny_model, method, activation_bits):
    knobs: dict[str, Any] = {"bits": 3, "group_size": 32, "calibration": 64}
    plain = quantize(tiny_model.dit, Quantization(**knobs), CONTEXT)
    better = quantize(tiny_model.dit, Quantization(**knobs, method=method, activation_bits=activation_bits), CONTEXT)
    assert 0 < error(better, tiny_model.dit) < 0.8 * error(plain, tiny_model.dit)


def test_a_low_rank_costs_16_bits_for_each_input_and_output(layer):
    moments = Moments(torch.zeros(128), torch.eye(128))
    plain = packed_linear(layer, 4, 64, "gptq", moments)
    corrected = low_rank_linear(layer, 4, 64, 3, moments, 32)
    assert bytes_of(corrected) - bytes_of(plain) == 2 * 3 * (128 + 96)


def test_a_weight_of_low_rank_is_kept_by_its_factors():
    torch.manual_seed(0)
    weight = torch.randn(96, 3) @ torch.randn(3, 64)
    rounded, up, down = low_rank(weight, 2, 32, 3, Moments(torch.zeros(64), torch.eye(64)))
    torch.testing.assert_close(rounded.weight + up @ down, weight, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(("width", "block"), [(64, 64), (192, 64), (96, 32), (15, 1)])
def test_a_rotation_is_its_own_inverse_and_mixes_within_blocks(width, block):
    matrix = rotate(torch.eye(width))
    torch.testing.assert_close(matrix @ matrix, torch.eye(width))
    inside = torch.block_diag(*[torch.ones(block, block)] * (width // block)).bool()
    assert torch.equal(matrix != 0, inside)
    torch.testing.assert_close(matrix[inside].abs(), torch.full((width * block,), block**-0.5))


def test_a_rotation_spreads_an_outlier(layer):
    layer.weight[:, 5] = 10.0  # one input whose weights make the grid of its group coarse
    exact = layer(torch.eye(128))
    rotated = rotated_linear(layer, 4, 64, Moments(torch.zeros(128), torch.eye(128)), 32)(torch.eye(128))
    assert torch.equal(layer(torch.eye(128)), exact)  # the layer itself is not rotated
    nearest = packed_linear(layer, 4, 64)(torch.eye(128))
    assert (rotated - exact).norm() < (nearest - exact).norm()


def test_activations_are_rounded_token_by_token():
    x = torch.randn(3, 5, 16)
    rounded = round_tokens(x, 8)
    codes = rounded / x.abs().amax(-1, keepdim=True) * 127
    torch.testing.assert_close(codes, codes.round(), atol=1e-3, rtol=0)
    assert 0 < (rounded - x).abs().max() < x.abs().max() / 127
    assert torch.equal(round_tokens(x, 32), x)
    assert not round_tokens(torch.zeros(2, 4), 8).any()


@pytest.mark.parametrize("method", ["low_rank", "rotated"])
def test_a_corrected_network_is_saved_as_it_is(tiny_model, method, tmp_path):
    config = Quantization(bits=4, group_size=32, calibration=8, method=method, activation_bits=8)
    network = quantize(tiny_model.dit, config, CONTEXT)
    write_network(network, tmp_path / "network.pt")
    assert error(read_network(tmp_path / "network.pt"), network) < 2e-2


def test_mixed_bits_stay_within_the_average_and_err_less(tiny_model):
    plain = quantize(tiny_model.dit, Quantization(bits=4, group_size=32, skip="none"), CONTEXT)
    mixed = quantize(tiny_model.dit, Quantization(mode="mixed", bits=4, group_size=32, skip="none"), CONTEXT)
    layers = [module for module in mixed.modules() if isinstance(module, PackedLinear)]
    weights = sum(layer.in_features * layer.out_features for layer in layers)
    assert sum(layer.bits * layer.in_features * layer.out_features for layer in layers) <= 4 * weights
    assert len({layer.bits for layer in layers}) > 1
    assert error(mixed, tiny_model.dit) < error(plain, tiny_model.dit)


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"mode": "dynamic-int8", "bits": 4}, "computes in 8 bits: set bits to 8"),
        ({"mode": "int4"}, "computes in 4 bits: set bits to 4"),
        ({"mode": "float16", "bits": 4}, "has 16 bits per weight: leave bits at 8"),
        ({"mode": "dynamic-int8", "method": "gptq"}, "gptq does not apply to mode dynamic-int8: use nearest"),
        ({"mode": "bfloat16", "method": "hqq"}, "hqq does not apply to mode bfloat16: use nearest"),
        ({"mode": "int4", "bits": 4, "method": "gptq"}, "gptq does not apply to mode int4"),
        ({"mode": "dynamic-int8", "method": "low_rank"}, "low_rank does not apply to mode dynamic-int8: use nearest"),
        ({"activation_bits": 8}, "only low_rank and rotated round activations: leave activation_bits at 32"),
        ({"method": "low_rank", "rank": 0}, "rank must be between 1 and 128"),
        ({"method": "gptq", "calibration": 0}, "calibration must be between 1 and 4096"),
    ],
)
def test_knobs_that_do_not_go_together_are_refused(knobs, says):
    with pytest.raises(BadRequest, match=says):
        Recipe.parse([{"name": "quantization", **knobs}])


@pytest.mark.parametrize(("mode", "bits", "capability"), [("int4", 4, "8.0"), ("float8", 8, "8.9")])
def test_tensor_core_modes_are_refused_where_there_are_none(tiny_model, mode, bits, capability):
    with pytest.raises(BadRequest, match=f"needs an NVIDIA GPU of compute capability {re.escape(capability)} or newer"):
        Recipe.parse([{"name": "quantization", "mode": mode, "bits": bits}]).check(None, "cpu")


@pytest.mark.parametrize(
    ("mode", "found", "runs"), [("int4", (8, 0), True), ("int4", (7, 5), False), ("float8", (8, 6), False)]
)
def test_tensor_core_modes_ask_for_the_compute_capability(monkeypatch, mode, found, runs):
    monkeypatch.setattr(devices, "find", lambda name: devices.Device(name, "a GPU", capability=found))
    reason = unsupported(Quantization(mode=mode, bits=4 if mode == "int4" else 8), "cuda:1")
    assert (reason is None) == runs
    assert runs or f"this one has {found[0]}.{found[1]}" in reason


def test_a_group_that_does_not_divide_is_refused_before_anything_loads(tiny_model):
    with pytest.raises(BadRequest, match="group_size 128 does not divide the 64 inputs of"):
        Recipe.parse([{"name": "quantization", "group_size": 128}]).check(Structure.of(tiny_model.config.dit), "cpu")


def test_a_group_that_does_not_divide_a_layer_is_refused_by_the_layer(tiny_model):
    with pytest.raises(BadRequest, match="group_size 128 does not divide the 64 inputs of t_embedder"):
        quantize(tiny_model.dit, Quantization(group_size=128), CONTEXT)


def routed(tiny_model, **knobs):
    recipe = [{"name": "moe", "experts": 4, "top_k": 2, "calibration": 8, **knobs}]
    return apply_recipe(tiny_model.dit, recipe, CONTEXT)


@pytest.mark.parametrize(("bits", "method"), [(8, "nearest"), (4, "hqq"), (3, "nearest")])
def test_experts_are_packed_to_their_bits(tiny_model, bits, method):
    dense = routed(tiny_model)
    entry = {"name": "quantization", "bits": bits, "group_size": 32, "method": method}
    packed = apply_recipe(dense, [entry], CONTEXT)
    width, neurons, experts = 64, 256, 4
    codes, groups = 2 * neurons * width * bits // 8, 2 * neurons * (width // 32) * (2 + 1)
    floats = 4 * (neurons + experts * width + width + (width + 1) * experts)  # biases, and the router
    assert bytes_of(packed.blocks[0].mlp) == codes + groups + floats
    for before, after in zip(mixtures(dense), mixtures(packed), strict=True):
        assert isinstance(after, PackedMixture)
        for one, other in zip(before.matrices(), after.matrices(), strict=True):
            assert (one - other).norm() < 1.5 / 2**bits * one.norm()


def test_eight_bits_are_a_quarter_of_a_network_of_experts(tiny_model):
    """Of its matrices: a tiny network has many biases, embeddings and routers beside them."""
    dense = routed(tiny_model)
    packed = apply_recipe(dense, [{"name": "quantization", "group_size": 64}], CONTEXT)
    left = bytes_of(dense) - bytes_of(packed)
    matrices = 4 * sum(p.numel() for n, p in dense.named_parameters() if p.ndim == 2 and OTHER.search(n) is None)
    assert left / matrices == pytest.approx(0.75 - 3 / 64 / 4, abs=1e-3)


def test_a_network_of_packed_experts_does_what_it_did(tiny_model):
    dense = routed(tiny_model, top_k=4)
    packed = apply_recipe(dense, [{"name": "quantization", "group_size": 32}], CONTEXT)
    x, t, y = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), torch.tensor([0, 3])
    expected = dense(x, t, y)
    assert (packed(x, t, y) - expected).norm() < 0.02 * expected.norm()


def test_restoring_experts_is_timed_as_dequantization(tiny_model):
    packed = apply_recipe(routed(tiny_model), [{"name": "quantization", "group_size": 32}], CONTEXT)
    ticks = iter(range(10**6))
    model = tiny_model.with_dit(packed.blocks[0].mlp)
    shares = time_shares(lambda: packed.blocks[0].mlp(torch.zeros(1, 16, 64)), model, lambda: float(next(ticks)))
    assert shares["dequantization"] > 0
    assert type(packed.blocks[0].mlp.packed1) is PackedLinear


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "quantization", "mode": "dynamic-int8"},
        {"name": "quantization", "mode": "mixed", "bits": 4},
        *({"name": "quantization", "method": method} for method in CALIBRATED),
        {"name": "unstructured_pruning"},
        {"name": "semi_structured_pruning"},
    ],
    ids=str,
)
def test_what_would_leave_experts_as_they_are_is_refused(tiny_model, entry):
    network = Structure.of(tiny_model.config.dit)
    with pytest.raises(BadRequest, match="after moe: block 1 has experts, which are not"):
        Recipe.parse([{"name": "moe", "layers": "last-half"}, entry]).check(network, "cpu")
