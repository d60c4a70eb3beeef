import pytest
import torch

from dit_core.compression.calibration import calibration
from dit_core.errors import BadRequest, Cancelled
from dit_core.experiment.checks import check
from dit_core.measure.flops import count
from dit_core.measure.memory import weight_bytes
from dit_core.models import recovered
from dit_core.models.experts import Mixture, mixtures, work
from dit_core.models.presets import DiTConfig
from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, apply_recipe, canonical
from dit_core.records.spec import RunSpec
from dit_core.techniques.moe import MixtureOfExperts, incompatible, split_into_experts
from dit_core.techniques.quantization import Quantization, quantize

pytestmark = pytest.mark.slow

CONTEXT = Context(torch.device("cpu"))


def inputs(n=4):
    x = torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.linspace(1, 999, n).long(), torch.arange(n) % 4


def apply(model, context=None, **knobs):
    knobs = {"calibration": 16, **knobs}
    return split_into_experts(model.dit, MixtureOfExperts(**knobs), context or CONTEXT).eval()


@pytest.mark.parametrize("knobs", [{"experts": 2, "top_k": 2}, {"top_k": 8}, {"experts": 16, "top_k": 13, "shared": 3}])
def test_with_all_experts_the_network_is_what_it_was(tiny_model, knobs):
    routed = apply(tiny_model, **knobs)
    torch.testing.assert_close(routed(*inputs()), tiny_model.dit(*inputs()), atol=1e-5, rtol=1e-5)


def test_more_experts_a_token_come_closer(tiny_model):
    context = Context(torch.device("cpu"), model=tiny_model)
    unseen = calibration(tiny_model.dit, Context(torch.device("cpu"), seed=7, model=tiny_model), 32)
    expected = tiny_model.dit(*unseen)
    errors = [(apply(tiny_model, context, top_k=k)(*unseen) - expected).norm().item() for k in (1, 2, 4, 6)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]


def test_the_fitted_router_beats_the_opposite_choice(tiny_model):
    context = Context(torch.device("cpu"), model=tiny_model)
    unseen = calibration(tiny_model.dit, Context(torch.device("cpu"), seed=7, model=tiny_model), 32)
    expected, routed = tiny_model.dit(*unseen), apply(tiny_model, context, top_k=2)
    best = (routed(*unseen) - expected).norm()
    for mixture in mixtures(routed):
        mixture.router.weight.neg_()
        mixture.router.bias.neg_()
    assert best < 0.9 * (routed(*unseen) - expected).norm()


def test_an_image_is_the_same_alone_and_in_a_batch(tiny_model):
    routed, (x, t, y) = apply(tiny_model, top_k=2), inputs(8)
    alone = torch.cat([routed(*one) for one in zip(x.split(1), t.split(1), y.split(1), strict=True)])
    torch.testing.assert_close(routed(x, t, y), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("layers", "changed"), [("all", [0, 1]), ("first-half", [0]), ("last-half", [1])])
def test_only_the_chosen_blocks_change(tiny_model, layers, changed):
    routed = apply(tiny_model, layers=layers)
    assert [i for i, block in enumerate(routed.blocks) if isinstance(block.mlp, Mixture)] == changed


@pytest.mark.parametrize(("top_k", "shared"), [(2, 0), (1, 3)])
def test_operations_fall_by_the_experts_that_do_not_run(tiny_model, top_k, shared):
    routed = apply(tiny_model, top_k=top_k, shared=shared)
    before, after = (count(lambda dit=dit: dit(*inputs())) for dit in (tiny_model.dit, routed))
    width, neurons, tokens, blocks = 64, 256, 4 * 16, 2
    skipped = neurons * (8 - top_k - shared) // 8
    router = width * (8 - shared)
    assert before.macs - after.macs == blocks * tokens * (2 * width * skipped - router)
    assert work(routed).activated == blocks * (2 * width * (neurons - skipped) + router)
    assert not after.uncounted


def test_weights_grow_by_routers_and_biases_only(tiny_model):
    grown = weight_bytes(apply(tiny_model, shared=1)) - weight_bytes(tiny_model.dit)
    width, routed, blocks = 64, 7, 2
    assert grown == 4 * blocks * ((width + 1) * routed + routed * width)


def test_it_is_the_same_again_from_the_same_seed(tiny_model):
    first, second = apply(tiny_model), apply(tiny_model)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_weight_of_the_balance_loss_reaches_every_mixture(tiny_model):
    assert {mixture.router.balance for mixture in mixtures(apply(tiny_model, balance=0.25))} == {0.25}


def test_the_split_does_not_ask_for_gradients_that_the_network_did_not_have(tiny_model):
    assert not any(parameter.requires_grad for parameter in apply(tiny_model).parameters())


