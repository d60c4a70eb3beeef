"""Techniques: one file each, found by being there.

A technique file holds a frozen dataclass of knobs and a function marked with `@technique`. The form, the command line,
`doctor`, the tests and the plots read everything from the registry. Importing this package never imports torch, so a
technique imports torch inside its function.
"""

import functools
import importlib
import math
import pkgutil
import re
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.models.outline import Outline, outline_of

if typing.TYPE_CHECKING:
    import torch
    from torch import nn

    from dit_core.models.model import Model

_REGISTRY: dict[str, "Technique"] = {}


@dataclass(frozen=True)
class Knob:
    """One field of a technique's dataclass, as forms and the command line need it."""

    name: str
    kind: type  # bool, int, float or str
    default: Any
    help: str
    min: float | None = None
    max: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] = ()
    suggestions: tuple[Any, ...] = ()  # values to offer where others are possible
    pattern: str = ""  # of a word: a regular expression that it must match whole
    wanted: str = ""  # that pattern in words
    used: tuple[dict[str, tuple[Any, ...]], ...] = ()  # other knobs' values, any of which it matters beside; () is all
    later: bool = False  # came after records and weights of its technique: at its default it is left unwritten

    def idle(self, others: dict[str, Any]) -> str:
        """Why the knob changes nothing beside these values of others, in a sentence; empty where it matters."""
        if not self.used or any(all(others[name] in values for name, values in each.items()) for each in self.used):
            return ""
        cases = [" and ".join(f"{name} is {_either(values)}" for name, values in each.items()) for each in self.used]
        return f"It changes nothing here: it matters where {', or where '.join(cases)}."


@dataclass
class Context:
    """What a technique may need beside the model."""

    device: "torch.device"
    seed: int = 0
    model: "Model | None" = None  # as loaded: its network is the teacher; autoencoder and schedule for data and noise
    recipe: tuple[dict[str, Any], ...] = ()  # up to and including the technique that runs
    calibration: Any = None
    folder: Path = Path("runs")  # where a training keeps its checkpoints
    learning_rate: float | None = None  # of a recovery, where it is not the usual one
    batch_size: int | None = None  # likewise
    progress: Callable[[str, int, int], None] = lambda stage, step, of: None
    preview: "Callable[[nn.Module], None] | None" = None  # shows what a network in training can do
    cancelled: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Technique:
    """A registered technique: its knobs, its words and its function."""

    name: str
    title: str
    family: str
    config: type
    function: Callable[["nn.Module", Any, Context], "nn.Module"]
    unavailable: Callable[[Any, str], str | None]
    packs: bool
    knobs: tuple[Knob, ...] = field(default=())
    unfit: Callable[[Any, Outline], str | None] = lambda config, network: None
    leaves: Callable[[Any, Outline], Outline] = lambda config, network: network
    sampler: Callable[[Any], tuple[str, int] | None] = lambda config: None
    learns: Callable[[Any], str | None] = lambda config: None

    @property
    def summary(self) -> str:
        """First line of the dataclass's docstring: what it does and its source."""
        return (self.config.__doc__ or "").strip().splitlines()[0]

    @property
    def description(self) -> str:
        """The whole docstring of the dataclass: what it does, in plain words."""
        return (self.config.__doc__ or "").strip()

    def parse(self, knobs: dict[str, Any]) -> Any:
        """A checked configuration; raises BadRequest on an unknown, ill-typed or out-of-range knob."""
        known = {knob.name: knob for knob in self.knobs}
        if unknown := sorted(set(knobs) - set(known), key=str):
            raise BadRequest(f"{self.name} has no knob {unknown[0]!r}: it has {', '.join(known)}.")
        return self.config(**{name: checked(self.name, known[name], value) for name, value in knobs.items()})


