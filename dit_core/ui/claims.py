"""Parts of the page Claims: reported figures next to measured ones, with a verdict computed from the records."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import streamlit as st

from dit_core.analysis import claims
from dit_core.analysis.claim_figures import FIGURES
from dit_core.analysis.claims import Evidence, Source, Verdict
from dit_core.records.store import Store, Stored, results_root
from dit_core.ui import comparisons, format
from dit_core.ui.compare import compare_page
from dit_core.ui.components.elements import Colour

BADGES: dict[str, tuple[str, Colour]] = {  # verdict -> icon and colour
    "reproduced": (":material/check_circle:", "green"),
    "not reproduced": (":material/cancel:", "red"),
    "not testable here": (":material/do_not_disturb_on:", "gray"),
    "no records yet": (":material/hourglass_empty:", "gray"),
}
PARETO = "../../pages/pareto.py"


@dataclass(frozen=True)
class JudgedClaim:
    """A verdict with the records of its evidence and their titles, in the same order.

    `baseline` is the baseline's record from the environment of the first one, if there is one.
    """

    verdict: Verdict
    runs: tuple[Stored, ...]
    titles: tuple[str, ...]
    baseline: Stored | None


def verdicts() -> list[JudgedClaim]:
    """Return a verdict for each claim, from all records in the store."""
    return _verdicts(results_root(), Store().version())


def tally(judged: Sequence[JudgedClaim]) -> None:
    """How many claims have each verdict, in one line."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{len(judged)} claims:**", width="content")
        for name, count in claims.tally([item.verdict for item in judged]).items():
            if count:
                _badge(name, f"{count} {name}")


def card(judged: JudgedClaim) -> None:
    """A claim with its verdict: the reported figure and its source, the measured one, and the reason with its runs."""
    verdict, claim = judged.verdict, judged.verdict.claim
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{claim.statement}**", width="content")
            _badge(verdict.verdict, verdict.verdict)
        reported, measured, runs = st.columns([3, 4, 5], gap="medium")
        with reported:
            st.metric("Reported", claim.reported)
            _source(claim.source)
        with measured:
            _measured(judged)
        with runs:
            st.markdown(verdict.reason)
            needed = "at least one run" if claim.rule == "any" else "every run"
            st.caption(f"Counts as reproduced if {needed} is {claim.range_text}, within its interval.")
            _links(judged)


def _badge(verdict: str, label: str) -> None:
    icon, colour = BADGES[verdict]
    st.badge(label, icon=icon, color=colour)


def _source(source: Source) -> None:
    kind = "the paper" if source.kind == "paper" else "a summary of the paper"
    st.markdown(f":small[[{source.by}]({source.link}), {kind}.]")  # in a caption, links have too little contrast


def _measured(judged: JudgedClaim) -> None:
    """The figure of the record that represents the verdict: what it is a share of, its recipe and its machine."""
    claim, evidence = judged.verdict.claim, judged.verdict.evidence
    if not evidence:
        st.metric("Measured", format.UNKNOWN)
        return
    first = evidence[0]
    value, _, interval = first.text.partition(" (")
    st.metric("Measured", value, help=f"Measured on {_environment(first)}.")
    best = "closest to the range" if claim.bounded else "best"
    rank = best if claim.rule == "any" else "furthest from the range"
    place = f"{rank} of {len(evidence)} runs" if len(evidence) > 1 else "the only run"
    interval = f" Interval: {interval.rstrip(')')}." if interval else ""
    st.caption(f"**{FIGURES[claim.figure].meaning}**.{interval} {judged.titles[0]}, {place}, on {first.machine}.")


def _links(judged: JudgedClaim) -> None:
    """Links to the run that represents the verdict and to its comparison with the baseline; a table of all figures."""
    if not judged.runs:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        first, count = judged.runs[0], len(judged.runs)
        query = {"run": comparisons.point_id(first)}
        st.page_link(PARETO, label="See the run", icon=":material/image:", query_params=query)
        if judged.baseline:
            compare_page.link([judged.baseline, first], "Compare")
        label = "Show the figure" if count == 1 else f"Show all {count} figures"
        more = st.popover(label, type="tertiary", key=f"all-{judged.verdict.claim.id}", on_change="rerun")
        if more.open:
            with more:
                _table(judged)


def _table(judged: JudgedClaim) -> None:
    evidence = judged.verdict.evidence
    st.dataframe(
        {
            "Run": judged.titles,
            "Measured": [item.text for item in evidence],
            "In the range": [item.in_range for item in evidence],
            "Measured on": [_environment(item) for item in evidence],
            "Samples": [f"pareto?run={comparisons.point_id(run)}" for run in judged.runs],
        },
        key=f"figures-{judged.verdict.claim.id}",
        hide_index=True,
        column_config={"Samples": st.column_config.LinkColumn(display_text="open")},
        alt=f"Every measured figure for: {judged.verdict.claim.statement}",
    )


def _environment(evidence: Evidence) -> str:
    return f"{evidence.machine}, environment {evidence.fingerprint}"


@lru_cache(maxsize=2)
def _verdicts(root: Path, version: str) -> list[JudgedClaim]:
    oldest_first = reversed(Store(root).load().records)
    newest = {(item.record.environment["fingerprint"], item.record.run_id): item for item in oldest_first}
    records = [item.record for item in newest.values()]
    return [_with_runs(verdict, newest) for verdict in claims.judge(claims.read(), records)]


def _with_runs(verdict: Verdict, newest: dict[tuple[str, str], Stored]) -> JudgedClaim:
    runs = tuple(newest[item.fingerprint, item.run_id] for item in verdict.evidence)
    specs = [comparisons.spec_of(run) for run in runs]
    baseline = newest.get((verdict.evidence[0].fingerprint, specs[0].baseline.run_id)) if specs else None
    return JudgedClaim(verdict, runs, tuple(format.brief_titles(specs)), baseline)
