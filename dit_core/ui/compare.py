"""Parts of the page that compares runs: the choice, the pictures, the figures. The choice lives in the URL."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import streamlit as st

from dit_core.models import catalog
from dit_core.spec import RunSpec
from dit_core.store import Stored
from dit_core.ui import axes, classes, components, forming, points, reads, words
from dit_core.ui.axes import COSTS, Axis
from dit_core.ui.points import point_id
from dit_core.ui.viewer import Picture, viewer

FEWEST, MOST = 2, 4
PAGE = "../../pages/compare.py"
ALL = "All classes"
FINAL, FORMING = "Final images", "How they form"
ROWS = ("relative_time", "speedup", "weights", "memory", "flops", "macs", "energy", "latency", "throughput")
ARROWS = {"less": "↓", "more": "↑"}


def named() -> tuple[list[Stored], list[str]]:
    """The runs that the address names, of one workload on one machine, and why others of them are left out."""
    runs, left_out = [], []
    for identifier in dict.fromkeys(st.query_params.get_all("runs")):
        one = reads.find(identifier)
        if one is None:
            left_out.append(f"There is no run {identifier} in this store.")
        elif runs and _key(one) != _key(runs[0]):
            title = words.title(points.spec_of(one))
            left_out.append(f"{title}: another workload or another machine, so its seeds or its times differ.")
        elif len(runs) == MOST:
            left_out.append(f"More than {MOST} runs cannot be compared at once.")
        else:
            runs.append(one)
    return runs, left_out


def choose(runs: Sequence[Stored]) -> None:
    """The choice of runs. What it offers was made from the same seeds on the same machine as the first."""
    by_id = _titles(runs)
    chosen = [point_id(one) for one in runs]
    key = f"choice-{'-'.join(chosen)}"
    st.multiselect(
        f"{FEWEST} to {MOST} runs from the same seeds",
        list(by_id),
        chosen,
        key=key,
        format_func=by_id.__getitem__,
        max_selections=MOST,
        on_change=lambda: _name(st.session_state[key]),
        placeholder="Choose runs",
    )


def first_choice() -> list[Stored]:
    """What to start with where nothing is named: the baseline and the recipes worth a first look."""
    group = reads.groups()[0]
    quality = next(iter(axes.quality_axes(group.runs).values()), None)
    baseline = [one for one in group.runs if not one.record.spec["techniques"]]
    return [*baseline, *(points.first_look(group.runs, quality, MOST - len(baseline)) if quality else [])]


def choose_class(runs: Sequence[Stored]) -> str:
    """All classes, or the one whose images are compared; random weights make no pictures to choose from."""
    if _random(runs):
        return ALL
    kinds = [ALL, *dict.fromkeys(reads.labels(runs[0].record) if runs else ())]
    return st.selectbox("Images", kinds, key="images", bind="query-params")


def pictures(runs: Sequence[Stored], shown: str) -> None:
    """The sheets of all runs in the viewer, all classes or the images of one; or how some of them form."""
    if _random(runs):
        st.info("Random weights make no pictures: these runs measure cost alone.")
        return
    labels, kinds = reads.labels(runs[0].record), [FINAL, FORMING]
    shared = {"required": True, "label_visibility": "collapsed", "bind": "query-params"}
    if st.segmented_control("Pictures", kinds, default=FINAL, key="pictures", **shared) == FORMING:
        forming.show(runs, _chosen_titles(runs), labels, None if shown == ALL else shown)
    else:
        _final(runs, labels, shown)


def _final(runs: Sequence[Stored], labels: Sequence[str], shown: str) -> None:
    places = tuple(i for i, label in enumerate(labels) if shown in (ALL, label))
    seeds, across = runs[0].record.samples.get("seeds") or [], _across(len(places))
    found = []
    for one, title in zip(runs, _chosen_titles(runs), strict=True):
        if reads.labels(one.record) == tuple(labels) and (png := reads.tiles(one, places, across)):
            found.append(Picture(title, f"{title}: {', '.join(labels[i] for i in places)}", png))
        else:
            st.caption(f"{title}: its sheet is missing, was damaged or holds other images.")
    told = [f"{labels[i]}, seed {seeds[i]}, image {i}" if i < len(seeds) else labels[i] for i in places]
    if found:
        viewer(found, across, told, key="viewer")


@dataclass(frozen=True)
class Row:
    """One figure of every run: its text, and which runs have the best value."""

    title: str
    texts: tuple[str, ...]
    best: frozenset[int]


def rows(runs: Sequence[Stored]) -> list[Row]:
    """The figures that at least one run has, with the better values; none where they cannot be told apart."""
    every = [*map(COSTS.__getitem__, ROWS), *axes.quality_axes(runs).values()]
    return [row for axis in every if (row := _row(axis, runs)) is not None]


def table(runs: Sequence[Stored]) -> None:
    """Figures as rows, runs as columns, the better value marked."""
    titles = _chosen_titles(runs)
    figures = rows(runs)
    columns = {"Figure": [row.title.replace(" ↓", "\u00a0↓").replace(" ↑", "\u00a0↑") for row in figures]}
    for i, title in enumerate(titles):
        columns[title] = [_cell(row.texts[i], i in row.best) for row in figures]
    _origins(runs, titles)
    st.table(columns, border="horizontal", hide_index=True, alt=f"Figures of {', '.join(titles)}")
    if told := words.small_sample([one.record for one in runs]):
        st.caption(told)
    st.caption(
        "↓ less is better, ↑ more is better. ✓ marks the better value, or several whose intervals overlap; nothing is "
        "marked where all are alike, or where a figure of quality has no interval."
    )


def _origins(runs: Sequence[Stored], titles: Sequence[str]) -> None:
    """Where the runs were measured, as one badge for all of them or one beside each name, and on which machine."""
    alike = len({one.origin for one in runs}) == 1
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for one, title in list(zip(runs, titles, strict=True))[: 1 if alike else None]:
            st.markdown("All of these" if alike else title, width="content")
            components.origin_badge(one)
        components.place_badge(runs[0].record)


def by_class(runs: Sequence[Stored], shown: str) -> None:
    """How often each class is recognized, or the one that is shown."""
    classes.table(runs, _chosen_titles(runs), "" if shown == ALL else shown)


def caption(one: Stored) -> None:
    """What all these runs share."""
    st.caption(f"Measured on {words.environment(one.record)}. Workload: {words.workload(_spec(one))}.")


def link(runs: Sequence[Stored], label: str) -> None:
    """A way to this page with these runs."""
    st.page_link(PAGE, label=label, icon=":material/compare:", query_params={"runs": [point_id(one) for one in runs]})


def _row(axis: Axis, runs: Sequence[Stored]) -> Row | None:
    values = [axis.read(one.record) for one in runs]
    known = {i: value for i, value in enumerate(values) if value is not None}
    if not known:
        return None
    spreads = {i: axis.spread(runs[i].record) for i in known}
    if axis.key in COSTS:  # exact where it has no interval; of a quality without one nothing can be told
        spreads = {i: spread or (known[i], known[i]) for i, spread in spreads.items()}
    first = (min if axis.better == "less" else max)(known, key=lambda i: known[i])
    best = frozenset(i for i in known if not axes.apart(spreads[i], spreads[first]))
    told = None not in spreads.values() and len(best) < len(known)
    texts = tuple(words.UNKNOWN if value is None else words.significant(value) for value in values)
    title = f"{axis.short or axis.title}{f', {axis.unit}' if axis.unit else ''} {ARROWS[axis.better]}"
    return Row(title, texts, best if told else frozenset())


def _cell(text: str, best: bool) -> str:
    return f"**{text} ✓**" if best else text


def _titles(runs: Sequence[Stored]) -> dict[str, str]:
    """Every run that can be chosen beside these, by its id, under a title of its own."""
    groups = reads.groups()
    group = next(group for group in groups if not runs or _key(group.runs[0]) == _key(runs[0]))
    known = set(map(point_id, group.runs))
    earlier = [one for one in runs if point_id(one) not in known]  # an earlier measurement has a link too
    return _distinct_titles(reads.Runs.of([*group.runs, *earlier]))


@lru_cache(maxsize=8)
def _distinct_titles(runs: reads.Runs) -> dict[str, str]:
    seen: Counter[str] = Counter()
    titles = {}
    for one, title in zip(runs.every, words.brief_titles([_spec(one) for one in runs.every]), strict=True):
        seen[title] += 1
        titles[point_id(one)] = title if seen[title] == 1 else f"{title} ({seen[title]})"
    return titles


def _chosen_titles(runs: Sequence[Stored]) -> list[str]:
    titles = _titles(runs)
    return [titles[point_id(one)] for one in runs]


def _key(one: Stored) -> tuple[str, RunSpec]:
    return one.record.environment["fingerprint"], _spec(one).baseline


def _random(runs: Sequence[Stored]) -> bool:
    return bool(runs) and catalog.is_random(_spec(runs[0]).model)


def _spec(one: Stored) -> RunSpec:
    return points.spec_of(one)


def _name(identifiers: Sequence[str]) -> None:
    st.query_params["runs"] = list(identifiers)


def _across(count: int) -> int:
    """Tiles in a row that make a sheet about as wide as it is tall."""
    return max(1, round(count**0.5))
