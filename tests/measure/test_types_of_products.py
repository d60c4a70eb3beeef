"""A record counts what was multiplied in which type, so that a layer that falls back is seen."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from dit_core.errors import BadRequest
from dit_core.measure.flops import count
from dit_core.models.int8 import FEWEST_ROWS, MULTIPLE, Int8Linear, padded_int_mm
from dit_core.recipes.context import Context
from dit_core.records.explanation import types_of_products
from dit_core.techniques.quantization import Quantization, dynamic_int8, quantize
from tests.factory import make_record


def test_products_are_counted_by_the_type_of_their_numbers():
    x, weight, bias = torch.randn(20, 8), torch.randn(16, 8), torch.randn(16)
    codes = torch.ones(20, 8, dtype=torch.int8)

    def call():
        functional.linear(x, weight, bias)
        functional.linear(x.bfloat16(), weight.bfloat16())
        torch._int_mm(codes, codes[:16].t())

    counted = count(call)
    assert counted.by_type == {"float32": 2 * 20 * 8 * 16, "bfloat16": 2 * 20 * 8 * 16, "int8": 2 * 20 * 8 * 16}
    assert sum(counted.by_type.values()) == counted.flops


def test_a_layer_that_silently_multiplies_in_float_is_seen():
    class Falls(nn.Module):
        """Multiplies in float32 at 16 rows or fewer, as torchao's int8 layer does on a GPU."""

        def forward(self, x):
            codes = x.to(torch.int8)
            if len(x) <= 16:
                return codes.float() @ torch.ones(8, 8)
            return torch._int_mm(codes, torch.ones(8, 8, dtype=torch.int8))

    assert set(count(lambda: Falls()(torch.ones(16, 8))).by_type) == {"float32"}
    assert set(count(lambda: Falls()(torch.ones(24, 8))).by_type) == {"int8"}


def test_convolutions_and_attention_are_counted_by_type():
    def call():
        functional.conv2d(torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3))
        heads = torch.randn(1, 2, 4, 8, dtype=torch.bfloat16)
        functional.scaled_dot_product_attention(heads, heads, heads)

    counted = count(call)
    assert set(counted.by_type) == {"float32", "bfloat16"}
    assert sum(counted.by_type.values()) == counted.flops


@pytest.mark.parametrize("rows", [1, 2, 16, 17, 33])
@pytest.mark.parametrize(("inputs", "outputs"), [(8, 8), (12, 8), (8, 4), (5, 3)])
def test_rows_and_sides_that_a_kernel_does_not_take_are_filled_up(rows, inputs, outputs, monkeypatch):
    shapes = []
    product = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: (shapes.append((*a.shape, b.shape[1])), product(a, b))[1])
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(-127, 128, (n, inputs), generator=generator, dtype=torch.int8) for n in (rows, outputs))
    assert torch.equal(padded_int_mm(a, b), a.int() @ b.int().t())
    ((count_, k, n),) = shapes
    assert count_ >= FEWEST_ROWS
    assert k % MULTIPLE == n % MULTIPLE == 0


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_a_layer_gives_the_same_with_filled_up_products(rows, monkeypatch):
    layer, x = Int8Linear(nn.Linear(12, 6)), torch.randn(rows, 12)
    expected = layer(x)
    monkeypatch.setattr("dit_core.models.int8.int_mm", padded_int_mm)
    assert torch.equal(layer(x), expected)


def torchao_layer(inputs: int, outputs: int) -> nn.Module:
    """The layer that dynamic int8 has on a GPU. Its products run here in torchao's fallback for the processor."""
    torch.manual_seed(0)
    return dynamic_int8(nn.Linear(inputs, outputs).requires_grad_(False), torch.device("cuda"))


@pytest.mark.parametrize("rows", [1, 4, 16, 17, FEWEST_ROWS, 40])
def test_torchao_never_gets_the_few_rows_at_which_it_multiplies_in_float(rows):
    layer, x, received = torchao_layer(16, 24), torch.randn(rows, 16), []
    expected = layer.get_submodule("layer")(x)
    layer.get_submodule("layer").register_forward_pre_hook(
        lambda module, inputs: received.append(inputs[0][..., 0].numel())
    )
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer(x.view(1, rows, 16)), expected.view(1, rows, 24))
    assert min(received) >= FEWEST_ROWS


@pytest.mark.parametrize(("inputs", "outputs"), [(12, 8), (8, 12), (5, 3)])
def test_sides_that_torchao_would_multiply_on_the_processor_are_left_to_the_own_layer(inputs, outputs):
    assert type(torchao_layer(inputs, outputs)) is Int8Linear


@pytest.mark.parametrize(("inputs", "outputs", "fits"), [(16, 32, True), (8, 16, False), (16, 24, False)])
def test_a_layer_that_float8_does_not_fit_is_left_out_or_refused(inputs, outputs, fits, monkeypatch):
    quantized = []
    monkeypatch.setattr("torchao.quantization.quantize_", lambda layer, settings: quantized.append(layer))
    config, context = Quantization(mode="float8", skip="none"), Context(torch.device("cuda"))
    network = nn.Sequential(nn.Linear(inputs, outputs))
    if fits:
        quantize(network, config, context)
    else:
        with pytest.raises(BadRequest, match="multiples of 16"):
            quantize(network, config, context)
    assert len(quantized) == fits


def test_the_shares_are_told_largest_first():
    record = make_record()
    assert types_of_products(record) == ""
    record.flops["macs_by_type"] = {"float32": 1, "int8": 3}
    assert types_of_products(record) == "75 % int8, 25 % float32"
