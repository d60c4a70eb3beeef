"""Learned masks of depth pruning, on networks of six blocks and images of noise."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from dit_core.errors import BadRequest, Cancelled
from dit_core.experiment.checks import check
from dit_core.models.dit import DiTConfig
from dit_core.models.model import build_dit
from dit_core.models.sources import bundled
from dit_core.models.sources.folder import save_model
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe, canonical
from dit_core.records.spec import RunSpec
from dit_core.training import block_masks, recovery
from tests.training.short_recovery import images_of

pytestmark = pytest.mark.slow

DEPTH, IDLE = 6, (0, 4)


@pytest.fixture(scope="module")
def deep_model(tiny_model):
    """The tiny model around six lively blocks, of which two do nothing."""
    size = replace(tiny_model.config.dit, depth=DEPTH, hidden_size=32, num_heads=2)
    dit = build_dit(size, seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in dit.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    for index in IDLE:
        modulation: Any = dit.blocks[index].adaLN_modulation
        modulation[1].weight.data.zero_()
        modulation[1].bias.data.zero_()  # both gates are 0: the block is the identity
    config = replace(tiny_model.config, name="deep", dit=size)
    return replace(tiny_model, dit=dit.eval().requires_grad_(False), config=config)


@pytest.fixture
def context(deep_model, tmp_path, monkeypatch):
    """The deep model as a bundled one, and small batches."""
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path / "weights")
    save_model(deep_model, tmp_path / "weights" / "deep")
    monkeypatch.setattr(recovery, "load_images", lambda split, name: images_of(deep_model.classes))
    monkeypatch.setattr(recovery, "BATCH", 32)
    return Context(torch.device("cpu"), model=deep_model, folder=tmp_path / "training")


def pruned(context: Context, keep: int, steps: int = 40, **knobs: Any) -> Any:
    recipe = [{"name": "depth_pruning", "keep": keep, "importance": "learned", "calibration": steps, **knobs}]
    return apply_recipe(context.model.dit, recipe, context)  # type: ignore[union-attr]


def kept_blocks(small: Any, dit: Any) -> list[int]:
    weights = [block.mlp.fc1.weight for block in dit.blocks]
    return [next(i for i, w in enumerate(weights) if torch.equal(w, block.mlp.fc1.weight)) for block in small.blocks]


def inputs():
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor([1, 300, 600, 999]), torch.tensor([0, 1, 2, 3])


def test_blocks_that_do_nothing_go_and_the_others_stay_as_they_were(deep_model, context):
    before = copy.deepcopy(deep_model.dit.state_dict())
    small = pruned(context, keep=4)
    assert kept_blocks(small, deep_model.dit) == [i for i in range(DEPTH) if i not in IDLE]
    assert torch.equal(small(*inputs()), deep_model.dit(*inputs()))
    assert small.config.depth == len(small.blocks) == 4
    assert all(torch.equal(value, before[name]) for name, value in deep_model.dit.state_dict().items())
    assert not any(parameter.requires_grad for parameter in deep_model.dit.parameters())


def test_a_search_for_blocks_gives_the_same_for_a_seed(deep_model, context, tmp_path):
    def logits(folder: str, seed: int) -> list[torch.Tensor]:
        masked = block_masks.Masked(deep_model.dit, 3)
        settings = block_masks.settings_for(5, seed)
        return list(block_masks.train(masked, deep_model.dit, settings, context, tmp_path / folder).logits)

    first, again, other = logits("a", 0), logits("b", 0), logits("c", 1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_an_ended_search_is_not_repeated_and_one_of_another_seed_is_its_own(deep_model, context, monkeypatch):
    kept = kept_blocks(pruned(context, 3, 2), deep_model.dit)
    assert not list(context.folder.glob("*/checkpoint.pt"))
    pruned(replace(context, seed=1), 3, 2)
    assert len(list(context.folder.glob(f"*/{block_masks.CHOSEN}"))) == 2
    monkeypatch.setattr(block_masks, "train", lambda *args: pytest.fail("searched again"))
    assert kept_blocks(pruned(context, 3, 2), deep_model.dit) == kept
    assert kept_blocks(pruned(context, 3, 2, recover="none"), deep_model.dit) == kept


def test_a_cancelled_search_goes_on_to_the_same_blocks(deep_model, context, tmp_path):
    told, asked = [], iter(range(1000))
    stopped = replace(context, cancelled=lambda: next(asked) > 3)
    with pytest.raises(Cancelled, match="Run it again to resume it"):
        pruned(stopped, 3, 8)
    assert not list(context.folder.glob(f"*/{block_masks.CHOSEN}"))
    resumed = pruned(replace(context, progress=lambda *step: told.append(step)), 3, 8)
    assert [step[1:] for step in told] == [(8, 8)]
    assert told[0][0].startswith("train (masks, loss ")
    whole = pruned(replace(context, folder=tmp_path / "whole"), 3, 8)
    assert kept_blocks(whole, deep_model.dit) == kept_blocks(resumed, deep_model.dit)


def test_what_is_kept_can_recover(deep_model, context):
    small = pruned(context, 2, 2, recover="2")
    assert len(small.blocks) == 2
    assert len(list(context.folder.glob(f"*/{recovery.WEIGHTS}"))) == 1


@pytest.mark.parametrize("depth", [2, 3, 5, 7, 8, 28])
def test_groups_hold_all_blocks_and_leave_a_choice_in_each(depth):
    for keep in range(1, depth):
        groups = block_masks.groups_of(depth, keep)
        assert sum(size for _, size in groups) == depth
        assert sum(kept for kept, _ in groups) == keep
        assert all(0 < kept < size for kept, size in groups)


@pytest.mark.parametrize(
    ("depth", "keep", "groups"),
    [(8, 4, [(2, 4), (2, 4)]), (7, 4, [(2, 3), (2, 4)]), (5, 3, [(2, 3), (1, 2)]), (8, 7, [(7, 8)]), (8, 1, [(1, 8)])],
)
def test_groups_are_of_unequal_size_where_blocks_do_not_divide(depth, keep, groups):
    assert block_masks.groups_of(depth, keep) == groups


@pytest.mark.parametrize("keep", range(1, DEPTH))
def test_unequal_groups_keep_as_many_blocks_as_asked(deep_model, context, keep):
    kept = kept_blocks(pruned(context, keep, 1), deep_model.dit)
    assert len(kept) == keep
    assert kept == sorted(set(kept))


def test_every_image_runs_just_the_blocks_of_the_patterns_that_it_drew(deep_model):
    masked = block_masks.Masked(deep_model.dit, 3)
    masked.draw(4, temperature=1.0, generator=torch.Generator().manual_seed(3))
    gates = torch.stack([block.gate for block in masked.network.blocks], dim=1)  # (N, blocks)
    assert gates.detach().unique().tolist() == pytest.approx([0.0, 1.0], abs=1e-6)
    assert gates.sum(1).tolist() == pytest.approx([3.0] * 4)
    for image, gate in enumerate(gates):
        part = tuple(tensor[image : image + 1] for tensor in inputs())
        alone = copy.deepcopy(deep_model.dit)
        alone.blocks = torch.nn.ModuleList(alone.blocks[i] for i in range(DEPTH) if gate[i] > 0.5)
        torch.testing.assert_close(masked.network(*inputs())[image : image + 1], alone(*part))
    gates.sum(0)[0].backward()
    assert masked.logits[0].grad is not None


def test_the_temperature_falls():
    assert [block_masks.temperature(done) for done in (0.0, 1.0)] == pytest.approx(list(block_masks.TEMPERATURES))


def test_masks_without_data_are_refused_with_what_to_do(deep_model):
    network = build_dit(DiTConfig(8, 2, 4, 32, 4, 2, 4.0, 3, learn_sigma=False))
    recipe = canonical([{"name": "depth_pruning", "keep": 2, "importance": "learned"}])
    with pytest.raises(BadRequest, match="need a model with its data: set importance to search"):
        apply_recipe(network, recipe, Context(torch.device("cpu")))
    with pytest.raises(
        BadRequest,
        match=r"depth_pruning cannot train, because .* are random: set importance to",
    ):
        check(RunSpec(model="random:DiT-S/2@256", techniques=recipe, samples=0))


def test_bundled_weights_need_no_search(context, monkeypatch):
    monkeypatch.setattr(block_masks, "learned_blocks", lambda *args: pytest.fail("searched"))
    with pytest.raises(BadRequest, match="no bundled weights"):
        pruned(context, 3, recover="bundled")
