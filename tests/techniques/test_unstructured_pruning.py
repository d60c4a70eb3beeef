import pytest
import torch
from torch import nn

from dit_core.errors import BadRequest, Cancelled
from dit_core.measure.flops import count
from dit_core.measure.memory import weight_bytes
from dit_core.models.sparse import SparseLinear, pack_bits, sparse_linear, unpack_bits
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe
from dit_core.techniques.quantization import Quantization, quantize
from dit_core.techniques.unstructured_pruning import UnstructuredPruning, prune_weights

CONTEXT = Context(torch.device("cpu"))
LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1")


def inputs():
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor([1, 300, 600, 999]), torch.tensor([0, 1, 2, 3])


def weights(dit, block=0):
    return {name: dit.blocks[block].get_submodule(name).weight for name in LAYERS}


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(24, 10).requires_grad_(False)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 240])
def test_bits_come_back_as_they_were_packed(count):
    bits = torch.rand(count, generator=torch.Generator().manual_seed(0)) < 0.5
    packed = pack_bits(bits)
    assert len(packed) == -(-count // 8)
    assert torch.equal(unpack_bits(packed, count), bits)


def test_a_sparse_layer_stores_a_bit_a_weight_and_the_kept_values(layer):
    keep = torch.rand(10, 24, generator=torch.Generator().manual_seed(0)) < 0.3
    sparse = sparse_linear(layer, keep)
    assert weight_bytes(sparse) == 10 * 24 // 8 + 4 * int(keep.sum()) + 4 * 10
    assert torch.equal(sparse.weight, layer.weight * keep)
    x = torch.randn(5, 24)
    torch.testing.assert_close(sparse(x), x @ (layer.weight * keep).T + layer.bias)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_layer_stays_dense_where_the_bitmask_saves_nothing(layer, dtype):
    layer = layer.to(dtype)
    before, break_even = weight_bytes(layer), 240 // 8 // dtype.itemsize  # weights to drop for the mask's own bytes
    for dropped, kind in ((break_even, nn.Linear), (break_even + 1, SparseLinear)):
        keep = (torch.arange(240) >= dropped).view(10, 24)
        pruned = sparse_linear(nn.Linear(24, 10, dtype=dtype), keep)
        assert type(pruned) is kind
        assert pruned.weight.count_nonzero() == 240 - dropped
        assert weight_bytes(pruned) <= before


@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("score", ["magnitude", "wanda"])
def test_every_layer_loses_exactly_its_share(tiny_model, sparsity, score):
    pruned = prune_weights(tiny_model.dit, UnstructuredPruning(sparsity, score), CONTEXT)
    for name, weight in weights(pruned).items():
        if score == "wanda":
            inputs = weight.shape[1]
            assert (weight.count_nonzero(1) == inputs - round(sparsity * inputs)).all(), name
        else:
            assert weight.count_nonzero() == weight.numel() - round(sparsity * weight.numel()), name


@pytest.mark.parametrize("score", ["magnitude", "wanda"])
def test_a_global_threshold_takes_the_share_of_all_weights_unevenly(tiny_model, score):
    pruned = prune_weights(tiny_model.dit, UnstructuredPruning(0.5, score, "global"), CONTEXT)
    left = [weight for block in range(2) for weight in weights(pruned, block).values()]
    total = sum(weight.numel() for weight in left)
    assert sum(int(weight.count_nonzero()) for weight in left) == total - round(0.5 * total)
    shares = [float(weight.count_nonzero() / weight.numel()) for weight in left]
    assert max(shares) - min(shares) > 0.05


def test_the_largest_weights_stay_as_they_were(tiny_model):
    pruned = weights(prune_weights(tiny_model.dit, UnstructuredPruning(0.7), CONTEXT))
    for name, weight in weights(tiny_model.dit).items():
        kept = pruned[name] != 0
        assert torch.equal(pruned[name][kept], weight[kept])
        assert weight[kept].abs().min() >= weight[~kept].abs().max()


def test_bytes_shrink_by_the_share_less_a_bit_a_weight(tiny_model):
    pruned = prune_weights(tiny_model.dit, UnstructuredPruning(0.75), CONTEXT)
    linear = sum(weight.numel() for block in range(2) for weight in weights(tiny_model.dit, block).values())
    saved = weight_bytes(tiny_model.dit) - weight_bytes(pruned)
    assert saved == linear * 4 * 0.75 - linear / 8


def test_no_operation_is_saved(tiny_model):
    pruned = prune_weights(tiny_model.dit, UnstructuredPruning(0.9), CONTEXT)
    after, before = (count(lambda dit=dit: dit(*inputs())) for dit in (pruned, tiny_model.dit))
    assert after.macs == before.macs
    assert not after.uncounted


@pytest.mark.parametrize("score", ["magnitude", "wanda"])
def test_no_sparsity_is_the_same_function(tiny_model, score):
    pruned = prune_weights(tiny_model.dit, UnstructuredPruning(0.0, score), CONTEXT)
    assert torch.equal(pruned(*inputs()), tiny_model.dit(*inputs()))


def test_error_grows_with_sparsity(tiny_model):
    expected = tiny_model.dit(*inputs())

    def error(sparsity):
        pruned = prune_weights(tiny_model.dit, UnstructuredPruning(sparsity), CONTEXT)
        return (pruned(*inputs()) - expected).norm().item()

    errors = [error(sparsity) for sparsity in (0.02, 0.1, 0.3, 0.6)]
    assert errors == sorted(errors)
    assert errors[-1] > 5 * errors[0] > 0


def test_wanda_keeps_what_reads_strong_features_and_errs_less_there():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(32, 16)

        def forward(self, x, t, y):
            return self.linear(x)

    torch.manual_seed(0)
    net = Net().requires_grad_(False)
    strong = torch.where(torch.arange(32) < 4, 20.0, 1.0)
    x = torch.randn(64, 32) * strong
    context = Context(torch.device("cpu"), calibration=(x, torch.zeros(64), torch.zeros(64)))
    pruned = {score: prune_weights(net, UnstructuredPruning(0.75, score), context) for score in ("magnitude", "wanda")}
    kept = {score: (one.linear.weight[:, :4] != 0).float().mean() for score, one in pruned.items()}
    assert kept["wanda"] > 0.9
    assert kept["magnitude"] < 0.5
    expected = net(x, None, None)
    error = {score: (one(x, None, None) - expected).norm() for score, one in pruned.items()}
    assert error["wanda"] < 0.5 * error["magnitude"]


def test_a_global_threshold_does_not_favour_layers_that_see_many_tokens():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.of_tokens, self.of_images = nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x, t, y):
            return self.of_tokens(x) + self.of_images(x[:, :1])

    torch.manual_seed(0)
    data = (torch.randn(64, 16, 64), torch.zeros(64), torch.zeros(64))
    context = Context(torch.device("cpu"), calibration=data)
    pruned = prune_weights(Net(), UnstructuredPruning(0.5, "wanda", "global"), context)
    shares = [len(layer.values) / 64**2 for layer in (pruned.of_tokens, pruned.of_images)]
    assert shares == pytest.approx([0.5, 0.5], abs=0.03)


