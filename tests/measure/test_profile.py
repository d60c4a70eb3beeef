import copy

import pytest
import torch
from torch import nn

from dit_core.compression.packing import packed_linear
from dit_core.measure import profile
from dit_core.measure.profile import NotProfiled, time_shares
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import generate


def runs(model):
    return lambda: generate(model, [0, 1], sampling=SamplingConfig(steps=2), batch_size=2)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Slow(nn.Module):
    """Takes a fixed number of seconds on a clock."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def forward(self, x, *rest):
        self.clock.now += self.seconds
        return x


def test_shares_are_those_of_a_network_whose_parts_take_known_times(tiny_model, monkeypatch):
    """One pass of two blocks: attention 3 s, feed-forward 2 s and modulation 1 s each; the sampler 5 s."""
    clock, dit, block = Clock(), nn.Module(), nn.Module()
    block.attn, block.mlp, block.adaLN_modulation = Slow(clock, 3), Slow(clock, 2), Slow(clock, 1)
    block.forward = lambda x: block.mlp(block.attn(block.adaLN_modulation(x)))
    dit.blocks = nn.ModuleList([block])
    dit.weight = nn.Parameter(torch.zeros(1))
    dit.forward = lambda x: dit.blocks[0](dit.blocks[0](x))

    def call():
        dit(torch.zeros(1))
        clock.now += 5

    monkeypatch.setattr(profile, "MOST_CALLS", 1)
    shares = time_shares(call, tiny_model.with_dit(dit), clock)
    expected = {"attention": 6 / 17, "ffn": 4 / 17, "modulation": 2 / 17, "sampler": 5 / 17}
    assert shares == pytest.approx({**dict.fromkeys(profile.PARTS, 0.0), **expected})


def test_a_real_network_has_a_share_for_each_of_its_parts(tiny_model):
    shares = time_shares(runs(tiny_model), tiny_model)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(shares[part] > 0 for part in ("attention", "ffn", "modulation", "embedding", "sampler", "vae"))
    assert shares["dequantization"] == shares["routing"] == 0


def test_restoring_packed_weights_has_a_share_and_the_network_is_unchanged_after_the_pass(tiny_model):
    dit = copy.deepcopy(tiny_model.dit)
    for block in dit.blocks:
        block.mlp.fc1 = packed_linear(block.mlp.fc1, 3, 32)
    before = [type(module) for module in dit.modules()]
    model = tiny_model.with_dit(dit)
    shares = time_shares(runs(model), model)
    assert shares["dequantization"] > 0
    assert [type(module) for module in dit.modules()] == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in dit.modules())


def test_a_call_that_fails_leaves_no_hooks(tiny_model):
    def call():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        time_shares(call, tiny_model)
    assert not any(module._forward_hooks for module in tiny_model.dit.modules())


def test_a_compiled_network_has_no_shares_but_a_reason(tiny_model):
    with pytest.raises(NotProfiled, match="compiled"):
        time_shares(runs(tiny_model), tiny_model.with_dit(torch.compile(tiny_model.dit)))
