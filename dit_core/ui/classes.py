"""How often the images of each class are recognized as that class, run beside run."""

from collections.abc import Sequence

import streamlit as st

from dit_core.spec import RunSpec
from dit_core.store import Stored
from dit_core.ui import reads, words
from dit_core.ui.points import spec_of

FIGURE = "class_accuracy_by_class"
Z95 = 1.96


def table(runs: Sequence[Stored], titles: Sequence[str], only: str = "") -> None:
    """A row for each class, or for `only` one, and a column for each run that has the figure; else why it has none."""
    named = dict(zip(titles, runs, strict=True))
    known = {title: shares for title, one in named.items() if (shares := one.record.quality.get(FIGURE))}
    counts = {name: count for name, count in images(spec_of(runs[0])).items() if only in ("", name)}
    if known and counts:
        st.subheader("Class by class", anchor=False)
        columns = {"Class": list(counts), "Images": [f"{count:,}" for count in counts.values()]}
        columns |= {title: [_percent(shares.get(name)) for name in counts] for title, shares in known.items()}
        st.table(columns, border="horizontal", hide_index=True, alt=f"Recognized by class: {', '.join(known)}")
        st.caption(_caution(min(counts.values())))
    reasons: dict[str, list[str]] = {}
    for title, one in named.items():
        if title not in known:
            reasons.setdefault(_why_not(one), []).append(title)
    for reason, those in reasons.items():
        st.caption(f"By class, nothing is known of {'; '.join(those)}: {reason}")


def images(spec: RunSpec) -> dict[str, int]:
    """How many images of each class a run judges: classes take turns."""
    names, total = spec.classes or reads.classes(spec.model), spec.samples * spec.replicates
    return {name: len(range(i, total, len(names))) for i, name in enumerate(names) if i < total}


def _percent(share: float | None) -> str:
    return words.UNKNOWN if share is None else f"{100 * share:.0f} %"


def _caution(count: int) -> str:
    """What a share of `count` images cannot tell: at one half, where chance is largest, it moves two runs so far."""
    chance = 100 * Z95 * (2 * 0.25 / count) ** 0.5
    return (
        "Share of the images of a class that a classifier, fitted on the real ones, names right; more is better. "
        f"Of {count:,} image{'s' * (count != 1)} one is {words.significant(100 / count, 2)} points, and two runs "
        f"differ by up to {min(100, chance):.0f} points by chance alone."
    )


def _why_not(one: Stored) -> str:
    quality = one.record.quality
    if FIGURE not in quality:
        return "measured before this figure was there. Measure again to have it."
    reason = (quality.get("reasons") or {}).get(FIGURE) or quality.get("reason")
    return f"{reason}."
