"""Recipes and workloads to begin with: one click fills in the form."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st


@dataclass(frozen=True)
class Preset:
    """A recipe, or None to keep the one that is there, and numbers of the workload by the key of their widget."""

    recipe: tuple[dict[str, Any], ...] | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


HALF = {"name": "depth_pruning", "keep": 4, "recover": "bundled"}
PRESETS = {
    "8 bits, computed": Preset(({"name": "quantization", "mode": "dynamic-int8"},)),
    "4 bits, stored": Preset(({"name": "quantization", "bits": 4},)),
    "Half the depth": Preset((HALF,)),
    "Half the depth in 8 bits": Preset((HALF, {"name": "quantization", "bits": 8})),
    "Quick look": Preset(numbers={"steps": 4, "judged": 0}),
}
KEY = "preset"


def choose(fill_in: Callable[[Preset], None], on_change: Callable[[], None]) -> None:
    """A row of presets; a click hands one to `fill_in`. None stays marked, for any knob may be moved afterwards."""

    def picked() -> None:
        name = st.session_state[KEY]
        st.session_state[KEY] = None
        if name:
            fill_in(PRESETS[name])
            on_change()

    st.pills(
        "Begin with",
        list(PRESETS),
        key=KEY,
        on_change=picked,
        wrap=True,
        help="Fills in the form. *Quick look* keeps the recipe, takes few steps and judges no quality.",
    )
