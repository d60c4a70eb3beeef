"""The fields of a record that are no metrics: how something was measured, raw values, and where files are.

Imports no torch. Metrics and the fields that belong to one are in `metrics`.
"""

from collections.abc import Mapping

from dit_core.records.kinds import (
    AT_LEAST_1,
    BOOLEAN,
    COUNT,
    INTERVAL,
    NOT_NEGATIVE,
    NUMBER,
    POSITIVE,
    ROOFLINE,
    ROUTING,
    SHARE,
    TABLE,
    TEXT,
    Kind,
    list_of,
    table_of,
)
from dit_core.records.metric import PART_OF_INTERVAL, Field
from dit_core.records.tolerance import Exact, NotCompared, Relative, Routed, Tolerance

EXACT = Exact()
ONCE = NotCompared("it happens once in a process, with cold or warm files, and has no interval")
TIMES = NotCompared("the latency that it belongs to is compared")
EFFORT = NotCompared("it says how long was timed, not what was measured")
PROFILED = NotCompared("one pass of a profiler slows what it profiles: it shows where time goes, not how much")
MACHINE = NotCompared("it describes the machine, not the run")
DERIVED = NotCompared("it follows from other figures")
METHOD = NotCompared("figures of another method count as unknown")
FILE_NAME = NotCompared("the name is a hash of the file, and a rounded pixel changes it")
RERUN_ENVIRONMENT = NotCompared("the rerun's own environment decides what can be compared")

_Entries = Mapping[str, tuple[Kind | None, Tolerance]]
_REQUIRED: dict[str, _Entries] = {
    "environment": {
        "device": (TEXT, RERUN_ENVIRONMENT),
        "cpu": (TEXT, RERUN_ENVIRONMENT),
        "threads": (AT_LEAST_1, RERUN_ENVIRONMENT),
        "dtype": (TEXT, RERUN_ENVIRONMENT),
        "torch": (TEXT, RERUN_ENVIRONMENT),
        "python": (TEXT, RERUN_ENVIRONMENT),
        "fingerprint": (TEXT, RERUN_ENVIRONMENT),
    },
    "latency": {
        "load_s": (NOT_NEGATIVE, ONCE),
        "first_call_s": (POSITIVE, ONCE),
        "calls": (AT_LEAST_1, EFFORT),
        "batch_size": (AT_LEAST_1, EXACT),
        "raw_s": (list_of(POSITIVE), TIMES),
    },
    "memory": {"peak_kind": (TEXT, EXACT)},
    "flops": {"uncounted": (table_of(AT_LEAST_1), EXACT)},
    "quality": {"metric": (TEXT, METHOD), "reference": (TEXT, EXACT)},
    "fidelity": {"count": (COUNT, EXACT)},
    "speedup": {
        "low": (POSITIVE, PART_OF_INTERVAL),
        "high": (POSITIVE, PART_OF_INTERVAL),
        "confidence": (SHARE, PART_OF_INTERVAL),
        "blocks": (AT_LEAST_1, EFFORT),
    },
    "samples": {
        "sheet": (TEXT, FILE_NAME),
        "baseline_sheet": (TEXT, FILE_NAME),
        "tile": (AT_LEAST_1, EXACT),
        "columns": (AT_LEAST_1, EXACT),
        "labels": (list_of(TEXT), EXACT),
        "seeds": (list_of(COUNT), EXACT),
    },
}
_OPTIONAL: dict[str, _Entries] = {
    "environment": {"model": (table_of(TABLE), NotCompared("the digest of the weights is compared"))},
    "latency": {
        "latency_p25_s": (POSITIVE, TIMES),
        "latency_p75_s": (POSITIVE, TIMES),
        "warmup_calls": (COUNT, EFFORT),
        "time_shares": (table_of(SHARE), PROFILED),
        "processes": (AT_LEAST_1, EFFORT),
        "process_calls": (list_of(AT_LEAST_1), EFFORT),
        "process_turns": (list_of(AT_LEAST_1), EFFORT),
        "turn_calls": (AT_LEAST_1, EFFORT),
        "warmed_up": (BOOLEAN, EFFORT),
        "processor_share": (SHARE, EFFORT),
        "machine": (list_of(TABLE), EFFORT),
        "compilation": (table_of(NOT_NEGATIVE), ONCE),
    },
    "memory": {
        "peak_reserved_bytes": (None, Relative(0.2)),
        "nvml_used_bytes": (None, Relative(0.2)),
        "load_peak_memory_bytes": (None, ONCE),
    },
    "flops": {
        "int8_ops": (COUNT, EXACT),
        "macs_by_type": (table_of(COUNT), EXACT),
        "moved_bytes": (COUNT, EXACT),
        "baseline_moved_bytes": (COUNT, EXACT),
        "arithmetic_intensity_flop_per_byte": (NOT_NEGATIVE, EXACT),
        "roofline": (ROOFLINE, MACHINE),
        "routing": (ROUTING, Routed(0.01)),
        "block_evaluations": (
            list_of(list_of(NOT_NEGATIVE)),
            NotCompared("all operations together are compared"),
        ),
        "experts": (table_of(POSITIVE), NotCompared("all operations together are compared")),
    },
    "speedup": {
        "baseline_raw_s": (None, TIMES),
        "baseline_time_shares": (table_of(SHARE), PROFILED),
        "explanation": (TEXT, DERIVED),
        "process_ratios": (list_of(POSITIVE), PART_OF_INTERVAL),
        "baseline_process_calls": (list_of(AT_LEAST_1), EFFORT),
        "baseline_turn_calls": (AT_LEAST_1, EFFORT),
    },
    "quality": {
        "low": (NUMBER, PART_OF_INTERVAL),
        "high": (NUMBER, PART_OF_INTERVAL),
        "spatial_metric": (TEXT, METHOD),
        "fid_metric": (TEXT, METHOD),
        "interval": (TEXT, PART_OF_INTERVAL),
        "intervals": (table_of(INTERVAL), PART_OF_INTERVAL),
        "interval_method": (table_of(TEXT), PART_OF_INTERVAL),
        "extractor": (TEXT, EXACT),
        "replicates": (AT_LEAST_1, EXACT),
        "replicate_values": (None, NotCompared("the mean of each figure over the sets of images is compared")),
        "not_finite_images": (COUNT, EXACT),
    },
    "fidelity": {
        "not_finite_images": (COUNT, EXACT),
        "identical": (None, NotCompared("rounding changes which pairs are identical")),
        "intervals": (table_of(INTERVAL), PART_OF_INTERVAL),
        "interval_method": (table_of(TEXT), PART_OF_INTERVAL),
    },
    "samples": {"indices": (list_of(COUNT), EXACT)},
}


def _fields(sections: Mapping[str, _Entries], required: bool) -> list[Field]:
    return [
        Field(section=section, name=name, kind=kind, required=required, tolerance=tolerance)
        for section, entries in sections.items()
        for name, (kind, tolerance) in entries.items()
    ]


FIELDS: tuple[Field, ...] = (*_fields(_REQUIRED, required=True), *_fields(_OPTIONAL, required=False))
