"""The metric table: what it derives, how entries read records, and that no other code names a metric."""

import ast
from dataclasses import fields, replace
from pathlib import Path

import pytest

from dit_core.records import metrics, schema
from dit_core.records.metric import apart
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.factory import make_record

ROOT = Path(__file__).parents[2]
AXES = metrics.on_axis("time", "memory", "quality", "fidelity")
NAMES = {metric.name for metric in AXES} | {metric.baseline.name for metric in AXES if metric.baseline}
NAMES -= {field.name for field in fields(RunSpec)}  # "precision" is also that of the numbers of a run
NAMES -= {field.name for field in fields(RunRecord)}  # "flops" is also a section
# The entries, and the functions that compute metrics.
TABLE = ("dit_core/records/metrics.py", "dit_core/records/cost_metrics.py", "dit_core/quality/", "dit_core/measure/")


def candidate(**sections):
    return make_record(RunSpec(techniques=({"name": "quantization", "bits": 4},), samples=100), **sections)


def literals(path: Path) -> set[str]:
    """The strings of a source file."""
    tree = ast.parse(path.read_text())
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_only_the_table_and_the_functions_that_compute_metrics_name_them():
    sources = [*(ROOT / "dit_core").rglob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "app.py"]
    named = {
        name: literal_names
        for path in sources
        if not (name := str(path.relative_to(ROOT))).startswith(TABLE) and (literal_names := literals(path) & NAMES)
    }
    assert named == {}


def test_names_and_axis_keys_are_unique():
    assert len({metric.path for metric in metrics.METRICS}) == len(metrics.METRICS)
    keys = [metric.axis_key for metric in metrics.METRICS if metric.axis]
    assert len(set(keys)) == len(keys)
    assert all(metrics.by_name(metric.name) is metric for metric in metrics.METRICS)


def test_every_axis_has_a_direction_a_title_and_help():
    for metric in metrics.on_axis("time", "memory", "quality", "fidelity"):
        assert metric.better
        assert metric.title
        assert metric.help


@pytest.mark.parametrize("metric", [m for m in metrics.METRICS if m.recorded], ids=lambda metric: metric.path)
def test_the_schema_checks_every_recorded_metric(metric):
    data = candidate().to_dict()
    data[metric.section][metric.name] = "no number"
    assert schema.problem(data).startswith(f"{metric.path} must be")


def test_every_metric_reads_bundled_records_within_its_interval():
    records = [stored.record for stored in Store(ROOT / "cached_results").load().records]
    for metric in metrics.METRICS:
        for record in records:
            value, ends = metric.read(record), metric.interval(record)
            if value is not None and ends:
                rounding = 1e-12 * abs(value)  # where all pairs are equal
                assert ends[0] - rounding <= value <= ends[1] + rounding, (metric.path, record.run_id)
    read = {metric.name for metric in metrics.METRICS for record in records if metric.read(record) is not None}
    # Inception's weights and an energy counter were not available where the bundled records were measured.
    assert {metrics.PRIMARY_QUALITY.name, metrics.PRIMARY_COST.name, metrics.PRIMARY_FIDELITY.name} <= read


def test_relative_time_is_the_inverse_of_the_speed_up_with_its_ends_swapped():
    record = candidate(speedup={"ratio": 1.6, "low": 1.25, "high": 2.0})
    assert metrics.RELATIVE_TIME.scaled(record) == pytest.approx(62.5)
    assert metrics.RELATIVE_TIME.scaled_interval(record) == pytest.approx((50, 80))
    assert metrics.RELATIVE_TIME.read(make_record(RunSpec())) == 1


def test_a_stored_interval_goes_before_the_one_from_the_standard_error():
    error = {"kid": 1.0, "kid_standard_error": 0.1}
    assert metrics.KID.interval(candidate(quality=error)) == pytest.approx((0.804, 1.196))
    stored = {**error, "intervals": {"kid": [0.7, 1.3]}}
    assert metrics.KID.interval(candidate(quality=stored)) == (0.7, 1.3)


def test_a_share_of_an_older_record_has_a_binomial_interval():
    older = candidate(quality={"precision": 0.5, "count": 100, "intervals": {}})
    assert metrics.PRECISION.scaled_interval(older) == pytest.approx((40.2, 59.8))


def test_values_of_different_methods_are_not_comparable():
    record = candidate(quality={"metric": "FD a", "distance": 5.0})
    other = candidate(quality={"metric": "FD b", "distance": 5.0})
    assert metrics.DISTANCE.comparable(record, record)
    assert not metrics.DISTANCE.comparable(record, other)


def test_the_baselines_value_is_read_from_the_candidates_record():
    record = candidate(memory={"weight_bytes": 3, "baseline_weight_bytes": 12})
    assert metrics.WEIGHT_BYTES.read_baseline(record) == 12
    assert metrics.DISTANCE.read_baseline(record) is None


def test_an_unknown_value_has_the_reason_of_its_field_or_of_its_section():
    quality = {"distance": None, "kid": None, "reasons": {"kid": "too few images"}, "reason": "not evaluated"}
    record = candidate(quality=quality)
    assert metrics.KID.reason(record) == "too few images"
    assert metrics.DISTANCE.reason(record) == "not evaluated"


def test_the_axis_title_names_the_method():
    assert metrics.DISTANCE.title_with("FD net 64px, 100 images") == "FD net 64px, 100 images"
    assert metrics.KID.title_with("FD net 64px, 100 images") == "KID net 64px, 100 images"
    assert metrics.LATENCY.title_with("") == metrics.LATENCY.title


@pytest.mark.parametrize(
    ("ends", "other", "expected"), [((0, 1), (2, 3), True), ((0, 2), (1, 3), False), (None, (0, 1), False)]
)
def test_intervals_are_apart_only_if_both_are_known_and_do_not_overlap(ends, other, expected):
    assert apart(ends, other) is expected
    assert apart(other, ends) is expected


def test_better_follows_the_direction():
    assert metrics.DISTANCE.is_better(1, 2)
    assert metrics.PRECISION.is_better(2, 1)
    assert not replace(metrics.DISTANCE, better=None).is_better(1, 2)
