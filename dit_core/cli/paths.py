"""Paths among the options of a command. Imports no torch."""

import argparse
from pathlib import Path

from dit_core.errors import BadRequest
from dit_core.system.files import named_path


def usable_path(text: str) -> Path:
    """Return the path that an option names. Raises ArgumentTypeError if the system refuses to look at it."""
    try:
        return named_path(text)
    except BadRequest as error:
        raise argparse.ArgumentTypeError(str(error)) from error
