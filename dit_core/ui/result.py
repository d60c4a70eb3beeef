"""The view of one record: what it bought, what it cost, its samples beside the baseline's, and how to take it away."""

from collections.abc import Callable
from typing import Any

import streamlit as st
from plotly.graph_objects import Figure

from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Stored
from dit_core.ui import axes, charts, components, images, model_file, points, reads, words
from dit_core.ui.verdict import judge, suspicion

SHARES_OF_QUALITY = (
    ("precision", "Precision", "Share of its images that look like real ones. More is better."),
    ("recall", "Recall", "Share of real images that it can make something like. More is better."),
    (
        "class_accuracy",
        "Class accuracy",
        "Share of its images that a classifier, fitted on the real ones, puts into the class that was asked for. "
        "More is better.",
    ),
)
FIDELITY = (("psnr_db", "PSNR", "dB"), ("ssim", "SSIM", ""), ("feature_cosine", "Feature cosine", ""))
BASELINE_ACROSS, SAMPLES_FIRST_ACROSS = 9, 9  # tiles in a row; a picture wider than 1,460 pixels would be resampled


def show(stored: Stored, *beside: Callable[[], object], samples_first: bool = False) -> None:
    """Everything there is to see of a record, with `beside` next to its name. The samples go first or last."""
    record, spec = stored.record, points.spec_of(stored)
    heading(spec, lambda: components.origin_badge(stored), *beside)
    verdict(stored)
    if samples_first:
        sheets(stored, SAMPLES_FIRST_ACROSS)
    metrics(stored)
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


def metrics(stored: Stored) -> None:
    """Figures with their change against the baseline; unknown ones say why."""
    record, spec = stored.record, points.spec_of(stored)
    measured = reads.baseline_of(stored)
    base = measured.record if measured else None
    against = bool(spec.techniques)
    with st.grid(4 if against else 3, min_column_width=130, gap="small"):
        _metric(
            "Latency",
            words.seconds(record.latency["latency_s"]),
            record.latency,
            _latency_delta(record, against),
            note=_timing(record),
        )
        _speedup(record, against)
        _metric("Weights", words.size(record.memory["weight_bytes"]), record.memory, _weights_delta(record, against))
        peak = record.memory["peak_memory_bytes"]
        base_peak = record.memory.get("baseline_peak_memory_bytes") or (base and base.memory["peak_memory_bytes"])
        _metric(
            "Peak memory",
            words.size(peak),
            record.memory,
            words.change(peak, base_peak) if against else None,
            note=str(record.memory.get("peak_kind") or ""),
        )
        _metric(
            "Compute",
            words.operations(record.flops["flops"]),
            record.flops,
            _flops_delta(record, against),
            note=_uncounted(record),
        )
        _quality(record, base)
        for name, label, told in SHARES_OF_QUALITY:
            if record.quality.get(name) is not None:
                _share(record, base, name, label, told)
        if against:
            for name, label, unit in FIDELITY:
                if name in record.fidelity:
                    value = _with_unit(record.fidelity[name], unit)
                    _metric(label, value, record.fidelity, note=_pairs(record, name), figure=name)


def verdict(stored: Stored) -> None:
    """What the run buys and what it costs, in a line or two of plain words; nothing for a baseline."""
    base = reads.baseline_of(stored)
    if stored.record.spec["techniques"]:
        st.markdown(str(judge(stored.record, base.record if base else None)))


def why(record: RunRecord, spec: RunSpec) -> None:
    """Why it takes the time that it takes: the record's own sentence, the parts of the time, the load of experts."""
    promise(record, spec)
    if told := record.speedup.get("explanation"):
        st.markdown(f"**Why** {told}")
    if figure := charts.time_shares(record):
        drawn, sentence = figure
        st.plotly_chart(Figure(drawn), key="time-shares", config=charts.STILL, alt=sentence)
    if told := balance(record):
        st.caption(told)


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


def _metric(
    label: str,
    value: str,
    section: dict[str, Any],
    delta: str | int | None = None,
    *,
    better: str = "less",
    note: str = "",
    figure: str = "",
) -> None:
    """A figure; where it is unknown, the reason is its help: that of the `figure`, or of its section."""
    unknown = value == words.UNKNOWN
    why = (section.get("reasons") or {}).get(figure) or section.get("reason") or ""
    explanation = str(why) if unknown else note
    colour = "inverse" if better == "less" else "normal"
    if unknown or delta is None:
        st.metric(label, value, help=explanation or None, border=True, height="stretch")
    elif delta == 0:
        st.metric(
            label, value, "unchanged", "off", delta_arrow="off", help=explanation or None, border=True, height="stretch"
        )
    else:
        st.metric(label, value, delta, colour, help=explanation or None, border=True, height="stretch")


def _latency_delta(record: RunRecord, against: bool) -> str | int | None:
    return words.change(record.latency["latency_s"], record.speedup["baseline_latency_s"]) if against else None


def _timing(record: RunRecord) -> str:
    """How the latency was found: of how many calls, how far they spread, what came before, what disturbed them."""
    latency, spread = record.latency, axes.latency_spread(record)
    apart = f" in {latency['processes']} processes" if latency.get("processes", 1) > 1 else ""
    told = [f"Median of {latency['calls']} calls{apart} for a batch of {latency['batch_size']}, after a warm-up."]
    if spread:
        told.append(f"The middle half took {' to '.join(words.seconds(ms / 1e3) for ms in spread)}.")
    told.append(
        f"Before that, loading took {words.seconds(latency['load_s'])} and the first call "
        f"{words.seconds(latency['first_call_s'])}, with whatever it had to compile."
    )
    for note in (latency.get("flag"), (latency.get("reasons") or {}).get("processes")):
        if note:
            told.append(f"{note[0].upper()}{note[1:]}.")
    return " ".join(told)


