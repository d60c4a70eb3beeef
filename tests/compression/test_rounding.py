import pytest
import torch
from torch import nn

from dit_core.compression.bit_allocation import WIDTHS, output_errors, spend
from dit_core.compression.rounding import Moments, gptq, hqq, input_moments, nearest
from dit_core.models.packed import dequantize, zero_points

GROUP = 32


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(48, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def inputs() -> torch.Tensor:
    """(tokens, in) with correlated features and a mean, as activations have."""
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(96, 96, generator=generator) * torch.linspace(2, 0.1, 96)
    return torch.randn(400, 96, generator=generator) @ mix.T / 10 + torch.randn(96, generator=generator)


def moments_of(x: torch.Tensor) -> Moments:
    return Moments(x.mean(0), x.T.cov(correction=0))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq_errs_less_on_its_calibration_inputs_than_the_nearest_codes_in_every_output(weight, inputs, bits):
    moments = moments_of(inputs)
    plain, found = nearest(weight, bits, GROUP), gptq(weight, bits, GROUP, moments)
    before, after = (moments.error(weight - rounded.weight) for rounded in (plain, found))
    assert (after <= before).all()
    assert after.sum() < 0.6 * before.sum()


def test_the_moments_give_the_error_of_a_layer_whose_bias_takes_up_the_mean(weight, inputs):
    moments = moments_of(inputs)
    difference = weight - nearest(weight, 3, GROUP).weight
    outputs = inputs @ difference.T - difference @ moments.mean
    torch.testing.assert_close(moments.error(difference), outputs.square().mean(0), rtol=1e-4, atol=1e-6)


def test_gptq_works_where_inputs_are_fewer_than_features_or_constant(weight):
    for x in (torch.randn(3, 96), torch.ones(5, 96), torch.zeros(5, 96)):
        assert torch.isfinite(gptq(weight, 2, GROUP, moments_of(x)).weight).all()


def test_gptq_works_where_rounding_is_all_that_is_left_of_a_covariance():
    generator = torch.Generator().manual_seed(0)
    layer, x = nn.Linear(256, 8), 3 * torch.randn(1, 256, generator=generator)
    for rows in (x, x.expand(7, -1)):
        moments = input_moments(nn.Sequential(layer), ["0"], (rows,))["0"]
        found = gptq(layer.weight.detach(), 4, 64, moments)
        assert (found.weight - layer.weight).abs().max() < 0.02


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_hqq_leaves_a_smaller_mean_error_than_the_nearest_codes(weight, bits):
    def error(rounded):
        return (rounded.weight - weight).abs().mean()

    assert error(hqq(weight, bits, GROUP)) < error(nearest(weight, bits, GROUP))


@pytest.mark.parametrize("bits", range(2, 9))
def test_every_method_gives_codes_of_its_bits_that_say_the_same_as_the_weight(weight, inputs, bits):
    for rounded in (
        nearest(weight, bits, GROUP),
        hqq(weight, bits, GROUP),
        gptq(weight, bits, GROUP, moments_of(inputs)),
    ):
        assert rounded.codes.max().item() < 2**bits
        zero = zero_points(rounded.zero, bits).repeat_interleave(GROUP, 1)
        expected = (rounded.codes.float() - zero) * rounded.scale.float().repeat_interleave(GROUP, 1)
        assert torch.equal(dequantize(*rounded), expected)


def test_a_constant_weight_survives_every_method():
    weight = torch.full((4, 64), 0.25)
    for rounded in (nearest(weight, 2, 64), hqq(weight, 2, 64), gptq(weight, 2, 64, moments_of(torch.randn(9, 64)))):
        torch.testing.assert_close(rounded.weight, weight, atol=1e-3, rtol=0)


def test_input_moments_are_taken_over_images_and_tokens():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x, t, y):
            return self.linear(x)

    x = torch.randn(40, 5, 3) + 2
    moments = input_moments(Net(), ["linear"], (x, torch.zeros(40), torch.zeros(40)))["linear"]
    torch.testing.assert_close(moments.mean, x.flatten(0, 1).mean(0))
    torch.testing.assert_close(moments.covariance, x.flatten(0, 1).T.cov(correction=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("average", [2, 3, 4.5, 8])
def test_no_more_bits_are_spent_than_there_are(average):
    generator = torch.Generator().manual_seed(0)
    sizes = {f"layer {i}": int(size) for i, size in enumerate(torch.randint(10, 1000, (20,), generator=generator))}
    errors = {name: {b: torch.rand(1, generator=generator).item() * 4.0**-b for b in WIDTHS} for name in sizes}
    bits = spend(errors, sizes, average)
    assert sum(bits[name] * size for name, size in sizes.items()) <= average * sum(sizes.values())
    assert set(bits.values()) <= set(WIDTHS)


def test_bits_go_to_the_layer_that_the_output_feels():
    errors = {"loud": {b: 100 * 4.0**-b for b in WIDTHS}, "quiet": {b: 4.0**-b for b in WIDTHS}}
    assert spend(errors, {"loud": 10, "quiet": 10}, 4) == {"loud": 6, "quiet": 2}


def test_a_bit_width_that_does_not_help_alone_is_stepped_over():
    errors = {"odd": {2: 1.0, 3: 1.0, 4: 0.0, 5: 0.0, 6: 0.0, 7: 0.0, 8: 0.0}}
    assert spend(errors, {"odd": 10}, 6) == {"odd": 4}


def test_output_errors_fall_with_bits_and_leave_the_network_as_it_was(tiny_model):
    layers = {"blocks.0.mlp.fc1": tiny_model.dit.blocks[0].mlp.fc1}
    before = layers["blocks.0.mlp.fc1"].weight.clone()
    inputs = torch.randn(4, 4, 8, 8), torch.tensor([1, 300, 600, 999]), torch.tensor([0, 1, 2, 3])
    (errors,) = output_errors(tiny_model.dit, layers, inputs, 32).values()
    assert list(errors) == list(WIDTHS)
    assert errors[2] > 10 * errors[8] > 0
    assert torch.equal(layers["blocks.0.mlp.fc1"].weight, before)
