import copy
import math

import pytest
import torch
import torch.nn.functional as F

from dit_core.errors import BadRequest
from dit_core.measure.flops import count
from dit_core.models.dit import Mlp
from dit_core.models.experts import Mixture, balance_loss, block_shape, imbalance, mixtures, with_experts, work

WIDTH = 24
CASES = [(8, 2, 0), (8, 1, 0), (8, 8, 0), (4, 3, 1), (6, 2, 3), (1, 1, 0)]


def make(experts=8, top_k=2, shared=0, size=16, gate="one", balance=0.01) -> Mixture:
    """A mixture in which everything is drawn, biases and router too."""
    mixture = Mixture(WIDTH, experts, top_k, size, shared, gate, balance).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in mixture.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return mixture


def tokens(*shape, seed=1):
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed))


def every_expert(mixture, x):
    """(E, R, D): each expert over every row."""
    w1, b1, w2, b2 = mixture.experts()
    hidden = F.gelu(torch.einsum("rd,end->ern", x, w1) + b1.unsqueeze(1), approximate="tanh")
    return torch.einsum("ern,end->erd", hidden, w2) + b2.unsqueeze(1)


def dense_sum(mixture, x):
    """What a mixture is by definition: every expert computed, then weighted by its gate, which is mostly zero."""
    scores = x @ mixture.router.weight.T + mixture.router.bias
    p = scores.softmax(-1)
    lowest = scores.sort(-1, descending=True).values[..., mixture.top_k - 1, None]
    gates = (scores >= lowest) * (p * mixture.routed if mixture.router.gate == "softmax" else 1.0)
    always = mixture.bias if mixture.shared is None else mixture.shared(x)
    return always + torch.einsum("re,erd->rd", gates, every_expert(mixture, x))


