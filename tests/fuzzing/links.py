"""Links with right, mistyped and odd values: every page opens, and says what it does not know."""

import os
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from dit_core.recipes.registry import registry
from tests.fuzzing.odd import TEXT
from tests.fuzzing.run import REPOSITORY, Target
from tests.workers import start_no_worker

MAIN = REPOSITORY / "dit_core" / "ui" / "main.py"
WAIT_S = 120
NUMBERS = st.integers(-2, 2000).map(str) | st.floats(allow_nan=True).map(str)
KNOBS = {f"{each.name}_{knob.name}": each.name for each in registry().values() for knob in each.knobs}
RUN_LIVE = ("model", "technique", "sampler", "steps", "guidance", "batch", "seed", "channels", "device", "precision")
PARETO = ("run", "machine", "of", "quality", "time", "memory", "families", "techniques", "measured", "hide", "reported")
VIEWS = ("view", "all", "x", "y", "axes", "columns", "sweep", "limit-latency")
INPUTS = {
    "home": ("against", "beside"),
    "run_live": (*RUN_LIVE, "classes", "reference", "training", "judged", "replicates", "job", "sweep", "knob-sweep"),
    "pareto": (*PARETO, *VIEWS),
    "compare": ("runs", "images", "pictures", "view", "zoom", "step"),
    "scale": ("tokens", "cost", "along", "others", "cost-along"),
    "inside": ("panel", "layer", "error", "bits", "mixture", "block", "student", "method", "step", "head"),
    "tour": ("step",),
    "machine": ("on", "bundled-weights", "about-quantization"),
    "claims": (),
}


def targets(folder: Path) -> dict[str, Target]:
    """A target that opens pages on some of the bundled records."""
    place = folder / "pages"
    place.mkdir()
    for path in sorted((REPOSITORY / "cached_results").glob("*.json"))[::8]:
        shutil.copy(path, place)
    for name in ("sheets", "inside"):
        (place / name).symlink_to(REPOSITORY / "cached_results" / name)
    start_no_worker(pytest.MonkeyPatch())
    runs = sorted(path.stem[-6:] for path in place.glob("*.json"))
    return {"links": (_links(runs), lambda example: texts_of(*example, place))}


@st.composite
def _links(draw: Any, runs: list[str]) -> tuple[str, dict[str, list[str]]]:
    page = draw(st.sampled_from(list(INPUTS)))
    own = [*INPUTS[page], *(KNOBS if page == "run_live" else ())]
    texts = TEXT.filter(lambda text: text.encode("utf-8", "ignore").decode() == text)  # what an address can hold
    names = st.sampled_from(own) | texts if own else texts
    words = st.sampled_from(
        [*registry(), *runs, "emoji", "cpu", "true", "false", "Time", "softmax", "quantization", "all"]
    )
    values = st.lists(words | NUMBERS | texts, min_size=1, max_size=2)
    return page, draw(st.dictionaries(names.filter(bool), values, min_size=1, max_size=4))


def texts_of(page: str, query: dict[str, Any], results: Path) -> list[str]:
    """Open a page with a query and return its warnings. Raises AssertionError if it shows an exception."""
    with mock.patch.dict(os.environ, {"DIT_RESULTS": str(results)}):
        at = AppTest.from_file(str(MAIN), default_timeout=WAIT_S)
        if page != "home":
            at.switch_page(f"../../pages/{page}.py")
        for name, value in query.items():
            at.query_params[name] = value
        at.run()
    for error in at.exception:
        raise AssertionError(f"{page}: {error.value}\n{''.join(error.stack_trace)}")
    return [warning.value for warning in at.warning]
