import copy

import pytest
import torch
from torch import nn

from dit_core.compression.calibration import batches, calibration, input_features
from dit_core.errors import BadRequest, Cancelled
from dit_core.recipes.context import Context

pytestmark = pytest.mark.slow


def context_of(model, **more) -> Context:
    return Context(torch.device("cpu"), model=model, **more)


@pytest.mark.parametrize("samples", [1, 5, 64, 200])
@pytest.mark.parametrize("bare", [False, True])
def test_as_many_inputs_come_as_asked_for(tiny_model, samples, bare):
    x, t, y = calibration(tiny_model.dit, context_of(None if bare else tiny_model), samples)
    assert x.shape == (samples, 4, 8, 8)
    assert t.shape == y.shape == (samples,)
    assert torch.isfinite(x).all()
    assert tiny_model.dit(x, t, y).shape == x.shape


def test_inputs_span_the_schedule_and_hold_every_label_and_the_null_label(tiny_model):
    _, t, y = calibration(tiny_model.dit, context_of(tiny_model), 64)
    assert t.min() < 200
    assert t.max() == 999
    assert len(t.unique()) == 8
    assert y.unique().tolist() == [0, 1, 2, 3]


def test_inputs_depend_on_the_seed_and_on_nothing_else(tiny_model):
    first, again = (calibration(tiny_model.dit, context_of(tiny_model), 16) for _ in range(2))
    other = calibration(tiny_model.dit, context_of(tiny_model, seed=1), 16)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_inputs_lead_through_the_network_that_is_calibrated(tiny_model):
    shallow = copy.deepcopy(tiny_model.dit)
    shallow.blocks = shallow.blocks[:1]
    own = calibration(tiny_model.dit, context_of(tiny_model), 16)
    assert not torch.equal(own[0], calibration(shallow, context_of(tiny_model), 16)[0])


def test_inputs_can_be_differentiated_through(tiny_model):
    x, t, y = calibration(tiny_model.dit, context_of(tiny_model), 2)
    x.requires_grad_()
    tiny_model.dit(x, t, y).square().sum().backward()
    assert x.grad is not None


def test_a_given_set_is_used_and_cut(tiny_model):
    given = (torch.zeros(3, 4, 8, 8), torch.tensor([1, 2, 3]), torch.tensor([0, 1, 2]))
    x, t, y = calibration(tiny_model.dit, context_of(tiny_model, calibration=given), 2)
    assert len(x) == len(y) == 2
    assert t.tolist() == [1, 2]


def test_no_samples_and_an_empty_set_are_refused(tiny_model):
    with pytest.raises(BadRequest, match="at least 1 sample, got 0"):
        calibration(tiny_model.dit, context_of(tiny_model), 0)
    empty = tuple(torch.zeros(0) for _ in range(3))
    with pytest.raises(BadRequest, match="calibration set is empty"):
        calibration(tiny_model.dit, context_of(tiny_model, calibration=empty), 4)


def test_progress_is_told_and_a_cancelled_run_stops(tiny_model):
    told = []
    calibration(tiny_model.dit, context_of(tiny_model, progress=lambda *step: told.append(step)), 8)
    assert told == [("calibrate", step, 8) for step in range(1, 9)]
    with pytest.raises(Cancelled):
        calibration(tiny_model.dit, context_of(tiny_model, cancelled=lambda: True), 8)


def test_no_hook_stays_behind(tiny_model):
    inputs = calibration(tiny_model.dit, context_of(tiny_model), 4)
    input_features(tiny_model.dit, ["blocks.0.mlp.fc1"], inputs)
    assert not any(module._forward_pre_hooks for module in tiny_model.dit.modules())


def test_batches_cover_the_inputs():
    inputs = (torch.arange(70.0), torch.arange(70), torch.arange(70))
    assert [len(x) for x, _, _ in batches(inputs)] == [32, 32, 6]
    assert torch.equal(torch.cat([y for _, _, y in batches(inputs)]), inputs[2])


def test_input_features_are_averaged_over_images_and_tokens():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x, t, y):
            return self.linear(x)

    x = torch.randn(40, 5, 3)
    features = input_features(Net(), ["linear"], (x, torch.zeros(40), torch.zeros(40)))
    torch.testing.assert_close(features["linear"].mean, x.mean((0, 1)))
    torch.testing.assert_close(features["linear"].rms, x.square().mean((0, 1)).sqrt())
