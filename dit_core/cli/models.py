"""The actions of the command `models`. Each returns data for --json and text for people. Imports no torch."""

import argparse
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from dit_core.models import sources
from dit_core.models.sources import Listed
from dit_core.models.sources.options import parse_options

Answer = tuple[Any, str]


def add(options: argparse.Namespace) -> Answer:
    """Keep a model under a short name."""
    texts = {option.name: getattr(options, option.name) for option in fields(sources.Options)}
    source = sources.add(options.name, options.target, parse_options(texts))
    return _answer(sources.listed(source.name))


def listing(options: argparse.Namespace) -> Answer:
    """List all models."""
    models = sources.overview()
    width = max(len(listed.name) for listed in models)
    lines = [f"{listed.name:{width}}  {needs_text(listed)}" for listed in models]
    return [_data(listed) for listed in models], "\n".join(lines)


def show(options: argparse.Namespace) -> Answer:
    """Show what is known of a model."""
    sources.find(options.name)
    return _answer(sources.listed(options.name))


def remove(options: argparse.Namespace) -> Answer:
    """Forget a name."""
    sources.registry.remove(options.name)
    return {"removed": options.name}, f"{options.name} is forgotten; its files stay."


def needs_text(listed: Listed) -> str:
    """Return what a model still needs on one line."""
    return f"needs {'; '.join(listed.needs)}" if listed.needs else "ready"


def _answer(listed: Listed) -> Answer:
    lines = [f"{listed.name}: {needs_text(listed)}"]
    lines += [f"    {listed.target}"] if listed.target else []
    return _data(listed), "\n".join([*lines, *(f"    {fact}" for fact in listed.facts)])


def _data(listed: Listed) -> dict[str, Any]:
    return {
        "name": listed.name,
        "model": listed.target or listed.name,
        "options": listed.options.to_dict(),
        "needs": list(listed.needs),
        "facts": [asdict(fact) for fact in listed.facts],
    }


ACTIONS: dict[str, Callable[[argparse.Namespace], Answer]] = {
    "add": add,
    "list": listing,
    "show": show,
    "remove": remove,
}
