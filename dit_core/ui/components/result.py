"""The view of one record: what the run gains and loses, its samples next to the baseline's, and its downloads."""

from collections.abc import Callable

import streamlit as st
from plotly.graph_objects import Figure

from dit_core.records import metrics
from dit_core.records.explanation import compilation_cost, explanation_of, types_of_products
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.ui import comparisons, data, distance_notes, format, images, sample_images
from dit_core.ui.charts import pareto_plot, time_bars
from dit_core.ui.charts.references import References
from dit_core.ui.components import elements, model_download, reproduction, tiles
from dit_core.ui.components.verdict import verdict_of

BASELINE_ACROSS = 9  # tiles in a row; Streamlit resamples pictures wider than 1,460 pixels
BESIDE_ACROSS, BESIDE_COUNT = 3, 9  # tiles in a row, and all tiles, in a narrow column


def show(stored: Stored, *beside: Callable[[], object]) -> None:
    """Draw everything about a record, with `beside` next to its title."""
    heading(comparisons.spec_of(stored), *badges(stored), *beside)
    verdict(stored)
    with st.container(key="after-pictures-figures"):  # on a phone, the samples come first
        figures(stored)
    with st.container(key="side-by-side"):
        sheets(stored)
    with st.container(key="after-pictures-environment"):
        environment(stored)


def beside_plot(stored: Stored, *beside: Callable[[], object]) -> None:
    """Draw a record in a narrow column: its samples next to the baseline's, and what it gains and loses."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for badge in badges(stored):
            badge()
        st.space("stretch")
        for draw in beside:
            draw()
    heading(comparisons.spec_of(stored))
    sheets(stored, BESIDE_ACROSS, BESIDE_COUNT)
    verdict(stored)


def badges(stored: Stored) -> tuple[Callable[[], None], ...]:
    """Return functions that draw where a record comes from and whether it was retrained."""
    return (
        lambda: elements.origin_badge(stored),
        lambda: elements.place_badge(stored.record),
        lambda: elements.training_badge(comparisons.spec_of(stored)),
    )


def figures(stored: Stored) -> None:
    """Draw the metrics of a record and the reasons for its time."""
    record = stored.record
    tiles.show(stored)
    if note := distance_notes.distances([record]):
        st.caption(note)
    quality_source(stored)
    if note := distance_notes.small_sample([record]):
        st.caption(note)
    explanation(record)


def environment(stored: Stored) -> None:
    """Draw where a record was measured, its workload and its downloads."""
    elements.environment_caption(stored.record)
    st.caption(f"Workload: {format.workload(comparisons.spec_of(stored))}.")
    downloads(stored)
    reproduction.offer(stored)


def heading(spec: RunSpec, *beside: Callable[[], object], title: str = "") -> None:
    """Draw the recipe, or another title, with `beside` in the same line and the knobs below."""
    with st.container(gap=None):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(title or format.recipe(spec), width="content", anchor=False)
            for draw in beside:
                draw()
        if spec.techniques:
            st.caption(format.knobs(spec))


def verdict(stored: Stored) -> None:
    """Draw what the run gains and loses against its baseline; nothing for a baseline."""
    base = data.quality_baseline(stored)
    if stored.record.spec["techniques"]:
        st.markdown(str(verdict_of(stored.record, base.record if base else None)))
        if notes := References.of(data.alike(stored)).notes(stored):
            st.markdown(f"**For comparison:** {'. '.join(notes)}.")


def quality_source(stored: Stored) -> None:
    """Draw which record the quality is compared with, if that baseline was measured in another environment."""
    base = data.quality_baseline(stored)
    if base and base is not data.baseline_of(stored):
        st.caption(
            f"Quality is compared with the baseline's {base.origin} record from {format.machine(base.record)}, which "
            "has the same seeds, number of images and metric. Quality hardly depends on the processor. Time and memory "
            "are compared only with measurements from this machine."
        )


def explanation(record: RunRecord) -> None:
    """Draw why the run takes its time: expected speed-up, the record's sentence, compilation, parts, experts."""
    if sentence := expected_speedup(record):
        st.caption(sentence)
    if reason := explanation_of(record):
        st.markdown(f"**Why:** {reason}")
    if (types := types_of_products(record)) and "," in types:
        st.caption(f"Multiplications: {types}.")
    if sentence := compilation_cost(record.latency):
        st.caption(sentence)
    parts_of_time(record)
    if sentence := expert_load(record):
        st.caption(sentence)


