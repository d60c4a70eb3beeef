import pytest
import torch
from torch import nn

from dit_core import techniques
from dit_core.errors import BadRequest
from dit_core.models.packed import PackedLinear
from dit_core.techniques import Context
from dit_core.techniques.quantization import Quantization, packed_linear, quantize

CONTEXT = Context(torch.device("cpu"))


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


@pytest.mark.parametrize(
    ("skip", "packed", "floating"),
    [
        ("none", "final_layer.linear", "x_embedder.proj"),
        ("outer", "blocks.0.adaLN_modulation.1", "final_layer.linear"),
        ("outer+modulation", "blocks.1.mlp.fc1", "blocks.0.adaLN_modulation.1"),
    ],
)
def test_skipped_layers_stay_in_float(tiny_model, skip, packed, floating):
    quantized = quantize(tiny_model.dit, Quantization(bits=4, skip=skip, group_size=32), CONTEXT)
    assert isinstance(quantized.get_submodule(packed), PackedLinear)
    assert not isinstance(quantized.get_submodule(floating), PackedLinear)


def test_dynamic_int8_stays_close_and_stores_int8(tiny_model):
    quantized = quantize(tiny_model.dit, Quantization(mode="dynamic-int8"), CONTEXT)
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t, y = torch.tensor([1, 300, 600, 999]), torch.tensor([0, 1, 2, 3])
    with torch.inference_mode():
        expected, out = tiny_model.dit(x, t, y), quantized(x, t, y)
    assert 0 < (out - expected).norm() / expected.norm() < 0.05
    assert quantized.blocks[0].mlp.fc1.weight.qdata.dtype == torch.int8


def test_dynamic_int8_with_other_bits_is_refused():
    with pytest.raises(BadRequest, match="set bits to 8"):
        techniques.parse_recipe([{"name": "quantization", "mode": "dynamic-int8", "bits": 4}])


def test_a_group_that_does_not_divide_is_refused(tiny_model):
    with pytest.raises(BadRequest, match="group_size 128 does not divide the 64 inputs of"):
        quantize(tiny_model.dit, Quantization(group_size=128), CONTEXT)
