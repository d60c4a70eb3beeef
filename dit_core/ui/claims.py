"""Parts of the page that lays reported figures beside measured ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import streamlit as st

from dit_core import claims
from dit_core.claimed import SHARE
from dit_core.claims import Evidence, Source, Verdict
from dit_core.store import Store, Stored, results_root
from dit_core.ui import compare, points, words
from dit_core.ui.components import Colour

BADGES: dict[str, tuple[str, Colour]] = {  # verdict -> shape and colour
    "reproduced": (":material/check_circle:", "green"),
    "not reproduced": (":material/cancel:", "red"),
    "not testable here": (":material/do_not_disturb_on:", "gray"),
    "no records yet": (":material/hourglass_empty:", "gray"),
}
PARETO = "../../pages/pareto.py"


@dataclass(frozen=True)
class Judged:
    """A verdict with the runs of its evidence, in that order, and their recipes, told apart by the knobs that differ.

    `base` is the baseline of the first run, if it was measured.
    """

    verdict: Verdict
    runs: tuple[Stored, ...]
    titles: tuple[str, ...]
    base: Stored | None


def verdicts() -> list[Judged]:
    """A verdict for each claim of the file, from every record in the store."""
    return _verdicts(results_root(), Store().version())


def tally(found: Sequence[Judged]) -> None:
    """How many claims got each verdict, in one line."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{len(found)} claims:**", width="content")
        for name, count in claims.tally([one.verdict for one in found]).items():
            if count:
                _badge(name, f"{count} {name}")


def card(judged: Judged) -> None:
    """The statement with its source, the figure told beside ours, the verdict with its reason and its runs."""
    one = judged.verdict
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{one.claim.says}**", width="content")
            _badge(one.verdict, one.verdict)
        told, ours, runs = st.columns([3, 4, 5], gap="medium")
        with told:
            st.metric("Reported", one.claim.reported)
            _source(one.claim.source)
        with ours:
            _ours(judged)
        with runs:
            st.markdown(one.why)
            needed = "one record" if one.claim.rule == "any" else "every record"
            st.caption(f"Reproduced where {needed} is {one.claim.counts}, as far as its interval can tell.")
            _runs(judged)


def _badge(verdict: str, label: str) -> None:
    icon, colour = BADGES[verdict]
    st.badge(label, icon=icon, color=colour)


def _source(source: Source) -> None:
    name = "the paper" if source.kind == "paper" else "a summary, not the paper itself"
    st.markdown(f":small[[{source.by}]({source.link}), {name}.]")  # a caption dims its links below legibility


def _ours(judged: Judged) -> None:
    """The record that speaks for the verdict: its figure, what that is a share of, its recipe and where it was made."""
    one = judged.verdict
    if not one.evidence:
        st.metric("Measured", words.UNKNOWN)
        return
    first = one.evidence[0]
    value, _, around = first.told.partition(" (")
    st.metric("Measured", value, help=f"Made on {_where(first)}.")
    interval = f" Interval {around.rstrip(')')}." if around else ""
    best = "the nearest" if one.claim.bounded else "the best"
    chosen = best if one.claim.rule == "any" else "the furthest from the range"
    which = f"{chosen} of {len(one.evidence)}" if len(one.evidence) > 1 else "the only record"
    st.caption(f"**{SHARE[one.claim.figure]}**.{interval} {judged.titles[0]}, {which}, on {first.machine}.")


def _runs(judged: Judged) -> None:
    """Ways to the run that speaks for the verdict, to it beside its baseline, and to the figures of all."""
    if not judged.runs:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        first, count = judged.runs[0], len(judged.runs)
        query = {"run": points.point_id(first)}
        st.page_link(PARETO, label="See the run", icon=":material/image:", query_params=query)
        if judged.base:
            compare.link([judged.base, first], "Compare")
        label = "The figure" if count == 1 else f"All {count} figures"
        more = st.popover(label, type="tertiary", key=f"all-{judged.verdict.claim.id}", on_change="rerun")
        if more.open:
            with more:
                _table(judged)


def _table(judged: Judged) -> None:
    evidence = judged.verdict.evidence
    st.dataframe(
        {
            "Run": judged.titles,
            "Measured": [found.told for found in evidence],
            "In the range": [found.holds for found in evidence],
            "Made on": [_where(found) for found in evidence],
            "Samples": [f"pareto?run={points.point_id(run)}" for run in judged.runs],
        },
        key=f"figures-{judged.verdict.claim.id}",
        hide_index=True,
        column_config={"Samples": st.column_config.LinkColumn(display_text="open")},
        alt=f"Every measured figure for: {judged.verdict.claim.says}",
    )


def _where(found: Evidence) -> str:
    return f"{found.machine}, environment {found.fingerprint}"


@lru_cache(maxsize=2)
def _verdicts(root: Path, version: str) -> list[Judged]:
    oldest_first = reversed(Store(root).load().records)
    newest = {(one.record.environment["fingerprint"], one.record.run_id): one for one in oldest_first}
    return [_judged(verdict, newest) for verdict in claims.judge(claims.read(), [s.record for s in newest.values()])]


def _judged(verdict: Verdict, newest: dict[tuple[str, str], Stored]) -> Judged:
    runs = tuple(newest[found.fingerprint, found.run_id] for found in verdict.evidence)
    specs = [points.spec_of(run) for run in runs]
    base = newest.get((verdict.evidence[0].fingerprint, specs[0].baseline.run_id)) if specs else None
    return Judged(verdict, runs, tuple(words.brief_titles(specs)), base)
