"""The view of one record: what it bought, what it cost, its samples beside the baseline's, and how to take it away."""

from collections.abc import Callable

import streamlit as st
from plotly.graph_objects import Figure

from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Stored
from dit_core.ui import charts, components, images, metrics, model_file, points, reads, words
from dit_core.ui.verdict import judge

BASELINE_ACROSS, SAMPLES_FIRST_ACROSS = 9, 9  # tiles in a row; a picture wider than 1,460 pixels would be resampled


def show(stored: Stored, *beside: Callable[[], object], samples_first: bool = False) -> None:
    """Everything there is to see of a record, with `beside` next to its name. The samples go first or last."""
    record, spec = stored.record, points.spec_of(stored)
    badges = (lambda: components.origin_badge(stored), lambda: components.place_badge(record))
    heading(spec, *badges, *beside)
    verdict(stored)
    if samples_first:
        sheets(stored, SAMPLES_FIRST_ACROSS)
    metrics.show(stored)
    judged_elsewhere(stored)
    if told := words.small_sample([record]):
        st.caption(told)
    why(record, spec)
    if not samples_first:
        sheets(stored)
    components.environment_caption(record)
    st.caption(f"Workload: {words.workload(spec)}.")
    take_away(stored)


def heading(spec: RunSpec, *beside: Callable[[], object], title: str = "") -> None:
    """The recipe, or another title, with the knobs below, and what stands beside it."""
    with st.container(gap=None):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(title or words.recipe(spec), width="content", anchor=False)
            for draw in beside:
                draw()
        if spec.techniques:
            st.caption(words.knobs(spec))


def verdict(stored: Stored) -> None:
    """What the run buys and what it costs, in a line or two of plain words; nothing for a baseline."""
    base = reads.judged_beside(stored)
    if stored.record.spec["techniques"]:
        st.markdown(str(judge(stored.record, base.record if base else None)))


def judged_elsewhere(stored: Stored) -> None:
    """From which record the baseline's quality is, where that was not measured in the run's own environment."""
    base = reads.judged_beside(stored)
    if base and base is not reads.baseline_of(stored):
        st.caption(
            f"Quality is compared with the baseline's {base.origin} record from {words.machine(base.record)}: the same "
            "seeds, as many images, the same metric. It hardly depends on the processor. Time and memory do: they are "
            "compared only with what was measured here."
        )


def why(record: RunRecord, spec: RunSpec) -> None:
    """Why it takes the time that it takes: the record's own sentence, the parts of the time, the load of experts."""
    promise(record, spec)
    if told := record.speedup.get("explanation"):
        st.markdown(f"**Why** {told}")
    parts_of_time(record)
    if told := balance(record):
        st.caption(told)


def parts_of_time(record: RunRecord) -> None:
    """Bars of what the time goes into, where that was profiled."""
    if figure := charts.time_shares(record):
        drawn, sentence = figure
        st.plotly_chart(Figure(drawn), key="time-shares", config=charts.STILL, alt=sentence)


def balance(record: RunRecord) -> str:
    """How evenly a mixture's experts are loaded, in one sentence; empty for a network without any."""
    layers = (record.flops.get("routing") or {}).get("balance") or []
    known = [value for layer in layers for value in layer if value is not None]
    if not known:
        return ""
    told = (
        f"Experts: over {len(layers)} layers the mean load is {100 * min(known):.0f} to {100 * max(known):.0f} % of "
        "the busiest expert's, by part of the denoising; 100 % is even."
    )
    return f"{told} {expert_work(record)}".strip()


def expert_work(record: RunRecord) -> str:
    """What a mixture could, must and did compute for a token, in one sentence; empty where the record does not tell."""
    work = record.flops.get("experts")
    if not work:
        return ""
    total, activated, executed = (work[f"{name}_macs_per_token"] for name in ("total", "activated", "executed"))
    done = "that is" if executed == activated else f"{executed / activated:.2f} times that is"
    return (
        f"All experts together would cost a token {total / 1e6:.2f} million multiply-accumulates; those it is sent to "
        f"cost {activated / 1e6:.2f} million, and {done} what the machine did."
    )


def promise(record: RunRecord, spec: RunSpec) -> None:
    """Work promised beside time delivered, in one sentence."""
    flops, base, ratio = record.flops["flops"], record.flops["baseline_flops"], record.speedup["ratio"]
    if spec.techniques and flops and base and ratio:
        st.caption(
            f"Counting operations promises ×{base / flops:.2f}; the clock delivered ×{ratio:.2f} "
            f"({record.speedup['low']:.2f} to {record.speedup['high']:.2f})."
        )


def sheets(stored: Stored, across: int | None = None) -> None:
    """Both sheets, baseline left; the baseline alone for a baseline run."""
    labels, spec = reads.labels(stored.record), points.spec_of(stored)
    told = f"{len(labels)} samples: {', '.join(labels)}"
    missing = stored.record.samples.get("reason") or "The sheet is missing or was damaged."
    if not spec.techniques:
        components.picture(reads.sheet(stored, "candidate", BASELINE_ACROSS), f"Baseline, {told}", missing)
        return
    left, right = st.columns(2)
    for column, which, title in ((left, "baseline", "Baseline"), (right, "candidate", words.recipe(spec))):
        with column:
            st.markdown(f"**{title}**")
            components.picture(reads.sheet(stored, which, across), f"{title}, {told}", missing)


def take_away(stored: Stored) -> None:
    """Downloads and the command that makes the run again."""
    spec = points.spec_of(stored)
    with st.container(horizontal=True):
        st.download_button(
            "Samples (PNG)",
            lambda: _take_sheets(stored),
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
        model_file.offer(spec, "panel")
    st.code(spec.command(), language=None, wrap_lines=True)


def _take_sheets(stored: Stored) -> bytes:
    title = words.title(points.spec_of(stored))
    pictures = [(title, reads.sheet(stored, "candidate"))]
    if title != "Baseline":
        pictures.insert(0, ("Baseline", reads.sheet(stored, "baseline")))
    return images.beside(pictures)


def nothing_yet(text: str, *links: tuple[str, str]) -> None:
    """An empty place that says what will be there, with `(page, label)` of where to go first."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.markdown(text, text_alignment="center")
        for page, label in links:
            st.page_link(f"../../pages/{page}.py", label=label, icon=":material/arrow_forward:", icon_position="right")
        st.space("small")
