"""The table of claims as HTML: a row for each claim, with its details folded. Knows no Streamlit.

HTML instead of elements of Streamlit, because a page with a few hundred of these opens slowly.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import urlencode

from dit_core.analysis.claim_figures import FIGURES
from dit_core.analysis.claim_file import Source
from dit_core.analysis.claims import Evidence, Verdict
from dit_core.ui import comparisons, format

MARKS = {"reproduced": "✓", "partly": "◐", "not reproduced": "✗", "not testable here": "–"}
STATES = {"in range": "yes", "outside": "no", "undecided": "undecided"}  # of an evidence
COLUMNS = ("Verdict", "Claim", "Reported", "Measured", "In range")
LISTED = 24  # settings in the details of a claim
STYLE = (Path(__file__).parent / "claims.css").read_text()


def table(verdicts: Sequence[Verdict], baselines: Mapping[str, str], opened: str = "") -> str:
    """Return all rows, with their style. `baselines` has the point id of the baseline of a run with this point id."""
    head = "".join(f"<span>{title}</span>" for title in COLUMNS)
    rows = "".join(_row(verdict, baselines, verdict.claim.id == opened) for verdict in verdicts)
    return f'<style>{STYLE}</style><div class="dit-claims"><div class="dit-claims-head">{head}</div>{rows}</div>'


def _row(verdict: Verdict, baselines: Mapping[str, str], opened: bool) -> str:
    claim = verdict.claim
    measured, count = format.UNKNOWN, "no settings"
    if verdict.evidence:
        measured = f"{verdict.evidence[0].text} {FIGURES[claim.figure].meaning}"
        count = f"{len(verdict.in_range)} of {len(verdict.evidence)}"
    mark, kind = MARKS[verdict.verdict], verdict.verdict.replace(" ", "-")
    cells = (
        f'<b class="{kind}"><i aria-hidden="true">{mark}</i> {verdict.verdict}</b>',
        f'<span class="statement">{escape(claim.statement)}</span>',
        *(
            f'<span><small class="dit-label">{label} </small>{escape(text)}</span>'
            for label, text in zip(COLUMNS[2:], (claim.reported, measured, count), strict=True)
        ),
    )
    attributes = f'id="claim-{escape(claim.id)}"{" open" if opened else ""}'
    return f"<details {attributes}><summary>{''.join(cells)}</summary>{_details(verdict, baselines)}</details>"


def _details(verdict: Verdict, baselines: Mapping[str, str]) -> str:
    """Return the reason, the source, what was measured with links, and all settings or what would test the claim."""
    claim = verdict.claim
    parts = [
        f"<p>{escape(verdict.reason)} A setting counts if its whole interval is {escape(claim.range_text)}.</p>",
        f"<p>{_source(claim.source)} {_link('claims', 'Link to this claim', {'claim': claim.id})}</p>",
    ]
    if verdict.evidence:
        parts += [_best(verdict, baselines), _settings(verdict)]
    else:
        commands = escape("\n".join(claim.commands))
        parts.append(f"<p>What would test it:</p><pre><code>{commands}</code></pre>")
    return f"<div>{''.join(parts)}</div>"


def _source(source: Source) -> str:
    kind = "the paper" if source.kind == "paper" else "a summary of the paper"
    link = f'<a href="{escape(source.link)}" target="_blank" rel="noopener">{escape(source.by)}</a>'
    return f"Reported by {link}, {kind}."


def _best(verdict: Verdict, baselines: Mapping[str, str]) -> str:
    """Return what the best figure means, its recipe and machine, and links to its run and its comparison."""
    first = verdict.evidence[0]
    point = comparisons.point_id(first.stored)
    links = [_link("pareto", "See the run", {"run": point})]
    if baseline := baselines.get(point):
        links.append(_link("compare", "Compare with the baseline", {"runs": [baseline, point]}))
    meaning = FIGURES[verdict.claim.figure].meaning
    return (
        f"<p>Measured: {escape(first.text)} <b>{escape(meaning)}</b>, {escape(verdict.best)}: "
        f"{escape(_titles(verdict)[0])}, on {escape(first.machine)}. {' '.join(links)}</p>"
    )


def _settings(verdict: Verdict) -> str:
    """Return the table of the settings, best first."""
    evidence, titles = verdict.evidence[:LISTED], _titles(verdict)
    rows = "".join(
        f"<tr><td>{_link('pareto', title, {'run': comparisons.point_id(item.stored)})}</td><td>{escape(item.text)}</td>"
        f"<td>{STATES[item.state]}</td><td>{escape(_environment(item))}</td></tr>"
        for item, title in zip(evidence, titles, strict=False)
    )
    more = len(verdict.evidence) - len(evidence)
    rest = f"<p>{more} more: <code>python -m dit_core claims --json</code></p>" if more else ""
    head = "<tr><th>Run</th><th>Measured</th><th>In the range</th><th>Measured on</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>{rest}"


def _link(page: str, label: str, query: dict[str, str | list[str]]) -> str:
    return f'<a href="{escape(f"{page}?{urlencode(query, doseq=True)}")}" target="_self">{escape(label)}</a>'


def _titles(verdict: Verdict) -> list[str]:
    return format.brief_titles([comparisons.spec_of(item.stored) for item in verdict.evidence])


def _environment(evidence: Evidence) -> str:
    return f"{evidence.machine}, environment {evidence.fingerprint}"
