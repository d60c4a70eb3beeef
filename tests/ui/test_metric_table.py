"""A metric appears in the dashboard if it has an entry in the table of metrics, without a change of the pages."""

import csv
import io

import pytest

from dit_core.records import metrics
from dit_core.records.metric import Metric, named_interval
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.records.tolerance import Exact
from dit_core.ui.charts.axes import cost_axes, quality_axes
from dit_core.ui.compare import comparison_table
from dit_core.ui.components import tiles
from dit_core.ui.pareto import budget, runs_table
from tests.factory import make_record, make_sheets

SHARPNESS = Metric(
    section="quality",
    name="sharpness",
    title="Sharpness",
    better="higher",
    unit="%",
    scale=100,
    method_field="metric",
    method_prefix="Sharpness",
    intervals=(named_interval,),
    tolerance=Exact(),
    axis="quality",
    tile="all",
    column="Sharpness, %",
)
STARTUP = Metric(
    section="latency",
    name="startup_s",
    title="Start-up time",
    better="lower",
    unit="s",
    tolerance=Exact(),
    axis="time",
    tile="all",
    column="Start-up, s",
    limit_key="startup",
)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A baseline and a quantized run with two metrics that only this test knows."""
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, SHARPNESS, STARTUP))
    quantized = ({"name": "quantization", "bits": 4},)
    for recipe, sharpness, seconds in (((), 0.5, 3.0), (quantized, 0.25, 2.0)):
        ends = {"sharpness": [sharpness - 0.1, sharpness + 0.1]}
        record = make_record(
            RunSpec(techniques=recipe, samples=1000),
            quality={"sharpness": sharpness, "intervals": ends},
            latency={"startup_s": seconds},
        )
        Store(tmp_path).put(record, make_sheets(record))
    return sorted(Store(tmp_path).load().records, key=lambda run: len(run.record.spec["techniques"]))


def test_it_is_an_axis_with_its_title_and_error_bar(runs):
    axis = quality_axes(runs)["Sharpness efficientnet-lite0 @64px vs emoji-train"]
    assert axis.label == "Sharpness, % (higher is better)"
    assert axis.read(runs[1].record) == 25
    assert axis.interval(runs[1].record) == pytest.approx((15, 35))
    assert [axis.read(run.record) for axis in (cost_axes("time", runs)["Start-up time"],) for run in runs] == [3, 2]


def test_it_is_a_tile_of_runs_that_have_a_value(runs):
    assert {SHARPNESS, STARTUP} <= set(tiles.tiles(runs[1].record))
    without: RunRecord = make_record()
    assert not {SHARPNESS, STARTUP} & set(tiles.tiles(without))


def test_it_is_a_column_of_the_csv_with_the_ends_of_its_interval(runs):
    baseline, quantized = csv.DictReader(io.StringIO(runs_table.csv(runs).decode()))
    assert float(quantized["Sharpness, %"]) == 25
    assert float(quantized["Sharpness, %, low"]) == pytest.approx(15)
    assert float(baseline["Start-up, s"]) == 3


def test_it_is_a_row_of_the_comparison_with_the_best_value_marked(runs):
    rows = {row.title.rstrip("\u00a0↑↓"): row for row in comparison_table.rows(runs)}
    assert rows["Sharpness, %"].texts == ("50.0", "25.0")
    assert rows["Sharpness, %"].best == {0}
    assert rows["Start-up time, s"].best == {1}


def test_it_can_be_limited_if_its_entry_names_a_limit(runs):
    assert budget.limited_costs()["within_startup"].metric is STARTUP
