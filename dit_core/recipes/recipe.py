"""Recipes: techniques with checked configurations, in the order of application. Imports no torch.

Specs and files hold a recipe as a list of plain entries, `{"name": "quantization", "bits": 4}`. `Recipe.parse` turns it
into an object once. Parsed recipes are cached, so code that needs the recipe of a spec may ask again.
"""

import functools
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest
from dit_core.models import recovered
from dit_core.models.structure import Structure, structure_of
from dit_core.recipes.context import Context
from dit_core.recipes.registry import Technique, get
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import SamplingConfig

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Recipe:
    """An immutable sequence of (technique, configuration) pairs. The empty recipe is the baseline."""

    steps: tuple[tuple[Technique, Any], ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[dict[str, Any]]) -> "Recipe":
        """Return the recipe of plain entries.

        Raises BadRequest on an unknown technique, on a knob that is unknown, ill-typed or out of range, and if a
        technique follows one that it cannot follow.
        """
        return _parsed(tuple(_cache_key(entry) for entry in entries))

    @classmethod
    def of(cls, spec: RunSpec) -> "Recipe":
        """Return the recipe of a spec. Raises BadRequest as `parse` does."""
        return cls.parse(spec.techniques)

    def __iter__(self) -> Iterator[tuple[Technique, Any]]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def to_dicts(self) -> tuple[dict[str, Any], ...]:
        """Return the canonical entries: every knob is written, so that two ways to write a recipe have one run id."""
        return tuple(technique.to_dict(config) for technique, config in self.steps)

    @property
    def label(self) -> str:
        """Titles of the techniques, joined by plus signs; `Baseline` if there are none."""
        return " + ".join(technique.title for technique, _ in self.steps) or "Baseline"

    @property
    def key(self) -> str:
        """Key of the recovered weights of the last technique."""
        return recovered.key(self.to_dicts())

    @property
    def terminal(self) -> bool:
        """Whether no technique can change the network any more."""
        return bool(self.steps) and (self.steps[-1][0].terminal or self.steps[-1][0].on_top)

    @property
    def trains(self) -> bool:
        """Whether a technique runs recovery training when it is applied."""
        return recovered.trains(self.to_dicts())

    @property
    def not_retrained(self) -> tuple[str, ...]:
        """Names of the techniques that remove or replace a part of the network without training it afterwards."""
        return tuple(
            technique.name
            for technique, config in self.steps
            if technique.removes or getattr(config, "recover", "") == recovered.NONE
        )

    @property
    def needs_images(self) -> dict[str, str]:
        """Techniques that train on images even without recovery: name -> what to do without images."""
        steps = ((technique.name, technique.needs_images(config)) for technique, config in self.steps)
        return {name: instead for name, instead in steps if instead}

    @property
    def sets_sampling(self) -> bool:
        """Whether a technique changes how images are sampled."""
        return any(technique.sampling for technique, _ in self.steps)

    def weights_digest(self, model: str) -> str | None:
        """Return the digest of all weights that a run of this recipe loads; None if the model is not a folder."""
        return recovered.weights_digest(model, self.to_dicts())

    def sampling(self, base: SamplingConfig) -> SamplingConfig:
        """Return how the candidate is sampled if the baseline is sampled by `base`.

        Raises BadRequest if two techniques set a field to different values.
        """
        setters = [(technique, config) for technique, config in self.steps if technique.sampling]
        sampling = _set_sampling(setters, base)
        if _set_sampling(reversed(setters), base) != sampling:
            names = " and ".join(technique.name for technique, _ in setters)
            raise BadRequest(f"{names} sample in different ways: use one of them.")
        return sampling

    def check(self, network: Structure | None, device: str) -> Structure | None:
        """Return the structure of `network` after the recipe; None if the structure of the network is unknown.

        Needs no weights. Raises BadRequest with the reason if the device, or the structure left by the techniques
        before it, does not fit a technique.
        """
        before = ""
        for technique, config in self.steps:
            _check(technique, config, network, device, before)
            network, before = network and technique.output_structure(config, network), technique.name
        return network

    def check_precision(self, precision: str) -> None:
        """Raise BadRequest with the reason if a technique cannot run in the precision of the run."""
        for technique, config in self.steps:
            if reason := technique.precision_conflict(config, precision):
                raise BadRequest(f"{technique.name} does not fit precision {precision}: {reason}")

    def apply(self, network: "nn.Module", context: Context) -> "nn.Module":
        """Return a network with all techniques applied in order; `network` stays unchanged.

        Raises BadRequest if a technique does not fit the device or the network.
        """
        entries, before = self.to_dicts(), ""
        for index, (technique, config) in enumerate(self.steps, start=1):
            _check(technique, config, structure_of(network), str(context.device), before)
            network = technique.function(network, config, replace(context, recipe=entries[:index]))
            before = technique.name
        return network


