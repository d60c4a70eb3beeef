"""The figures of one record as tiles, each with its change against the baseline; an unknown one says why."""

from typing import Any

import streamlit as st

from dit_core.spec import RunRecord
from dit_core.store import Stored
from dit_core.ui import axes, points, reads, words
from dit_core.ui.verdict import suspicion

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


def show(stored: Stored) -> None:
    """Figures with their change against the baseline; unknown ones say why."""
    record, spec = stored.record, points.spec_of(stored)
    measured, judged = reads.baseline_of(stored), reads.judged_beside(stored)
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
        _quality(record, judged.record if judged else None)
        for name, label, told in SHARES_OF_QUALITY:
            if record.quality.get(name) is not None:
                _share(record, judged.record if judged else None, name, label, told)
        if against:
            for name, label, unit in FIDELITY:
                if name in record.fidelity:
                    value = _with_unit(record.fidelity[name], unit)
                    _metric(label, value, record.fidelity, note=_pairs(record, name), figure=name)


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
    """The distance and its change from that of `base`, judged alike; grey where intervals overlap or are unknown."""
    quality = record.quality
    if quality["distance"] is None:
        _metric("Distance", words.UNKNOWN, quality, figure="distance")
        return
    before = base.quality["distance"] if base else None
    spread = axes.distance_spread(record)
    apart = base is not None and axes.apart(spread, axes.distance_spread(base))
    note = f"How far {quality['count']:,} of its images are from real ones: {quality['metric']}. Less is better."
    note += f" 95 % interval {words.significant(spread[0], 4)} to {words.significant(spread[1], 4)}." if spread else ""
    if (endless := quality.get("distance_infinity")) is not None:
        note += f" Extrapolated to endless images: {words.significant(endless, 4)}."
    note += f" {quality['flag']}." if quality.get("flag") else ""
    note += f" {suspicion(record, base)}"
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
    before = base.quality.get(name) if base else None
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
