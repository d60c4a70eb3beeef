"""What every technique keeps to, whichever it is: new files in `techniques/` are tested here without being named."""

import copy
import dataclasses

import pytest
import torch

from dit_core.errors import BadRequest
from dit_core.models.model import build_dit, cast
from dit_core.models.structure import Structure, structure_of
from dit_core.recipes import registry as techniques
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, apply_recipe, canonical, parse_argument

ALL = list(techniques.registry().values())
_NOISE = torch.Generator().manual_seed(3)
INPUTS = (  # few, whatever the knob `calibration` asks for
    torch.randn(32, 4, 8, 8, generator=_NOISE),
    torch.randint(1000, (32,), generator=_NOISE),
    torch.randint(4, (32,), generator=_NOISE),
)
CONTEXT = Context(torch.device("cpu"), calibration=INPUTS)
TINY = {"keep": 1}  # in place of defaults that ask for more than the two blocks of the tiny model


def settings(found):
    """The defaults, and every knob at each of its ends or choices, as far as they go together."""
    usual = {knob.name: TINY[knob.name] for knob in found.knobs if knob.name in TINY}
    yield usual
    for knob in found.knobs:
        for value in knob.choices or [v for v in (knob.min, knob.max) if v is not None]:
            try:
                found.parse({knob.name: knob.kind(value)})
            except BadRequest:
                continue
            yield {**usual, knob.name: knob.kind(value)}


CASES = [(found, knobs) for found in ALL for knobs in settings(found)]


def output(dit):
    """Run the network uncompiled: compiling takes seconds, and has tests of its own."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    with torch.compiler.set_stance("force_eager"), torch.inference_mode():
        return dit(x, torch.tensor([3, 700]), torch.tensor([0, 3]))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("found", ALL, ids=lambda found: found.name)
def test_it_stacks_on_a_precision_of_16_bits_or_says_why_not(found, precision, tiny_model):
    knobs = {knob.name: TINY[knob.name] for knob in found.knobs if knob.name in TINY}
    recipe, dtype = Recipe.parse([{"name": found.name, **knobs}]), getattr(torch, precision)
    try:
        recipe.check_precision(precision)
        exact = recipe.apply(tiny_model.dit, CONTEXT)
    except BadRequest:
        return
    cast_network = cast(copy.deepcopy(recipe.apply(tiny_model.dit, dataclasses.replace(CONTEXT, dtype=dtype))), dtype)
    assert any(parameter.dtype == dtype for parameter in cast_network.parameters())
    torch.testing.assert_close(output(cast_network), output(exact), atol=0.1, rtol=0.1)


@pytest.mark.parametrize(("found", "knobs"), CASES, ids=lambda value: getattr(value, "name", str(value)))
def test_it_returns_a_new_network_and_leaves_its_input_alone(found, knobs, tiny_model):
    if reason := found.incompatible(found.parse(knobs), Structure.of(tiny_model.config.dit)):
        pytest.skip(f"the tiny model: {reason}")
    if reason := found.unsupported(found.parse(knobs), "cpu"):
        pytest.skip(reason)
    if found.needs_images(found.parse(knobs)):
        pytest.skip("it trains, on images that this context lacks")
    before = {key: value.clone() for key, value in tiny_model.dit.state_dict().items()}
    optimized = apply_recipe(tiny_model.dit, [{"name": found.name, **knobs}], CONTEXT)
    assert optimized is not tiny_model.dit
    assert all(torch.equal(value, before[key]) for key, value in tiny_model.dit.state_dict().items())
    out = output(optimized)
    assert out.shape == output(tiny_model.dit).shape
    assert torch.isfinite(out).all()
    assert torch.equal(out, output(optimized))
    told = Recipe.parse([{"name": found.name, **knobs}]).check(structure_of(tiny_model.dit), "cpu")
    assert told is not None
    assert dataclasses.replace(structure_of(optimized), packed=told.packed) == told


@pytest.mark.parametrize("found", ALL, ids=lambda found: found.name)
def test_it_describes_itself(found):
    assert dataclasses.is_dataclass(found.config)
    assert found.config.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "arXiv" in found.summary
    assert found.title
    assert found.family
    assert all(knob.help.endswith(".") for knob in found.knobs)


@pytest.mark.parametrize("found", ALL, ids=lambda found: found.name)
def test_unknown_knobs_are_refused_with_the_known_ones(found):
    with pytest.raises(BadRequest, match=f"{found.name} has no knob 'colour': it has {found.knobs[0].name}"):
        found.parse({"colour": 1})


@pytest.mark.parametrize(("found", "knob"), [(f, k) for f in ALL for k in f.knobs], ids=lambda v: v.name)
def test_ill_typed_and_out_of_range_knobs_are_refused_by_name(found, knob):
    wrong = [
        [],
        None,
        *([knob.min - 1] if knob.min is not None else []),
        *([knob.max + 1] if knob.max is not None else []),
        10**400 if knob.kind in (int, float) else object(),
    ]
    for value in [*wrong, *(["no such choice"] if knob.choices else [])]:
        with pytest.raises(BadRequest, match=knob.name):
            found.parse({knob.name: value})


def test_an_unknown_technique_is_refused_with_the_known_ones():
    with pytest.raises(BadRequest, match="Unknown technique 'magic': use one of"):
        techniques.get("magic")


@pytest.mark.parametrize("entry", [{}, {"name": ["moe"]}, "moe", None, {"name": "moe", 5: 1}])
def test_what_is_no_entry_of_a_recipe_is_refused(entry):
    with pytest.raises(BadRequest):
        apply_recipe(torch.nn.Identity(), [entry], CONTEXT)


def test_a_default_typed_in_is_the_same_recipe():
    typed = canonical([parse_argument("quantization:bits=8")])
    assert typed == canonical([{"name": "quantization"}])


@pytest.mark.parametrize(
    "text", ["quantization:bits", "quantization:bits=eight", "quantization:bits=9", "quantization:x=1"]
)
def test_a_bad_argument_is_refused(text):
    with pytest.raises(BadRequest):
        parse_argument(text)


METHODS = [(found, knobs) for found, knobs in CASES if all(isinstance(v, str) or k in TINY for k, v in knobs.items())]


@pytest.mark.parametrize(("found", "knobs"), METHODS, ids=lambda value: getattr(value, "name", str(value)))
def test_weights_of_zero_as_before_training_stay_finite(found, knobs, tiny_model):
    fresh = build_dit(tiny_model.config.dit, seed=1).eval()
    config = found.parse(knobs)
    reason = found.incompatible(config, structure_of(fresh)) or found.unsupported(config, "cpu")
    if reason or found.needs_images(config):
        pytest.skip(reason or "it trains, on images that this context lacks")
    optimized = apply_recipe(fresh, [{"name": found.name, **knobs}], CONTEXT)
    assert torch.isfinite(output(optimized)).all()
    assert all(torch.isfinite(value).all() for value in optimized.state_dict().values() if value.is_floating_point())
