"""Techniques: one file each in `dit_core.techniques`, discovered by import.

A technique file holds a frozen dataclass of knobs and a function marked with `@technique`. Forms, command line,
`doctor`, tests and plots read everything from the registry. The registry and the technique files import no torch: a
technique imports torch inside its function.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest
from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import Knob, knobs_of
from dit_core.sampling.config import SamplingConfig

if TYPE_CHECKING:
    from torch import nn

PACKAGE = "dit_core.techniques"  # imported by name, because the techniques import this module
_REGISTRY: dict[str, "Technique"] = {}


@dataclass(frozen=True, eq=False)
class Technique:
    """A registered technique. See `technique` for the functions."""

    name: str
    title: str
    family: str
    config: type
    function: Callable[["nn.Module", Any, Context], "nn.Module"]
    knobs: tuple[Knob, ...]
    terminal: bool = False
    on_top: bool = False
    removes: bool = False
    unsupported: Callable[[Any, str], str | None] = lambda config, device: None
    precision_conflict: Callable[[Any, str], str | None] = lambda config, precision: None
    incompatible: Callable[[Any, Structure], str | None] = lambda config, network: None
    output_structure: Callable[[Any, Structure], Structure] = lambda config, network: network
    sampling: Callable[[Any, SamplingConfig], SamplingConfig] | None = None
    needs_images: Callable[[Any], str | None] = lambda config: None

    @property
    def summary(self) -> str:
        """First line of the dataclass's docstring: what the technique does, and its source."""
        return self.description.splitlines()[0]

    @property
    def description(self) -> str:
        """The docstring of the dataclass."""
        return (self.config.__doc__ or self.title).strip()

    def parse(self, knobs: dict[str, Any]) -> Any:
        """Return a checked configuration. Raises BadRequest on an unknown, ill-typed or out-of-range knob."""
        known = {knob.name: knob for knob in self.knobs}
        if unknown := sorted(set(knobs) - set(known), key=str):
            raise BadRequest(f"{self.name} has no knob {unknown[0]!r}: it has {', '.join(known)}.")
        return self.config(**{name: known[name].check(self.name, value) for name, value in knobs.items()})

    def to_dict(self, config: Any) -> dict[str, Any]:
        """Return the canonical recipe entry of a configuration: the name and every knob, without omitted defaults."""
        values = ((knob, getattr(config, knob.name)) for knob in self.knobs)
        written = {knob.name: value for knob, value in values if not (knob.omit_default and value == knob.default)}
        return {"name": self.name, **written}


def technique(
    config: type,
    *,
    title: str,
    family: str,
    terminal: bool = False,
    on_top: bool = False,
    removes: bool = False,
    **hooks: Any,
) -> Callable:
    """Register a function `(network, config, context) -> network` as the technique with the name of its module.

    `config` is a frozen dataclass of knobs. `terminal`: the technique packs the weights in a form that no other
    technique can change, so only a technique with `on_top` can follow. `on_top`: the technique changes how the network
    runs and no weights, so it may follow any other and must be the last of a recipe. `removes`: the technique removes
    weights and has no recovery training; a technique with the knob `recover` need not say so. The hooks are optional
    functions:

    - `unsupported(config, device)` returns why the device cannot run these knobs, or None.
    - `precision_conflict(config, precision)` returns why they cannot run in the precision of the run, one of
      `system.devices.PRECISIONS`, or None.
    - `incompatible(config, structure)` returns why they do not fit a network of this structure, or None.
    - `output_structure(config, structure)` returns the structure of the changed network. The techniques that follow in
      a recipe are checked against it.
    - `sampling(config, sampling)` returns the `SamplingConfig` of the candidate, from that of the run. It sets fields
      to values that depend only on `config`; the baseline keeps the sampling of the run.
    - `needs_images(config)` returns what to do without training images if the technique trains on images even without
      recovery, or None.
    """

    def register(function: Callable) -> Callable:
        name = function.__module__.rpartition(".")[2]
        knobs = knobs_of(config)
        _REGISTRY[name] = Technique(name, title, family, config, function, knobs, terminal, on_top, removes, **hooks)
        return function

    return register


def registry() -> dict[str, Technique]:
    """Return all techniques by name, in alphabetical order. Imports no torch."""
    _discover()
    return dict(sorted(_REGISTRY.items()))


def get(name: str) -> Technique:
    """Return a technique. Raises BadRequest with the known names if there is none of this name."""
    _discover()
    if name not in _REGISTRY:
        raise BadRequest(f"Unknown technique {name!r}: use one of {', '.join(registry())}.")
    return _REGISTRY[name]


@functools.cache
def _discover() -> None:
    """Import every technique file, once."""
    package = importlib.import_module(PACKAGE)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{PACKAGE}.{module.name}")
