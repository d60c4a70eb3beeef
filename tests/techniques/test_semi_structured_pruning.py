import pytest
import torch
from torch import nn

from dit_core.errors import BadRequest
from dit_core.measure.flops import count
from dit_core.measure.memory import weight_bytes
from dit_core.models.sparse import SemiStructuredLinear, SparseLinear, has_kernel
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe
from dit_core.techniques.quantization import Quantization, quantize
from dit_core.techniques.semi_structured_pruning import SemiStructuredPruning, prune_two_of_four

CONTEXT = Context(torch.device("cpu"))
LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1")


class OneLinear(nn.Module):
    def __init__(self, features: int, **more):
        super().__init__()
        self.linear = nn.Linear(features, 64, **more)

    def forward(self, x, t=None, y=None):
        return self.linear(x)


def inputs():
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor([1, 300, 600, 999]), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("score", ["magnitude", "wanda"])
def test_every_group_of_four_keeps_exactly_two(tiny_model, score):
    pruned = prune_two_of_four(tiny_model.dit, SemiStructuredPruning(score), CONTEXT)
    for block in pruned.blocks:
        for name in LAYERS:
            weight = block.get_submodule(name).weight
            assert (weight.unflatten(1, (-1, 4)).count_nonzero(-1) == 2).all(), name


def test_magnitude_keeps_the_two_largest_of_four(tiny_model):
    pruned = prune_two_of_four(tiny_model.dit, SemiStructuredPruning(), CONTEXT).blocks[1].mlp.fc2.weight
    before = tiny_model.dit.blocks[1].mlp.fc2.weight
    groups, left = before.abs().unflatten(1, (-1, 4)), pruned.abs().unflatten(1, (-1, 4))
    torch.testing.assert_close(left.sum(-1), groups.topk(2, dim=-1).values.sum(-1))
    assert torch.equal(pruned[pruned != 0], before[pruned != 0])


def test_wanda_weighs_features_by_their_activations():
    torch.manual_seed(0)
    net = OneLinear(16).requires_grad_(False)
    x = torch.randn(64, 16) * torch.tensor([30.0, 1.0, 1.0, 1.0]).repeat(4)
    context = Context(torch.device("cpu"), calibration=(x, torch.zeros(64), torch.zeros(64)))
    wanda, magnitude = (
        prune_two_of_four(net, SemiStructuredPruning(score), context) for score in ("wanda", "magnitude")
    )
    assert (wanda.linear.weight[:, ::4] != 0).float().mean() > 0.95
    assert (magnitude.linear.weight[:, ::4] != 0).float().mean() < 0.75
    assert (wanda(x) - net(x)).norm() < 0.5 * (magnitude(x) - net(x)).norm()


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 17 / 32), (torch.float16, 9 / 16)])
def test_two_values_and_four_bits_are_stored_for_four_weights(dtype, share):
    net = OneLinear(128, bias=False, dtype=dtype)
    pruned = prune_two_of_four(net, SemiStructuredPruning(), CONTEXT)
    assert weight_bytes(pruned) == share * weight_bytes(net)


def test_float16_values_take_half_the_bytes_and_stay_close():
    torch.manual_seed(0)
    net, x = OneLinear(128, bias=False), torch.randn(8, 128)
    exact, half = (
        prune_two_of_four(net, SemiStructuredPruning(values=values), CONTEXT) for values in ("exact", "float16")
    )
    assert weight_bytes(half) == 9 / 32 * weight_bytes(net)
    torch.testing.assert_close(half.linear.weight.float(), exact.linear.weight, atol=1e-3, rtol=1e-3)
    assert half(x).dtype == torch.float32
    torch.testing.assert_close(half(x), exact(x), atol=1e-2, rtol=1e-2)


def test_no_operation_is_saved_without_sparse_kernels(tiny_model):
    pruned = prune_two_of_four(tiny_model.dit, SemiStructuredPruning(), CONTEXT)
    after, before = (count(lambda dit=dit: dit(*inputs())) for dit in (pruned, tiny_model.dit))
    assert after.macs == before.macs
    assert not after.uncounted


@pytest.mark.parametrize(
    ("skip", "pruned", "whole"),
    [
        ("none", "final_layer.linear", "x_embedder.proj"),
        ("outer", "blocks.0.adaLN_modulation.1", "t_embedder.mlp.0"),
        ("outer+modulation", "blocks.1.mlp.fc1", "blocks.0.adaLN_modulation.1"),
    ],
)
def test_skipped_layers_stay_whole(tiny_model, skip, pruned, whole):
    network = prune_two_of_four(tiny_model.dit, SemiStructuredPruning(skip=skip), CONTEXT)
    assert isinstance(network.get_submodule(pruned), SparseLinear)
    assert torch.equal(network.get_submodule(whole).weight, tiny_model.dit.get_submodule(whole).weight)


def test_inputs_that_four_does_not_divide_are_refused():
    with pytest.raises(BadRequest, match="the 18 inputs of linear do not divide by 4"):
        prune_two_of_four(OneLinear(18), SemiStructuredPruning(), CONTEXT)


def test_a_network_without_plain_linears_is_refused(tiny_model):
    quantized = quantize(tiny_model.dit, Quantization(bits=4), CONTEXT)
    with pytest.raises(BadRequest, match="put it before quantization"):
        prune_two_of_four(quantized, SemiStructuredPruning(), CONTEXT)


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"calibration": 0}, "calibration must be between 1 and"),
        ({"score": "luck"}, "score must be one of magnitude, wanda"),
        ({"skip": "inner"}, "skip must be one of none, outer"),
    ],
)
def test_bad_knobs_are_refused_before_anything_is_loaded(knobs, line):
    with pytest.raises(BadRequest, match=line):
        Recipe.parse([{"name": "semi_structured_pruning", **knobs}])


def test_a_processor_has_no_kernel():
    assert not has_kernel(torch.zeros(64, 128, dtype=torch.float16))


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0), reason="needs sparse tensor cores"
)
def test_sparse_tensor_cores_compute_what_the_packed_layer_does():
    net, config = OneLinear(128).requires_grad_(False), SemiStructuredPruning(values="float16")
    packed = prune_two_of_four(net, config, CONTEXT)
    sparse = prune_two_of_four(net.cuda(), config, Context(torch.device("cuda")))
    x = torch.randn(64, 128)
    assert isinstance(sparse.linear, SemiStructuredLinear)
    assert weight_bytes(sparse) < 0.3 * weight_bytes(net)
    torch.testing.assert_close(sparse(x.cuda()).cpu(), packed(x), atol=1e-2, rtol=1e-2)
