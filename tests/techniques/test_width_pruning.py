import pytest
import torch
from torch import nn

from dit_core.compression.calibration import calibration, input_features
from dit_core.errors import BadRequest, Cancelled
from dit_core.measure.flops import count
from dit_core.measure.memory import weight_bytes
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, apply_recipe
from dit_core.techniques.quantization import Quantization, quantize
from dit_core.techniques.width_pruning import IMPORTANCE, WidthPruning, _cuts, heads_kept, narrow, neurons_kept

CONTEXT = Context(torch.device("cpu"))


def inputs():
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor([1, 300, 600, 999]), torch.tensor([0, 1, 2, 3])


def scores(dit, importance, context=CONTEXT):
    return measured(dit, importance, WidthPruning(heads=0.5, ffn=0.5), context, 16)


def measured(dit, importance, config, context, samples):
    cuts, data = _cuts(dit, config), calibration(dit, context, samples)
    return IMPORTANCE[importance](dit, cuts, input_features(dit, list(cuts), data), data, context)


@pytest.mark.parametrize(
    ("heads", "share", "kept"), [(6, 0.0, 6), (6, 0.5, 3), (6, 0.3, 4), (6, 0.9, 1), (2, 0.9, 1), (1, 0.9, 1)]
)
def test_heads_go_by_their_share_and_one_stays(heads, share, kept):
    assert heads_kept(heads, share) == kept


@pytest.mark.parametrize(
    ("neurons", "share", "multiple", "kept"),
    [
        (768, 0.5, 32, 384),
        (768, 0.35, 32, 512),
        (768, 0.35, 1, 499),
        (256, 0.9, 32, 32),
        (100, 0.0, 32, 100),
        (20, 0.9, 32, 20),
    ],
)
def test_neurons_are_rounded_to_a_multiple(neurons, share, multiple, kept):
    assert neurons_kept(neurons, share, multiple) == kept


@pytest.mark.parametrize("importance", ["magnitude", "activation", "taylor"])
def test_every_block_keeps_exactly_its_heads_and_neurons(tiny_model, importance):
    small = narrow(tiny_model.dit, WidthPruning(0.5, 0.4, importance, 8), CONTEXT)
    for block in small.blocks:
        assert block.attn.num_heads == 2
        assert block.attn.qkv.weight.shape == (3 * 32, 64)
        assert block.attn.proj.weight.shape == (64, 32)
        assert block.mlp.fc1.weight.shape == (152, 64)  # 0.6 of 256 is 153.6
        assert block.mlp.fc2.weight.shape == (64, 152)
    assert small(*inputs()).shape == (4, 4, 8, 8)


def test_what_stays_is_a_slice_of_the_network(tiny_model):
    small, block = narrow(tiny_model.dit, WidthPruning(0.5, 0.5), CONTEXT).blocks[1], tiny_model.dit.blocks[1]
    neurons = [(block.mlp.fc1.weight == row).all(1).nonzero().item() for row in small.mlp.fc1.weight]
    assert neurons == sorted(set(neurons))
    assert torch.equal(small.mlp.fc1.bias, block.mlp.fc1.bias[neurons])
    assert torch.equal(small.mlp.fc2.weight, block.mlp.fc2.weight[:, neurons])
    rows = [(block.attn.qkv.weight == row).all(1).nonzero().item() for row in small.attn.qkv.weight]
    queries = rows[:32]
    assert rows == [part * 64 + row for part in range(3) for row in queries]
    assert torch.equal(small.attn.proj.weight, block.attn.proj.weight[:, queries])