def technique(
    config: type,
    *,
    title: str,
    family: str,
    unavailable: Callable[[Any, str], str | None] = lambda config, device: None,
    unfit: Callable[[Any, Outline], str | None] = lambda config, network: None,
    leaves: Callable[[Any, Outline], Outline] = lambda config, network: network,
    packs: bool = False,
    sampler: Callable[[Any], tuple[str, int] | None] = lambda config: None,
    learns: Callable[[Any], str | None] = lambda config: None,
) -> Callable:
    """Register a function `(model, config, context) -> model` under the name of its module.

    `unavailable(config, device)` gives the reason why this device cannot run these knobs, or None, and
    `unfit(config, network)` why they do not go with a network of this outline. `leaves(config, network)` is the outline
    of what the technique leaves of a network that it fits: what follows in a recipe is checked against it. A technique
    that `packs` leaves weights in a form that no other technique can change: it ends a recipe. `sampler(config)` gives
    scheduler and steps where the technique samples in a way of its own; the baseline keeps to the run's. Where knobs
    beside `recover` train on images, `learns(config)` says what to do without them.
    """

    def register(function: Callable) -> Callable:
        name = function.__module__.rpartition(".")[2]
        knobs = _knobs(config)
        hooks = {"unavailable": unavailable, "unfit": unfit, "leaves": leaves, "sampler": sampler, "learns": learns}
        _REGISTRY[name] = Technique(name, title, family, config, function, packs=packs, knobs=knobs, **hooks)
        return function

    return register


def recover_knob() -> Any:
    """The field `recover` of a technique that can train what it has left: see `dit_core.training.recovery`."""
    return field(
        default="none",
        metadata={
            "help": "Training after the cut: none, bundled (weights that ship with the project), or a number of steps "
            "to train now.",
            "suggestions": ("none", "bundled"),
            "pattern": r"none|bundled|[1-9]\d{0,6}",
            "wanted": "none, bundled or a number of training steps",
        },
    )


def registry() -> dict[str, Technique]:
    """All techniques by name, in alphabetical order. Loads no torch."""
    _discover()
    return dict(sorted(_REGISTRY.items()))


@functools.cache
def _discover() -> None:
    """Import every file of this folder, once: pages ask for the registry thousands of times."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def get(name: str) -> Technique:
    """The technique of that name; raises BadRequest with the names that exist."""
    known = registry()
    if name not in known:
        raise BadRequest(f"Unknown technique {name!r}: use one of {', '.join(known)}.")
    return known[name]


def parse_recipe(recipe: typing.Iterable[dict[str, Any]]) -> list[tuple[Technique, Any]]:
    """Techniques with their checked configurations, in order. Raises BadRequest before anything is loaded."""
    parsed: list[tuple[Technique, Any]] = []
    for entry in recipe:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise BadRequest(f"A technique needs a name, got {entry!r}.")
        found = get(entry["name"])
        if parsed and (last := parsed[-1][0]).packs:
            raise BadRequest(f"{found.name} cannot follow {last.name}, which packs the weights: put it before.")
        parsed.append((found, found.parse({key: value for key, value in entry.items() if key != "name"})))
    return parsed


def canonical(recipe: typing.Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The recipe with every knob written out, so that a default and the same value typed in are one spec.

    A knob that came `later` is written where it is not at its default: runs and weights from before it keep their ids.
    """
    return tuple(
        {"name": found.name, **{knob.name: value for knob, value in _values(found, config) if _written(knob, value)}}
        for found, config in parse_recipe(recipe)
    )


def _values(found: Technique, config: Any) -> typing.Iterator[tuple[Knob, Any]]:
    return ((knob, getattr(config, knob.name)) for knob in found.knobs)


def _written(knob: Knob, value: Any) -> bool:
    return not knob.later or value != knob.default


def parse_argument(text: str) -> dict[str, Any]:
    """`name:knob=value,knob=value` of the command line as a recipe entry, with values of the knobs' types."""
    name, _, rest = text.partition(":")
    found, entry = get(name), {"name": name}
    kinds = {knob.name: knob.kind for knob in found.knobs}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise BadRequest(f"Write knobs as name=value, got {item!r} in --technique {text}.")
        entry[key] = _read(value, kinds.get(key, str))
    found.parse({key: value for key, value in entry.items() if key != "name"})
    return entry


