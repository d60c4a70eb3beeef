"""Metrics as axes."""

import pytest

from dit_core.records import metrics
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui.charts.axes import Axis, cost_axes, quality_axes
from tests.factory import make_record, make_sheets

RELATIVE_TIME, SPEEDUP = Axis(metrics.RELATIVE_TIME), Axis(metrics.SPEEDUP)


def test_an_axis_without_values_is_not_offered(tmp_path):
    record = make_record(RunSpec(samples=0))
    Store(tmp_path).put(record, make_sheets(record))
    runs = Store(tmp_path).load().records
    assert list(quality_axes(runs)) == ["PSNR to the baseline", "SSIM to the baseline"]
    assert list(cost_axes("time", runs)) == ["Relative time", "Speed-up", "Latency", "Throughput", "Compute", "MACs"]


def test_the_baseline_takes_100_percent_of_its_time_and_other_runs_what_was_timed_alternately():
    unknown = dict.fromkeys(("ratio", "low", "high"), None) | {"reason": "this run is the baseline"}
    record = make_record(RunSpec(), speedup=unknown)
    assert (RELATIVE_TIME.read(record), SPEEDUP.read(record)) == (100, 1)
    assert RELATIVE_TIME.interval(record) is None
    recipe = ({"name": "quantization", "bits": 4},)
    record = make_record(RunSpec(techniques=recipe), speedup={"ratio": 1.6, "low": 1.25, "high": 2.0})
    assert RELATIVE_TIME.read(record) == pytest.approx(62.5)
    assert RELATIVE_TIME.interval(record) == pytest.approx((50, 80))
    record = make_record(RunSpec(techniques=recipe), speedup={**unknown, "reason": "not timed"})
    assert RELATIVE_TIME.read(record) is None


def test_quality_axes_have_the_intervals_of_the_record_also_of_older_records(tmp_path):
    spec = RunSpec(samples=1000)
    ends = {"recall": [0.3, 0.4], "precision": [0.5, 0.7], "spatial_distance": [5.0, 7.0]}
    quality = {"recall": 0.35, "precision": 0.6, "spatial_metric": "spatial FD x", "spatial_distance": 6.0}
    quality |= {"intervals": ends, "interval_method": dict.fromkeys(ends, "x"), "low": 900.0, "high": 1100.0}
    close = {"feature_cosine": 0.9, "intervals": {"feature_cosine": [0.85, 0.95]}, "interval_method": {}}
    new = make_record(spec, quality=quality, fidelity=close)
    old = make_record(spec, quality={**quality, "intervals": None, "interval_method": None, "reason": "older"})
    Store(tmp_path).put(new, make_sheets(new))
    axes = {axis.key.split()[0]: axis for axis in quality_axes(Store(tmp_path).load().records).values()}
    assert axes["recall"].interval(new) == pytest.approx((30, 40))
    assert axes["precision"].interval(new) == pytest.approx((50, 70))
    assert axes["spatial_distance"].interval(new) == (5.0, 7.0)
    assert axes["cosine"].interval(new) == (0.85, 0.95)
    assert axes["distance"].interval(new) == axes["distance"].interval(old) == (900.0, 1100.0)
    assert axes["recall"].interval(old) is axes["spatial_distance"].interval(old) is None
    assert axes["precision"].interval(old) == pytest.approx((57.0, 63.0), abs=0.1)