def test_what_leaves_stays_on_average_in_the_bias(tiny_model):
    data = inputs()
    context = Context(torch.device("cpu"), calibration=data)
    outputs = []
    for dit in (tiny_model.dit, narrow(tiny_model.dit, WidthPruning(0.5, 0.0), context)):
        hook = dit.blocks[0].attn.register_forward_hook(lambda module, args, output: outputs.append(output))
        dit(*data)
        hook.remove()
    before, after = outputs
    assert (before - after).abs().max() > 0.1
    torch.testing.assert_close(after.mean((0, 1)), before.mean((0, 1)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("importance", ["magnitude", "activation", "taylor"])
def test_what_contributes_nothing_goes_first_and_unnoticed(tiny_model, importance):
    dit = narrow(tiny_model.dit, WidthPruning(0.0, 0.0), CONTEXT)
    for block in dit.blocks:
        for before, after, dead in (
            (block.mlp.fc1, block.mlp.fc2, torch.arange(0, 256, 2)),
            (block.attn.qkv, block.attn.proj, torch.arange(16, 48)),
        ):
            rows = (torch.arange(0, len(before.weight), after.in_features)[:, None] + dead).flatten()
            before.weight[rows], before.bias[rows] = 0.0, 0.0
            after.weight[:, dead] = 0.0
    small = narrow(dit, WidthPruning(0.5, 0.5, importance), CONTEXT)
    assert small.blocks[0].attn.num_heads == 2
    torch.testing.assert_close(small(*inputs()), dit(*inputs()))


def test_nothing_removed_is_the_same_function(tiny_model):
    for knobs in ({"heads": 0.0, "ffn": 0.0}, {"heads": 0.1, "ffn": 0.0}):
        same = narrow(tiny_model.dit, WidthPruning(**knobs), CONTEXT)
        assert torch.equal(same(*inputs()), tiny_model.dit(*inputs()))


def test_operations_and_bytes_fall_by_what_was_sliced(tiny_model):
    small = narrow(tiny_model.dit, WidthPruning(0.5, 0.75, "magnitude"), CONTEXT)
    width, tokens, images, blocks = 64, 16, 4, 2
    heads, neurons = 2 * 16, 192  # features and neurons that leave each block
    rows_gone, columns_gone = 3 * heads + neurons, heads + neurons
    linears = (rows_gone + columns_gone) * width * tokens
    attention = 2 * tokens * tokens * heads
    before, after = (count(lambda dit=dit: dit(*inputs())).macs for dit in (tiny_model.dit, small))
    assert before - after == blocks * images * (linears + attention)
    weights = blocks * ((rows_gone + columns_gone) * width + rows_gone)  # biases of the rows too
    assert weight_bytes(tiny_model.dit) - weight_bytes(small) == 4 * weights


def test_activation_finds_what_magnitude_cannot_see(tiny_model):
    dit = narrow(tiny_model.dit, WidthPruning(0.0, 0.0), CONTEXT)
    mlp = dit.blocks[0].mlp
    mlp.fc1.weight[7] = 0.0
    mlp.fc1.bias[7] = -50.0  # never active: GELU gives 0
    mlp.fc2.weight[:, 7] = 5.0
    name = "blocks.0.mlp.fc2"
    assert scores(dit, "magnitude")[name].argmax() == 7
    assert scores(dit, "activation")[name].argmin() == 7
    assert scores(dit, "taylor")[name].argmin() == 7


def test_taylor_estimates_the_change_of_the_output(tiny_model):
    """Against the change measured by switching heads off, over the same inputs; the gates of a tiny model are small."""
    generator = torch.Generator().manual_seed(5)
    data = (
        torch.randn(256, 4, 8, 8, generator=generator),
        torch.randint(1000, (256,), generator=generator),
        torch.randint(4, (256,), generator=generator),
    )
    context = Context(torch.device("cpu"), calibration=data)
    dit = narrow(tiny_model.dit, WidthPruning(0.0, 0.0), CONTEXT)
    estimated = measured(dit, "taylor", WidthPruning(heads=0.5, ffn=0.0), context, 256)["blocks.0.attn.proj"]
    expected, weight = dit(*data), dit.blocks[0].attn.proj.weight
    changes = []
    for head in range(4):
        before = weight.clone()
        weight[:, 16 * head : 16 * head + 16] = 0.0
        changes.append((dit(*data) - expected).square().sum())
        weight.copy_(before)
    torch.testing.assert_close(estimated, torch.stack(changes), rtol=0.35, atol=0)


def test_importance_uses_the_calibration_of_the_context(tiny_model):
    x, t, y = inputs()
    one = Context(torch.device("cpu"), calibration=(x, t, y))
    other = Context(torch.device("cpu"), calibration=(3 * x, t, y))
    for importance in ("activation", "taylor"):
        a, b = (scores(tiny_model.dit, importance, context)["blocks.0.mlp.fc2"] for context in (one, other))
        assert not torch.allclose(a, b)
        assert torch.equal(a, scores(tiny_model.dit, importance, one)["blocks.0.mlp.fc2"])


def test_no_hook_and_no_gradient_stays_behind(tiny_model):
    small = narrow(tiny_model.dit, WidthPruning(0.5, 0.5, "taylor"), CONTEXT)
    assert not any(module._forward_pre_hooks for module in small.modules())
    assert all(parameter.grad is None for parameter in small.parameters())
    assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in tiny_model.dit.parameters()]


def test_it_can_be_applied_twice_and_quantized_afterwards(tiny_model):
    recipe = [
        {"name": "width_pruning", "ffn": 0.5, "heads": 0.5},
        {"name": "width_pruning", "ffn": 0.5},
        {"name": "quantization", "group_size": 32},
    ]
    small = apply_recipe(tiny_model.dit, recipe, CONTEXT)
    assert small.blocks[0].mlp.fc1.out_features == 64
    assert torch.isfinite(small(*inputs())).all()


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"ffn": 1.0}, "ffn must be between 0.0 and 0.9, got 1.0"),
        ({"heads": 0.95}, "heads must be between 0.0 and 0.9, got 0.95"),
        ({"heads": -0.1}, "heads must be between"),
        ({"multiple": 7}, "multiple must be one of 1, 8, 16, 32, got 7"),
        ({"calibration": 0}, "calibration must be between 1 and"),
        ({"importance": "luck"}, "importance must be one of magnitude, activation, taylor"),
        ({"recover": "0"}, "recover must be none, bundled or a number of training steps"),
    ],
)
def test_bad_knobs_are_refused_before_anything_is_loaded(knobs, line):
    with pytest.raises(BadRequest, match=line):
        Recipe.parse([{"name": "width_pruning", **knobs}])


