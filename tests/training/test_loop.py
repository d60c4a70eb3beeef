import copy
import csv
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from dit_core.errors import BadRequest, Cancelled
from dit_core.training.base import class_weights
from dit_core.training.loop import Settings, _Log, fit

pytestmark = pytest.mark.slow

SETTINGS = Settings(samples=640, batch_size=16, learning_rate=0.02, warmup=32, ema=32, log_every=5, seed=3)
TRUTH = torch.tensor([[1.0, -2.0, 0.5]])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def loss(module, generator, done):
    x = torch.randn(16, 3, generator=generator)
    return (module(x) - x @ TRUTH.T).square().mean()


def test_training_fits_and_returns_the_average(tmp_path):
    module = network()
    average = fit(
        module, loss, Settings(samples=16_000, batch_size=16, learning_rate=0.05, warmup=32, ema=200), tmp_path
    )
    torch.testing.assert_close(average.weight, TRUTH, atol=0.02, rtol=0)
    assert average is not module


def test_a_killed_run_resumes_to_the_same_result(tmp_path):
    whole = fit(network(), loss, SETTINGS, tmp_path / "whole")

    calls = iter(range(1000))
    with pytest.raises(Cancelled):
        fit(network(), loss, SETTINGS, tmp_path / "cut", cancelled=lambda: next(calls) > 17)
    resumed = fit(network(), loss, SETTINGS, tmp_path / "cut")

    assert torch.equal(whole.weight, resumed.weight)
    logs = [list(csv.reader((tmp_path / name / "log.csv").open())) for name in ("whole", "cut")]
    assert [row[0] for row in logs[0]] == ["samples", *(str(80 * i) for i in range(1, 9))]
    assert {row[0] for row in logs[1]} <= {row[0] for row in logs[0]}
    assert logs[1][-1][:2] == logs[0][-1][:2]


def test_a_torn_last_line_of_the_log_is_dropped_and_the_next_one_stands_on_its_own(tmp_path):
    path, settings = tmp_path / "log.csv", Settings(samples=64, batch_size=16)
    path.write_text(",".join(_Log.columns) + "\n16,0.5,1e-3,60.0,1700000000\n32,0.")
    log = _Log(path, resumed_at=32)
    log.add(0.25)
    log.flush(2, settings)
    header, *rows = csv.reader(path.open())
    assert tuple(header) == _Log.columns
    assert [row[:2] for row in rows] == [["16", "0.5"], ["32", "0.25000"]]


def test_a_training_does_not_go_on_with_other_settings(tmp_path):
    with pytest.raises(Cancelled):
        fit(network(), loss, SETTINGS, tmp_path, cancelled=iter([False, True, True]).__next__)
    with pytest.raises(BadRequest, match=r"a training with learning_rate 0\.02, not 0\.2\. Choose another folder"):
        fit(network(), loss, replace(SETTINGS, learning_rate=0.2), tmp_path)
    fit(network(), loss, replace(SETTINGS, samples=700, log_every=1), tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path):
    fit(network(), loss, SETTINGS, tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadRequest, match=r"checkpoint\.pt is damaged\. Delete it"):
        fit(network(), loss, SETTINGS, tmp_path)


def test_a_half_written_checkpoint_does_not_count(tmp_path):
    (tmp_path / "checkpoint.123.tmp").write_bytes(b"torn")
    whole = fit(network(), loss, SETTINGS, tmp_path / "other")
    assert torch.equal(fit(network(), loss, SETTINGS, tmp_path).weight, whole.weight)


def test_the_learning_rate_warms_up_holds_and_falls_to_zero():
    rates = [SETTINGS.learning_rate_at(step) for step in range(SETTINGS.steps + 1)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[5] == rates[20] == SETTINGS.learning_rate
    assert rates[-1] == 0
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_a_gradient_that_is_not_finite_stops_with_advice(tmp_path):
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        fit(network(), lambda module, generator, done: module.weight.sum() * float("inf"), SETTINGS, tmp_path)


def test_impossible_settings_are_refused():
    with pytest.raises(BadRequest, match="batch_size must be positive"):
        Settings(batch_size=0)


def test_class_power_evens_out_rare_classes():
    labels = torch.tensor([0] * 90 + [1] * 10)
    even = class_weights(labels, 0.0)
    assert even[labels == 0].sum() == pytest.approx(even[labels == 1].sum().item())
    natural = class_weights(labels, 1.0)
    assert natural[labels == 0].sum() == pytest.approx(9 * natural[labels == 1].sum().item())


class Block(nn.Module):
    """A matrix that Muon takes and a bias that it does not."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Linear(3, 8), nn.Linear(8, 1)])

    def forward(self, x):
        return self.blocks[1](torch.tanh(self.blocks[0](x)))


@pytest.mark.parametrize("bfloat16", [False, True])
def test_muon_fits_and_resumes_to_the_same_result(tmp_path, bfloat16):
    settings = replace(SETTINGS, samples=3_200, optimizer="muon", bfloat16=bfloat16)
    whole: Any = fit(Block(), loss, settings, tmp_path / "whole")
    rows = list(csv.reader((tmp_path / "whole" / "log.csv").open()))
    assert float(rows[-1][1]) < 0.5 * float(rows[1][1])
    assert whole.blocks[0].weight.dtype is torch.float32

    calls = iter(range(1000))
    with pytest.raises(Cancelled):
        fit(Block(), loss, settings, tmp_path / "cut", cancelled=lambda: next(calls) > 90)
    resumed: Any = fit(Block(), loss, settings, tmp_path / "cut")
    assert torch.equal(whole.blocks[0].weight, resumed.blocks[0].weight)


class Routed(nn.Module):
    """A router and a layer beside it that see the same gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.ModuleDict({name: nn.Linear(3, 1, bias=False) for name in ("router", "plain")})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.part["router"](x) + self.part["plain"](x)


def test_a_router_learns_at_its_share_of_the_rate(tmp_path):
    start = Routed()
    moved = fit(copy.deepcopy(start), loss, replace(SETTINGS, ema=1, router_rate=0.01), tmp_path)
    router, plain = (
        (after.weight - before.weight).abs().mean()
        for before, after in ((start.part[name], moved.part[name]) for name in ("router", "plain"))
    )
    assert router > 0
    assert router < 0.03 * plain


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(BadRequest, match="adamw or muon"):
        Settings(optimizer="sgd")
