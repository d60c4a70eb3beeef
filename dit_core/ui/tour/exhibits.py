"""What the steps of the tour show below their text: images, a plot and the answer to the question, from records."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dit_core.errors import BadRequest
from dit_core.inside import files
from dit_core.recipes.recipe import canonical
from dit_core.records import metrics
from dit_core.records.explanation import explanation_of
from dit_core.records.metric import Metric
from dit_core.records.record import RunRecord
from dit_core.records.store import Stored
from dit_core.ui import comparisons, data, distance_notes, format, sample_images, style
from dit_core.ui.charts import axes
from dit_core.ui.claims import claims_page
from dit_core.ui.components import elements, result
from dit_core.ui.inside import parts, quantization
from dit_core.ui.pareto import pareto_page
from dit_core.ui.tour.links import FEW_BITS

STRIP, FEW = 9, 5  # images in a row, across the page and next to a plot
MANY_BITS = 8
PLOT_HEIGHT = 380  # pixels
LAYER = (4, "attn.qkv")  # block from 0 and layer, in the middle of the network


def baseline_and_answer(runs: Sequence[Stored]) -> None:
    """Images of the baseline; the answer to the step's question, folded: where its time goes."""
    record = runs[-1].record
    _images(runs[-1])
    with _answer():
        if shares := record.latency.get("time_shares"):
            part, share = max(shares.items(), key=lambda item: item[1])
            name = style.PARTS[part][0] if part in style.PARTS else part
            st.markdown(
                f"The largest part is {name}: {100 * share:.0f} % of the time. A technique can save at most the time "
                "of the part that it changes. To save more, change several parts, or run the network less often."
            )
        _figures(runs[-1])


def images_and_plot_in_answer(answer: str, cost: Metric, runs: Sequence[Stored]) -> None:
    """The images across the page; the answer to the step's question with the plot and the figures, folded."""
    _images(runs[-1])
    with _answer():
        left, right = st.columns([4, 5], gap="medium")
        with left:
            st.markdown(answer)
            _figures(runs[-1])
        with right:
            family_plot(runs, cost)


def images_plot_and_answer(answer: str, cost: Metric, runs: Sequence[Stored], quality: Metric | None = None) -> None:
    """The images next to the plot of the run's family; the answer to the step's question with the figures, folded."""
    left, right = st.columns([4, 5], gap="medium")
    with left:
        _images(runs[-1], FEW)
    with right:
        family_plot(runs, cost, quality)
    with _answer():
        st.markdown(answer)
        _figures(runs[-1])


def images_and_rounded_weights(answer: str, runs: Sequence[Stored]) -> None:
    """The images next to the weights of one layer rounded to few bits; the answer to the step's question, folded."""
    left, right = st.columns([4, 5], gap="medium")
    with left:
        _images(runs[-1], FEW)
    with right:
        _rounded_weights()
    with _answer():
        st.markdown(answer)
        _figures(runs[-1])


def images_front_and_verdicts(runs: Sequence[Stored]) -> None:
    """The images next to all runs of the machine; the answer, folded: how many claims got each verdict."""
    left, right = st.columns([4, 5], gap="medium")
    with left:
        _images(runs[-1], FEW)
    with right:
        _plot(_group(runs[-1]), runs[-1], metrics.RELATIVE_TIME)
    with _answer():
        claims_page.tally(claims_page.verdicts())
        st.markdown(
            "Fewer than most people guess. Savings that can be counted, of weights and of operations, carry over most "
            "often. Gains in time and in peak memory often do not: they depend on the size of the network and on the "
            "machine."
        )


def family_plot(runs: Sequence[Stored], cost: Metric = metrics.WEIGHT_BYTES, quality: Metric | None = None) -> None:
    """Quality against a cost for every run of the family, with a ring around the step's run."""
    chosen = runs[-1]
    families = ("baseline", format.family(comparisons.spec_of(chosen)))
    members = [stored for stored in _group(chosen) if format.family(comparisons.spec_of(stored)) in families]
    _plot(members, chosen, cost, quality)


