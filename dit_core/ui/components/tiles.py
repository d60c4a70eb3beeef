"""The metrics of one record as tiles, each with its change against the baseline, or the reason why it is unknown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import streamlit as st

from dit_core.records import metrics, own_metrics
from dit_core.records.metric import Metric
from dit_core.records.record import RunRecord
from dit_core.records.store import Stored
from dit_core.system import devices
from dit_core.ui import comparisons, data, format
from dit_core.ui.charts.axes import Measured, differs


def show(stored: Stored) -> None:
    """Draw a tile for every metric that the table of metrics gives one and that this kind of run has."""
    record, is_candidate = stored.record, bool(comparisons.spec_of(stored).techniques)
    measured, judged = data.baseline_of(stored), data.quality_baseline(stored)
    with st.grid(4 if is_candidate else 3, min_column_width=130, gap="small"):
        for metric in tiles(record):
            baseline = judged if metric.axis == "quality" else measured
            _tile(metric, record, baseline.record if baseline else None)


def tiles(record: RunRecord) -> list[Metric]:
    """Return the metrics that get a tile: required and own ones, known or not, and the others if they are known.

    The figures of a GPU come first, known or not.
    """
    kind = "candidates" if record.spec["techniques"] else "baselines"
    shown = [metric for metric in metrics.METRICS if metric.tile in ("all", kind)]
    first = metrics.ON_GPU if devices.kind(record.environment["device"]) != "cpu" else ()
    known = [metric for metric in shown if metric.required or metric.read(record) is not None]
    return list(dict.fromkeys((*first, *known, *own_metrics.of([record]))))


def _tile(metric: Metric, record: RunRecord, baseline: RunRecord | None) -> None:
    """Draw one metric; `baseline` is the record that its quality or its memory is compared with, if there is one."""
    value, shared = metric.scaled(record), {"border": True, "height": "stretch"}
    label = metric.tile_title
    if value is not None and (metric in metrics.FRECHET or isinstance(metric, own_metrics.OwnMetric)):
        label = f"{label}, n={metrics.JUDGED_IMAGES.read(record) or 0:,}"
    if value is None:
        st.metric(label, format.UNKNOWN, help=metric.reason(record) or None, **shared)
        return
    delta = _delta(metric, record, baseline)
    shown = format.quantity(value, metric.unit)
    st.metric(label, shown, delta.text, delta.colour, delta_arrow=delta.arrow, help=_help(metric, record), **shared)


@dataclass(frozen=True)
class Delta:
    """The second line of a tile: grey without an arrow unless the change is larger than the uncertainty."""

    text: str | None = None
    colour: Literal["normal", "inverse", "off"] = "off"
    arrow: Literal["auto", "up", "down", "off"] = "off"


def _delta(metric: Metric, record: RunRecord, baseline: RunRecord | None) -> Delta:
    if metric.tile == "candidates":  # its value is a comparison with the baseline already
        return _interval_around_1(metric, record) if metric is metrics.SPEEDUP else Delta()
    value, before = metric.read(record), _baseline_value(metric, record, baseline)
    if value is None or before is None or not record.spec["techniques"]:
        return Delta()
    if metric.unit == "%":
        text = f"{metric.scale * (value - before[0]):+.1f} points"
    else:
        change = format.change(value, before[0])
        if not change:
            return Delta("unchanged" if change == 0 else None)
        text = str(change)
    if not differs(metric, (value, metric.interval(record)), before):
        return Delta(text)
    return Delta(text, "inverse" if metric.better == "lower" else "normal", "auto")


def _interval_around_1(metric: Metric, record: RunRecord) -> Delta:
    """Return the interval of a ratio to the baseline, grey if it contains 1."""
    interval = metric.interval(record)
    if interval is None:
        return Delta()
    text = f"{interval[0]:.2f} to {interval[1]:.2f}"
    if interval[0] <= 1 <= interval[1]:
        return Delta(text)
    return Delta(text, "normal", "up") if interval[0] > 1 else Delta(text, "inverse", "down")


def _baseline_value(metric: Metric, record: RunRecord, baseline: RunRecord | None) -> Measured | None:
    """Return the baseline's value from the same job, else from the baseline's own record; None if both lack it."""
    beside = metric.of_baseline()
    if beside and (value := beside.read(record)) is not None:
        return value, beside.interval(record)
    if baseline and metric.comparable(record, baseline) and (value := metric.read(baseline)) is not None:
        return value, metric.interval(baseline)
    return None


def _help(metric: Metric, record: RunRecord) -> str:
    """Return what the metric means, its interval, and what is special about this measurement."""
    sentences = [metric.help]
    interval = metric.scaled_interval(record)
    if interval and metric is not metrics.SPEEDUP:  # its tile shows the interval
        low, high = (format.quantity(end, metric.unit) for end in interval)
        sentences.append(f"{metric.interval_title[0].upper()}{metric.interval_title[1:]}: {low} to {high}.")
    note = NOTES.get(metric)
    return " ".join(filter(None, [*sentences, note(record) if note else ""]))


def _timing_note(record: RunRecord) -> str:
    """Return how the latency was measured: number of calls, warm-up, load and first call, disturbances."""
    latency = record.latency
    processes = f" in {latency['processes']} processes" if latency.get("processes", 1) > 1 else ""
    sentences = [
        f"Measured over {latency['calls']} calls{processes} with batch size {latency['batch_size']}, after a warm-up.",
        f"Loading took {format.seconds(latency['load_s'])}. The first call took "
        f"{format.seconds(latency['first_call_s'])}, including compilation.",
    ]
    for warning in (latency.get("flag"), (latency.get("reasons") or {}).get("processes")):
        if warning:
            sentences.append(f"{warning[0].upper()}{warning[1:]}.")
    return " ".join(sentences)


def _speedup_note(record: RunRecord) -> str:
    """Return how baseline and candidate were timed."""
    speedup = record.speedup
    processes = len(speedup.get("process_ratios") or ())
    where = f"in {processes} processes of one job" if processes > 1 else "in one job"
    confidence = f"{100 * speedup['confidence']:.0f} % interval" if speedup["confidence"] else "no interval"
    return f"Timed alternately with the baseline {where}: {speedup['blocks']} blocks, {confidence}."


def _distance_note(record: RunRecord) -> str:
    """Return N and the reference, the method of the distance, its extrapolation and warnings."""
    basis, method = metrics.PRIMARY_QUALITY.basis(record), metrics.PRIMARY_QUALITY.method(record)
    sentences = [f"{basis}. Method: {method}."]
    if (extrapolated := metrics.DISTANCE_INFINITY.scaled(record)) is not None:
        sentences.append(f"Extrapolated to infinitely many images: {format.significant(extrapolated)}.")
    if flag := metrics.PRIMARY_QUALITY.flag(record):
        sentences.append(f"{flag[0].upper()}{flag[1:]}.")
    return " ".join(sentences)


def _fid_note(record: RunRecord) -> str:
    """Return N, the reference and the method of FID, and its warning."""
    sentences = [f"{metrics.FID.basis(record)}. Method: {metrics.FID.method(record)}."]
    if flag := metrics.FID.flag(record):
        sentences.append(f"{flag[0].upper()}{flag[1:]}.")
    return " ".join(sentences)


def _pairs_note(record: RunRecord) -> str:
    return f"{record.fidelity['count']} pairs." if record.fidelity["count"] else ""


def _peak_note(record: RunRecord) -> str:
    return f"Measured as {record.memory['peak_kind']}." if record.memory.get("peak_kind") else ""


def _operators_note(record: RunRecord) -> str:
    names = ", ".join(record.flops.get("uncounted") or ())
    return f"Not counted: {names}." if names else "Every operator was counted."


# What the table of metrics cannot know: how this record's value was measured.
NOTES: dict[Metric, Callable[[RunRecord], str]] = {
    metrics.LATENCY: _timing_note,
    metrics.SPEEDUP: _speedup_note,
    metrics.PEAK_MEMORY: _peak_note,
    metrics.FLOPS: _operators_note,
    metrics.PRIMARY_QUALITY: _distance_note,
    metrics.FID: _fid_note,
    metrics.PRIMARY_FIDELITY: _pairs_note,
}
