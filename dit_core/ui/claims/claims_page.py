"""The page Claims: reported figures next to measured ones, with a verdict computed from the records."""

from collections.abc import Sequence
from functools import lru_cache

import streamlit as st

from dit_core.analysis import claims
from dit_core.analysis.claims import Verdict
from dit_core.ui import comparisons, data
from dit_core.ui.claims import rows
from dit_core.ui.components.elements import Colour

COLOURS: dict[str, Colour] = {  # verdict -> colour of its badge
    "reproduced": "green",
    "partly": "orange",
    "not reproduced": "red",
    "not testable here": "gray",
}


def verdicts() -> list[Verdict]:
    """Return the verdict on each claim, from all records of present weights."""
    return _verdicts(data.Runs.of(data.loaded().records))


def tally(verdicts: Sequence[Verdict]) -> None:
    """Draw how many claims have each verdict, in one line."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{len(verdicts)} claims:**", width="content")
        for name, count in claims.tally(verdicts).items():
            if count:
                st.badge(f"{rows.MARKS[name]} {count} {name}", color=COLOURS[name])


def table(opened: str = "") -> None:
    """Draw a row for each claim, which a click opens; the claim whose id is `opened` is open at first."""
    st.html(_table(data.Runs.of(data.loaded().records), opened))


@lru_cache(maxsize=4)
def _table(runs: data.Runs, opened: str) -> str:
    baselines, verdicts = {}, _verdicts(runs)
    for verdict in verdicts:
        if verdict.evidence and (baseline := data.baseline_of(first := verdict.evidence[0].stored)):
            baselines[comparisons.point_id(first)] = comparisons.point_id(baseline)
    return rows.table(verdicts, baselines, opened)


@lru_cache(maxsize=2)
def _verdicts(runs: data.Runs) -> list[Verdict]:
    return claims.verdicts(runs.records)
