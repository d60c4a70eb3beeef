import sys

import pytest
import torch
from torch import nn

from dit_core.errors import BadRequest, Cancelled
from dit_core.training.checkpoint import CHECKPOINT, LOG, PACKED, main, pack, unpack
from dit_core.training.loop import Settings, fit

pytestmark = pytest.mark.slow

SETTINGS = Settings(samples=640, batch_size=16, optimizer="muon", learning_rate=0.01, warmup=32, ema=32, log_every=5)


class Network(nn.Module):
    """A matrix that Muon trains, between layers that AdamW trains."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 64), nn.Linear(64, 1)
        self.blocks = nn.ModuleList([nn.Linear(64, 64)])

    def forward(self, x):
        return self.last(self.blocks[0](self.first(x).relu()).relu())


def loss(module, generator, done):
    x = torch.randn(16, 8, generator=generator)
    return (module(x) - x.sum(1, keepdim=True)).square().mean()


@pytest.fixture
def half(tmp_path):
    """A training that was stopped in the middle."""
    calls = iter(range(1000))
    with pytest.raises(Cancelled):
        fit(Network(), loss, SETTINGS, tmp_path / "half", cancelled=lambda: next(calls) >= 20)
    return tmp_path / "half"


def weights(network):
    return torch.cat([weight.flatten() for weight in network.parameters()])


def test_a_packed_training_is_small_and_continues_where_it_stopped(half, tmp_path, monkeypatch):
    pack(half, tmp_path / "packed")
    assert (tmp_path / "packed" / PACKED).stat().st_size < 0.25 * (half / CHECKPOINT).stat().st_size

    monkeypatch.setattr(sys, "argv", ["checkpoint", "unpack", str(tmp_path / "packed"), str(tmp_path / "other")])
    main()
    whole, other = torch.load(half / CHECKPOINT), torch.load(tmp_path / "other" / CHECKPOINT)
    assert other["step"] == whole["step"] == 20
    torch.testing.assert_close(other["module"], whole["module"], rtol=0.004, atol=1e-6, check_dtype=False)

    expected, continued = (fit(Network(), loss, SETTINGS, folder) for folder in (half, tmp_path / "other"))
    assert (tmp_path / "other" / LOG).read_text().splitlines()[:5] == (half / LOG).read_text().splitlines()[:5]
    assert {weight.dtype for weight in continued.parameters()} == {torch.float32}
    moved = (weights(expected) - weights(Network())).norm()
    assert (weights(continued) - weights(expected)).norm() < 0.3 * moved


def test_a_training_that_has_begun_is_not_replaced(half, tmp_path):
    before = (half / CHECKPOINT).read_bytes()
    unpack(tmp_path / "nowhere", half)
    assert (half / CHECKPOINT).read_bytes() == before


def test_a_missing_packed_training_is_named(tmp_path):
    with pytest.raises(BadRequest, match=rf"holds no {PACKED}: name a folder that"):
        unpack(tmp_path / "nowhere", tmp_path)
