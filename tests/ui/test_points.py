"""Axes, comparisons and fronts."""

import random

import pytest

from dit_core.spec import RunSpec
from dit_core.store import Store
from dit_core.techniques import canonical
from dit_core.ui.axes import COSTS, cost_axes, quality_axes
from dit_core.ui.points import comparisons, coverage, front, highlights, point_id, spec_of
from tests.factory import make_record, make_sheets

LESS, MORE = COSTS["latency"], COSTS["throughput"]


def test_the_front_holds_what_no_other_point_beats():
    assert front([(1, 9), (2, 5), (3, 7), (4, 1)], LESS, LESS) == [0, 1, 3]


def test_the_front_starts_with_the_best_on_x_where_more_is_better():
    assert front([(1, 1), (5, 4), (3, 2), (4, 9)], MORE, LESS) == [1, 2, 0]


def test_equal_points_stay_on_the_front_together():
    assert front([(1, 1), (1, 1), (2, 1)], LESS, LESS) == [0, 1]


def test_no_points_have_no_front():
    assert front([], LESS, LESS) == []


@pytest.mark.parametrize(("x", "y"), [(LESS, LESS), (MORE, LESS), (LESS, MORE), (MORE, MORE)])
def test_the_front_agrees_with_the_definition_on_random_points(x, y):
    generator = random.Random(0)
    points = [(generator.randrange(12), generator.randrange(12)) for _ in range(60)]
    signs = (1 if x is LESS else -1), (1 if y is LESS else -1)
    costs = [(signs[0] * a, signs[1] * b) for a, b in points]

    def beaten(one):
        return any(other[0] <= one[0] and other[1] <= one[1] and other != one for other in costs)

    assert sorted(front(points, x, y)) == [i for i, one in enumerate(costs) if not beaten(one)]


def test_runs_of_one_workload_on_one_machine_are_compared_and_no_others(tmp_path):
    def put(steps, fingerprint, bits=None):
        recipe = ({"name": "quantization", "bits": bits},) if bits else ()
        spec = RunSpec(steps=steps, techniques=recipe)
        record = make_record(spec, environment={"fingerprint": fingerprint})
        Store(tmp_path).put(record, make_sheets(record))

    for steps, fingerprint, bits in ((20, "a", None), (20, "a", 4), (20, "b", 8), (10, "a", 2)):
        put(steps, fingerprint, bits)
    groups = comparisons(Store(tmp_path).load().records)
    assert [len(group.runs) for group in groups] == [2, 1, 1]
    assert len({group.title for group in groups}) == 3


def test_specs_are_read_once_and_no_more_are_kept_than_fit(tmp_path, monkeypatch):
    monkeypatch.setattr("dit_core.ui.points.MOST_SPECS", 2)
    monkeypatch.setattr("dit_core.ui.points._SPECS", kept := {})
    for steps in (5, 6, 7):
        record = make_record(RunSpec(steps=steps))
        Store(tmp_path).put(record, make_sheets(record))
    stored = Store(tmp_path).load().records
    assert [spec_of(one) for one in stored] == [RunSpec.from_dict(one.record.spec) for one in stored]
    assert len(kept) == 2
    assert spec_of(stored[-1]) is spec_of(stored[-1])


def test_a_bundled_and_a_local_record_of_one_run_are_two_points(tmp_path):
    record = make_record()
    for local in (True, False):
        Store(tmp_path).put(record, make_sheets(record), local=local)
    assert len({point_id(stored) for stored in Store(tmp_path).load().records}) == 2


def test_an_axis_without_figures_is_not_offered(tmp_path):
    record = make_record(RunSpec(samples=0))
    Store(tmp_path).put(record, make_sheets(record))
    runs = Store(tmp_path).load().records
    assert list(quality_axes(runs)) == ["PSNR to the baseline", "SSIM to the baseline"]
    assert list(cost_axes(("latency", "energy"), runs)) == ["Latency"]


def test_the_baseline_takes_its_own_time_and_others_what_was_measured_in_turn():
    unknown = dict.fromkeys(("ratio", "low", "high"), None) | {"reason": "this run is the baseline"}
    record = make_record(RunSpec(), speedup=unknown)
    assert (COSTS["relative_time"].read(record), COSTS["speedup"].read(record)) == (100, 1)
    assert COSTS["relative_time"].spread(record) is None
    recipe = ({"name": "quantization", "bits": 4},)
    record = make_record(RunSpec(techniques=recipe), speedup={"ratio": 1.6, "low": 1.25, "high": 2.0})
    assert COSTS["relative_time"].read(record) == pytest.approx(62.5)
    assert COSTS["relative_time"].spread(record) == pytest.approx((50, 80))
    record = make_record(RunSpec(techniques=recipe), speedup={**unknown, "reason": "not timed"})
    assert COSTS["relative_time"].read(record) is None


