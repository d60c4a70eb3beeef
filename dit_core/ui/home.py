"""Parts of the home page: images of a recipe next to the baseline's, the Pareto front, and links to the other pages."""

from functools import lru_cache
from typing import Any

import streamlit as st

from dit_core.jobs.queue import Queue, QueueError
from dit_core.jobs.worker import worker_state
from dit_core.records import metrics
from dit_core.records.explanation import explanation_of
from dit_core.records.store import Stored
from dit_core.system.environment import cpu_name
from dit_core.system.hardware import usable_cores
from dit_core.ui import comparisons, data, distance_notes, format, highlights, sample_images
from dit_core.ui.charts import axes, references
from dit_core.ui.charts.axes import Axis
from dit_core.ui.comparisons import Comparison
from dit_core.ui.components import elements, result
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.pareto import pareto_page
from dit_core.ui.run_live import form

CARDS = (  # page, label of the link, purpose, text
    (
        "run_live",
        "Open Run live",
        "Watch a run",
        "Choose knobs, press Run, and watch both images form from the same noise.",
    ),
    (
        "pareto",
        "Open Pareto",
        "Choose under a budget",
        "Quality against time and memory. Click a point to see the images of that run.",
    ),
    (
        "tour",
        "Start the tour",
        "Learn step by step",
        "Steps to read or to present, each with images, figures and a page to open.",
    ),
)
COST_AXES = {
    metric.title: Axis(metric) for metric in (metrics.RELATIVE_TIME, metrics.PEAK_MEMORY, metrics.WEIGHT_BYTES)
}
FIRST_COST = next(iter(COST_AXES))
INT4 = (
    "int4 stores each weight of the network in 4 bits instead of 32, as one of 16 levels, and restores it to compute."
)
STRIP = 6  # images in a row
HIGHLIGHTS = 5  # recipes to choose from
PLOT_HEIGHT = 520  # pixels


def cards() -> None:
    """A card with a link for each kind of visitor."""
    with st.grid(3, min_column_width=240):
        for page, label, purpose, text in CARDS:
            with st.container(border=True, height="stretch", gap="xxsmall"):
                st.markdown(f"**{purpose}**")
                st.caption(text)
                st.space("stretch")
                with st.container(horizontal_alignment="right"):
                    options: dict[str, Any] = {"icon": ":material/arrow_forward:", "icon_position": "right"}
                    st.page_link(f"../../pages/{page}.py", label=label, **options)


def this_machine() -> None:
    """The processor of this machine and the state of the worker, in one line."""
    cores, best = usable_cores(), data.devices()[0]
    gpu = "" if best == "cpu" else f"{format.device(best)}, "
    st.caption(f"This machine: {gpu}{cpu_name()}, {cores} core{'s' * (cores != 1)}. {_worker()}")


def front(marked: Stored | None) -> None:
    """The front of the bundled records with a ring around `marked`; a click opens a run on the page Pareto."""
    group, quality = _comparison()
    if group is None or quality is None:
        result.nothing_yet("No results yet. Your first run will appear here.", ("run_live", "Make the first run"))
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Quality against**", width="content")
        options: dict[str, Any] = {"required": True, "label_visibility": "collapsed", **IN_URL}
        title = st.segmented_control("Cost", list(COST_AXES), default=FIRST_COST, key="against", **options)
        st.space("stretch")
        elements.origin_badge(group.runs[0])
    cost = COST_AXES[title or FIRST_COST]
    pareto_page.plot(group.runs, cost, quality, chosen=marked, height=PLOT_HEIGHT, on_point=_open_on_pareto)
    corner = "lower" if quality.lower_is_better else "upper"
    records = [stored.record for stored in group.runs]
    sentences = (
        f"Each point is one recipe; better recipes are further to the {corner} left. The ring marks the first recipe "
        "whose images are shown.",
        f"{quality.title}.",
        distance_notes.distances(records),
        f"Measured on {format.environment(records[0])}; {group.workload}.",
        distance_notes.small_sample(records),
        best_figure(group),
    )
    st.caption(" ".join(filter(None, sentences)))


def best_figure(group: Comparison) -> str:
    """Return the best speed at the quality of fast-DiT's published recipe, as a sentence; empty if it is unknown.

    If no run keeps the recipe's class accuracy as well, the sentence is about the distance, and names both accuracies.
    """
    published = references.published_recipe(group.runs)
    if published is None:
        return ""
    equal = references.best_at_equal_quality(group.runs, published)
    best = equal or references.best_at_equal_quality(group.runs, published, accuracy_lost=1.0)
    if best is None:
        return ""
    run, times = best
    quality, accuracy = Axis(metrics.PRIMARY_QUALITY), Axis(metrics.CLASS_ACCURACY)
    recipe = "" if equal else f" (the recipe: {accuracy.text(accuracy.read(published.record) or 0)})"
    where = "at its quality" if equal else "at its distance"
    return (
        f"Best figure: {times:.3g} times as fast as fast-DiT's recipe (DDPM, 250 steps) {where}, by "
        f"{format.title(comparisons.spec_of(run))}: {quality.name} {quality.text(quality.read(run.record) or 0)}, "
        f"{accuracy.name} {accuracy.text(accuracy.read(run.record) or 0)}{recipe}."
    )


