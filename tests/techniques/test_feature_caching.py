"""Feature caching: which steps compute, what they reuse, and that images stay independent of each other."""

import copy

import pytest
import torch

from dit_core.errors import BadRequest
from dit_core.measure.flops import count
from dit_core.models.sources import load_model
from dit_core.models.sources.folder import save_model
from dit_core.models.state import METHODS, FeatureCache, StepContext
from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, apply_recipe
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import generate, sample_latents

SAMPLING = SamplingConfig("ddim", steps=8, guidance=2.0)
ALWAYS = [{"method": "interval", "interval": 1}, {"method": "taylor", "interval": 1}] + [
    {"method": method, "threshold": 0.0} for method in ("first-block", "schedule")
]


def cached(model, **knobs):
    entry = {"name": "feature_caching", **knobs}
    return model.with_dit(apply_recipe(model.dit, [entry], Context(torch.device("cpu"), model=model)))


@pytest.fixture
def lively(tiny_model):
    """The tiny model with gates and output that are not zero, so that blocks change the images."""
    dit = copy.deepcopy(tiny_model.dit)
    generator = torch.Generator().manual_seed(0)
    for parameter in dit.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return tiny_model.with_dit(dit)


def latents(model, sampling=SAMPLING, labels=(0, 1)):
    return sample_latents(model, torch.tensor(labels), [5 + label for label in labels], sampling)


@pytest.mark.parametrize("knobs", ALWAYS, ids=lambda knobs: knobs["method"])
def test_computing_in_every_step_changes_nothing(lively, knobs):
    torch.testing.assert_close(latents(cached(lively, **knobs)), latents(lively), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_that_reuses_saves_its_operations(lively, method):
    never = cached(lively, method=method, interval=99, threshold=9.0, warmup=2)
    work, base = (count(lambda model=model: latents(model)).flops for model in (never, lively))
    assert work < 0.75 * base
    assert torch.isfinite(latents(never)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("interval", [None, (300, 700)])
def test_an_image_does_not_depend_on_other_images_or_earlier_batches(lively, method, interval):
    sampling = SamplingConfig("ddim", steps=8, guidance=2.0, guidance_interval=interval, guidance_every=2)
    model = cached(lively, method=method, interval=3, threshold=0.05)
    together = generate(model, [0, 1, 2], batch_size=2, sampling=sampling)
    alone = [generate(model, [label], first=label, sampling=sampling) for label in (0, 1, 2)]
    assert (together.int() - torch.cat(alone).int()).abs().max() <= 1
    assert model.dit.cache.factors == {}


def test_a_linear_feature_is_forecast_exactly_by_the_first_order_and_a_square_by_the_second():
    def forecast(order, feature):
        cache = FeatureCache("taylor", interval=2, warmup=3, order=order)
        block = lambda x, c: x + feature(cache.step.index)  # noqa: E731
        for index in range(1, 5):
            cache.step = StepContext(index, 4, 1000 - index)
            out = cache([block], torch.zeros(1, 1, 1, dtype=torch.float64), [None])
        return out.item()

    assert forecast(1, lambda step: 3.0 * step + 1) == pytest.approx(13)
    assert forecast(0, lambda step: 3.0 * step + 1) == pytest.approx(10)
    assert abs(forecast(2, lambda step: float(step**2)) - 16) < abs(forecast(1, lambda step: float(step**2)) - 16)


def test_branches_that_come_back_are_computed_and_never_mixed():
    cache = FeatureCache("interval", interval=99, warmup=1)
    ran = []

    def block(x, c):
        ran.append(len(x))
        return 2 * x

    both, one = ("conditional", "unconditional"), ("conditional",)
    for index, branches in enumerate([both, one, both], start=1):
        cache.step = StepContext(index, 4, 0, branches)
        x = torch.arange(1.0, len(branches) + 1).view(-1, 1, 1)
        assert torch.equal(cache([block], x, [None]), 2 * x)
    assert ran == [2]
    cache.reset()
    ran.clear()
    for index, branches in enumerate([one, both], start=1):
        cache.step = StepContext(index, 4, 0, branches)
        cache([block], torch.ones(len(branches), 1, 1), [None])
    assert ran == [1, 2]


@pytest.mark.parametrize(
    "other",
    [{"name": "quantization"}, {"name": "depth_pruning", "keep": 1}, {"name": "moe", "calibration": 8},
     {"name": "window_attention"}, {"name": "guidance_distillation"}, {"name": "guidance_interval"}],
    ids=lambda entry: entry["name"],
)  # fmt: skip
def test_it_stacks_and_an_exported_network_samples_the_same(lively, tmp_path, other):
    recipe = Recipe.parse([{"name": "feature_caching", "method": "schedule"}, other])
    context = Context(torch.device("cpu"), model=lively)
    model = lively.with_dit(recipe.apply(lively.dit, context))
    save_model(model, tmp_path / "model")
    sampling = recipe.sampling(SAMPLING)
    expected = latents(load_model(str(tmp_path / "model")), sampling)
    torch.testing.assert_close(latents(model, sampling), expected, atol=0.1, rtol=0.1)


def test_the_weights_are_shared_and_the_input_has_no_cache(tiny_model):
    model = cached(tiny_model)
    assert next(model.dit.parameters()) is next(tiny_model.dit.parameters())
    assert not hasattr(tiny_model.dit, "cache")


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ([{"name": "feature_caching"}] * 2, "cached already"),
        ([{"name": "feature_caching"}, {"name": "distillation"}], "put distillation before feature_caching"),
        (
            [{"name": "depth_pruning", "keep": 1}, {"name": "feature_caching", "method": "first-block"}],
            "caches no block",
        ),
    ],
)
def test_what_cannot_be_cached_is_refused(tiny_model, recipe, reason):
    with pytest.raises(BadRequest, match=reason):
        Recipe.parse(recipe).check(Structure.of(tiny_model.config.dit), "cpu")
