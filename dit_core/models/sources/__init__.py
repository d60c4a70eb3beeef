"""Models by name. `find` returns a model's source: what is known of the model, and how to load it. Imports no torch.

Every file of this folder that defines a subclass of `ModelSource` adds a kind of model.
"""

import importlib
import inspect
import pkgutil
import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from dit_core.errors import BadRequest
from dit_core.models.sources import autoencoders, registry
from dit_core.models.sources.base import Fact, Missing, ModelSource
from dit_core.models.sources.options import Options
from dit_core.system.files import named_path

if TYPE_CHECKING:
    import torch

    from dit_core.models.model import Model

__all__ = [
    "Listed",
    "Missing",
    "ModelSource",
    "Options",
    "add",
    "bundled_names",
    "find",
    "find_if_known",
    "is_cost_only",
    "listed",
    "load_model",
    "names",
    "overview",
    "registry",
]


ADD = "python -m dit_core models add"


@dataclass(frozen=True)
class Listed:
    """A model in a list. `target` and `options` are those of a name that a person keeps."""

    name: str
    target: str
    options: Options
    needs: tuple[str, ...]
    facts: tuple[Fact, ...]


def find(name: str) -> ModelSource:
    """Return the source of a model.

    A name is looked up in this order: the project's models, `random:`, published models, names that a person keeps
    (`registry`), files and folders, downloads from Hugging Face. So `./name` means the file of a name that is taken.
    Raises BadRequest if there is no such model, with the models that exist, or if it is damaged.
    """
    return located(name).verified()


def located(name: str) -> ModelSource:
    """Return the source of a model whose files were not read yet. Raises BadRequest if there is no such model."""
    if not isinstance(name, str):  # from a file that people edit
        raise BadRequest(f"The name of a model must be text, got {name!r}.")
    listed = [kind for kind in kinds() if not kind.path_of]
    for kind in listed:
        if source := kind.find(name):
            return source
    if entry := registry.entries().get(name):
        return _kept(name, located(entry.target), entry.options)
    for kind in kinds()[len(listed) :]:
        if source := kind.find(name):
            return source
    paths = " or ".join(kind.path_of for kind in kinds() if kind.path_of)
    hub = f" Models of Hugging Face: {ADD} NAME {name}." if re.fullmatch(r"\w[^/]*/\w[^/]*", name) else ""
    raise BadRequest(f"Unknown model {name!r}: use {', '.join(names())} or the path of {paths}.{hub}")


def add(name: str, target: str, options: Options = Options()) -> ModelSource:  # noqa: B008 (frozen)
    """Keep a model under a short name, with options; return its source.

    `target` is a path or a name, also one on Hugging Face, which is downloaded. Raises BadRequest if the name is taken,
    or if the model does not fit the options.
    """
    registry.check_name(name)
    if any(kind.find(name) for kind in kinds() if not kind.path_of):
        raise BadRequest(f"{name} is the name of another model: choose another name.")
    if target in registry.entries():
        raise BadRequest(f"{target} is a name that is kept already: give the path of the model.")
    if options.autoencoder:
        options = replace(options, autoencoder=autoencoders.full_name(options.autoencoder))
    path = named_path(target)
    target = str(path.resolve()) if path.exists() else target
    try:
        source = located(target)
    except BadRequest:
        if not any(kind.download(target) for kind in kinds()):
            raise
        source = located(target)
    source = source.with_options(name, options).verified()
    source.check()
    registry.keep(name, registry.Entry(target, options))
    return source


def overview() -> list[Listed]:
    """Return all models that can be listed, with what each still needs."""
    return [listed(name) for name in names()]


def listed(name: str) -> Listed:
    """Return what a list shows of a model; if it cannot be read, the reason is what it needs."""
    entry = registry.entries().get(name)
    target, options = (entry.target, entry.options) if entry else ("", Options())
    try:
        source = find(name)
        source.check()
    except BadRequest as error:
        return Listed(name, target, options, (str(error),), ())
    return Listed(name, target, options, source.needs, source.facts)


@lru_cache(maxsize=64)
def _kept(name: str, target: ModelSource, options: Options) -> ModelSource:
    """Return a model under the name that a person gave it; the same object while files and options are the same."""
    return target.with_options(name, options)


def find_if_known(name: str) -> ModelSource | None:
    """Return the source of a model, or None if this machine has no such model."""
    try:
        return find(name)
    except BadRequest:
        return None


def load_model(name: str, device: "str | torch.device" = "cpu") -> "Model":
    """Load a model in float32 on `device`.

    Raises BadRequest if the name is unknown, or if a file is missing, was changed or holds values that are not finite.
    """
    return find(name).load().to(device)


def names() -> list[str]:
    """Return the names of all models that can be listed: own ones last."""
    return [*(name for kind in kinds() for name in kind.names()), *registry.entries()]


def bundled_names() -> list[str]:
    """Return the names of the models that are part of the project."""
    return [name for kind in kinds() if kind.bundled for name in kind.names()]


def is_cost_only(name: str) -> bool:
    """Whether the images of a model mean nothing. False for a model that this machine does not have."""
    source = find_if_known(name)
    return source is not None and source.cost_only


@cache
def kinds() -> tuple[type[ModelSource], ...]:
    """Return the kinds of sources, bundled models first and paths last."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, ModelSource)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    ]
    return tuple(sorted(found, key=lambda kind: (kind.path_of, not kind.bundled, kind.needs_download)))
