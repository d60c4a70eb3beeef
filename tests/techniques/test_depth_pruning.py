import pytest
import torch

from dit_core.compression.calibration import calibration
from dit_core.errors import BadRequest, Cancelled
from dit_core.measure.flops import count
from dit_core.measure.memory import weight_bytes
from dit_core.models.dit import DiT, DiTConfig
from dit_core.models.model import build_dit
from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, apply_recipe
from dit_core.techniques.depth_pruning import DepthPruning, block_influence, drop_blocks, even, outputs, search

CONTEXT = Context(torch.device("cpu"))
DEPTH = 6


@pytest.fixture(scope="module")
def deep() -> DiT:
    """Six blocks whose gates differ much, so that some matter more than others."""
    dit = build_dit(DiTConfig(8, 2, 4, 32, DEPTH, 2, 4.0, 3, learn_sigma=False), seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in dit.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return dit.eval().requires_grad_(False)


def inputs():
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor([1, 300, 600, 999]), torch.tensor([0, 1, 2, 3])


def kept_blocks(small, dit) -> list[int]:
    """Which blocks of `dit` those of `small` are."""
    weights = [block.mlp.fc1.weight for block in dit.blocks]
    return [next(i for i, w in enumerate(weights) if torch.equal(w, block.mlp.fc1.weight)) for block in small.blocks]


@pytest.mark.parametrize("importance", ["influence", "even", "search"])
@pytest.mark.parametrize("keep", range(1, DEPTH + 1))
def test_exactly_the_blocks_asked_for_stay_in_their_order(deep, importance, keep):
    small = drop_blocks(deep, DepthPruning(keep, importance, 8), CONTEXT)
    kept = kept_blocks(small, deep)
    assert len(kept) == small.config.depth == keep
    assert kept == sorted(set(kept))
    assert small(*inputs()).shape == (4, 4, 8, 8)
    assert len(deep.blocks) == deep.config.depth == DEPTH


@pytest.mark.parametrize("importance", ["influence", "even", "search"])
def test_all_blocks_kept_is_the_same_function(deep, importance):
    small = drop_blocks(deep, DepthPruning(DEPTH, importance), CONTEXT)
    assert torch.equal(small(*inputs()), deep(*inputs()))


@pytest.mark.parametrize(
    ("keep", "kept"), [(1, [0]), (2, [0, 5]), (3, [0, 2, 5]), (4, [0, 2, 3, 5]), (6, list(range(6)))]
)
def test_even_keeps_the_first_and_the_last(deep, keep, kept):
    assert even(deep, DepthPruning(keep), CONTEXT) == kept


@pytest.mark.parametrize("importance", ["influence", "search"])
def test_a_block_that_does_nothing_goes_first(deep, importance):
    idle = drop_blocks(deep, DepthPruning(DEPTH), CONTEXT)
    for index in (0, 3):
        modulation = idle.blocks[index].adaLN_modulation[1]
        modulation.weight.zero_()
        modulation.bias.zero_()  # both gates are 0: the block is the identity
    small = drop_blocks(idle, DepthPruning(DEPTH - 2, importance, 8), CONTEXT)
    assert kept_blocks(small, idle) == [1, 2, 4, 5]
    assert torch.equal(small(*inputs()), idle(*inputs()))


def test_influence_is_one_minus_the_cosine_of_input_and_output(deep):
    influence = block_influence(deep, inputs())
    assert len(influence) == DEPTH
    assert all(0 < value < 2 for value in influence)
    x, t, y = inputs()
    tokens = deep.x_embedder(x) + deep.pos_embed
    after = deep.blocks[0](tokens, deep.t_embedder(t) + deep.y_embedder(y))
    cosine = (tokens * after).sum(-1) / (tokens.norm(dim=-1) * after.norm(dim=-1))
    assert influence[0] == pytest.approx(1 - cosine.mean().item(), rel=1e-4)


@pytest.mark.parametrize("keep", range(1, DEPTH))
def test_search_never_errs_more_than_even_on_its_own_calibration(deep, keep):
    config, data = DepthPruning(keep, "search", 8), calibration(deep, CONTEXT, 8)
    expected = outputs(deep, list(range(DEPTH)), data)
    error = {
        choose.__name__: (outputs(deep, choose(deep, config, CONTEXT), data) - expected).square().mean()
        for choose in (search, even)
    }
    assert error["search"] <= error["even"]


def test_search_removes_the_one_block_that_is_missed_least(deep):
    data = calibration(deep, CONTEXT, 8)
    expected = outputs(deep, list(range(DEPTH)), data)
    without = [[i for i in range(DEPTH) if i != gone] for gone in range(DEPTH)]
    errors = [(outputs(deep, kept, data) - expected).square().mean().item() for kept in without]
    assert search(deep, DepthPruning(DEPTH - 1, "search", 8), CONTEXT) == without[errors.index(min(errors))]


def test_operations_and_bytes_fall_by_whole_blocks(deep):
    def macs(dit):
        return count(lambda: dit(*inputs())).macs

    shallow, half = (drop_blocks(deep, DepthPruning(keep, "even"), CONTEXT) for keep in (1, 3))
    assert macs(deep) - macs(half) == 3 * (macs(half) - macs(shallow)) / 2
    assert weight_bytes(deep) - weight_bytes(half) == 3 * weight_bytes(deep.blocks[0])


def test_search_tells_its_progress_to_the_end_and_stops_when_cancelled(deep):
    told = []
    context = Context(torch.device("cpu"), progress=lambda *step: told.append(step))
    drop_blocks(deep, DepthPruning(3, "search", 4), context)
    total = 6 + 5 + 4 + 2  # trials of each removal, then the last two compared
    assert told == [("search", step, total) for step in range(1, total + 1)]
    with pytest.raises(Cancelled):
        drop_blocks(deep, DepthPruning(3, "search", 4), Context(torch.device("cpu"), cancelled=lambda: True))


def test_more_blocks_than_there_are_is_refused_with_their_number(deep):
    recipe = [{"name": "depth_pruning", "keep": 7}]
    for refuse in (
        lambda: Recipe.parse(recipe).check(Structure.of(deep.config), "cpu"),  # before any weights are loaded
        lambda: apply_recipe(deep, recipe, CONTEXT),
    ):
        with pytest.raises(BadRequest, match=f"it has {DEPTH} blocks, so keep cannot be 7"):
            refuse()


def test_a_second_pruning_counts_the_blocks_that_the_first_left(deep):
    first, second = ({"name": "depth_pruning", "keep": keep, "importance": "even"} for keep in (4, 3))
    assert kept_blocks(apply_recipe(deep, [first, second], CONTEXT), deep) == [0, 3, 5]
    with pytest.raises(BadRequest, match="it has 3 blocks, so keep cannot be 4"):
        apply_recipe(deep, [second, first], CONTEXT)


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"keep": 0}, "keep must be between 1 and 28, got 0"),
        ({"calibration": 0}, "calibration must be between 1 and"),
        ({"importance": "luck"}, "importance must be one of influence, even, search"),
        ({"recover": "soon"}, "recover must be none, bundled or a number of training steps"),
    ],
)
def test_bad_knobs_are_refused_before_anything_is_loaded(knobs, line):
    with pytest.raises(BadRequest, match=line):
        Recipe.parse([{"name": "depth_pruning", **knobs}])


def test_recovery_without_data_is_refused(deep):
    with pytest.raises(BadRequest, match="set recover to none"):
        drop_blocks(deep, DepthPruning(2, recover="10"), CONTEXT)
