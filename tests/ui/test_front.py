"""The Pareto front and its hypervolume."""

import random

import pytest

from dit_core.records import metrics
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui.charts.axes import Axis, quality_axes
from dit_core.ui.charts.front import front, hypervolume
from tests.factory import make_record, make_sheets

LOWER, HIGHER = Axis(metrics.LATENCY), Axis(metrics.THROUGHPUT)


def test_the_front_holds_what_no_other_point_beats():
    assert front([(1, 9), (2, 5), (3, 7), (4, 1)], LOWER, LOWER) == [0, 1, 3]


def test_the_front_starts_with_the_best_on_x_where_higher_is_better():
    assert front([(1, 1), (5, 4), (3, 2), (4, 9)], HIGHER, LOWER) == [1, 2, 0]


def test_equal_points_stay_on_the_front_together():
    assert front([(1, 1), (1, 1), (2, 1)], LOWER, LOWER) == [0, 1]


def test_no_points_have_no_front():
    assert front([], LOWER, LOWER) == []


@pytest.mark.parametrize(("x", "y"), [(LOWER, LOWER), (HIGHER, LOWER), (LOWER, HIGHER), (HIGHER, HIGHER)])
def test_the_front_agrees_with_the_definition_on_random_points(x, y):
    generator = random.Random(0)
    points = [(generator.randrange(12), generator.randrange(12)) for _ in range(60)]
    signs = (1 if x is LOWER else -1), (1 if y is LOWER else -1)
    costs = [(signs[0] * a, signs[1] * b) for a, b in points]

    def beaten(one):
        return any(other[0] <= one[0] and other[1] <= one[1] and other != one for other in costs)

    assert sorted(front(points, x, y)) == [i for i, one in enumerate(costs) if not beaten(one)]


def test_the_hypervolume_is_relative_to_the_baselines_in_either_direction(tmp_path):
    def put(bits, latency_s, throughput, distance):
        recipe = ({"name": "quantization", "bits": bits},) if bits else ()
        latency = {"latency_s": latency_s, "throughput_images_per_s": throughput}
        changed = {"latency": latency, "quality": {"distance": distance, "metric": "FD"}}
        record = make_record(RunSpec(samples=1000, techniques=recipe), **changed)
        Store(tmp_path).put(record, make_sheets(record))
        return Store(tmp_path).get(record.run_id)

    base, fast, good = put(None, 1.0, 8.0, 100.0), put(4, 0.5, 16.0, 150.0), put(8, 2.5, 3.2, 50.0)
    quality = quality_axes([base])["FD"]
    # In the square (2, 2) the baseline has the area 1 and the fast run 1.5 x 0.5, of which 1 x 0.5 overlaps. The good
    # run takes more than twice the baseline's time.
    assert hypervolume([base], base, LOWER, quality) == (1.0, (2000.0, 200.0))
    assert hypervolume([base, fast, good], base, LOWER, quality) == (1.25, (2000.0, 200.0))
    # Against throughput, from 0: the fast run has 2 x 0.5, and the good run 0.4 x 1.5.
    volume, at = hypervolume([base, fast, good], base, HIGHER, quality)
    assert volume == pytest.approx(1 + 0.5 + 0.4 * 0.5)
    assert at == (0.0, 200.0)
    psnr = quality_axes([base])["PSNR to the baseline"]
    unjudged = make_record(RunSpec(steps=3), fidelity={"psnr_db": None, "reason": "it is the baseline"})
    Store(tmp_path).put(unjudged, make_sheets(unjudged))
    assert hypervolume([base], Store(tmp_path).get(unjudged.run_id), LOWER, psnr) is None
