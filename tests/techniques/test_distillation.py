from dataclasses import replace
from typing import Any

import pytest
import torch

from dit_core.errors import BadRequest
from dit_core.models.dit import DiTConfig
from dit_core.models.model import build_dit
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe
from dit_core.techniques import distillation

CONTEXT = Context(torch.device("cpu"))
INPUT = (
    torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)),
    torch.tensor([3, 700]),
    torch.tensor([0, 3]),
)


@pytest.fixture(scope="module")
def teacher() -> Any:
    dit: Any = build_dit(DiTConfig(8, 2, 4, 64, 4, 4, 4.0, 3, learn_sigma=False), seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in dit.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return dit.eval().requires_grad_(False)


def student_of(teacher, **knobs) -> Any:
    return apply_recipe(teacher, [{"name": "distillation", **knobs}], CONTEXT)


def test_a_student_of_full_size_is_the_teacher(teacher):
    student = student_of(teacher, depth=1.0, width=1.0)
    assert torch.equal(student(*INPUT), teacher(*INPUT))
    assert student is not teacher


def test_a_student_has_the_size_that_was_asked_for(teacher):
    student = student_of(teacher, depth=0.5, width=0.5)
    assert student.config == replace(teacher.config, depth=2, hidden_size=32, num_heads=2)
    assert len(student.blocks) == 2
    assert student.blocks[0].attn.qkv.weight.shape == (96, 32)
    assert student.blocks[0].mlp.fc1.weight.shape == (128, 32)
    assert student(*INPUT).shape == (2, 4, 8, 8)


def test_half_the_depth_keeps_the_first_and_the_last_block(teacher):
    student = student_of(teacher, depth=0.5)
    assert torch.equal(student.blocks[0].mlp.fc1.weight, teacher.blocks[0].mlp.fc1.weight)
    assert torch.equal(student.blocks[1].mlp.fc1.weight, teacher.blocks[3].mlp.fc1.weight)


def test_channels_that_carry_nothing_leave_first(teacher):
    dead = apply_recipe(teacher, [{"name": "distillation", "depth": 1.0}], CONTEXT)
    quiet = torch.arange(0, 64, 2)
    with torch.no_grad():
        for block in dead.blocks:
            block.attn.proj.weight[quiet] = block.mlp.fc2.weight[quiet] = 0
            block.attn.qkv.weight[:, quiet] = block.mlp.fc1.weight[:, quiet] = 0
        dead.x_embedder.proj.weight[quiet] = 0
    kept = distillation.strongest(distillation.channel_strength(dead), 32)
    assert torch.equal(kept, torch.arange(1, 64, 2))


def test_a_student_that_takes_guidance_stays_one(teacher):
    recipe = [{"name": "guidance_distillation"}, {"name": "distillation", "width": 0.5}]
    student: Any = apply_recipe(teacher, recipe, CONTEXT)
    assert student.guidance_embedder.mlp[0].weight.shape == (32, 256)
    assert student(*INPUT, guidance=torch.tensor([2.0, 3.0])).shape == (2, 4, 8, 8)


def test_a_network_of_other_layers_is_refused(teacher):
    with pytest.raises(BadRequest, match="put distillation first"):
        apply_recipe(teacher, [{"name": "width_pruning"}, {"name": "distillation"}], CONTEXT)
    with pytest.raises(BadRequest, match="depth must be between"):
        student_of(teacher, depth=0.0)
