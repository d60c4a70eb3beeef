"""Tables of records and targets for the README, as Markdown. Imports no torch."""

from collections.abc import Iterable
from operator import le

from dit_core.analysis import targets
from dit_core.records import metrics
from dit_core.records.metric import Metric
from dit_core.records.record import RunRecord, coverage
from dit_core.records.spec import RunSpec, technique_label
from dit_core.records.store import Loaded

SECTIONS = ("records", "targets")
COLUMNS = (
    "recipe",
    "ms per batch of {batch} (its baseline)",
    "speed-up (95 %)",
    "weights",
    "distance, not FID (95 %)",
    "same-seed PSNR",
)
COSTS = (metrics.PRIMARY_COST, metrics.WEIGHT_BYTES, metrics.PRIMARY_QUALITY)  # lower is better in each


def table(records: Iterable[RunRecord]) -> str:
    """Return a Markdown table of the leading records of one workload and environment: the baseline, then by speed."""
    records = list(records)
    rows = sorted(leading(records), key=_order)
    if not rows:
        return "No records."
    first = rows[0]
    machine = f"{first.environment['cpu']}, {first.environment['threads']} threads, torch {first.environment['torch']}"
    spec = RunSpec.from_dict(first.spec)
    workload = f"{spec.steps} steps of {spec.scheduler}, guidance {spec.guidance:g}, {spec.samples:,} images evaluated"
    lines = [
        "| " + " | ".join(COLUMNS).format(batch=spec.batch_size) + " |",
        "|---" + "|---:" * (len(COLUMNS) - 1) + "|",
    ]
    varied = _varied(rows)
    lines += ["| " + " | ".join(_cells(record, varied)) + " |" for record in rows]
    note = f"{len(rows)} of {len(records)} runs: no other run is at least as good in time, bytes and distance together."
    distance = metrics.PRIMARY_QUALITY.explained(first)
    return "\n".join([f"{machine}; {spec.model}, {workload}. {note} Distance: {distance}", "", *lines])


def leading(records: list[RunRecord]) -> list[RunRecord]:
    """Return the baseline and the records that no other record equals or beats in all of COSTS."""
    costs = [_costs(record) for record in records]
    return [
        record
        for record, own in zip(records, costs, strict=True)
        if not record.spec["techniques"]
        or (own and not any(other and other != own and all(map(le, other, own)) for other in costs))
    ]


def _order(record: RunRecord) -> tuple[bool, float]:
    """Sort key: the baseline, then the fastest first; unknown speed-ups are last."""
    time = metrics.PRIMARY_COST.read(record)
    return bool(record.spec["techniques"]), float("inf") if time is None else time


def _costs(record: RunRecord) -> tuple[float, ...] | None:
    """Return the values of COSTS; None if one is unknown."""
    values = [metric.read(record) for metric in COSTS]
    known = tuple(value for value in values if value)
    return known if len(known) == len(COSTS) else None


def sections(loaded: Loaded) -> dict[str, str]:
    """Return the content of each of SECTIONS."""
    bundled = [stored.record for stored in loaded.records if stored.origin == "bundled"]
    return {
        "records": table(main_workload(loaded)),
        "targets": targets.table(targets.judge(targets.read(), bundled)),
    }


def section(text: str, name: str) -> str:
    """Return the text between `<!-- name -->` and `<!-- end of name -->`; raises ValueError if a marker is missing."""
    begin, end = _markers(name)
    return text[text.index(begin) + len(begin) : text.index(end)].strip()


def with_section(text: str, name: str, content: str) -> str:
    """Return the text with `content` between these markers; raises ValueError if a marker is missing."""
    begin, end = _markers(name)
    return f"{text[: text.index(begin)]}{begin}\n{content}\n{text[text.index(end) :]}"


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- end of {name} -->"


def main_workload(loaded: Loaded) -> list[RunRecord]:
    """Return the bundled records of the workload and environment with the most techniques, then the most records."""
    records = [stored.record for stored in loaded.records if stored.origin == "bundled"]
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        workload = RunSpec.from_dict(record.spec).baseline.run_id + record.environment["fingerprint"]
        groups.setdefault(workload, []).append(record)
    return max(groups.values(), key=coverage, default=[])


def _varied(rows: list[RunRecord]) -> set[tuple[str, str]]:
    """Return (technique, knob) pairs with more than one value in the rows; labels show only these."""
    values: dict[tuple[str, str], set[str]] = {}
    for entry in (entry for record in rows for entry in record.spec["techniques"]):
        for knob, value in entry.items():
            values.setdefault((entry["name"], knob), set()).add(str(value))
    return {key for key, distinct in values.items() if len(distinct) > 1}


def _cells(record: RunRecord, varied: set[tuple[str, str]]) -> list[str]:
    techniques = [
        {knob: value for knob, value in entry.items() if knob == "name" or (entry["name"], knob) in varied}
        for entry in record.spec["techniques"]
    ]
    latency = f"{1000 * (metrics.LATENCY.read(record) or 0):,.0f}"
    speedup = ""
    if metrics.SPEEDUP.stored(record) is not None:
        latency += f" ({1000 * (metrics.LATENCY.read_baseline(record) or 0):,.0f})"
        speedup = _with_interval(metrics.SPEEDUP, record, "{:.2f}")
    psnr = metrics.PRIMARY_FIDELITY.read(record)
    return [
        " + ".join(technique_label(entry) for entry in techniques) or "baseline",
        latency,
        speedup,
        f"{metrics.WEIGHT_BYTES.scaled(record) or 0:.2f} {metrics.WEIGHT_BYTES.unit}",
        _with_interval(metrics.PRIMARY_QUALITY, record, "{:,.0f}"),
        "" if psnr is None else f"{psnr:.1f} {metrics.PRIMARY_FIDELITY.unit}",
    ]


def _with_interval(metric: Metric, record: RunRecord, form: str) -> str:
    """Return `value (low to high)`; empty if the value is unknown."""
    value, ends = metric.read(record), metric.interval(record)
    if value is None:
        return ""
    around = f" ({form.format(ends[0])} to {form.format(ends[1])})" if ends else ""
    return f"{form.format(value)}{around}"
