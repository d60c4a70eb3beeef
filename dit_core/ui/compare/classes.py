"""The class accuracy of each class, for several runs side by side."""

from collections.abc import Sequence

import streamlit as st

from dit_core.records import metrics
from dit_core.records.metric import Z95
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.ui import data, format
from dit_core.ui.comparisons import spec_of

FIELD = metrics.CLASS_ACCURACY_BY_CLASS


def table(runs: Sequence[Stored], titles: Sequence[str], only: str = "") -> None:
    """Draw a row for each class, or for the class `only`, and a column for each run; list runs without values."""
    by_title = dict(zip(titles, runs, strict=True))
    known = {title: shares for title, run in by_title.items() if (shares := FIELD.stored(run.record))}
    counts = {name: count for name, count in image_counts(spec_of(runs[0])).items() if only in ("", name)}
    if known and counts:
        st.subheader(f"{metrics.CLASS_ACCURACY.title} by class", anchor=False)
        columns = {"Class": list(counts), "Images": [f"{count:,}" for count in counts.values()]}
        columns |= {title: [_percent(shares.get(name)) for name in counts] for title, shares in known.items()}
        alt = f"{metrics.CLASS_ACCURACY.title} by class: {', '.join(known)}"
        st.table(columns, border="horizontal", hide_index=True, alt=alt)
        st.caption(_uncertainty(min(counts.values())))
    titles_by_reason: dict[str, list[str]] = {}
    for title, run in by_title.items():
        if title not in known:
            titles_by_reason.setdefault(_reason(run), []).append(title)
    for reason, unknown in titles_by_reason.items():
        st.caption(f"No values by class for {'; '.join(unknown)}: {reason}")


def image_counts(spec: RunSpec) -> dict[str, int]:
    """Return the number of judged images of each class. Images are assigned to classes in rotation."""
    names, total = spec.classes or data.classes(spec.model), spec.samples * spec.replicates
    return {name: len(range(i, total, len(names))) for i, name in enumerate(names) if i < total}


def _percent(share: float | None) -> str:
    return format.UNKNOWN if share is None else f"{100 * share:.0f} %"


def _uncertainty(count: int) -> str:
    """Return what the shares mean, and by how much two runs with `count` images of a class can differ by chance.

    The interval is that of a share of one half, which varies most.
    """
    chance = 100 * Z95 * (2 * 0.25 / count) ** 0.5
    return (
        f"{metrics.CLASS_ACCURACY.help} Higher is better. With {count:,} image{'s' * (count != 1)} of a class, one "
        f"image is {format.significant(100 / count, 2)} points, and two runs differ by up to {min(100, chance):.0f} "
        "points by chance."
    )


def _reason(run: Stored) -> str:
    if not FIELD.is_in(run.record):
        return "measured before this metric existed. Measure the run again."
    return f"{FIELD.reason(run.record)}."
