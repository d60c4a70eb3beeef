"""Parts of the Pareto page: the plots, their notes and the panel of the chosen run, which is in the page's link."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import streamlit as st
from plotly.graph_objects import Figure

from dit_core.records import metrics
from dit_core.records.store import Stored
from dit_core.ui import data, distance_notes, format
from dit_core.ui import notes as run_notes
from dit_core.ui.charts import front, pareto_plot, plot_points
from dit_core.ui.charts.axes import Axis
from dit_core.ui.compare import compare_page
from dit_core.ui.comparisons import Comparison, point_id, spec_of
from dit_core.ui.components import ignored, result
from dit_core.ui.pareto import budget, published
from dit_core.ui.run_live import form

NOTE_HEIGHT = 110  # pixels
NOTE = (
    '<div class="dit-foot"><div class="dit-note">Point at a run to read its figures here. A click shows its samples.'
    '</div><button class="dit-save" type="button" value="svg" title="Saves this plot as SVG">SVG</button>'
    '<button class="dit-save" type="button" value="png" title="Saves this plot as PNG">PNG</button></div>'
)


def chosen() -> Stored | None:
    """Return the run in the page's link, whose samples are shown; None if there is none. Says so if it is gone."""
    identifier = st.query_params.get("run", "")
    ignored.told("run", identifier)
    stored = data.find(identifier)
    if identifier and stored is None:
        message = f"Run {identifier} is not in this store. It was deleted, or the link is from another store."
        st.warning(format.escaped(message))
    return stored


def choose(identifier: str | None) -> None:
    """Put the point of a run into the page's link, which shows its samples; None removes it."""
    if identifier is None:
        st.query_params.pop("run", None)
    else:
        st.query_params["run"] = identifier


def plot(
    runs: Sequence[Stored],
    x: Axis,
    y: Axis,
    *,
    chosen: Stored | None = None,
    answer: Stored | None = None,
    hide_dominated: bool = False,
    height: int = 440,
    limits: Sequence[budget.Limit] = (),
    reported: bool = False,
    whole: bool = False,
    large: bool = False,
    on_point: Callable[[str], None] | None = None,
) -> str:
    """Draw one Pareto plot and return the names of its front as a sentence: not every point has room for a label.

    A click on a point calls `on_point` with its id, or chooses the run. The plot is framed on the front, or with
    `whole` on all points. `large` enlarges its text for a projector.
    """
    marked = (point_id(chosen) if chosen else None, point_id(answer) if answer else None)
    bounds = tuple((limit.axis.key, limit.value) for limit in limits)
    pinned = tuple((identifier, note.name) for identifier, note in run_notes.read().items() if note.pinned)
    drawn = _drawn(
        _Plot(data.Runs.of(runs), x, y, marked, hide_dominated, height, bounds, reported, whole, pinned, large)
    )
    if drawn is None:
        st.info(f"No run has both {x.name} and {y.title}.")
        return ""
    figure, alt, front_names = drawn
    chart(figure, f"plot-{x.key}", alt, on_point or choose)
    if outside := figure.layout.meta["outside"]:
        st.caption(f"{outside} run{'s are' if outside != 1 else ' is'} outside the frame.")
    if x.metric.caution:
        st.caption(x.metric.caution)
    return front_names


def chart(figure: Figure, key: str, alt: str, on_point: Callable[[str], None]) -> None:
    """Draw a figure whose points have a run's id and a text as `customdata`, with room for the text below it."""
    with st.container(key=f"noted-{key}", gap="xxsmall"):
        st.plotly_chart(
            figure,
            key=key,
            config=pareto_plot.CONFIG,
            on_select=lambda: _on_click(key, on_point),
            selection_mode="points",
            alt=alt,
        )
        st.html(NOTE)


def hypervolume(group: Comparison, runs: Sequence[Stored], x: Axis, y: Axis) -> None:
    """Draw the hypervolume of the runs of a plot, with its reference point."""
    baseline = next((run for run in group.runs if not spec_of(run).techniques), None)
    result = front.hypervolume(runs, baseline, x, y) if baseline else None
    if result:
        volume, reference = result
        point = " and ".join(f"{axis.name} {axis.text(value)}" for axis, value in zip((x, y), reference, strict=True))
        st.caption(
            f"Hypervolume {volume:.2f}: area between the front and the reference point ({point}); "
            "baseline alone = 1; higher is better."
        )


def notes(
    group: Comparison, runs: Sequence[Stored], costs: Sequence[Axis], quality: Axis, groups: Sequence[Comparison]
) -> None:
    """Draw what the plots show: environment, workload, error bars, and how many runs are missing and why."""
    shown = {point_id(run) for axis in costs for run in front.with_both_values(runs, axis, quality)}
    missing = (
        (len(runs) - len(shown), f"without {quality.title}"),
        (len(group.runs) - len(runs), "filtered out"),
        (group.earlier, "measured again since"),
        (sum(len(other.runs) for other in groups) - len(group.runs), "from other workloads or machines"),
    )
    error_bars = dict.fromkeys(axis.metric.interval_title for axis in (*costs, quality) if axis.metric.interval_title)
    missing_texts = ", ".join(f"{count} {reason}" for count, reason in missing if count)
    limit, records = plot_points.MAX_POINTS, [run.record for run in runs]
    sentences = [
        f"Measured on {format.environment(group.runs[0].record)}.",
        f"Workload: {group.workload}.",
        f"Error bars: {', '.join(error_bars)}." if error_bars else "",
        f"Each plot shows the {limit} of {len(runs):,} runs nearest to its front." if len(runs) > limit else "",
        "" if quality.metric in metrics.FRECHET else f"Quality: {quality.metric.help}",
        distance_notes.distances(records),
        distance_notes.small_sample(records, quality.metric.flag_field),
        _unknown_costs(group.runs),
        f"Not shown: {missing_texts}." if missing_texts else "",
    ]
    st.caption(" ".join(filter(None, sentences)))


