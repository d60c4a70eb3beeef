"""Which step computes which block."""

import pytest
import torch

from dit_core.measure.block_evaluations import add_block_evaluations, block_evaluations
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import generate

BASE = SamplingConfig("ddim", steps=4, guidance=2.0)


def counted(model, recipe):
    parsed = Recipe.parse(recipe)
    cached = model.with_dit(parsed.apply(model.dit, Context(torch.device("cpu"), model=model)))
    labels = [0, 1, 2]

    def call():
        generate(cached, labels, batch_size=2, sampling=parsed.sampling(BASE))

    return call, cached.dit, BASE.steps, len(labels)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ([], [[2, 2]] * 4),
        (
            [{"name": "feature_caching", "method": "interval", "interval": 2, "warmup": 1}],
            [[2, 2], [0, 0], [2, 2], [0, 0]],
        ),
        (
            [{"name": "feature_caching", "method": "taylor", "interval": 9, "warmup": 2, "layers": "last-half"}],
            [[2, 2], [2, 2], [2, 0], [2, 0]],
        ),
        ([{"name": "guidance_interval", "low": 500, "high": 800}], [[1, 1], [2, 2], [1, 1], [1, 1]]),
        ([{"name": "guidance_caching", "interval": 3}], [[2, 2], [1, 1], [1, 1], [2, 2]]),
    ],
)
def test_evaluations_per_image_by_step_and_block(tiny_model, recipe, expected):
    assert block_evaluations(*counted(tiny_model, recipe)) == expected


def test_a_record_says_why_there_is_no_table_when_all_steps_are_equal(tiny_model):
    flops = {}
    add_block_evaluations(flops, *counted(tiny_model, []))
    assert flops["block_evaluations"] is None
    assert flops["reasons"]["block_evaluations"]
