"""The metrics of cost: time, operations, energy and memory, as entries of the table in `metrics`. Imports no torch."""

from typing import TYPE_CHECKING

from dit_core.records.kinds import COUNT, POSITIVE
from dit_core.records.metric import Baseline, Ends, Metric, interval_fields, quartiles
from dit_core.records.tolerance import Exact, NotCompared, Relative, Timed

if TYPE_CHECKING:
    from dit_core.records.record import RunRecord

PAIRED_INTERVAL = "the 95 % interval of the times measured in turn"
MIDDLE_HALF = "the middle half of the raw times"
BUSY = (
    "Other programs on the machine change the times of a run. The relative time was measured in turn with the "
    "baseline, in one job, and changes less."
)
# DiT-S/2 at 1,024 tokens, five fresh processes: the peak was 174.5 MB four times and 191.5 MB once, because a run keeps
# freed memory and the allocator may or may not use a freed block again. At 4,096 tokens one rerun differed by 18 %.
PEAK_TOLERANCE = Relative(0.2)
ENERGY_TOLERANCE = Relative(0.1)  # NVML's counter is accurate to 5 %, for either record


def _relative_time(record: "RunRecord") -> float | None:
    ratio = _speedup(record)
    return 1 / ratio if ratio else None


def _relative_time_interval(metric: Metric, record: "RunRecord") -> Ends | None:
    ends = SPEEDUP.interval(record)
    return (1 / ends[1], 1 / ends[0]) if ends else None


def _speedup(record: "RunRecord") -> float | None:
    """Return the stored ratio, and 1 for a baseline."""
    return SPEEDUP.stored(record) if record.spec["techniques"] else 1.0


def _throughput_interval(metric: Metric, record: "RunRecord") -> Ends | None:
    ends, batch = LATENCY.interval(record), record.latency["batch_size"]
    return (batch / ends[1], batch / ends[0]) if ends and batch and ends[0] > 0 else None


RELATIVE_TIME = Metric(
    section="speedup",
    name="relative_time",
    title="Relative time",
    help="Time of a batch as a share of the baseline's, both measured in turn in one job.",
    unit="% of baseline",
    scale=100,
    better="lower",
    tolerance=NotCompared("it is computed from the speed-up"),
    intervals=(_relative_time_interval,),
    interval_title=PAIRED_INTERVAL,
    compute=_relative_time,
    recorded=False,
    axis="time",
    limit_key="time",
    column="Relative time, %",
)
SPEEDUP = Metric(
    section="speedup",
    name="ratio",
    kind=POSITIVE,
    required=True,
    title="Speed-up",
    help="How many times as fast as the baseline, both measured in turn in one job.",
    unit="times the baseline's speed",
    better="higher",
    key="speedup",
    tolerance=Timed(paired=True),
    intervals=(interval_fields("low", "high"),),
    interval_title=PAIRED_INTERVAL,
    compute=_speedup,
    axis="time",
    tile="candidates",
    column="Speed-up",
    column_format="×%.2f",
    interval_columns=("From", "To"),
)
WEIGHT_BYTES = Metric(
    section="memory",
    name="weight_bytes",
    kind=COUNT,
    required=True,
    title="Weights",
    help="Size of the weights of the network in memory.",
    unit="MB",
    scale=1e-6,
    better="lower",
    key="weights",
    tolerance=Exact(),
    baseline=Baseline(section="memory", name="baseline_weight_bytes"),
    axis="memory",
    tile="all",
    limit_key="weights",
    column="Weights, MB",
    column_format="%.2f",
)
PEAK_MEMORY = Metric(
    section="memory",
    name="peak_memory_bytes",
    kind=COUNT,
    required=True,
    title="Peak memory",
    help="Most memory that the run used at any time.",
    unit="MB",
    scale=1e-6,
    better="lower",
    key="memory",
    tolerance=PEAK_TOLERANCE,
    axis="memory",
    tile="all",
    limit_key="mb",
    column="Peak, MB",
    column_format="%.1f",
)
FLOPS = Metric(
    section="flops",
    name="flops",
    kind=COUNT,
    required=True,
    title="Compute",
    help="Floating-point operations of one batch, over all steps.",
    unit="GFLOP per batch",
    scale=1e-9,
    better="lower",
    tolerance=Exact(),
    baseline=Baseline(section="flops", name="baseline_flops"),
    axis="time",
    tile="all",
    column="GFLOP",
    column_format="%.4g",
)
MACS = Metric(
    section="flops",
    name="macs",
    kind=COUNT,
    required=True,
    title="MACs",
    help="Multiply-accumulate operations of one batch: half of the floating-point operations.",
    unit="GMAC per batch",
    scale=1e-9,
    better="lower",
    tolerance=Exact(),
    baseline=Baseline(section="flops", name="baseline_macs"),
    axis="time",
)
ENERGY = Metric(
    section="energy",
    name="energy_j",
    kind=POSITIVE,
    required=True,
    title="Energy",
    help="Energy that the device used for one batch.",
    unit="J",
    better="lower",
    key="energy",
    tolerance=ENERGY_TOLERANCE,
    baseline=Baseline(section="energy", name="baseline_energy_j", required=False),
    axis="time",
    column="Energy, J",
)
LATENCY = Metric(
    section="latency",
    name="latency_s",
    kind=POSITIVE,
    required=True,
    title="Latency",
    help="Median time of one batch.",
    unit="ms per batch",
    scale=1e3,
    better="lower",
    key="latency",
    tolerance=Timed(paired=False),
    intervals=(quartiles("latency", "raw_s"),),
    interval_title=MIDDLE_HALF,
    baseline=Baseline(
        section="speedup", name="baseline_latency_s", intervals=(quartiles("speedup", "baseline_raw_s"),)
    ),
    axis="time",
    tile="all",
    limit_key="ms",
    column="Latency, ms",
    caution=BUSY,
)
THROUGHPUT = Metric(
    section="latency",
    name="throughput_images_per_s",
    kind=POSITIVE,
    required=True,
    title="Throughput",
    help="Images per second: the batch size divided by the latency.",
    unit="images/s",
    better="higher",
    key="throughput",
    tolerance=NotCompared("it follows from the latency, which is compared"),
    intervals=(_throughput_interval,),
    interval_title=MIDDLE_HALF,
    axis="time",
    tile="baselines",
    caution=BUSY,
)
RESERVED_MEMORY = Metric(
    section="memory",
    name="reserved_memory_bytes",
    title="Reserved memory",
    help="Most memory that torch had reserved on the GPU, used or not.",
    unit="MB",
    scale=1e-6,
    better="lower",
    tolerance=NotCompared("the field that it reads is compared"),
    compute=lambda record: record.memory.get("peak_reserved_bytes"),
    recorded=False,
)
ENERGY_PER_IMAGE = Metric(
    section="energy",
    name="energy_per_image_j",
    title="Energy per image",
    help="Energy that the device used for one batch, divided by the number of images.",
    unit="J",
    better="lower",
    tolerance=NotCompared("it follows from the energy of a batch, which is compared"),
    compute=lambda record: _per_image(ENERGY.stored(record), record),
    recorded=False,
)
UTILIZATION = Metric(
    section="energy",
    name="gpu_utilization",
    title="GPU utilization",
    help="Share of the time for which the GPU was busy, at the end of the energy window.",
    unit="%",
    scale=100,
    tolerance=NotCompared("it is a reading of one moment"),
    compute=lambda record: record.energy.get("utilization"),
    recorded=False,
)


def _per_image(value: float | None, record: "RunRecord") -> float | None:
    return None if value is None else value / record.latency["batch_size"]
