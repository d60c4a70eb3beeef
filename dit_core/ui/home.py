"""Parts of the home page."""

import os

import streamlit as st

from dit_core.jobs import Queue, QueueError
from dit_core.store import Stored
from dit_core.ui import axes, components, form, pareto, points, reads, result, words
from dit_core.ui.axes import COSTS, Axis
from dit_core.ui.points import Comparison
from dit_core.worker import worker_state

WAYS = (
    ("run_live", "Run live", "Watch one run", "Choose knobs, press Run, and see both images form from the same noise."),
    (
        "pareto",
        "Pareto",
        "Choose under a budget",
        "Quality against time and memory; a click on a point shows its samples.",
    ),
    (
        "tour",
        "Tour",
        "Learn step by step",
        "Six steps to read, to show or to teach from, each with its pictures, its figures and a view to open.",
    ),
)
COST_AXES = {COSTS[key].title: COSTS[key] for key in ("relative_time", "memory", "weights")}
FIRST = next(iter(COST_AXES))
INT4 = (
    "int4 stores each weight of the network in 4 bits instead of 32, as one of 16 levels, and restores it to compute."
)
STRIP, HIGHLIGHTS = 6, 5  # pictures in a row; recipes to choose from


def ways_in() -> None:
    """Three cards, one for each kind of visitor."""
    with st.grid(3, min_column_width=240):
        for page, label, purpose, text in WAYS:
            with st.container(border=True, height="stretch", gap="xxsmall"):
                st.markdown(f"**{purpose}**")
                st.caption(text)
                st.space("stretch")
                with st.container(horizontal_alignment="right"):
                    link = f"../../pages/{page}.py"
                    st.page_link(link, label=label, icon=":material/arrow_forward:", icon_position="right")


def this_machine() -> None:
    """The device and who has it, in one line."""
    cores = len(os.sched_getaffinity(0))
    st.caption(f"This machine: {reads.cpu_name()}, {cores} core{'s' * (cores != 1)}. {_worker()}")


def bundled() -> tuple[Comparison | None, Axis | None]:
    """The largest comparison among the bundled results (else among all), with its first quality axis."""
    groups = reads.groups("bundled") or reads.groups()
    quality = next(iter(axes.quality_axes(groups[0].runs).values()), None) if groups else None
    return (groups[0], quality) if quality else (None, None)


def front(shown: Stored | None) -> None:
    """The front of the bundled results, with a ring around the recipe `shown`; a click opens a run on Pareto."""
    group, quality = bundled()
    if group is None or quality is None:
        result.nothing_yet(
            "No results yet. The first run that you make will be here.", ("run_live", "Make the first run")
        )
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Quality against**", width="content")
        shared = {"required": True, "label_visibility": "collapsed", "bind": "query-params"}
        title = st.segmented_control("Cost", list(COST_AXES), default=FIRST, key="against", **shared)
        st.space("stretch")
        components.origin_badge(group.runs[0])
    pareto.plot(group.runs, COST_AXES[title or FIRST], quality, chosen=shown, height=360, on_point=_open)
    where = "lower" if quality.better == "less" else "upper"
    records = [one.record for one in group.runs]
    told = (
        f"Each point is one recipe, better towards the {where} left; the ring marks the one whose pictures are shown.",
        f"{quality.title}.",
        f"Measured on {words.environment(records[0])}; {group.workload}.",
        words.small_sample(records),
    )
    st.caption(" ".join(filter(None, told)))


def samples() -> Stored | None:
    """What a recipe makes from the same seeds as the baseline, what it buys and what it costs; int4 at first."""
    group, quality = bundled()
    shown = points.first_look(group.runs, quality, HIGHLIGHTS) if group and quality else []
    if not shown:
        return None
    titles = dict(zip(_titles(shown), shown, strict=True))
    first = min(titles, key=lambda title: (not points.is_int4(titles[title]), points.burden(titles[title].record)))
    start = list(titles).index(first)
    picked = st.selectbox("Beside the baseline, from the same seeds", titles, start, key="beside", bind="query-params")
    one = titles[picked]
    st.caption(_told(one))
    labels = reads.labels(one.record)[:STRIP]
    for which, name in (("baseline", "Baseline"), ("candidate", picked)):
        if picture := reads.strip(one, which, tuple(range(len(labels)))):
            with st.container(gap="xxsmall"):
                st.caption(name)
                st.image(picture, output_format="PNG", width="stretch", alt=f"{name}: {', '.join(labels)}")
    result.verdict(one)
    if why := one.record.speedup.get("explanation"):
        st.caption(f"Why: {why}")
    _origin(one)
    return one


def _origin(one: Stored) -> None:
    """Where the figures above were measured, and the way to measure them here."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        components.origin_badge(one)
        components.place_badge(one.record)
        if query := form.address(points.spec_of(one)):
            link = "../../pages/run_live.py"
            st.page_link(link, label="Run it here", icon=":material/play_arrow:", query_params=query)


def _titles(shown: list[Stored]) -> list[str]:
    brief = words.brief_titles([points.spec_of(one) for one in shown])
    return [f"{title} (int4)" if points.is_int4(one) else title for title, one in zip(brief, shown, strict=True)]


def _told(one: Stored) -> str:
    """What the recipe does to the network, in plain words."""
    return INT4 if points.is_int4(one) else words.plain(points.spec_of(one))


def _worker() -> str:
    try:
        queue = Queue()
        state, waiting = worker_state(queue), queue.count("queued")
    except (QueueError, OSError):
        return "The job queue cannot be used."
    if not state.alive:
        return "No worker runs; the next run starts one."
    busy = f"The worker runs job {state.job}" if state.job else "The worker is idle"
    return f"{busy}{f', {waiting} waiting' if waiting else ''}."


def _open(identifier: str) -> None:
    st.switch_page("../../pages/pareto.py", query_params={"run": identifier})
