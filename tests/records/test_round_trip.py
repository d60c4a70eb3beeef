"""What the program prints, it reads again: commands, lists of names and recipes, for names of any alphabet."""

import shlex
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_core.cli.arguments import parser, spec_of
from dit_core.cli.commands import COMMANDS, main
from dit_core.errors import BadRequest
from dit_core.models import sources
from dit_core.recipes.recipe import canonical, parse_argument
from dit_core.recipes.registry import registry
from dit_core.records.spec import SCHEDULERS, RunSpec, join_names, split_names

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(str.strip)
ODD = st.sampled_from(
    ["a, b", 'say "hi"', "it's", "-x", "--steps", ",", '","', "é中", "a=b", "#", "$HOME", "a\\", "all"]
)
ANY_NAME = NAMES | ODD
PARSER = parser("", COMMANDS)


def knob_values(knob):
    if knob.kind is bool:
        return st.booleans()
    if knob.choices:
        return st.sampled_from(knob.choices)
    if knob.kind is str:
        return st.sampled_from(knob.suggestions or (knob.default,))
    if knob.kind is int:
        return st.integers(int(knob.min or 0), int(knob.max or 100))
    return st.floats(knob.min or 0, knob.max or 1)


@st.composite
def entries(draw):
    technique = draw(st.sampled_from(list(registry().values())))
    values = {knob.name: draw(knob_values(knob)) for knob in technique.knobs if draw(st.booleans())}
    try:
        return canonical([{"name": technique.name, **values}])[0]
    except BadRequest:
        return {"name": "solver"}


@st.composite
def recipes(draw):
    recipe = draw(st.lists(entries(), max_size=2))
    try:
        return canonical(recipe)
    except BadRequest:  # these techniques cannot follow each other
        return canonical(recipe[:1])


SPECS = st.builds(
    RunSpec,
    model=ANY_NAME,
    classes=st.lists(ANY_NAME, max_size=3).map(tuple),
    reference=st.just("") | ANY_NAME,
    training_images=st.just("") | ANY_NAME,
    techniques=recipes(),
    scheduler=st.sampled_from(SCHEDULERS),
    steps=st.integers(1, 1000),
    guidance=st.floats(0, 30),
    guidance_interval=st.none() | st.tuples(st.integers(0, 400), st.integers(400, 1000)),
    guidance_every=st.integers(1, 9),
    guidance_channels=st.sampled_from([0, 3]),
    seed=st.integers(0, 2**31 - 1),
    samples=st.integers(0, 9),
    device=st.sampled_from(["cpu", "cuda:1"]),
    precision=st.sampled_from(["", "bfloat16"]),
)


@given(names=st.lists(ANY_NAME, min_size=1, max_size=4))
def test_joined_names_are_split_again(names):
    assert split_names(join_names(names)) == tuple(names)


@settings(max_examples=50)
@given(spec=SPECS)
def test_a_printed_command_asks_for_the_same_run(spec):
    source = mock.Mock(spec=sources.ModelSource, run_fields={"scheduler": "ddim", "steps": 3, "guidance_every": 2})
    reader = {"device": "cuda:1", **source.run_fields}
    words = shlex.split(spec.command(reader))[3:]
    with (
        mock.patch("dit_core.cli.arguments.sources.find", return_value=source),
        mock.patch("dit_core.cli.arguments.own_choice", lambda source, path: path),
        mock.patch("dit_core.cli.arguments.devices.default", return_value="cuda:1"),
    ):
        again = spec_of(PARSER.parse_args(words))
    assert again == spec


@given(entry=entries())
def test_a_printed_technique_is_read_again(entry):
    knobs = ",".join(f"{name}={value}" for name, value in entry.items() if name != "name")
    assert canonical([parse_argument(f"{entry['name']}:{knobs}")]) == canonical([entry])


@pytest.mark.parametrize("text", [",", "food,", ",food", "food,,hand", " ", '"food', 'food,""', ""])
def test_an_empty_class_name_is_refused(text, capsys):
    assert main(["run", f"--classes={text}", "--device", "cpu"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("technique", "says"),
    [
        ("quantization:bits=4,bits=8", "two values for bits"),
        ("quantization:bits=4,bits=4", "two values for bits"),
        ("quantization:bits=4,,", "separated by commas"),
        ("quantization:,", "separated by commas"),
        ("quantization:bits=", "name=value"),
        ("quantization:=4", "name=value"),
    ],
)
def test_a_value_that_would_be_replaced_silently_is_refused(technique, says):
    with pytest.raises(BadRequest, match=says):
        parse_argument(technique)


@pytest.mark.parametrize("option", ["--steps", "--seed", "--model", "--classes", "--device", "--guidance", "--out"])
def test_an_option_that_is_given_twice_is_refused(option, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", option, "1", option, "2"])
    assert ended.value.code == 2
    assert f"argument {option}: given twice" in capsys.readouterr().err


def test_a_technique_can_be_given_twice():
    options = parser("", COMMANDS).parse_args(["run", "--technique", "solver", "--technique", "quantization"])
    assert options.technique == ["solver", "quantization"]
