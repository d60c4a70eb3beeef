"""State of modules in the sampler: every batch starts without state, and copies hold none."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dit_core.errors import Cancelled
from dit_core.models.state import CONDITIONAL, UNCONDITIONAL, StatefulModule
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import generate, sample_latents

SAMPLING = SamplingConfig("ddim", steps=4, guidance=2.0)


class Momentum(StatefulModule):
    """A block whose output is averaged with that of the step before, per guidance branch."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.kept: dict[str, Tensor] = {}
        self.seen: list[Any] = []
        self.resets = 0

    def reset(self) -> None:
        self.kept, self.resets = {}, self.resets + 1

    def forward(self, *inputs: Any) -> Tensor:
        output = self.block(*inputs)
        self.seen.append(self.step)
        if self.step is None:
            return output
        mixed = {name: (part + self.kept.get(name, part)) / 2 for name, part in self.step.split(output).items()}
        self.kept = self.step.split(output)
        return torch.cat(list(mixed.values()))


@pytest.fixture
def stateful(tiny_model) -> Any:
    dit: Any = copy.deepcopy(tiny_model.dit)
    dit.blocks[1] = Momentum(dit.blocks[1])
    return tiny_model.with_dit(dit)


def test_the_module_changes_the_images(tiny_model, stateful):
    plain, changed = (generate(model, [0, 1], sampling=SAMPLING) for model in (tiny_model, stateful))
    assert not torch.equal(plain, changed)


def test_two_batches_in_a_row_give_the_images_of_each_batch_alone(stateful):
    in_a_row = generate(stateful, [0, 1, 2, 0], batch_size=2, sampling=SAMPLING)
    first = generate(copy.deepcopy(stateful), [0, 1], sampling=SAMPLING)
    second = generate(copy.deepcopy(stateful), [2, 0], first=2, sampling=SAMPLING)
    assert torch.equal(in_a_row, torch.cat([first, second]))


def test_an_image_does_not_depend_on_what_was_generated_before(stateful):
    expected = generate(copy.deepcopy(stateful), [1], first=3, sampling=SAMPLING)
    generate(stateful, [0, 2], seed=5, sampling=SamplingConfig("ddim", steps=3, guidance=1.0))

    def stop(step: Any) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        generate(stateful, [2], sampling=SAMPLING, on_step=stop)
    assert torch.equal(generate(stateful, [1], first=3, sampling=SAMPLING), expected)


def test_an_image_does_not_depend_on_the_images_beside_it(stateful):
    beside = generate(stateful, [1, 0, 2], sampling=SAMPLING)
    alone = generate(stateful, [1], sampling=SAMPLING)
    assert (beside[:1].int() - alone.int()).abs().max() <= 1  # rounding of float sums


def test_modules_read_the_step_its_timestep_and_the_branches(stateful):
    momentum = stateful.dit.blocks[1]
    interval = SamplingConfig("ddim", steps=4, guidance=2.0, guidance_interval=(0, 500))
    sample_latents(stateful, torch.tensor([0]), [1], interval)
    assert [(step.index, step.of, step.timestep) for step in momentum.seen] == [
        (1, 4, 999),
        (2, 4, 749),
        (3, 4, 499),
        (4, 4, 249),
    ]
    both = (CONDITIONAL, UNCONDITIONAL)
    assert [step.branches for step in momentum.seen] == [(CONDITIONAL,), (CONDITIONAL,), both, both]


def test_nothing_is_kept_after_a_batch_and_outside_the_sampler_there_is_no_step(stateful):
    momentum = stateful.dit.blocks[1]
    generate(stateful, [0], sampling=SAMPLING)
    assert momentum.kept == {}
    assert momentum.step is None
    inputs = torch.zeros(1, *stateful.latent_shape), torch.tensor([3]), torch.tensor([0])
    with torch.inference_mode():
        stateful.dit(*inputs)
    assert momentum.seen[-1] is None
    assert momentum.kept == {}
    copied: Any = copy.deepcopy(stateful.dit)
    assert copied.blocks[1].kept == {}