def panel(run: Stored) -> None:
    """Draw the chosen run next to its plot: samples, verdict, links to other pages, and a button that closes it."""
    with st.container(border=True, key="samples"):
        result.beside_plot(run, _close_button)
        with st.container(horizontal=True, gap="small"):
            _panel_links(run)
            _note_form(run)


def details(run: Stored) -> None:
    """Draw all figures of the chosen run, its command and its downloads; folded."""
    with st.expander("All figures, command and downloads of the chosen run", key="details", icon=":material/table:"):
        result.figures(run)
        result.environment(run)


def _unknown_costs(runs: Sequence[Stored]) -> str:
    """Return why a cost is on no plot, for each cost that no run has a value for."""
    sentences = []
    for metric in metrics.on_axis("time", "memory"):
        if all(metric.read(run.record) is None for run in runs):
            reason = next((reason for run in runs if (reason := metric.reason(run.record))), "it was not measured")
            sentences.append(f"No {Axis(metric).name}: {reason}.")
    return " ".join(sentences)


@dataclass(frozen=True)
class _Plot:
    """Everything that a plot depends on. Plots with equal content are drawn once for all sessions."""

    runs: data.Runs
    x: Axis
    y: Axis
    marked: tuple[str | None, str | None]
    hide_dominated: bool
    height: int
    limits: tuple[tuple[str, float], ...]
    reported: bool
    whole: bool
    pinned: tuple[tuple[str, str], ...]  # ids and names
    large: bool = False


@lru_cache(maxsize=32)
def _drawn(plot: _Plot) -> tuple[Figure, str, str] | None:
    """Return the figure, its alternative text and the names of its front; None if no run has both values."""
    points = plot_points.points_of(plot.runs.records, plot.x, plot.y)
    if not points:
        return None
    names = dict(plot.pinned)
    points = [replace(point, short=names.get(point.id) or point.short) for point in points]
    chosen, answer = plot.marked
    drawn = pareto_plot.pareto_figure(
        points,
        plot.x,
        plot.y,
        chosen=chosen,
        answer=answer,
        hide_dominated=plot.hide_dominated,
        height=plot.height,
        limits=dict(plot.limits),
        whole=plot.whole,
        pinned=names,
    )
    figure = Figure(pareto_plot.enlarged(drawn) if plot.large else drawn)
    if plot.reported:
        published.draw(figure, plot.x, plot.y, points[0].record.environment["device"])
    return figure, plot_points.description(points, plot.x, plot.y), plot_points.front_names(points, plot.x)


def _panel_links(run: Stored) -> None:
    if query := form.address(spec_of(run)):
        link = "../../pages/run_live.py"
        st.page_link(link, label="Open in Run live", icon=":material/play_arrow:", query_params=query)
    if base := data.baseline_of(run):
        compare_page.link([base, run], "Compare")


def _note_form(run: Stored) -> None:
    """Draw inputs for the pin, the name and the note of a run, which all browsers share."""
    identifier = point_id(run)
    note = run_notes.read().get(identifier, run_notes.Note())
    icon = ":material/keep:" if note.pinned else ":material/edit_note:"
    with st.popover("Pin or annotate", icon=icon, type="tertiary"), st.form(f"note-{identifier}", border=False):
        pin_help = "Labels the run on every plot and puts it first in the table."
        pinned = st.toggle("Pin", note.pinned, key=f"pin-{identifier}", help=pin_help)
        shared: dict[str, Any] = {"max_chars": run_notes.LONGEST_NAME, "placeholder": "Instead of its knobs"}
        name = st.text_input("Name", note.name, key=f"name-{identifier}", **shared)
        text = st.text_area("Note", note.text, NOTE_HEIGHT, run_notes.LONGEST_TEXT, f"text-{identifier}")
        if st.form_submit_button("Save", icon=":material/save:", key=f"save-{identifier}"):
            try:
                run_notes.write(identifier, run_notes.Note(name, text, pinned))
            except OSError as error:
                st.error(format.escaped(f"The note was not saved: {error.strerror or error}."))
            else:
                st.rerun()


def _close_button() -> None:
    st.button("Close", key="close", type="tertiary", icon=":material/close:", on_click=lambda: choose(None))


def _on_click(key: str, on_point: Callable[[str], None]) -> None:
    points = st.session_state[key]["selection"]["points"]
    if points and (custom := points[0].get("customdata")):
        on_point(str(custom[0]))
