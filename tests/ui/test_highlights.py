"""Recipes worth a first look."""

from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui.charts.axes import quality_axes
from dit_core.ui.highlights import BETTER, NO_DIFFERENCE, fastest_as_good, highlights, quality_found
from tests.factory import make_record, make_sheets


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


def test_the_gain_is_the_fastest_run_that_its_pairs_do_not_find_worse(tmp_path):
    def put(bits, ratio, low, high):
        pairs = {"difference": (low + high) / 2, "difference_low": low, "difference_high": high}
        record = make_record(
            RunSpec(techniques=canonical([{"name": "quantization", "bits": bits}]), samples=1000),
            speedup={"ratio": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio},
            quality={**pairs, "difference_method": "16 random halves", "difference_detectable": 5.0},
        )
        Store(tmp_path).put(record, make_sheets(record))

    baseline = make_record(RunSpec(samples=1000))
    Store(tmp_path).put(baseline, make_sheets(baseline))
    put(8, 2.0, -10.0, 10.0)
    put(4, 3.0, -20.0, -10.0)
    put(2, 4.0, 10.0, 20.0)
    runs = Store(tmp_path).load().records
    found = {run.record.spec["techniques"][0]["bits"]: quality_found(run.record, baseline) for run in runs[:-1]}
    assert found == {8: NO_DIFFERENCE, 4: BETTER, 2: ""}
    assert fastest_as_good(runs).record.spec["techniques"][0]["bits"] == 4