@pytest.mark.parametrize("gate", ["one", "softmax"])
@pytest.mark.parametrize(("experts", "top_k", "shared"), CASES)
def test_it_equals_the_dense_sum_over_the_chosen_experts(experts, top_k, shared, gate):
    mixture = make(experts, top_k, shared, gate=gate)
    x = tokens(30)
    torch.testing.assert_close(mixture(x), dense_sum(mixture, x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shared", [0, 2])
def test_training_computes_what_inference_computes(shared):
    mixture, x = make(8, 3, shared), tokens(40)
    expected = mixture(x)
    torch.testing.assert_close(mixture.train()(x), expected)


def test_one_expert_is_the_dense_network():
    dense, mixture = Mlp(WIDTH, 64), make(1, 1, size=64)
    with torch.no_grad():
        mixture.fc1.copy_(dense.fc1.weight)
        mixture.bias1.copy_(dense.fc1.bias)
        mixture.fc2.copy_(dense.fc2.weight.T)
        mixture.bias2.fill_(0.25)
        mixture.bias.copy_(dense.fc2.bias - 0.25)
    x = tokens(2, 9)
    torch.testing.assert_close(mixture(x), dense(x), atol=1e-5, rtol=1e-5)


def test_no_token_is_dropped_where_all_choose_the_same():
    mixture, x = make(8, 2), tokens(50)
    with torch.no_grad():
        mixture.router.weight.zero_()
        mixture.router.bias.copy_(torch.tensor([0.0, 0, 0, 9, 0, 8, 0, 0]))
    expected = mixture.bias + every_expert(mixture, x)[[3, 5]].sum(0)
    torch.testing.assert_close(mixture(x), expected, atol=1e-5, rtol=1e-5)


def test_a_token_does_not_depend_on_its_batch():
    mixture, x = make(8, 2), tokens(6, 16)
    alone = torch.cat([mixture(image) for image in x.split(1)])
    torch.testing.assert_close(mixture(x), alone, atol=1e-6, rtol=1e-6)
    shuffled = torch.randperm(96, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixture(x.view(96, -1)[shuffled]), alone.view(96, -1)[shuffled], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("gate", ["one", "softmax"])
def test_grouped_products_equal_one_product_an_expert(gate):
    mixture, x = make(8, 3, gate=gate), tokens(40)
    with torch.no_grad():
        mixture.router.bias[3] = -100  # an expert without rows
    always, routes = tokens(40, seed=2), mixture.router(x)
    torch.testing.assert_close(mixture._add_grouped(always, x, routes), mixture._add_each(always, x, routes))


@pytest.mark.parametrize("gate", ["one", "softmax"])
@pytest.mark.parametrize("rows", [1, 7, 40, 600])
def test_products_over_blocks_equal_one_product_an_expert(gate, rows):
    mixture, x = make(8, 3, 1, gate=gate), tokens(rows)
    with torch.no_grad():
        mixture.router.bias[3] = -100  # an expert without rows
        mixture.router.bias[5] = 100  # and one with all
    always, routes = tokens(rows, seed=2), mixture.router(x)
    expected = mixture._add_each(always, x, routes)
    torch.testing.assert_close(mixture._add_blocks(always, x, routes), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("rows", "top_k", "experts"), [(1, 1, 8), (16, 2, 8), (64, 2, 8), (1000, 4, 15), (65536, 2, 16)]
)
def test_blocks_execute_at_most_a_tenth_more_than_is_activated(rows, top_k, experts):
    size, count = block_shape(rows * top_k, experts)
    assert rows * top_k <= size * count <= 1.1 * rows * top_k
    assert count <= 11 * experts + 10 or size == 1


def test_what_blocks_execute_is_counted():
    mixture, x = make(8, 2), tokens(500)
    routes = mixture.router(x)
    counted = count(lambda: mixture._add_blocks(x, x, routes))
    activated = 500 * 2 * 2 * WIDTH * 16
    assert activated < counted.macs <= 1.1 * activated
    assert not counted.uncounted


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gate", ["one", "softmax"])
def test_the_host_waits_for_nothing_on_cuda(dtype, gate):
    mixture = make(8, 2, 1, gate=gate)
    x = tokens(256)
    expected = mixture(x)
    mixture, x = mixture.to("cuda", dtype), x.to("cuda", dtype)
    mixture(x)
    torch.cuda.set_sync_debug_mode("error")
    try:
        out = mixture(x)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    atol = 1e-4 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(out.cpu().float(), expected, atol=atol, rtol=atol)


@pytest.mark.parametrize("gate", ["one", "softmax"])
def test_a_router_stays_exact_when_its_network_is_cast(gate):
    mixture, x = make(8, 2, 1, gate=gate), tokens(300).bfloat16().float()
    expected, chosen = mixture(x), mixture.router(x).experts
    cast = copy.deepcopy(mixture).to(torch.bfloat16)
    assert {name for name, p in cast.named_parameters() if p.dtype == torch.float32} == {"router.weight", "router.bias"}
    assert torch.equal(cast.router(x.bfloat16()).experts, chosen)
    for add in (cast._add_each, cast._add_blocks):
        out = add(cast.shared(x.bfloat16()), x.bfloat16(), cast.router(x.bfloat16()))
        assert out.dtype == torch.bfloat16
        assert (out - expected).norm() < 0.02 * expected.norm()
    assert cast(x.bfloat16()).dtype == torch.bfloat16
    assert mixture.double().router.weight.dtype == torch.float64


@pytest.mark.parametrize("gate", ["one", "softmax"])
def test_gradients_are_those_of_the_dense_sum(gate):
    mixture, x = make(6, 2, 1, gate=gate).train(), tokens(20)
    reference = copy.deepcopy(mixture)
    weights = tokens(20, seed=5)
    (mixture(x) * weights).sum().backward()
    if gate == "softmax":
        (dense_sum(reference, x) * weights).sum().backward()
    else:  # the straight-through gate, written out: d p / p for each chosen expert
        out = every_expert(reference, x)
        logs = F.linear(x, reference.router.weight, reference.router.bias).log_softmax(-1)
        lowest = logs.sort(-1, descending=True).values[:, 1, None]
        gates = (logs >= lowest) * (1 + logs - logs.detach())
        ((reference.shared(x) + torch.einsum("te,etd->td", gates, out)) * weights).sum().backward()
    for (name, mine), theirs in zip(mixture.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-4, rtol=1e-4, msg=name)
    assert mixture.router.weight.grad.abs().max() > 0.01


def test_it_trains_under_autocast():
    mixture, x = make(8, 2).train(), tokens(40)
    expected = mixture(x)
    with torch.autocast("cpu", torch.bfloat16):
        out = mixture(x)
    assert (out - expected).norm() / expected.norm() < 0.02
    out.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in mixture.parameters())


def test_imbalance_is_one_when_even_and_all_over_k_when_collapsed():
    even = torch.arange(8).repeat(4).view(-1, 2)
    assert imbalance(torch.full((16, 8), 1 / 8), even) == pytest.approx(1)
    collapsed = torch.zeros(16, 8)
    collapsed[:, :2] = 0.5
    assert imbalance(collapsed, torch.tensor([[0, 1]]).expand(16, 2)) == pytest.approx(8 / 2)


def test_balance_loss_is_weighted_summed_and_taken_once():
    mixture, x = make(8, 2, balance=0.5).train(), tokens(64)
    both = torch.nn.Sequential(mixture, copy.deepcopy(mixture))
    both[0](x), both[1](x)
    p = (x @ mixture.router.weight.T + mixture.router.bias).softmax(-1)
    share = torch.zeros_like(p).scatter_(1, p.topk(2).indices, 1).mean(0) / 2
    loss = balance_loss(both)
    assert loss.item() == pytest.approx(2 * 0.5 * 8 * (share * p.mean(0)).sum().item(), rel=1e-5)
    loss.backward()
    assert mixture.router.weight.grad.abs().max() > 0
    assert balance_loss(both) == 0


def test_balance_loss_evens_the_load():
    mixture, x = make(4, 1, balance=1.0).train(), tokens(256)
    with torch.no_grad():
        mixture.router.bias[2] += 4
    optimizer = torch.optim.Adam(mixture.router.parameters(), 0.05)
    seen = []
    for _ in range(60):
        mixture(x)
        seen.append(balance_loss(mixture))
        seen[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert seen[0] > 1.5
    assert seen[-1] < 1.1


def test_a_network_without_mixtures_has_no_balance_loss_and_no_work(tiny_model):
    assert balance_loss(tiny_model.dit) == 0
    assert work(tiny_model.dit) is None


def test_inference_keeps_nothing_for_the_balance_loss():
    mixture = make()
    mixture(tokens(8))
    assert balance_loss(mixture) == 0


@pytest.mark.parametrize(("experts", "top_k", "shared"), CASES)
def test_what_is_executed_is_what_a_hand_counts(experts, top_k, shared):
    mixture, rows, size = make(experts, top_k, shared), 40, 16
    by_hand = WIDTH * (experts - shared) + (top_k + shared) * 2 * WIDTH * size
    with torch.inference_mode():
        counted = count(lambda: mixture(tokens(rows)))
    assert counted.macs == rows * by_hand
    assert not counted.uncounted
    assert work(mixture).activated == by_hand
    assert work(mixture).total == WIDTH * (experts - shared) + experts * 2 * WIDTH * size


def test_grouped_products_are_counted():
    mixture, x = make(4, 1), tokens(40)
    routes = mixture.router(x)
    counted = count(lambda: mixture._add_grouped(x, x, routes))
    assert counted.macs == 40 * 2 * WIDTH * 16
    assert not counted.uncounted


def test_weights_weigh_what_the_dense_network_weighs_beside_router_and_biases():
    mixture, dense = make(8, 2, 1, size=16), Mlp(WIDTH, 8 * 16)
    extra = (WIDTH + 1) * 7 + 7 * WIDTH
    assert sum(p.numel() for p in mixture.parameters()) == sum(p.numel() for p in dense.parameters()) + extra


@pytest.mark.parametrize(("layers", "replaced"), [("all", [0, 1]), ("last-half", [1]), ("alternate", [0])])
def test_fresh_mixtures_replace_the_networks_of_the_blocks_named(tiny_model, layers, replaced):
    routed = with_experts(tiny_model.dit, 8, 2, 1, layers=layers)
    assert [i for i, block in enumerate(routed.blocks) if isinstance(block.mlp, Mixture)] == replaced
    assert not list(mixtures(tiny_model.dit))
    assert routed.blocks[replaced[0]].mlp.expert_size == 256 // 8
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(routed(x, torch.tensor([3, 700]), torch.tensor([0, 3]))).all()


def test_fresh_mixtures_have_the_bounds_of_the_network_that_a_token_runs(tiny_model):
    mixture = with_experts(tiny_model.dit, 8, 2, 1, expert_size=100).blocks[0].mlp
    bound = math.sqrt(6 / (64 + 3 * 100))
    for weight in (mixture.fc1, mixture.fc2, mixture.shared.fc1.weight, mixture.shared.fc2.weight):
        assert 0.98 * bound < weight.abs().max() <= bound
    assert not any(parameter.any() for name, parameter in mixture.named_parameters() if "bias" in name)


def test_fresh_mixtures_depend_on_the_seed_alone(tiny_model):
    torch.manual_seed(1)
    first = with_experts(tiny_model.dit, 4, 1, seed=3)
    torch.manual_seed(2)
    again, other = with_experts(tiny_model.dit, 4, 1, seed=3), with_experts(tiny_model.dit, 4, 1, seed=4)
    assert torch.equal(first.blocks[0].mlp.fc1, again.blocks[0].mlp.fc1)
    assert not torch.equal(first.blocks[0].mlp.fc1, other.blocks[0].mlp.fc1)


def test_a_network_of_mixtures_saves_and_loads_through_its_state(tiny_model):
    saved = with_experts(tiny_model.dit, 4, 2, 1)
    with torch.device("meta"):
        skeleton = copy.deepcopy(tiny_model.dit).to("meta")
    loaded = with_experts(skeleton, 4, 2, 1)
    loaded.load_state_dict(saved.state_dict(), strict=True, assign=True)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t, y = torch.tensor([3, 700]), torch.tensor([0, 3])
    assert torch.equal(loaded.eval()(x, t, y), saved.eval()(x, t, y))


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ((4, 5, 0), "top_k must be between 1 and 4, the experts that are not shared, got 5"),
        ((4, 0, 0), "top_k must be between 1 and 4"),
        ((4, 4, 1), "top_k must be between 1 and 3"),
        ((4, 1, 4), "shared must be between 0 and 3, fewer than the experts, got 4"),
        ((5, 1, 0), "experts 5 does not divide the 256 neurons of block 0: use 1, 2, 4"),
    ],
)
def test_impossible_routing_is_refused(tiny_model, knobs, line):
    with pytest.raises(BadRequest, match=line):
        with_experts(tiny_model.dit, *knobs)


def test_an_unknown_gate_is_refused():
    with pytest.raises(BadRequest, match="gate must be one of one, softmax"):
        Mixture(WIDTH, 4, 1, 8, gate="sigmoid")