def _weights_delta(record: RunRecord, against: bool) -> str | int | None:
    return words.change(record.memory["weight_bytes"], record.memory["baseline_weight_bytes"]) if against else None


def _flops_delta(record: RunRecord, against: bool) -> str | int | None:
    return words.change(record.flops["flops"], record.flops["baseline_flops"]) if against else None


def _speedup(record: RunRecord, against: bool) -> None:
    """The ratio with its interval; grey where the interval contains 1, for then nothing is shown."""
    ratio, low, high = (record.speedup[name] for name in ("ratio", "low", "high"))
    if not against:
        _metric("Throughput", _with_unit(record.latency["throughput_images_per_s"], "img/s"), record.latency)
    elif ratio is None or low is None or high is None:
        _metric("Speed-up", words.UNKNOWN, record.speedup)
    else:
        unclear = low <= 1 <= high
        blocks, confidence = record.speedup["blocks"], record.speedup["confidence"]
        processes = len(record.speedup.get("process_ratios") or ())
        where = f"in {processes} processes of one job" if processes > 1 else "in one job"
        st.metric(
            "Speed-up",
            f"×{ratio:.2f}",
            f"{low:.2f} to {high:.2f}",
            "off" if unclear else "normal" if ratio > 1 else "inverse",
            delta_arrow="off" if unclear else "up" if ratio > 1 else "down",
            help=f"Baseline and candidate in turn, {where}: {blocks} blocks, {100 * confidence:.0f} % interval.",
            border=True,
            height="stretch",
        )


def _quality(record: RunRecord, base: RunRecord | None) -> None:
    """The distance with its change; grey where the two intervals overlap or are not known."""
    quality = record.quality
    if quality["distance"] is None:
        _metric("Distance", words.UNKNOWN, quality, figure="distance")
        return
    same = base is not None and all(base.quality[key] == quality[key] for key in ("metric", "count", "reference"))
    before = base.quality["distance"] if base and same else None
    spread = axes.distance_spread(record)
    apart = base is not None and same and axes.apart(spread, axes.distance_spread(base))
    note = f"How far {quality['count']:,} of its images are from real ones: {quality['metric']}. Less is better."
    note += f" 95 % interval {words.significant(spread[0], 4)} to {words.significant(spread[1], 4)}." if spread else ""
    if (endless := quality.get("distance_infinity")) is not None:
        note += f" Extrapolated to endless images: {words.significant(endless, 4)}."
    note += f" {quality['flag']}." if quality.get("flag") else ""
    note += f" {suspicion(record, base)}" if same else ""
    delta = words.change(quality["distance"], before)
    st.metric(
        f"Distance, n={quality['count']:,}",
        words.significant(quality["distance"], 4),
        delta if delta else "unchanged" if delta == 0 else None,
        "inverse" if apart else "off",
        delta_arrow="off" if delta == 0 else "auto",
        help=note,
        border=True,
        height="stretch",
    )


def _share(record: RunRecord, base: RunRecord | None, name: str, label: str, told: str) -> None:
    """A figure of the quality that is a share, and its change in points; grey unless both intervals are apart."""
    value = record.quality[name]
    same = base is not None and base.quality.get("metric") == record.quality.get("metric")
    before = base.quality.get(name) if base and same else None
    delta = None if before is None or not record.spec["techniques"] else f"{100 * (value - before):+.1f} points"
    spread = axes.share_spread(record, name)
    apart = delta is not None and base is not None and axes.apart(spread, axes.share_spread(base, name))
    st.metric(
        label,
        f"{100 * value:.1f} %",
        delta,
        "normal" if apart else "off",
        delta_arrow="auto" if apart else "off",
        help=told + (f" 95 % interval {spread[0]:.1f} to {spread[1]:.1f} %." if spread else ""),
        border=True,
        height="stretch",
    )


def _pairs(record: RunRecord, name: str) -> str:
    told = "How close an image is to the baseline's of the same seed and class, mean of {} pairs. More is closer."
    ends = (record.fidelity.get("intervals") or {}).get(name)
    around = f" 95 % interval {words.significant(ends[0])} to {words.significant(ends[1])}." if ends else ""
    return f"{told.format(record.fidelity['count'])}{around}" if record.fidelity["count"] else ""


def _uncounted(record: RunRecord) -> str:
    names = ", ".join(record.flops.get("uncounted") or ())
    return f"Not counted: {names}." if names else "Per trajectory; every operator was counted."


def _with_unit(value: float | None, unit: str = "") -> str:
    return words.UNKNOWN if value is None else f"{words.significant(value)} {unit}".strip()


def nothing_yet(text: str, *links: tuple[str, str]) -> None:
    """An empty place that says what will be there, with `(page, label)` of where to go first."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.markdown(text, text_alignment="center")
        for page, label in links:
            st.page_link(f"../../pages/{page}.py", label=label, icon=":material/arrow_forward:", icon_position="right")
        st.space("small")
