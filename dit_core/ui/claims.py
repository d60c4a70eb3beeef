"""Parts of the page that lays reported figures beside measured ones."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import streamlit as st

from dit_core import claims
from dit_core.claims import Evidence, Source, Verdict
from dit_core.store import Store, Stored, results_root
from dit_core.ui import compare, points, reads, words
from dit_core.ui.components import Colour

BADGES: dict[str, tuple[str, Colour]] = {  # verdict -> shape and colour
    "reproduced": (":material/check_circle:", "green"),
    "not reproduced": (":material/cancel:", "red"),
    "not testable here": (":material/do_not_disturb_on:", "gray"),
    "no records yet": (":material/hourglass_empty:", "gray"),
}
PARETO = "../../pages/pareto.py"


def verdicts() -> list[Verdict]:
    """A verdict for each claim of the file, from every record in the store."""
    return _verdicts(results_root(), Store().version())


def tally(found: Sequence[Verdict]) -> None:
    """How many claims got each verdict, in one line."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{len(found)} claims:**", width="content")
        for name, count in claims.tally(found).items():
            if count:
                _badge(name, f"{count} {name}")


def card(one: Verdict) -> None:
    """The statement with its source, the figure told beside ours, the verdict with its reason and its runs."""
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{one.claim.says}**", width="content")
            _badge(one.verdict, one.verdict)
        told, ours, runs = st.columns([3, 4, 5], gap="medium")
        with told:
            st.metric("Reported", one.claim.reported)
            _source(one.claim.source)
        with ours:
            _ours(one)
        with runs:
            st.markdown(one.why)
            needed = "one record" if one.claim.rule == "any" else "every record"
            st.caption(f"Reproduced where {needed} is {one.claim.counts}, as far as its interval can tell.")
            _runs(one)


def _badge(verdict: str, label: str) -> None:
    icon, colour = BADGES[verdict]
    st.badge(label, icon=icon, color=colour)


def _source(source: Source) -> None:
    name = "the paper" if source.kind == "paper" else "a summary, not the paper itself"
    st.markdown(f":small[[{source.by}]({source.link}), {name}.]")  # a caption dims its links below legibility


def _ours(one: Verdict) -> None:
    """The record that speaks for the verdict: its figure, its interval, its recipe and where it was made."""
    if not one.evidence:
        st.metric("Measured", words.UNKNOWN)
        return
    first = one.evidence[0]
    value, _, around = first.told.partition(" (")
    st.metric("Measured", value)
    interval = f"Interval {around.rstrip(')')}. " if around else ""
    chosen = "the nearest" if one.claim.rule == "any" else "the one that misses it most"
    which = f"{chosen} of {len(one.evidence)}" if len(one.evidence) > 1 else "the only record"
    st.caption(f"{interval}{_titles(one)[0]}, {which}. {_where(first)}.")


def _runs(one: Verdict) -> None:
    """Ways to the run that speaks for the verdict, to it beside its baseline, and to the figures of all."""
    if not one.evidence:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if stored := _stored(one.evidence[0]):
            query = {"run": points.point_id(stored)}
            st.page_link(PARETO, label="See the run", icon=":material/image:", query_params=query)
            if base := reads.baseline_of(stored):
                compare.link([base, stored], "Compare")
        count = len(one.evidence)
        with st.popover("The figure" if count == 1 else f"All {count} figures", type="tertiary"):
            _table(one)


def _table(one: Verdict) -> None:
    st.dataframe(
        {
            "Run": _titles(one),
            "Measured": [found.told for found in one.evidence],
            "In the range": [found.holds for found in one.evidence],
            "Made on": [_where(found) for found in one.evidence],
            "Samples": [f"pareto?run={_id(found)}" for found in one.evidence],
        },
        key=f"figures-{one.claim.id}",
        hide_index=True,
        column_config={"Samples": st.column_config.LinkColumn(display_text="open")},
        alt=f"Every measured figure for: {one.claim.says}",
    )


def _titles(one: Verdict) -> list[str]:
    """The recipe of each record, told apart by the knobs that differ."""
    stored = [_stored(found) for found in one.evidence]
    return words.brief_titles([points.spec_of(record) for record in stored if record])


def _where(found: Evidence) -> str:
    return f"{found.machine}, environment {found.fingerprint}"


def _id(found: Evidence) -> str:
    stored = _stored(found)
    return points.point_id(stored) if stored else found.run_id


def _stored(found: Evidence) -> Stored | None:
    """The newest record of a run in the environment that the evidence names."""
    return _newest(results_root(), Store().version()).get((found.fingerprint, found.run_id))


@lru_cache(maxsize=2)
def _newest(root: Path, version: str) -> dict[tuple[str, str], Stored]:
    oldest_first = reversed(Store(root).load().records)
    return {(one.record.environment["fingerprint"], one.record.run_id): one for one in oldest_first}


@lru_cache(maxsize=2)
def _verdicts(root: Path, version: str) -> list[Verdict]:
    return claims.judge(claims.read(), [stored.record for stored in _newest(root, version).values()])