@pytest.mark.parametrize(
    ("skip", "pruned", "whole"),
    [
        ("none", "final_layer.linear", "x_embedder.proj"),
        ("outer", "blocks.0.adaLN_modulation.1", "t_embedder.mlp.0"),
        ("outer+modulation", "blocks.1.mlp.fc1", "blocks.0.adaLN_modulation.1"),
    ],
)
def test_skipped_layers_stay_whole(tiny_model, skip, pruned, whole):
    network = prune_weights(tiny_model.dit, UnstructuredPruning(skip=skip), CONTEXT)
    assert isinstance(network.get_submodule(pruned), SparseLinear)
    assert torch.equal(network.get_submodule(whole).weight, tiny_model.dit.get_submodule(whole).weight)


def test_a_pruned_network_saves_and_loads(tiny_model, tmp_path):
    pruned = prune_weights(tiny_model.dit, UnstructuredPruning(0.5), CONTEXT)
    torch.save(pruned.state_dict(), tmp_path / "pruned.pt")
    other = prune_weights(tiny_model.dit, UnstructuredPruning(0.5, "wanda"), CONTEXT)
    assert not torch.equal(other(*inputs()), pruned(*inputs()))
    other.load_state_dict(torch.load(tmp_path / "pruned.pt"))
    assert torch.equal(other(*inputs()), pruned(*inputs()))


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"sparsity": 1.0}, "sparsity must be between 0.0 and 0.95, got 1.0"),
        ({"sparsity": -0.1}, "sparsity must be between"),
        ({"calibration": 0}, "calibration must be between 1 and"),
        ({"score": "luck"}, "score must be one of magnitude, wanda"),
        ({"scope": "row"}, "scope must be one of layer, global"),
    ],
)
def test_bad_knobs_are_refused_before_anything_is_loaded(knobs, line):
    with pytest.raises(BadRequest, match=line):
        Recipe.parse([{"name": "unstructured_pruning", **knobs}])


def test_a_network_without_plain_linears_is_refused(tiny_model):
    quantized = quantize(tiny_model.dit, Quantization(bits=4), CONTEXT)
    with pytest.raises(BadRequest, match="put it before quantization"):
        prune_weights(quantized, UnstructuredPruning(), CONTEXT)


def test_a_cancelled_run_stops(tiny_model):
    with pytest.raises(Cancelled):
        prune_weights(tiny_model.dit, UnstructuredPruning(), Context(torch.device("cpu"), cancelled=lambda: True))
