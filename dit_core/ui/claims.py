"""Parts of the page Claims: reported figures next to measured ones, with a verdict computed from the records."""

from collections.abc import Sequence
from functools import lru_cache

import streamlit as st

from dit_core.analysis import claims
from dit_core.analysis.claim_figures import FIGURES
from dit_core.analysis.claim_file import Source
from dit_core.analysis.claims import Evidence, Verdict
from dit_core.ui import comparisons, data, format
from dit_core.ui.compare import compare_page
from dit_core.ui.components.elements import Colour

BADGES: dict[str, tuple[str, Colour]] = {  # verdict -> icon and colour
    "reproduced": (":material/check_circle:", "green"),
    "partly": (":material/contrast:", "orange"),
    "not reproduced": (":material/cancel:", "red"),
    "not testable here": (":material/do_not_disturb_on:", "gray"),
}
STATES = {"in range": "yes", "outside": "no", "undecided": "undecided"}  # of an evidence, in the table
PARETO = "../../pages/pareto.py"


def verdicts() -> list[Verdict]:
    """Return the verdict on each claim, from all records of present weights."""
    return _verdicts(data.Runs.of(data.loaded().records))


def tally(verdicts: Sequence[Verdict]) -> None:
    """Draw how many claims have each verdict, in one line."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{len(verdicts)} claims:**", width="content")
        for name, count in claims.tally(verdicts).items():
            if count:
                _badge(name, f"{count} {name}")


def card(verdict: Verdict) -> None:
    """Draw a claim with its verdict: the reported figure and its source, the best measured one, and the reason."""
    claim = verdict.claim
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{claim.statement}**", width="content")
            _badge(verdict.verdict, _label(verdict))
        reported, measured, runs = st.columns([3, 4, 5], gap="medium")
        with reported:
            st.metric("Reported", claim.reported)
            _source(claim.source)
        with measured:
            _measured(verdict)
        with runs:
            st.markdown(verdict.reason)
            st.caption(f"A setting counts if its whole interval is {claim.range_text}.")
            if verdict.evidence:
                _links(verdict)
            else:
                _commands(verdict)


def _label(verdict: Verdict) -> str:
    """Return the verdict, of a claim that holds partly with the number of settings."""
    if verdict.verdict != "partly":
        return verdict.verdict
    return f"partly, in {len(verdict.in_range)} of {len(verdict.evidence)} settings"


def _badge(verdict: str, label: str) -> None:
    icon, colour = BADGES[verdict]
    st.badge(label, icon=icon, color=colour)


def _source(source: Source) -> None:
    kind = "the paper" if source.kind == "paper" else "a summary of the paper"
    st.markdown(f":small[[{source.by}]({source.link}), {kind}.]")  # in a caption, links have too little contrast


def _measured(verdict: Verdict) -> None:
    """Draw the best figure, how many it was selected from, its interval, its recipe and its machine."""
    claim, evidence = verdict.claim, verdict.evidence
    if not evidence:
        st.metric("Measured", format.UNKNOWN)
        return
    first = evidence[0]
    value, _, interval = first.text.partition(" (")
    label = "Measured" if len(evidence) == 1 else f"Measured, best of {len(evidence)}"
    st.metric(label, value, help=f"Measured on {_environment(first)}.")
    interval = f" Interval: {interval.rstrip(')')}." if interval else ""
    title = _titles(verdict)[0]
    st.caption(f"**{FIGURES[claim.figure].meaning}**.{interval} {title}, {verdict.best}, on {first.machine}.")


def _links(verdict: Verdict) -> None:
    """Draw links to the best run and to its comparison with the baseline, and the table of all settings."""
    with st.container(horizontal=True, vertical_alignment="center"):
        first, count = verdict.evidence[0].stored, len(verdict.evidence)
        query = {"run": comparisons.point_id(first)}
        st.page_link(PARETO, label="See the run", icon=":material/image:", query_params=query)
        if baseline := data.baseline_of(first):
            compare_page.link([baseline, first], "Compare")
        label = "Show the figure" if count == 1 else f"Show all {count} settings"
        more = st.popover(label, type="tertiary", key=f"all-{verdict.claim.id}", on_change="rerun")
        if more.open:
            with more:
                _table(verdict)


def _commands(verdict: Verdict) -> None:
    """Draw the commands that would test a claim without records, folded at first."""
    more = st.popover("What would test it", type="tertiary", key=f"test-{verdict.claim.id}", on_change="rerun")
    if more.open:
        with more:
            st.code("\n".join(verdict.claim.commands), language=None, wrap_lines=True)


def _table(verdict: Verdict) -> None:
    evidence = verdict.evidence
    st.dataframe(
        {
            "Run": _titles(verdict),
            "Measured": [item.text for item in evidence],
            "In the range": [STATES[item.state] for item in evidence],
            "Measured on": [_environment(item) for item in evidence],
            "Samples": [f"pareto?run={comparisons.point_id(item.stored)}" for item in evidence],
        },
        key=f"figures-{verdict.claim.id}",
        hide_index=True,
        column_config={"Samples": st.column_config.LinkColumn(display_text="open")},
        alt=f"Every measured figure for: {verdict.claim.statement}",
    )


def _titles(verdict: Verdict) -> list[str]:
    return format.brief_titles([comparisons.spec_of(item.stored) for item in verdict.evidence])


def _environment(evidence: Evidence) -> str:
    return f"{evidence.machine}, environment {evidence.fingerprint}"


@lru_cache(maxsize=2)
def _verdicts(runs: data.Runs) -> list[Verdict]:
    return claims.verdicts(runs.records)
