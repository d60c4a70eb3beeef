"""The offline distance is never taken for FID: every place that shows it says what it is, its N and its reference."""

import csv
import io

import pytest

from dit_core.analysis import report
from dit_core.cli.commands import summary
from dit_core.records import metrics
from dit_core.records.store import Store
from dit_core.ui import distance_notes
from dit_core.ui.pareto import runs_table
from tests.factory import make_record
from tests.pages.conftest import baseline, put, quantized, texts

SENTENCE = "Frechet distance on EfficientNet-Lite0 features. Not FID; compare only within this dashboard."
JUDGED = {
    "metric": "FD efficientnet-lite0 64px, 1000 images, reference 74bc6bef",
    "reference": "emoji train, 2160 images, 74bc6bef",
}
BASIS = "1,000 images, reference emoji train, 2160 images, 74bc6bef."
FID = {
    "fid": 12.34,
    "fid_metric": "FID inception-2015-12-05 6726825d 299px TF1 bilinear, 1000 images, reference 0c8fd61a",
}


@pytest.fixture
def runs() -> list[str]:
    return [put(spec, quality=JUDGED) for spec in (baseline(), quantized(4))]


@pytest.mark.parametrize("page", ["home", "pareto", "compare", "chosen"])
def test_every_page_with_the_distance_says_that_it_is_not_fid_with_n_and_the_reference(page, open_page, runs):
    queries = {"compare": {"runs": runs}, "chosen": {"run": runs[1]}}
    shown = texts(open_page("pareto" if page == "chosen" else page, **queries.get(page, {})))
    assert f"Distance (not FID): {SENTENCE} {BASIS}" in shown
    assert "FID: Frechet inception distance" not in shown


def test_the_tile_and_the_table_explain_the_distance(open_page, runs):
    at = open_page("pareto", run=runs[1])
    tile = next(metric for metric in at.metric if metric.label == "Distance (not FID), n=1,000")
    assert tile.help.startswith(SENTENCE)
    assert BASIS in tile.help
    assert next(box for box in at.selectbox if box.label == "Quality").help == f"Distance (not FID): {SENTENCE} {BASIS}"


def test_fid_has_its_own_name_with_n_and_its_own_reference(open_page):
    chosen = put(quantized(4), quality=JUDGED | FID)
    at = open_page("pareto", run=chosen)
    assert next(metric for metric in at.metric if metric.label == "FID, n=1,000").value == "12.3"
    assert "1,000 images, reference 0c8fd61a." in texts(at)
    (row,) = csv.DictReader(io.StringIO(runs_table.csv(Store().load().records).decode()))
    assert row["FID"] == "12.34"
    assert row["FID, measured as"].startswith("FID inception-2015-12-05")
    assert SENTENCE in row["Distance (not FID), measured as"]
    assert BASIS in row["Distance (not FID), measured as"]


def test_a_value_that_was_not_measured_is_not_explained():
    record = make_record(baseline(samples=0))
    assert distance_notes.distances([record]) == ""
    assert SENTENCE not in summary(record, baseline(samples=0))


def test_the_command_line_and_the_readme_table_say_it_too():
    record = make_record(quantized(4), quality=JUDGED | FID)
    text = summary(record, quantized(4))
    assert f"{SENTENCE} {BASIS}" in text
    assert "FID inception-2015-12-05 6726825d 299px TF1 bilinear, 1000 images, reference 0c8fd61a = 12.3" in text
    table = report.table([record, make_record(baseline(), quality=JUDGED)])
    assert f"Distance: {SENTENCE} {BASIS}" in table
    assert "distance, not FID (95 %)" in table


def test_sets_of_images_are_counted():
    record = make_record(quantized(4), quality=JUDGED | {"replicates": 3})
    assert metrics.DISTANCE.basis(record) == f"3 sets of {BASIS[:-1]}"
