from typing import Any

import numpy as np
import pytest
import torch

from dit_core.data.images import ImageSet
from dit_core.errors import BadRequest
from dit_core.experiment.checks import check
from dit_core.models.schedule import ScheduleConfig
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, apply_recipe
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.guidance import Guidance
from dit_core.sampling.loop import generate, sample_latents
from dit_core.sampling.solvers import make_scheduler
from dit_core.training.base import Batches, Objective, latents_of
from dit_core.training.halved_steps import HalvedSteps, step_bounds
from dit_core.training.loop import Settings, fit

CONTEXT = Context(torch.device("cpu"))


@pytest.fixture(scope="module")
def student(tiny_model) -> Any:
    return apply_recipe(tiny_model.dit, [{"name": "step_distillation"}], CONTEXT)


@pytest.fixture(scope="module")
def batches(tiny_model):
    pixels = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3)).astype(np.uint8)
    images = ImageSet(pixels, np.arange(16) % 3, tiny_model.classes, ("made",) * 16, ("noise",) * 16, "0" * 64)
    return Batches(latents_of(tiny_model.vae, images), tiny_model.config.schedule, Objective(), 8)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_the_student_is_taught_the_timesteps_that_ddim_visits(steps):
    solver = make_scheduler("ddim", ScheduleConfig("squaredcos_cap_v2", "v_prediction"))
    solver.set_timesteps(steps)
    assert solver.timesteps.tolist() == step_bounds(steps, 1000)[:-1]


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
def test_the_target_makes_one_step_arrive_where_two_steps_do(batches, prediction):
    loss = HalvedSteps(torch.nn.Identity(), batches, 4)
    loss.prediction = prediction
    generator = torch.Generator().manual_seed(0)
    noisy, first, second = (torch.randn(4, 4, 8, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    begin = torch.tensor([1, 3, 4, 5])  # not at 999, where alpha is nearly 0 and epsilon says nothing of the image
    t, middle, end = loss.bounds[begin], loss.bounds[begin + 1], loss.bounds[begin + 2]
    arrived = loss.ddim(loss.ddim(noisy, first, t, middle), second, middle, end)
    target = loss.output_to_reach(arrived, noisy, t, end)
    torch.testing.assert_close(loss.ddim(noisy, target, t, end), arrived)


def test_two_steps_of_the_loss_are_two_steps_of_the_sampler(tiny_model, batches):
    loss = HalvedSteps(tiny_model.dit, batches, 1)
    seen = []
    sampling = SamplingConfig("ddim", 2, guidance=3.0)
    labels = torch.tensor([0, 1, 2])
    final = sample_latents(tiny_model, labels, [5, 6, 7], sampling, lambda step: seen.append(step))
    noisy = torch.stack([torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (5, 6, 7)])
    for start, end in zip(loss.bounds[:-1], loss.bounds[1:], strict=True):
        output = Guidance(tiny_model, sampling).predict(noisy, int(start), labels)
        noisy = loss.ddim(noisy, output, start.repeat(3), end.repeat(3))
    torch.testing.assert_close(noisy, final, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_training_shortens_the_way(tiny_model, student, batches, tmp_path):
    fresh = apply_recipe(student, [{"name": "distillation", "depth": 1.0}], CONTEXT)
    fresh.requires_grad_(True).get_parameter("pos_embed").requires_grad_(False)
    settings = Settings(samples=80 * 8, batch_size=8, learning_rate=3e-3, warmup=80, ema=80)
    trained = fit(fresh, HalvedSteps(tiny_model.dit, batches, 1), settings, tmp_path)

    def error(dit) -> float:
        generator = torch.Generator().manual_seed(123)
        with torch.no_grad():
            return sum(HalvedSteps(tiny_model.dit, batches, 1)(dit, generator, 0.0).item() for _ in range(8))

    assert error(trained) < 0.8 * error(student)
    assert generate(tiny_model.with_dit(trained), [0], sampling=SamplingConfig("ddim", 1)).shape == (1, 3, 32, 32)


def test_the_student_samples_as_it_was_taught_and_the_baseline_as_the_run_says():
    spec = RunSpec(techniques=({"name": "step_distillation", "steps": 4},), scheduler="dpm++2m", steps=12)
    check(spec)
    assert SamplingConfig.of(spec) == SamplingConfig("dpm++2m", 12)
    assert Recipe.of(spec).sampling(SamplingConfig.of(spec)) == SamplingConfig("ddim", 4)


def test_two_ways_of_sampling_are_refused():
    recipe = ({"name": "step_distillation", "steps": 4}, {"name": "solver", "scheduler": "ddim", "steps": 8})
    with pytest.raises(BadRequest, match="sample in different ways: use one"):
        check(RunSpec(techniques=recipe))