def test_highlights_are_recipes_of_the_fronts_the_best_quality_first(tmp_path):
    for bits, latency, distance in ((None, 0.4, 1000.0), (8, 0.3, 1100.0), (4, 0.2, 1500.0), (2, 0.35, 3000.0)):
        recipe = canonical([{"name": "quantization", "bits": bits}]) if bits else ()
        spec = RunSpec(techniques=recipe, samples=1000)
        size = {"weight_bytes": 1_000_000 * (bits or 32)}
        record = make_record(spec, latency={"latency_s": latency}, quality={"distance": distance}, memory=size)
        Store(tmp_path).put(record, make_sheets(record))
    runs = Store(tmp_path).load().records
    (quality,) = [axis for axis in quality_axes(runs).values() if axis.key.startswith("distance")]
    assert [one.record.spec["techniques"][0]["bits"] for one in highlights(runs, quality, 5)] == [8, 4, 2]
    assert [one.record.spec["techniques"][0]["bits"] for one in highlights(runs, quality, 1)] == [4]


def test_what_a_front_covers_is_told_in_the_baselines_area_whichever_way_is_better(tmp_path):
    def put(bits, latency_s, throughput, distance):
        recipe = ({"name": "quantization", "bits": bits},) if bits else ()
        latency = {"latency_s": latency_s, "throughput_images_per_s": throughput}
        changed = {"latency": latency, "quality": {"distance": distance, "metric": "FD"}}
        record = make_record(RunSpec(samples=1000, techniques=recipe), **changed)
        Store(tmp_path).put(record, make_sheets(record))
        return Store(tmp_path).get(record.run_id)

    base, fast, good = put(None, 1.0, 8.0, 100.0), put(4, 0.5, 16.0, 150.0), put(8, 2.5, 3.2, 50.0)
    quality = quality_axes([base])["FD"]
    # of the square (2, 2) the baseline covers 1, the fast one 1.5 x 0.5, of which 1 x 0.5 is the baseline's already,
    # and the good one is beyond twice the baseline's time
    assert coverage([base], base, LESS, quality) == (1.0, (2000.0, 200.0))
    assert coverage([base, fast, good], base, LESS, quality) == (1.25, (2000.0, 200.0))
    # against throughput, where more is better, from 0: 2 x 0.5 of the fast, and 0.4 x 1.5 of the good one
    volume, at = coverage([base, fast, good], base, MORE, quality)
    assert volume == pytest.approx(1 + 0.5 + 0.4 * 0.5)
    assert at == (0.0, 200.0)
    psnr = quality_axes([base])["PSNR to the baseline"]
    unjudged = make_record(RunSpec(steps=3), fidelity={"psnr_db": None, "reason": "it is the baseline"})
    Store(tmp_path).put(unjudged, make_sheets(unjudged))
    assert coverage([base], Store(tmp_path).get(unjudged.run_id), LESS, psnr) is None


def test_quality_axes_take_the_intervals_of_the_record_and_older_records_keep_theirs(tmp_path):
    spec = RunSpec(samples=1000)
    told = {"recall": [0.3, 0.4], "precision": [0.5, 0.7], "spatial_distance": [5.0, 7.0]}
    quality = {"recall": 0.35, "precision": 0.6, "spatial_metric": "spatial FD x", "spatial_distance": 6.0}
    quality |= {"intervals": told, "interval_method": dict.fromkeys(told, "x"), "low": 900.0, "high": 1100.0}
    close = {"feature_cosine": 0.9, "intervals": {"feature_cosine": [0.85, 0.95]}, "interval_method": {}}
    new = make_record(spec, quality=quality, fidelity=close)
    old = make_record(spec, quality={**quality, "intervals": None, "interval_method": None, "reason": "older"})
    Store(tmp_path).put(new, make_sheets(new))
    axes = {axis.key.split()[0]: axis for axis in quality_axes(Store(tmp_path).load().records).values()}
    assert axes["recall"].spread(new) == pytest.approx((30, 40))
    assert axes["precision"].spread(new) == pytest.approx((50, 70))
    assert axes["spatial_distance"].spread(new) == (5.0, 7.0)
    assert axes["cosine"].spread(new) == (0.85, 0.95)
    assert axes["distance"].spread(new) == axes["distance"].spread(old) == (900.0, 1100.0)
    assert axes["recall"].spread(old) is axes["spatial_distance"].spread(old) is None
    assert axes["precision"].spread(old) == pytest.approx((57.0, 63.0), abs=0.1)
