"""The bundled records and the targets as tables for the README, so that no figure there is typed. Imports no torch."""

from collections.abc import Iterable
from operator import le

from dit_core import targets
from dit_core.spec import RunRecord, RunSpec, technique_label
from dit_core.store import Loaded

SECTIONS = ("records", "targets")
COLUMNS = (
    "recipe",
    "ms for {batch} images (baseline beside it)",
    "speed-up (95 %)",
    "weights",
    "distance (95 %)",
    "same-seed PSNR",
)


def table(records: Iterable[RunRecord]) -> str:
    """A Markdown table of the leading records of one workload in one environment: the baseline, then by speed-up."""
    records = list(records)
    rows = sorted(
        leading(records), key=lambda record: (bool(record.spec["techniques"]), -(record.speedup["ratio"] or 0))
    )
    if not rows:
        return "No records."
    head = rows[0]
    machine = f"{head.environment['cpu']}, {head.environment['threads']} threads, torch {head.environment['torch']}"
    spec = RunSpec.from_dict(head.spec)
    workload = f"{spec.steps} steps of {spec.scheduler}, guidance {spec.guidance:g}, {spec.samples:,} images judged"
    lines = [
        "| " + " | ".join(COLUMNS).format(batch=spec.batch_size) + " |",
        "|---" + "|---:" * (len(COLUMNS) - 1) + "|",
    ]
    varied = _varied(rows)
    lines += ["| " + " | ".join(_cells(record, varied)) + " |" for record in rows]
    note = f"Of {len(records)} runs these {len(rows)}, which no other beats in time, bytes and distance at once."
    return "\n".join([f"{machine}; {spec.model}, {workload}. {note}", "", *lines])


def leading(records: list[RunRecord]) -> list[RunRecord]:
    """The baseline, and the records that no other equals or beats in all of relative time, weights and distance."""
    costs = [_costs(record) for record in records]
    return [
        record
        for record, own in zip(records, costs, strict=True)
        if not record.spec["techniques"]
        or (own and not any(other and other != own and all(map(le, other, own)) for other in costs))
    ]


def _costs(record: RunRecord) -> tuple[float, float, float] | None:
    """Time in the baseline's, bytes and distance, less of each being better; None where one of them is unknown."""
    ratio = 1.0 if not record.spec["techniques"] else record.speedup["ratio"]
    weights, distance = record.memory["weight_bytes"], record.quality["distance"]
    return (1 / ratio, weights, distance) if ratio and weights and distance else None


def sections(loaded: Loaded) -> dict[str, str]:
    """What belongs between the markers of each of SECTIONS."""
    bundled = [stored.record for stored in loaded.records if stored.origin == "bundled"]
    return {
        "records": table(main_workload(loaded)),
        "targets": targets.table(targets.judge(targets.read(), bundled)),
    }


def section(text: str, name: str) -> str:
    """What stands between the markers `<!-- name -->` and `<!-- end of name -->`; ValueError where they are missing."""
    begin, end = _markers(name)
    return text[text.index(begin) + len(begin) : text.index(end)].strip()


def with_section(text: str, name: str, content: str) -> str:
    """The text with `content` between these markers."""
    begin, end = _markers(name)
    return f"{text[: text.index(begin)]}{begin}\n{content}\n{text[text.index(end) :]}"


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- end of {name} -->"


def main_workload(loaded: Loaded) -> list[RunRecord]:
    """The bundled records of the workload and environment that most of them share."""
    records = [stored.record for stored in loaded.records if stored.origin == "bundled"]
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        workload = RunSpec.from_dict(record.spec).baseline.run_id + record.environment["fingerprint"]
        groups.setdefault(workload, []).append(record)
    return max(groups.values(), key=len, default=[])


def _varied(rows: list[RunRecord]) -> set[tuple[str, str]]:
    """Technique and knob wherever two rows differ in it: the knobs worth naming."""
    values: dict[tuple[str, str], set[str]] = {}
    for entry in (entry for record in rows for entry in record.spec["techniques"]):
        for knob, value in entry.items():
            values.setdefault((entry["name"], knob), set()).add(str(value))
    return {key for key, found in values.items() if len(found) > 1}


def _cells(record: RunRecord, varied: set[tuple[str, str]]) -> list[str]:
    quality, speedup = record.quality, record.speedup
    shown = [
        {knob: value for knob, value in entry.items() if knob == "name" or (entry["name"], knob) in varied}
        for entry in record.spec["techniques"]
    ]
    recipe = " + ".join(technique_label(entry) for entry in shown) or "baseline"
    ratio = (
        "" if speedup["ratio"] is None else f"{speedup['ratio']:.2f} ({speedup['low']:.2f} to {speedup['high']:.2f})"
    )
    beside = "" if speedup["ratio"] is None else f" ({1000 * speedup['baseline_latency_s']:,.0f})"
    distance = "" if quality["distance"] is None else f"{quality['distance']:,.0f}"
    if quality.get("low") is not None:
        distance += f" ({quality['low']:,.0f} to {quality['high']:,.0f})"
    psnr = record.fidelity["psnr_db"]
    return [
        recipe,
        f"{1000 * record.latency['latency_s']:,.0f}" + beside,
        ratio,
        f"{record.memory['weight_bytes'] / 1e6:.2f} MB",
        distance,
        "" if psnr is None else f"{psnr:.1f} dB",
    ]