def check_available(
    recipe: typing.Iterable[dict[str, Any]], device: str, network: Outline | None = None
) -> Outline | None:
    """The outline of what a recipe makes of a network; None where that of the network is not known. Needs no weights.

    Raises BadRequest with the reason where `device`, or what the techniques before it leave of `network`, cannot take a
    technique.
    """
    before = ""
    for found, config in parse_recipe(recipe):
        _check(found, config, device, network, before)
        network, before = network and found.leaves(config, network), found.name
    return network


def sampler_of(recipe: typing.Iterable[dict[str, Any]]) -> tuple[str, int] | None:
    """Scheduler and steps that a technique of the recipe samples with; None where that is left to the run.

    Raises BadRequest where two techniques disagree.
    """
    wanted = [(found.name, own) for found, config in parse_recipe(recipe) if (own := found.sampler(config))]
    if len({own for _, own in wanted}) > 1:
        raise BadRequest(f"{' and '.join(name for name, _ in wanted)} sample in different ways: use one of them.")
    return wanted[0][1] if wanted else None


def learners(recipe: typing.Iterable[dict[str, Any]]) -> dict[str, str]:
    """The techniques of a recipe that train on images beside what `recover` asks for, and what to do without them."""
    return {found.name: instead for found, config in parse_recipe(recipe) if (instead := found.learns(config))}


def apply_recipe(model: "nn.Module", recipe: typing.Iterable[dict[str, Any]], context: Context) -> "nn.Module":
    """Apply the techniques in order; the given network stays as it was."""
    recipe, before = canonical(recipe), ""
    for index, (found, config) in enumerate(parse_recipe(recipe), start=1):
        _check(found, config, context.device.type, outline_of(model), before)
        model, before = found.function(model, config, replace(context, recipe=recipe[:index])), found.name
    return model


def _check(found: Technique, config: Any, device: str, network: Outline | None, before: str) -> None:
    if reason := found.unavailable(config, device):
        raise BadRequest(f"{found.name} cannot run here: {reason}")
    if network is None:
        return
    reason = found.unfit(config, network)
    if not reason and network.packed and (found.packs or found.leaves(config, network) != network):
        reason = "its weights are packed, and nothing can change them: begin from the model that it was made of."
    if reason:
        fits = f"the network that {before} leaves" if before else "this network"
        raise BadRequest(f"{found.name} does not fit {fits}: {reason}")


def _knobs(config: type) -> tuple[Knob, ...]:
    hints = typing.get_type_hints(config)
    knobs = []
    for f in fields(config):
        if f.default is MISSING:
            raise TypeError(f"{config.__name__}.{f.name} needs a default")
        kind = hints[f.name]
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            raise TypeError(f"{config.__name__}.{f.name} must have one plain type")
        known = {key: f.metadata[key] for key in (k.name for k in fields(Knob)) if key in f.metadata}
        knobs.append(Knob(f.name, kind, f.default, **known))
    return tuple(knobs)


def _read(text: str, kind: type) -> Any:
    if kind is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text  # refused by the knob's own check, with its name
    return text


def checked(technique_name: str, knob: Knob, value: Any) -> Any:
    """The value as the knob has it; raises BadRequest where it is of another type or out of range."""
    where = f"{technique_name}: {knob.name}"
    if knob.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < sys.maxsize else math.inf  # beyond any range
    if knob.pattern and type(value) is int:
        value = str(value)
    if type(value) is not knob.kind:
        raise BadRequest(f"{where} must be {_KINDS[knob.kind]}, got {value!r}.")
    if knob.choices and value not in knob.choices:
        raise BadRequest(f"{where} must be one of {', '.join(map(str, knob.choices))}, got {value!r}.")
    if knob.pattern and not re.fullmatch(knob.pattern, str(value)):
        raise BadRequest(f"{where} must be {knob.wanted}, got {value!r}.")
    low, high = knob.min, knob.max
    if not knob.choices and ((low is not None and not value >= low) or (high is not None and not value <= high)):
        raise BadRequest(f"{where} must be between {low} and {high}, got {value!r}.")
    return value


def _either(values: tuple[Any, ...]) -> str:
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