def gain_and_price() -> Stored | None:
    """The fastest recipe that is not found to be worse than the baseline, then one that costs quality, with images.

    The second recipe can be chosen; at first it is the best one that is clearly faster than the first. Returns the
    record of the first; of the second if no recipe is as good as the baseline.
    """
    group, quality = _comparison()
    if group is None or quality is None:
        return None
    gain = highlights.fastest_as_good(group.runs)
    if gain:
        times = metrics.SPEEDUP.read(gain.record) or 1.0
        baseline = next(run.record for run in group.runs if not comparisons.spec_of(run).techniques)
        found = highlights.quality_found(gain.record, baseline)
        st.subheader(f"{times:.2f} times as fast, {found}", anchor=False)
        (title,) = _titles([gain], group)
        st.markdown(f"**{title}.** {format.plain(comparisons.spec_of(gain))}")
        _strip(gain, "baseline", "Baseline")
        _strip(gain, "candidate", title)
        result.verdict(gain)
        _provenance(gain)
    price = _price(group, quality, gain)
    return gain or price


def _price(group: Comparison, quality: Axis, gain: Stored | None) -> Stored | None:
    """A recipe to choose, with its images, what it saves and costs, and why."""
    next_one = highlights.cheaper(group.runs, gain, quality) if gain else None
    recipes = [run for run in highlights.first_look(group.runs, quality, HIGHLIGHTS) if run not in (gain, next_one)]
    recipes = [next_one, *recipes] if next_one else recipes
    if not recipes:
        return None
    by_title = dict(zip(_titles(recipes, group), recipes, strict=True))
    default = next_one or min(
        recipes, key=lambda stored: (not highlights.is_int4(stored), highlights.combined_cost(stored.record))
    )
    label = "What a cheaper recipe costs" if next_one else "Compare with the baseline, from the same seeds"
    title = st.selectbox(label, by_title, recipes.index(default), key="beside", **IN_URL)
    stored = by_title[title]
    st.caption(INT4 if highlights.is_int4(stored) else format.plain(comparisons.spec_of(stored)))
    if gain is None:
        _strip(stored, "baseline", "Baseline")
    _strip(stored, "candidate", title)
    result.verdict(stored)
    if explanation := explanation_of(stored.record):
        st.caption(f"Why: {explanation}")
    _provenance(stored)
    return stored


def _strip(stored: Stored, side: str, name: str) -> None:
    """A row of images of one side of a run."""
    labels = sample_images.labels(stored.record)[:STRIP]
    if strip := sample_images.strip(stored, side, tuple(range(len(labels)))):
        with st.container(gap="xxsmall"):
            st.caption(name)
            st.image(strip, output_format="PNG", width="stretch", alt=f"{name}: {', '.join(labels)}")


def _comparison() -> tuple[Comparison | None, Axis | None]:
    """The first comparison of the bundled records, else of all, with its first quality axis."""
    groups = data.groups("bundled") or data.groups()
    quality = next(iter(axes.quality_axes(groups[0].runs).values()), None) if groups else None
    return (groups[0], quality) if quality else (None, None)


def _provenance(stored: Stored) -> None:
    """Where the figures were measured, and a link to measure them on this machine."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        elements.origin_badge(stored)
        elements.place_badge(stored.record)
        elements.training_badge(comparisons.spec_of(stored))
        if query := form.address(comparisons.spec_of(stored)):
            options: dict[str, Any] = {"icon": ":material/play_arrow:", "query_params": query}
            st.page_link("../../pages/run_live.py", label="Run it here", **options)


def _titles(recipes: list[Stored], group: Comparison) -> list[str]:
    """Titles that tell these recipes from all runs of the comparison."""
    by_run = _brief_titles(data.Runs.of(group.runs))
    titles = [by_run[comparisons.point_id(stored)] for stored in recipes]
    return [
        f"{title} (int4)" if highlights.is_int4(stored) else title
        for title, stored in zip(titles, recipes, strict=True)
    ]


@lru_cache(maxsize=4)
def _brief_titles(runs: data.Runs) -> dict[str, str]:
    titles = format.brief_titles([comparisons.spec_of(stored) for stored in runs.records])
    return dict(zip(map(comparisons.point_id, runs.records), titles, strict=True))


def _worker() -> str:
    """What the worker does, in one sentence."""
    try:
        queue = Queue()
        state, waiting = worker_state(queue), queue.count("queued")
    except (QueueError, OSError):
        return "The job queue cannot be used."
    if not state.alive:
        return "No worker is running; the next run starts one."
    activity = f"The worker runs job {state.job}" if state.job else "The worker is idle"
    return f"{activity}{f', {waiting} waiting' if waiting else ''}."


def _open_on_pareto(identifier: str) -> None:
    st.switch_page("../../pages/pareto.py", query_params={"run": identifier})