def parts_of_time(record: RunRecord, *, large: bool = False) -> None:
    """Draw bars of the time of each part of the network; nothing if the run was not profiled."""
    if chart := time_bars.time_figure(record):
        figure, alt = chart
        figure = pareto_plot.enlarged(figure) if large else figure
        st.plotly_chart(Figure(figure), key="time-shares", config=time_bars.CONFIG, alt=alt)


def expected_speedup(record: RunRecord) -> str:
    """Return the speed-up expected from the operation count with the measured one; empty if either is unknown."""
    flops, before = metrics.FLOPS.read(record), metrics.FLOPS.read_baseline(record)
    ratio, interval = metrics.SPEEDUP.stored(record), metrics.SPEEDUP.interval(record)
    if not record.spec["techniques"] or not flops or not before or not ratio or not interval:
        return ""
    return (
        f"Speed-up expected from the operation count: ×{before / flops:.2f}. "
        f"Measured: ×{ratio:.2f} ({interval[0]:.2f} to {interval[1]:.2f})."
    )


def expert_load(record: RunRecord) -> str:
    """Return how evenly tokens are distributed over the experts, and their work; empty without experts."""
    layers = (record.flops.get("routing") or {}).get("balance") or []
    known = [value for layer in layers for value in layer if value is not None]
    if not known:
        return ""
    balance = (
        f"Experts: over {len(layers)} layers and all parts of the denoising, the mean load is {100 * min(known):.0f} "
        f"to {100 * max(known):.0f} % of the busiest expert's load; 100 % is perfectly even."
    )
    return f"{balance} {expert_work(record)}".strip()


def expert_work(record: RunRecord) -> str:
    """Return the multiply-accumulates of the experts for one token, as a sentence; empty if they were not counted."""
    work = record.flops.get("experts")
    if not work:
        return ""
    total, activated, executed = (work[f"{name}_macs_per_token"] for name in ("total", "activated", "executed"))
    return (
        f"All experts together would need {total / 1e6:.2f} million multiply-accumulates for a token. The selected "
        f"experts need {activated / 1e6:.2f} million; the machine executed {executed / activated:.2f} times as many."
    )


def sheets(stored: Stored, across: int | None = None, count: int | None = None) -> None:
    """Draw the samples with the baseline's on the left; for a baseline, its own samples only.

    With `count`, only so many samples of each.
    """
    labels, spec = sample_images.labels(stored.record)[:count], comparisons.spec_of(stored)
    content = f"{len(labels)} samples: {', '.join(labels)}"
    missing = stored.record.samples.get("reason") or "The sample sheet is missing or damaged."
    if not spec.techniques:
        columns = 2 * across if count and across else BASELINE_ACROSS
        elements.picture(sample_images.sheet(stored, "candidate", columns, count), f"Baseline, {content}", missing)
        return
    left, right = st.columns(2, vertical_alignment="bottom")  # one title may take more lines than the other
    for column, which, title in ((left, "baseline", "Baseline"), (right, "candidate", format.recipe(spec))):
        with column:
            st.markdown(f"**{title}**")
            elements.picture(sample_images.sheet(stored, which, across, count), f"{title}, {content}", missing)


def downloads(stored: Stored) -> None:
    """Draw the downloads of a record and the command that repeats the run."""
    spec = comparisons.spec_of(stored)
    with st.container(horizontal=True):
        st.download_button(
            "Samples (PNG)",
            lambda: _sheets_png(stored),
            f"{stored.record.run_id}.png",
            "image/png",
            on_click="ignore",
            icon=":material/download:",
            key="take-png",
        )
        st.download_button(
            "Record (JSON)",
            lambda: stored.record.to_json().encode(),
            f"{stored.record.run_id}.json",
            "application/json",
            on_click="ignore",
            icon=":material/download:",
            key="take-json",
        )
        model_download.offer(spec, "panel")
    elements.command(spec)


def _sheets_png(stored: Stored) -> bytes:
    spec = comparisons.spec_of(stored)
    pictures = [(format.title(spec), sample_images.sheet(stored, "candidate"))]
    if spec.techniques:
        pictures.insert(0, ("Baseline", sample_images.sheet(stored, "baseline")))
    return images.beside(pictures)


def nothing_yet(text: str, *links: tuple[str, str]) -> None:
    """Draw an empty state: what will be shown here, and `(page, label)` links to the first steps."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.markdown(text, text_alignment="center")
        for page, label in links:
            st.page_link(f"../../pages/{page}.py", label=label, icon=":material/arrow_forward:", icon_position="right")
        st.space("small")
