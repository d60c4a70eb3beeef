"""A citation of the plots of the page Pareto: what they show, where it was measured, and a BibTeX entry."""

import re
from collections.abc import Sequence
from typing import Any

import streamlit as st

from dit_core.records.store import Stored
from dit_core.ui import format
from dit_core.ui.charts.axes import Axis
from dit_core.ui.comparisons import Comparison
from dit_core.version import __version__

AUTHORS, NAME = "the dit-core authors", "DiT trade-offs"


def offer(group: Comparison, runs: Sequence[Stored], fronts: Sequence[tuple[Axis, Axis]]) -> None:
    """Draw a button that shows how to cite the plots."""
    options: dict[str, Any] = {"icon": ":material/format_quote:", "type": "tertiary", "on_change": "rerun"}
    citation = st.popover("Cite this figure", key="cite", **options)
    if citation.open:
        with citation:
            st.markdown(format.escaped(sentence(group, runs, fronts)))
            st.code(bibtex(group, runs, fronts, st.context.url or ""), language="bibtex", wrap_lines=True)


def sentence(group: Comparison, runs: Sequence[Stored], fronts: Sequence[tuple[Axis, Axis]]) -> str:
    """Return a caption of the plots with their source, as a sentence for a paper."""
    return (
        f"{_title(group, runs, fronts)}. Measured on {format.environment(runs[0].record)} (environment "
        f"{runs[0].record.environment['fingerprint']}) until {format.day(_newest(runs))}. {NAME} {__version__}."
    )


def bibtex(group: Comparison, runs: Sequence[Stored], fronts: Sequence[tuple[Axis, Axis]], url: str) -> str:
    """Return a BibTeX entry of the plots; `url` is the page's link, empty if it is unknown."""
    fingerprint = runs[0].record.environment["fingerprint"]
    fields = {
        "author": f"{{{_latex(AUTHORS)}}}",
        "title": f"{{{_latex(_title(group, runs, fronts))}}}",
        "year": _newest(runs)[:4],
        "howpublished": _latex(f"{NAME}, version {__version__}"),
        "note": _latex(
            f"Measured on {format.environment(runs[0].record)}, environment {fingerprint}; workload: {group.workload}"
        ),
        **({"url": url} if url else {}),
    }
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items()]
    return f"@misc{{dit-core-{fingerprint}-{_newest(runs)[:10]},\n" + ",\n".join(lines) + "\n}"


def _title(group: Comparison, runs: Sequence[Stored], fronts: Sequence[tuple[Axis, Axis]]) -> str:
    costs = " and ".join(x.name for x, _ in fronts)
    count = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    return f"{fronts[0][1].short} against {costs} of {count} of {group.workload.partition(',')[0]}"


def _newest(runs: Sequence[Stored]) -> str:
    """Return the time of the newest record, as ISO 8601."""
    return max(run.record.created_at for run in runs)


def _latex(text: str) -> str:
    """Return text with the characters escaped that LaTeX treats specially."""
    return re.sub(r"([%&#_$])", r"\\\1", text)
