"""Names that a package exports without importing their modules (and with them torch) until they are used (PEP 562).

An exported name must not be that of a submodule, which takes its place as soon as it is imported.
"""

import importlib
from typing import Any


def lazy_exports(package: str, homes: dict[str, str], name: str) -> Any:
    """The object `name` from the module that `homes` names; for a package's `__getattr__`."""
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(importlib.import_module(homes[name]), name)