def test_bundled_weights_need_no_calibration(tiny_model):
    """They are refused here, for a model that has none, and not before the structure stands."""
    stages = []
    context = Context(torch.device("cpu"), progress=lambda stage, step, of: stages.append(stage))
    with pytest.raises(BadRequest, match="set recover to none"):
        apply(tiny_model, context, recover="bundled")
    assert stages == ["split"] * 2


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"experts": 17}, "experts must be between 2 and 16"),
        ({"experts": 4, "top_k": 5}, "moe: top_k must be between 1 and 4, the experts that are not shared, got 5"),
        ({"experts": 4, "top_k": 4, "shared": 1}, "moe: top_k must be between 1 and 3"),
        ({"experts": 4, "top_k": 1, "shared": 4}, "moe: shared must be between 0 and 3, fewer than the experts, got 4"),
        ({"balance": -0.1}, "balance must be between"),
        ({"layers": "odd"}, "layers must be one of"),
        ({"recover": "some"}, "recover must be none, bundled or a number"),
    ],
)
def test_bad_knobs_are_refused_before_anything_is_loaded(knobs, line):
    with pytest.raises(BadRequest, match=line):
        Recipe.parse([{"name": "moe", **knobs}])


def test_experts_that_do_not_divide_the_neurons_are_refused_by_the_size_of_the_network():
    network = Structure.of(DiTConfig(hidden_size=192, mlp_ratio=4.0))
    reason = incompatible(MixtureOfExperts(5), network)
    assert "experts 5 does not divide the 768 neurons of a block: use 1, 2, 3" in reason
    assert incompatible(MixtureOfExperts(12), network) is None


def test_smaller_experts_miss_more_and_whole_ones_nothing(tiny_model):
    context, whole = Context(torch.device("cpu"), model=tiny_model), {"experts": 4, "top_k": 4}
    unseen = calibration(tiny_model.dit, Context(torch.device("cpu"), seed=7, model=tiny_model), 32)
    expected, errors = tiny_model.dit(*unseen), []
    for size in (16, 40, 64):
        routed = apply(tiny_model, context, **whole, expert_size=size)
        assert {mixture.expert_size for mixture in mixtures(routed)} == {size}
        errors.append((routed(*unseen) - expected).norm().item())
    assert errors[0] > 1.5 * errors[1]
    assert errors[2] < 1e-3 * errors[1]


def test_smaller_experts_work_with_shared_ones(tiny_model):
    routed = apply(tiny_model, experts=4, top_k=2, shared=1, expert_size=16)
    assert [m.shared.fc1.out_features for m in mixtures(routed)] == [16, 16]
    assert weight_bytes(routed) < weight_bytes(apply(tiny_model, experts=4, top_k=2, shared=1))
    assert torch.isfinite(routed(*inputs())).all()


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        (
            {"expert_size": 97},
            "8 experts of 97 need more than the 768 neurons of a block: set expert_size to at most 96",
        ),
        ({"experts": 5, "expert_size": 154}, "set expert_size to at most 153"),
    ],
)
def test_experts_larger_than_there_are_neurons_are_refused_before_anything_loads(knobs, line):
    with pytest.raises(BadRequest, match=line):
        check(RunSpec(techniques=({"name": "moe", **knobs},)))
    check(RunSpec(techniques=({"name": "moe", **knobs, "expert_size": 48},)))
    with pytest.raises(BadRequest, match="expert_size must be between 0 and"):
        Recipe.parse([{"name": "moe", "expert_size": -1}])


def test_a_knob_that_came_later_leaves_runs_and_weights_from_before_it_their_names():
    (entry,) = canonical([{"name": "moe", "expert_size": 0, "recover": "bundled"}])
    assert "expert_size" not in entry
    assert recovered.path("emoji", [entry]).is_file()
    (entry,) = canonical([{"name": "moe", "expert_size": 48}])
    assert entry["expert_size"] == 48


def test_experts_that_do_not_divide_what_another_technique_left_are_refused(tiny_model):
    recipe = [{"name": "width_pruning", "ffn": 0.6, "multiple": 1}, {"name": "moe", "calibration": 16}]
    with pytest.raises(BadRequest, match="after width_pruning: experts 8 does not divide the 102 neurons of a block"):
        apply_recipe(tiny_model.dit, recipe, CONTEXT)


def test_it_stacks_on_width_pruning_and_under_quantization(tiny_model):
    recipe = [
        {"name": "width_pruning", "ffn": 0.5},
        {"name": "moe", "experts": 4, "calibration": 16},
        {"name": "quantization", "group_size": 32},
    ]
    stacked = apply_recipe(tiny_model.dit, recipe, CONTEXT)
    assert stacked.blocks[0].mlp.expert_size == 32
    assert torch.isfinite(stacked(*inputs())).all()


def test_layers_that_another_technique_replaced_are_refused(tiny_model):
    quantized = quantize(tiny_model.dit, Quantization(bits=4), CONTEXT)
    with pytest.raises(BadRequest, match=r"blocks\.0\.mlp was changed by another technique: put moe before it"):
        split_into_experts(quantized, MixtureOfExperts(calibration=16), CONTEXT)
    routed = apply(tiny_model)
    with pytest.raises(BadRequest, match="put moe before it"):
        split_into_experts(routed, MixtureOfExperts(calibration=16), CONTEXT)


def test_a_cancelled_run_stops(tiny_model):
    with pytest.raises(Cancelled):
        apply(tiny_model, Context(torch.device("cpu"), cancelled=lambda: True))
