"""Example recipes and workloads that fill in the form with one click."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from dit_core.sampling.config import AS_PUBLISHED
from dit_core.ui.run_live.workload import WIDGETS


@dataclass(frozen=True)
class Preset:
    """A recipe, or None to keep the form's, and numbers of the workload by the key of their widget."""

    recipe: tuple[dict[str, Any], ...] | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


HALF_DEPTH = {"name": "depth_pruning", "keep": 4}
PRESETS = {
    "int8 compute": Preset(({"name": "quantization", "mode": "dynamic-int8"},)),
    "int4 weights": Preset(({"name": "quantization", "bits": 4},)),
    "Half the depth": Preset((HALF_DEPTH,)),
    "Half the depth and int8 weights": Preset((HALF_DEPTH, {"name": "quantization", "bits": 8})),
    "Quick look": Preset(numbers={"steps": 4, "judged": 0}),
    **{
        f"As published, for {purpose}": Preset(numbers={WIDGETS[field]: value for field, value in fields.items()})
        for purpose, fields in AS_PUBLISHED.items()
    },
}
KEY = "preset"


def choose(fill_in: Callable[[Preset], None], on_change: Callable[[], None]) -> None:
    """A row of presets; a click passes one to `fill_in`. None stays selected, because any input may change later."""

    def apply() -> None:
        name = st.session_state[KEY]
        st.session_state[KEY] = None
        if name:
            fill_in(PRESETS[name])
            on_change()

    st.pills(
        "Start from a preset",
        list(PRESETS),
        key=KEY,
        on_change=apply,
        wrap=True,
        help="Fills in the form. *Quick look* keeps the recipe, uses 4 steps and skips the quality metrics. "
        "*As published* samples as the DiT code does: 250 steps of DDPM, guidance on three channels, of scale 4 for "
        "pictures and 1.5 for evaluation.",
    )
