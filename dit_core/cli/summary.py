"""A record as a few lines of text."""

from dit_core.records import metrics, own_metrics
from dit_core.records.explanation import types_of_products
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec


def summary(record: RunRecord, spec: RunSpec) -> str:
    """Return a record as a few lines of text."""
    latency, quality, interval = record.latency, metrics.PRIMARY_QUALITY, metrics.SPEEDUP.interval(record)
    lines = [f"{record.run_id}  {spec.label()} on {record.environment['cpu']}"]
    latency_s = metrics.LATENCY.read(record) or 0
    lines.append(f"latency   {latency_s:.3f} s for {latency['batch_size']} images, n = {latency['calls']}")
    if interval:
        speedup = metrics.SPEEDUP.read(record)
        lines.append(f"speed-up  {speedup:.2f}x [{interval[0]:.2f}, {interval[1]:.2f}] over the baseline")
    sizes = [metrics.WEIGHT_BYTES.read(record) or 0, metrics.WEIGHT_BYTES.read_baseline(record) or 0]
    lines.append(f"weights   {sizes[0] / 1e6:.2f} MB, baseline {sizes[1] / 1e6:.2f} MB")
    types = types_of_products(record)
    products = f": {types}" if types else ""
    lines.append(f"compute   {(metrics.MACS.read(record) or 0) / 1e9:.1f} GMAC for one call{products}")
    for metric in metrics.FRECHET:
        if (value := metric.read(record)) is not None:
            lines.append(f"quality   {metric.method(record)} = {value:.1f}")
            lines.append(f"          {metric.explained(record)}")
    for metric in own_metrics.of([record]):
        value, ends = metric.read(record), metric.interval(record)
        figure = f"{value:.6g} [{ends[0]:.6g}, {ends[1]:.6g}]" if value is not None and ends else "unknown"
        lines.append(f"quality   {metric.method(record) or metric.title} = {figure} {metric.reason(record)}".rstrip())
    if quality.read(record) is None and (reason := quality.reason(record)):
        lines.append(f"quality   unknown: {reason}")
    return "\n".join(lines)
