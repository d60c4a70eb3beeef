"""Fewer steps and the published recipe as references: what runs are compared with, and what is said."""

import pytest

from dit_core.recipes.recipe import canonical
from dit_core.records import metrics
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui.charts import pareto_plot, references
from dit_core.ui.charts.axes import Axis
from dit_core.ui.charts.plot_points import points_of
from dit_core.ui.charts.references import QUALITY, TIME, References
from tests.factory import make_record, make_sheets

WEIGHTS = Axis(metrics.WEIGHT_BYTES)


def solver(scheduler, steps):
    return {"name": "solver", "scheduler": scheduler, "steps": steps}


@pytest.fixture
def put(tmp_path):
    def put(recipe, ratio, distance, accuracy=0.7):
        spec = RunSpec(samples=1000, techniques=canonical(recipe))
        speedup = {"ratio": ratio, "low": ratio, "high": ratio} if recipe else {}
        quality = {"distance": distance, "metric": "FD", "low": distance - 20, "high": distance + 20}
        quality["class_accuracy"] = accuracy
        record = make_record(spec, quality=quality, **({"speedup": speedup} if speedup else {}))
        Store(tmp_path).put(record, make_sheets(record))
        return Store(tmp_path).get(record.run_id)

    return put


@pytest.fixture
def runs(put):
    return {
        "base": put([], 1.0, 700.0),
        "six": put([solver("unipc", 6)], 2.0, 750.0),
        "published": put([solver("ddpm", 250)], 0.05, 690.0),
        "worse": put([{"name": "quantization", "bits": 4}], 1.8, 760.0),
        "better": put([{"name": "guidance_interval"}], 2.0, 700.0),
        "unlike": put([{"name": "depth_pruning", "keep": 4}], 8.0, 705.0, accuracy=0.5),
    }


def test_only_runs_above_the_line_are_told_that_fewer_steps_would_do(runs):
    references = References.of(list(runs.values()))
    said = {
        name for name, run in runs.items() if "In the same time, fewer steps would do as well" in references.notes(run)
    }
    assert said == {"worse"}
    assert {run.record.run_id for run in references.line} == {runs[name].record.run_id for name in ("base", "six")}


def test_the_line_is_drawn_on_fronts_of_time_only(runs):
    for x, drawn in ((TIME, True), (WEIGHTS, False)):
        points = points_of(list(runs.values()), x, QUALITY)
        names = [trace["name"] for trace in pareto_plot.pareto_figure(points, x, QUALITY)["data"]]
        assert ("Fewer steps" in names) == drawn


def test_speed_is_told_relative_to_the_published_recipe_where_it_was_run(runs):
    every = list(runs.values())
    assert "40 times as fast as fast-DiT's recipe" in References.of(every).notes(runs["better"])
    without = [run for run in every if run is not runs["published"]]
    assert References.of(without).notes(runs["better"]) == ()


def test_the_best_figure_needs_the_quality_of_the_published_recipe_in_distance_and_class_accuracy(runs):
    published = references.published_recipe(list(runs.values()))
    assert published is runs["published"]
    run, times = references.best_at_equal_quality(list(runs.values()), published)
    assert run is runs["better"]
    assert times == pytest.approx(40)
    assert references.best_at_equal_quality([published], published) is None  # it does not beat itself
