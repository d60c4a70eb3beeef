"""Token merging on a whole network, and the matching inside one attention."""

import pytest
import torch

from dit_core.errors import BadRequest
from dit_core.measure import count
from dit_core.models.attention import MergedAttention
from dit_core.models.dit import Attention, DiTConfig
from dit_core.models.model import build_dit
from dit_core.models.serialization import read_network, write_network
from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, apply_recipe

CONTEXT = Context(torch.device("cpu"))
MERGING = {"name": "token_merging"}
GRID, WIDTH = 4, 16
NOISY, CLEAN = torch.tensor([999, 800]), torch.tensor([300, 0])
X, Y = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3])


@pytest.fixture
def trained():
    torch.manual_seed(0)
    return Attention(WIDTH, 2).requires_grad_(False)


def merging(trained, merged: int, seed: int = 0) -> MergedAttention:
    return MergedAttention(trained, merged, GRID, seed, None)


def tokens(count: int = 3) -> torch.Tensor:
    return torch.randn(count, GRID**2, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("seed", range(4))
def test_every_window_has_one_destination(trained, seed):
    targets = merging(trained, 4, seed).targets
    windows = {(int(t) // GRID // 2, int(t) % GRID // 2) for t in targets}
    assert len(targets) == len(windows) == (GRID // 2) ** 2


def test_destinations_depend_on_the_seed_only(trained):
    assert torch.equal(merging(trained, 4, 1).targets, merging(trained, 8, 1).targets)
    assert any(not torch.equal(merging(trained, 4, 1).targets, merging(trained, 4, seed).targets) for seed in (2, 3))


@pytest.mark.parametrize("merged", [0, 1, 8, 12])
def test_tokens_are_the_means_of_those_that_are_merged_into_them(trained, merged):
    x = tokens()
    fewer, place = merging(trained, merged).merge(x)
    assert fewer.shape == (3, GRID**2 - merged, WIDTH)
    for image in range(3):
        for row in range(fewer.shape[1]):
            torch.testing.assert_close(fewer[image, row], x[image, place[image] == row].mean(0))


def test_the_most_alike_are_merged_into_what_they_are_most_like(trained):
    module, x = merging(trained, 1), tokens(1)
    source, target = int(module.sources[5]), int(module.targets[2])
    x[0, source] = 3 * x[0, target]  # the same direction
    place = module.merge(x)[1][0]
    assert place[source] == place[target]
    assert len(place.unique()) == GRID**2 - 1


@pytest.mark.parametrize("merged", [1, 7, 12])
def test_equal_tokens_may_be_merged_without_any_change(trained, merged):
    windows = tokens().unflatten(1, (GRID, GRID))[:, ::2, ::2]
    x = windows.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2)  # four equal tokens in each window
    torch.testing.assert_close(merging(trained, merged)(x), trained(x))


@pytest.mark.parametrize("entry", [{"ratio": 0.0}, {"steps": 0.0}], ids=str)
def test_nothing_merged_changes_nothing(entry, tiny_model):
    out = apply_recipe(tiny_model.dit, [{**MERGING, **entry}], CONTEXT)(X, NOISY, Y)
    torch.testing.assert_close(out, tiny_model.dit(X, NOISY, Y), atol=1e-5, rtol=1e-5)


def test_merging_tokens_that_are_alike_costs_less(trained):
    windows = tokens().unflatten(1, (GRID, GRID))[:, ::2, ::2]
    alike = windows.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2) + 0.01 * tokens()
    module = merging(trained, 8)
    alike_error, error = ((module(x) - trained(x)).norm() for x in (alike, tokens()))
    assert 0 < alike_error < 0.1 * error


def test_only_the_noisiest_steps_merge(tiny_model):
    network = apply_recipe(tiny_model.dit, [{**MERGING, "steps": 0.5}], CONTEXT)
    everywhere = apply_recipe(tiny_model.dit, [MERGING], CONTEXT)
    torch.testing.assert_close(network(X, CLEAN, Y), tiny_model.dit(X, CLEAN, Y), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network(X, NOISY, Y), everywhere(X, NOISY, Y))
    both = torch.tensor([0, 999])
    out = network(X, both, Y)
    torch.testing.assert_close(out[:1], tiny_model.dit(X, both, Y)[:1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out[1:], everywhere(X, both, Y)[1:], atol=1e-5, rtol=1e-5)


def test_half_the_tokens_save_most_of_the_work_of_large_images():
    dit = build_dit(DiTConfig(64, 2, 4, 32, 1, 2, 4.0, 3, learn_sigma=False))  # 1,024 tokens
    fewer = apply_recipe(dit, [MERGING], CONTEXT)
    inputs = torch.zeros(1, 4, 64, 64), torch.zeros(1), torch.zeros(1).long()
    assert count(lambda: fewer(*inputs)).macs < 0.7 * count(lambda: dit(*inputs)).macs


def test_a_merging_network_is_saved_as_it_is(tiny_model, tmp_path):
    network = apply_recipe(
        tiny_model.dit, [{**MERGING, "steps": 0.5}, {"name": "quantization", "group_size": 32}], CONTEXT
    )
    write_network(network, tmp_path / "network.pt")
    torch.testing.assert_close(
        read_network(tmp_path / "network.pt")(X, NOISY, Y), network(X, NOISY, Y), atol=2e-2, rtol=2e-2
    )


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ([{**MERGING, "ratio": 0.8}], "ratio must be between 0.0 and 0.75"),
        ([{**MERGING, "ratio": 0.05}], "ratio 0.05 merges none of 16 tokens: use at least 0.07"),
        ([{"name": "pooled_attention"}, MERGING], "the attention of block 0 is a PooledAttention"),
        ([MERGING, MERGING], "the attention of block 0 is a MergedAttention"),
    ],
    ids=str,
)
def test_what_cannot_be_merged_is_refused(recipe, says, tiny_model):
    with pytest.raises(BadRequest, match=says):
        Recipe.parse(recipe).check(Structure.of(tiny_model.config.dit), "cpu")


def test_an_odd_grid_is_refused():
    with pytest.raises(BadRequest, match="do not tile 3 x 3 tokens"):
        Recipe.parse([MERGING]).check(Structure.of(DiTConfig(6, 2, 4, 64, 2, 4, 4.0, 3, learn_sigma=False)), "cpu")
