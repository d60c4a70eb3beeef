import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from dit_core.compression.expert_splitting import (
    TOKENS,
    balanced_assignment,
    balanced_clusters,
    compensate,
    fit_router,
    layer_inputs,
    mixture_like,
    split,
    take_neurons,
)
from dit_core.models.dit import Mlp

pytestmark = pytest.mark.slow

WIDTH = 16


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def grouped() -> Mlp:
    """64 neurons in four groups: one is active where its input feature is high, and then moves the output far."""
    dense = Mlp(WIDTH, 64).requires_grad_(False)
    group = torch.arange(64) % 4
    dense.fc1.weight.zero_()
    dense.fc1.weight[torch.arange(64), group] = 4.0
    dense.fc1.bias.fill_(-2.0)
    dense.fc2.weight.copy_(draw(WIDTH, 64))
    return dense


def fitted(dense, rows, experts, top_k, shared=0, seed=0):
    mixture = mixture_like(dense, experts, top_k, dense.fc1.out_features // experts, shared, 0.01)
    split(dense, mixture, rows, seed)
    return mixture.eval()


def error(mixture, dense, rows):
    """Share of the output's variance that is lost."""
    expected = dense(rows)
    return ((mixture(rows) - expected).square().sum() / (expected - expected.mean(0)).square().sum()).item()


@pytest.mark.parametrize(("points", "clusters"), [(12, 3), (40, 8), (64, 16), (7, 1), (6, 6)])
def test_the_assignment_is_the_best_balanced_one(points, clusters):
    for seed in range(5):
        cost = np.random.default_rng(seed).random((points, clusters)) ** 3
        labels = balanced_assignment(cost)
        assert (np.bincount(labels, minlength=clusters) == points // clusters).all()
        slots = np.repeat(cost, points // clusters, axis=1)
        best = slots[linear_sum_assignment(slots)].sum()
        assert cost[np.arange(points), labels].sum() == pytest.approx(best, rel=1e-9)


def test_the_assignment_is_balanced_where_all_want_the_same_or_nothing_matters():
    crowded = np.tile([0.0, 1.0, 2.0], (30, 1))
    for cost in (crowded, np.zeros((30, 3))):
        assert (np.bincount(balanced_assignment(cost)) == 10).all()


def test_clusters_find_groups_of_one_size():
    centres = 10 * draw(4, 5)
    points = centres.repeat(6, 1) + 0.1 * draw(24, 5, seed=1)
    found = balanced_clusters(points, 4, seed=0)
    assert sorted(tuple(sorted(cluster.tolist())) for cluster in found) == [
        tuple(range(group, 24, 4)) for group in range(4)
    ]


def test_clusters_of_equal_points_are_balanced():
    assert balanced_clusters(torch.ones(8, 3), 4, seed=0).flatten().sort().values.tolist() == list(range(8))


def test_clusters_depend_on_the_seed_alone():
    points = draw(64, 8)
    torch.manual_seed(1)
    first = balanced_clusters(points, 8, seed=5)
    torch.manual_seed(2)
    assert torch.equal(first, balanced_clusters(points, 8, seed=5))


@pytest.mark.parametrize(("experts", "shared"), [(2, 0), (8, 0), (8, 1), (16, 5), (4, 3)])
def test_all_experts_together_are_the_dense_network(experts, shared):
    dense, rows = Mlp(WIDTH, 64).requires_grad_(False), draw(200, WIDTH)
    mixture = fitted(dense, rows, experts, experts - shared, shared)
    torch.testing.assert_close(mixture(rows), dense(rows), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixture.train()(rows), dense(rows), atol=1e-5, rtol=1e-5)


def test_neurons_are_only_reordered():
    dense, rows = Mlp(WIDTH, 64).requires_grad_(False), draw(200, WIDTH)
    mixture = fitted(dense, rows, 8, 2, 2)
    kept = torch.cat([mixture.shared.fc1.weight, mixture.fc1])
    assert torch.equal(kept.sum(1).sort().values, dense.fc1.weight.sum(1).sort().values)


def test_neurons_that_are_active_together_become_an_expert(grouped):
    mixture = fitted(grouped, draw(500, WIDTH), 4, 1)
    features = mixture.experts()[0].argmax(2)  # (E, n): the feature that each neuron looks at
    assert (features == features[:, :1]).all()
    assert sorted(features[:, 0].tolist()) == [0, 1, 2, 3]


def test_the_router_picks_the_experts_that_matter(grouped):
    rows, unseen = draw(500, WIDTH), draw(300, WIDTH, seed=1)
    mixture = fitted(grouped, rows, 4, 2)
    lost = error(mixture, grouped, unseen)
    with torch.no_grad():
        mixture.router.weight.neg_()
        mixture.router.bias.neg_()
    assert lost < 0.2
    assert error(mixture, grouped, unseen) > 3 * lost


def test_an_expert_that_does_not_run_is_missed_only_by_what_it_adds_beyond_its_mean(grouped):
    rows, mixture = draw(500, WIDTH) + 1, mixture_like(grouped, 4, 1, grouped.fc1.out_features // 4, 0, 0.01)
    take_neurons(grouped, mixture, rows, seed=0)
    w1, b1, w2, b2 = mixture.experts()
    hidden = grouped.act(torch.einsum("rd,end->ern", rows, w1) + b1.unsqueeze(1))
    means = torch.einsum("ern,end->erd", hidden, w2).mean(1) + b2
    torch.testing.assert_close(means, torch.zeros(4, WIDTH), atol=1e-4, rtol=0)
    torch.testing.assert_close(mixture.bias, grouped(rows).mean(0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shared", [0, 2])
def test_experts_that_run_make_up_for_those_that_do_not(shared):
    dense, rows, unseen = Mlp(WIDTH, 64).requires_grad_(False), draw(2000, WIDTH), draw(500, WIDTH, seed=1)
    dense.fc1.weight[32:] = dense.fc1.weight[:32] + 0.1 * draw(32, WIDTH, seed=2)  # pairs of neurons tell of each other
    mixture = mixture_like(dense, 8, 3, dense.fc1.out_features // 8, shared, 0.01).eval()
    fit_router(mixture.router, rows, take_neurons(dense, mixture, rows, seed=0))
    before = error(mixture, dense, unseen)
    compensate(dense, mixture, rows)
    assert error(mixture, dense, unseen) < 0.8 * before


def test_nothing_is_made_up_for_where_nothing_is_missing():
    dense, rows = Mlp(WIDTH, 64).requires_grad_(False), draw(300, WIDTH)
    mixture = mixture_like(dense, 8, 8, dense.fc1.out_features // 8, 0, 0.01).eval()
    fit_router(mixture.router, rows, take_neurons(dense, mixture, rows, seed=0))
    before = mixture.fc2.clone()
    compensate(dense, mixture, rows)
    torch.testing.assert_close(mixture.fc2, before, atol=1e-5, rtol=0)


def test_the_most_active_neurons_are_shared():
    dense, rows = Mlp(WIDTH, 64).requires_grad_(False), draw(200, WIDTH)
    dense.fc2.weight[:, 10:26] *= 100
    mixture = fitted(dense, rows, 4, 1, shared=1)
    assert torch.equal(mixture.shared.fc1.weight.sum(1).sort().values, dense.fc1.weight[10:26].sum(1).sort().values)


def test_a_linear_relation_is_found_by_the_router():
    rows, router = draw(300, WIDTH) + 1, torch.nn.Linear(WIDTH, 3).requires_grad_(False)
    added = rows @ draw(WIDTH, 3, seed=4) + 20
    fit_router(router, rows, added)
    torch.testing.assert_close(router(rows) * added.std(), added, atol=0.1, rtol=0)


def test_one_calibration_row_still_gives_finite_weights():
    dense, rows = Mlp(WIDTH, 64).requires_grad_(False), draw(1, WIDTH)
    mixture = fitted(dense, rows, 8, 2, 1)
    assert all(torch.isfinite(parameter).all() for parameter in mixture.parameters())


def test_layer_inputs_are_rows_that_the_layers_saw(tiny_model):
    inputs = draw(5, 4, 8, 8), torch.tensor([1, 200, 400, 600, 999]), torch.tensor([0, 1, 2, 3, 0])
    seen = []
    hook = tiny_model.dit.blocks[1].mlp.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    rows = layer_inputs(tiny_model.dit, ["blocks.0.mlp", "blocks.1.mlp"], inputs, seed=0)
    hook.remove()
    assert rows["blocks.1.mlp"].shape == (5 * 16, 64)
    expected, found = torch.cat(seen).flatten(0, 1).sum(1), rows["blocks.1.mlp"].sum(1)
    torch.testing.assert_close(found.sort().values, expected.sort().values)
    assert not any(module._forward_pre_hooks for module in tiny_model.dit.modules())


def test_layer_inputs_are_few_however_many_there_are(tiny_model):
    count = TOKENS // 16 + 64
    inputs = torch.zeros(count, 4, 8, 8), torch.zeros(count, dtype=torch.long), torch.zeros(count, dtype=torch.long)
    rows = layer_inputs(tiny_model.dit, ["blocks.0.mlp"], inputs, seed=0)["blocks.0.mlp"]
    assert TOKENS <= len(rows) < 1.02 * TOKENS


def test_neurons_without_room_are_those_that_vary_least_and_leave_their_mean():
    """Four neurons of eight give the same whatever comes: without them nothing changes."""
    dense, rows = Mlp(WIDTH, 8).requires_grad_(False), draw(300, WIDTH)
    dense.fc1.weight[::2] = 0
    dense.fc1.bias[::2] = 3.0
    mixture = mixture_like(dense, 2, 2, 2, 0, 0.01)
    split(dense, mixture, rows, 0)
    torch.testing.assert_close(mixture(rows), dense(rows), atol=1e-4, rtol=1e-4)