def _answer() -> DeltaGenerator:
    """The folded answer of the step. Its key differs from step to step, so that the next one is folded again."""
    return st.expander("Show the answer", key=f"answer-{st.query_params.get('step', '1')}")


def _group(chosen: Stored) -> Sequence[Stored]:
    """All runs that may be compared with the step's run."""
    return next(group.runs for group in data.groups() if chosen in group.runs)


def _plot(members: Sequence[Stored], chosen: Stored, cost: Metric, quality: Metric | None = None) -> None:
    """Quality against a cost, with the metric of distance by default; large enough to read from the back of a room."""
    axis = axes.Axis(quality) if quality else next(iter(axes.quality_axes(members).values()), None)
    if axis is None:
        return
    options: dict[str, Any] = {"chosen": chosen, "height": PLOT_HEIGHT, "on_point": _open_on_pareto, "large": True}
    pareto_page.plot(members, axes.Axis(cost), axis, **options)
    note = f"{axis.title}." if quality else distance_notes.distances([stored.record for stored in members])
    st.caption(" ".join(filter(None, (note, f"The ring marks {_title(chosen)}."))))
    _provenance(chosen)


def _rounded_weights() -> None:
    """The weights of one layer rounded to many bits and to few, as on the page Inside."""
    try:
        panel = files.read("quantization")["data"]
    except BadRequest as error:
        st.caption(str(error))
        return
    block, layer = LAYER
    for column, bits in zip(st.columns(2, gap="small"), (MANY_BITS, FEW_BITS), strict=True):
        with column:
            st.markdown(f"**{bits} bits**: {parts.LAYERS[layer]} of block {block + 1}")
            quantization.weight_histogram(panel, block, layer, "nearest", bits, large=True)


def _images(stored: Stored, count: int = STRIP) -> None:
    """A row of the baseline's images, and below it the run's."""
    labels = sample_images.labels(stored.record)[:count]
    titles = {"baseline": "Baseline"}
    if comparisons.spec_of(stored).techniques:
        titles["candidate"] = _title(stored)
    for side, title in titles.items():
        if strip := sample_images.strip(stored, side, tuple(range(len(labels)))):
            with st.container(gap="xxsmall"):
                st.caption(title)
                st.image(strip, output_format="PNG", width="stretch", alt=f"{title}: {', '.join(labels)}")


def _figures(stored: Stored) -> None:
    """What the run saves and costs, and why; for the baseline, where its time goes."""
    record = stored.record
    result.verdict(stored)
    if not record.spec["techniques"]:
        _baseline_figures(record)
    elif explanation := explanation_of(record):
        st.markdown(explanation)
    _provenance(stored)


def _baseline_figures(record: RunRecord) -> None:
    count = record.latency["batch_size"]
    images = "One image takes" if count == 1 else f"A batch of {count} images takes"
    seconds, size = metrics.LATENCY.stored(record), metrics.WEIGHT_BYTES.stored(record)
    st.markdown(f"{images} {format.seconds(seconds)}. The weights take {format.size(size)}.")
    if record.latency.get("time_shares"):
        st.markdown("**Where the time goes**")
        result.parts_of_time(record, large=True)


def _provenance(stored: Stored) -> None:
    """Where the figures above were measured."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        elements.origin_badge(stored)
        elements.training_badge(comparisons.spec_of(stored))
        elements.place_badge(stored.record)
        elements.environment_caption(stored.record)


def _title(stored: Stored) -> str:
    """The techniques of a run with the knobs that are not at their defaults: `Quantization, bits 4`."""
    spec = comparisons.spec_of(stored)
    defaults = canonical([{"name": entry["name"]} for entry in spec.techniques])
    return format.brief_titles([spec, replace(spec, techniques=defaults)])[0]


def _open_on_pareto(identifier: str) -> None:
    st.switch_page("../../pages/pareto.py", query_params={"run": identifier})