@pytest.mark.parametrize(("knobs", "line"), [((0.5, 0.0), "heads of block 0"), ((0.0, 0.5), "neurons of block 0")])
def test_layers_that_another_technique_replaced_are_refused(tiny_model, knobs, line):
    quantized = quantize(tiny_model.dit, Quantization(bits=4), CONTEXT)
    with pytest.raises(BadRequest, match=f"another technique has changed the {line}"):
        narrow(quantized, WidthPruning(*knobs), CONTEXT)


def test_only_what_is_cut_must_be_as_it_was(tiny_model):
    dit = narrow(tiny_model.dit, WidthPruning(0.0, 0.0), CONTEXT)
    dit.blocks[0].attn = nn.Identity()
    assert narrow(dit, WidthPruning(0.0, 0.5, "magnitude"), CONTEXT).blocks[0].mlp.fc1.out_features == 128
    with pytest.raises(BadRequest, match="put width_pruning first or set heads to 0"):
        narrow(dit, WidthPruning(0.5, 0.5), CONTEXT)


def test_recovery_without_data_is_refused(tiny_model):
    with pytest.raises(BadRequest, match="set recover to none"):
        narrow(tiny_model.dit, WidthPruning(recover="10"), CONTEXT)


def test_a_cancelled_run_stops(tiny_model):
    with pytest.raises(Cancelled):
        narrow(tiny_model.dit, WidthPruning(importance="taylor"), Context(torch.device("cpu"), cancelled=lambda: True))
