import json

import pytest
import torch

from dit_core.measure.routing import Routing, add_routing, count_routing, count_work
from dit_core.models.experts import Mixture, with_experts


@pytest.fixture
def routed(tiny_model):
    dit = with_experts(tiny_model.dit, 8, 2, 1).eval()
    for block in dit.blocks:
        block.mlp.router.weight.data *= 20
    return dit


def inputs(t):
    x = torch.randn(len(t), 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor(t), torch.zeros(len(t), dtype=torch.long)


def test_every_token_is_counted_once_for_each_of_its_experts(routed):
    with count_routing(routed) as routing, torch.no_grad():
        routed(*inputs([0, 249, 250, 999]))
        routed(*inputs([600]))
    assert routing.tokens.shape == (2, 4, 7)
    assert routing.tokens.sum(2).tolist() == [[2 * 16 * 2, 16 * 2, 16 * 2, 16 * 2]] * 2


def test_counts_are_those_of_the_router(routed):
    inputs_seen = []
    hook = routed.blocks[1].mlp.register_forward_pre_hook(lambda module, args: inputs_seen.append(args[0]))
    with count_routing(routed, buckets=2) as routing, torch.no_grad():
        routed(*inputs([100, 900, 100]))
    hook.remove()
    router = routed.blocks[1].mlp.router
    chosen = (inputs_seen[0] @ router.weight.T + router.bias).topk(2).indices  # (3, 16, 2)
    early, late = chosen[[0, 2]].flatten(), chosen[1].flatten()
    assert routing.tokens[1].tolist() == [torch.bincount(part, minlength=7).tolist() for part in (early, late)]


def test_a_bucket_begins_at_its_first_timestep(routed):
    with count_routing(routed, buckets=3) as routing, torch.no_grad():
        routed(*inputs([333, 334, 666, 667]))
    assert routing.tokens[0].sum(1).tolist() == [32, 64, 32]


def test_outside_the_block_nothing_is_counted_and_no_hook_is_left(routed):
    with pytest.raises(ZeroDivisionError), count_routing(routed) as routing:
        raise ZeroDivisionError
    routed(*inputs([5]))
    assert not routing.tokens.any()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in routed.modules())


def test_balance_is_one_for_an_even_load_and_one_over_the_experts_if_one_takes_all():
    routing = Routing([4], buckets=3, train_steps=1000)
    routing.tokens[0, 0] = 5
    routing.tokens[0, 1, 2] = 8
    assert routing.balance() == [[1.0, 0.25, None]]


def test_routing_is_stored_as_json(routed):
    with count_routing(routed, buckets=3) as routing, torch.no_grad():
        routed(*inputs([0]))
    stored = json.loads(json.dumps(routing.as_dict(), allow_nan=False))
    assert stored["first_timesteps"] == [0, 334, 667]
    assert len(stored["tokens"]) == len(stored["balance"]) == 2
    assert stored["balance"][0][1:] == [None, None]
    assert 1 / 7 <= stored["balance"][0][0] <= 1


def test_a_network_without_mixtures_has_no_layers(tiny_model):
    with count_routing(tiny_model.dit) as routing, torch.no_grad():
        tiny_model.dit(*inputs([3]))
    assert routing.as_dict() == {"first_timesteps": [0, 250, 500, 750], "tokens": [], "balance": []}


def test_a_mixture_s_record_has_its_routes_and_other_records_have_a_reason(routed, tiny_model):
    section, plain = {}, {}
    with torch.no_grad():
        add_routing(section, lambda: routed(*inputs([0, 999])), routed)
    add_routing(plain, lambda: pytest.fail("nothing to count"), tiny_model.dit)
    assert [sum(map(sum, layer)) for layer in section["routing"]["tokens"]] == [2 * 16 * 2] * 2
    none = "this network has no mixture of experts"
    assert plain == {"routing": None, "experts": None, "reasons": {"routing": none, "experts": none}}


def test_a_record_has_total_activated_and_executed_work_of_a_token(routed):
    """Two layers of width 64: of 8 experts of 32 neurons one is shared and 2 of 7 are routed."""
    section = {}
    with torch.no_grad():
        add_routing(section, lambda: routed(*inputs([0, 999])), routed)
    router, expert = 64 * 7, 2 * 64 * 32
    assert section["experts"] == {
        "total_macs_per_token": 2 * (router + 8 * expert),
        "activated_macs_per_token": 2 * (router + 3 * expert),
        "executed_macs_per_token": 2 * (router + 3 * expert),
    }


def test_superfluous_work_is_counted_as_executed(routed, monkeypatch):
    """A dispatch that runs every row through one expert too many."""
    plain = Mixture.forward

    def wasteful(self, x):
        x @ self.experts()[0][0].T
        return plain(self, x)

    monkeypatch.setattr(Mixture, "forward", wasteful)
    with count_work(routed) as executed, torch.no_grad():
        routed(*inputs([3]))
        routed(*inputs([5, 600]))
    assert executed.macs_per_token() == 2 * (64 * 7 + 3 * 2 * 64 * 32 + 64 * 32)
    assert executed.tokens == [3 * 16, 3 * 16]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in routed.modules())


def test_a_mixture_that_never_ran_has_no_executed_work(routed):
    section = {}
    add_routing(section, lambda: None, routed)
    assert section["experts"] is None
    assert "never ran" in section["reasons"]["experts"]
