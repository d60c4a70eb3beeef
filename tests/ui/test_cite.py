"""The citation of a figure."""

from dit_core.records import metrics
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui.charts.axes import Axis
from dit_core.ui.comparisons import comparisons
from dit_core.ui.pareto import cite
from tests.factory import make_record, make_sheets


def test_a_figure_is_cited_with_its_axes_environment_workload_and_link(tmp_path):
    record = make_record(RunSpec(samples=1000), environment={"cpu": "A & B_C"})
    Store(tmp_path).put(record, make_sheets(record))
    (group,) = comparisons(Store(tmp_path).load().records)
    axes = [(Axis(metrics.RELATIVE_TIME), Axis(metrics.PRIMARY_QUALITY))]
    entry = cite.bibtex(group, group.runs, axes, "http://localhost/pareto?hide=true")
    assert entry.startswith(f"@misc{{dit-core-{record.environment['fingerprint']}-2026-01-01,\n")
    title = metrics.PRIMARY_QUALITY.title
    assert f"title = {{{{{title} against relative time of 1 run of emoji}}}}" in entry
    assert r"A \& B\_C" in entry
    assert "1,000 images judged" in entry
    assert "url = {http://localhost/pareto?hide=true}" in entry
    assert entry.count("{") == entry.count("}")