def recover_by_default(model: str, entries: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return the canonical entries of a recipe, with bundled weights wherever an entry leaves out `recover`.

    `recover` becomes bundled if the model has bundled weights for exactly these knobs, else none. This is the default
    of forms, presets and the command line. It is not part of the canonical form: stored recipes, links and grid files
    that leave out `recover` mean none, so that their run ids stay the same. Raises BadRequest as `Recipe.parse` does.
    """
    recipe: tuple[dict[str, Any], ...] = ()
    for entry in entries:
        extended = canonical([*recipe, entry])
        if "recover" in extended[-1] and "recover" not in entry and has_bundled_weights(model, extended):
            extended = canonical([*recipe, {**entry, "recover": recovered.BUNDLED}])
        recipe = extended
    return recipe


def has_bundled_weights(model: str, entries: Iterable[dict[str, Any]]) -> bool:
    """Return whether a model has bundled weights for the last technique of a recipe with exactly these knobs.

    False if the recipe is invalid or the model is unknown.
    """
    try:
        return recovered.path(model, canonical(entries)).is_file()
    except BadRequest:
        return False


def canonical(entries: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return the entries of a recipe with every knob written. Raises BadRequest as `Recipe.parse` does."""
    return Recipe.parse(entries).to_dicts()


def apply_recipe(network: "nn.Module", entries: Iterable[dict[str, Any]], context: Context) -> "nn.Module":
    """Parse a recipe and apply it: see `Recipe.parse` and `Recipe.apply`."""
    return Recipe.parse(entries).apply(network, context)


def parse_argument(text: str) -> dict[str, Any]:
    """Return `name:knob=value,knob=value` of the command line as a recipe entry. Raises BadRequest."""
    name, _, rest = text.partition(":")
    technique, knobs = get(name), {}
    known = {knob.name: knob for knob in technique.knobs}
    for item in rest.split(",") if rest else ():
        key, equals, value = item.partition("=")
        if not equals or not key or not value:
            raise BadRequest(f"Write knobs as name=value, separated by commas, got {item!r} in --technique {text}.")
        if key in knobs:
            raise BadRequest(f"{name} has two values for {key}: leave one out of --technique {text}.")
        knobs[key] = known[key].read(value) if key in known else value
    technique.parse(knobs)
    return {"name": name, **knobs}


def _cache_key(entry: dict[str, Any]) -> tuple[Technique, str]:
    """The technique of an entry and its knobs as JSON, which distinguishes 1, 1.0 and true."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise BadRequest(f"A technique needs a name, got {entry!r}.")
    technique = get(entry["name"])
    try:
        return technique, json.dumps({name: value for name, value in entry.items() if name != "name"})
    except TypeError:
        raise BadRequest(f"{technique.name}: knobs must be numbers, words or true or false, got {entry!r}.") from None


@functools.lru_cache(maxsize=4096)
def _parsed(steps: tuple[tuple[Technique, str], ...]) -> Recipe:
    for (technique, _), (following, _) in itertools.pairwise(steps):
        if technique.on_top:
            raise BadRequest(f"{following.name} cannot follow {technique.name}: put {technique.name} last.")
        if technique.terminal and not following.on_top:
            message = f"{following.name} cannot follow {technique.name}, which packs the weights"
            raise BadRequest(f"{message}: put it before.")
    return Recipe(tuple((technique, technique.parse(json.loads(knobs))) for technique, knobs in steps))


def _set_sampling(setters: Iterable[tuple[Technique, Any]], sampling: SamplingConfig) -> SamplingConfig:
    for technique, config in setters:
        if technique.sampling:
            sampling = technique.sampling(config, sampling)
    return sampling


def _check(technique: Technique, config: Any, network: Structure | None, device: str, before: str) -> None:
    """Raise BadRequest if `technique` cannot change `network`, the output of the technique `before`."""
    if reason := technique.unsupported(config, device):
        raise BadRequest(f"{technique.name} cannot run here: {reason}")
    if network is None:
        return
    reason = technique.incompatible(config, network)
    if not reason and network.packed and (technique.terminal or technique.output_structure(config, network) != network):
        reason = "its weights are packed and cannot be changed: start from the model before it was packed."
    if reason:
        described = f"the network after {before}" if before else "this network"
        raise BadRequest(f"{technique.name} does not fit {described}: {reason}")
