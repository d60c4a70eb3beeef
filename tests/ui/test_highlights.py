"""Recipes worth a first look."""

from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui.charts.axes import quality_axes
from dit_core.ui.highlights import highlights
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
