"""Own metrics from a user's file: what is read without executing it, what a fault costs, and where they appear."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dit_core.analysis import reproducibility
from dit_core.cli.commands import main, summary
from dit_core.errors import BadRequest
from dit_core.experiment import known, own_metrics
from dit_core.experiment.checks import check
from dit_core.records import own_metrics as table
from dit_core.records.record import RecordError, RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store, Stored
from dit_core.system.statistics import student_quantile
from dit_core.ui.charts.axes import quality_axes
from dit_core.ui.compare import comparison_table
from dit_core.ui.components import tiles
from dit_core.ui.pareto import runs_table
from tests.factory import make_record, make_sheets

BRIGHTNESS = """
TITLE = "Brightness"
UNIT = "levels"
BETTER = "higher"


def metric(images):
    \"\"\"Mean of all pixels.\"\"\"
    means = images.mean((1, 2, 3))
    half = 1.96 * means.std(ddof=1) / len(means) ** 0.5
    return means.mean(), means.mean() - half, means.mean() + half
"""
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)


def write(folder: Path, body: str = BRIGHTNESS, name: str = "brightness.py") -> str:
    (folder / name).write_text(body)
    return str(folder / name)


def returning(expression: str) -> str:
    return f'BETTER = "lower"\n\n\ndef metric(images):\n    return {expression}\n'


def spec_of(*files: str, **fields) -> RunSpec:
    recipe = ({"name": "quantization", "bits": 4},)
    return RunSpec(**{"techniques": recipe, "samples": 12, "metrics": files, **fields})


def evaluated(spec: RunSpec, images: np.ndarray = IMAGES) -> tuple[dict, list[str]]:
    notes: list[str] = []
    return own_metrics.evaluate(spec, images, notes.append), notes


def test_a_metric_of_a_file_has_its_value_interval_title_and_the_hash_of_its_content(tmp_path):
    results, notes = evaluated(spec_of(write(tmp_path)))
    entry = results["brightness"]
    assert notes == []
    assert entry["value"] == pytest.approx(IMAGES.mean())
    assert entry["interval"][0] < entry["value"] < entry["interval"][1]
    assert (entry["title"], entry["unit"], entry["better"]) == ("Brightness", "levels", "higher")
    assert (entry["help"], len(entry["digest"])) == ("Mean of all pixels.", 12)
    changed, _ = evaluated(spec_of(write(tmp_path, f"{BRIGHTNESS}\n# another comment\n")))
    assert changed["brightness"]["digest"] != entry["digest"]


def test_the_value_of_several_sets_is_their_mean_with_students_interval(tmp_path):
    spec = spec_of(write(tmp_path), samples=4, replicates=3)
    entry = evaluated(spec)[0]["brightness"]
    means = [IMAGES[start : start + 4].mean() for start in (0, 4, 8)]
    half = student_quantile(2) * np.std(means, ddof=1) / 3**0.5
    assert entry["value"] == pytest.approx(np.mean(means))
    assert entry["interval"] == pytest.approx([np.mean(means) - half, np.mean(means) + half])


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("1 / 0", "it raised ZeroDivisionError: division by zero"),
        ("exit(3)", "it raised SystemExit: 3"),
        ("(float('nan'), 0, 1)", "not finite"),
        ("(1.0, 0.0, float('inf'))", "not finite"),
        ("3.0", "it returned 3.0 instead of value, low, high"),
        ("None", "it returned None instead of value, low, high"),
        ("'good', 'bad', 'ugly'", "instead of value, low, high"),
        ("5.0, 6.0, 7.0", "its value 5 is not in its interval from 6 to 7"),
    ],
)
def test_a_fault_costs_the_metric_and_not_the_run_and_is_told_in_one_line(tmp_path, expression, says):
    faulty = write(tmp_path, returning(expression), "faulty.py")
    results, notes = evaluated(spec_of(faulty, write(tmp_path)))
    assert results["faulty"]["value"] is results["faulty"]["interval"] is None
    assert says in results["faulty"]["reason"]
    assert results["brightness"]["value"] is not None
    (note,) = notes
    assert note.startswith("own metric faulty has no value: ")
    assert len(note.splitlines()) == 1
    record = make_record(spec_of(faulty), quality={"own": results})
    assert not [axis for axis in quality_axes([stored(record)]) if axis.startswith("faulty")]
    assert says in table.of([record])[0].reason(record)


def test_a_metric_that_changes_its_images_does_not_change_those_of_the_next(tmp_path):
    spoiling = write(tmp_path, returning("(images.fill(0), 0.0)[1], 0.0, 0.0"), "a_spoiling.py")
    results, _ = evaluated(spec_of(spoiling, write(tmp_path)))
    assert results["brightness"]["value"] == pytest.approx(IMAGES.mean())


def test_value_and_interval_may_be_a_pair(tmp_path):
    results, _ = evaluated(spec_of(write(tmp_path, returning("1.0, (0.5, 2.0)"), "pair.py")))
    assert (results["pair"]["value"], results["pair"]["interval"]) == (1.0, [0.5, 2.0])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (None, "cannot be read"),
        ("def metric(images:", "not valid Python in line 1"),
        ('BETTER = "higher"\n', r"no function metric\(images\)"),
        ("def metric(images):\n    return 1, 1, 1\n", "which values are better"),
        ('BETTER = "up"\n\ndef metric(images):\n    return 1, 1, 1\n', "which values are better"),
    ],
)
def test_a_file_without_a_valid_metric_is_refused_before_the_run(tmp_path, body, says):
    path = str(tmp_path / "own.py") if body is None else write(tmp_path, body, "own.py")
    with pytest.raises(BadRequest, match=says) as error:
        check(spec_of(path))
    assert len(str(error.value).splitlines()) == 1


def test_a_file_is_not_executed_before_the_run(tmp_path):
    marker = tmp_path / "executed"
    check(spec_of(write(tmp_path, f"open({str(marker)!r}, 'w')\n{BRIGHTNESS}")))
    assert not marker.exists()


def test_own_metrics_need_images_distinct_names_and_a_known_name(tmp_path):
    file = write(tmp_path)
    with pytest.raises(BadRequest, match="set samples"):
        check(spec_of(file, samples=0))
    with pytest.raises(BadRequest, match="Two own metrics have the name brightness"):
        check(spec_of(file, file))
    with pytest.raises(BadRequest, match="nowhere is no metric: name a Python file"):
        check(spec_of("nowhere"))
    with pytest.raises(BadRequest, match="metrics must be a list"):
        RunSpec(metrics=file)


def test_an_installed_package_offers_a_metric_as_an_entry_point(tmp_path, monkeypatch):
    write(tmp_path, name="shine_package.py")
    info = tmp_path / "shine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dit_core.metrics]\nshine = shine_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = spec_of("shine")
    check(spec)
    assert evaluated(spec)[0]["shine"]["value"] == pytest.approx(IMAGES.mean())
    with pytest.raises(BadRequest, match="name a Python file or one of shine"):
        check(spec_of("other"))


def test_the_file_is_part_of_the_run_and_older_runs_keep_their_ids(tmp_path):
    file = write(tmp_path)
    assert spec_of(file).run_id != spec_of().run_id
    assert "metrics" not in spec_of().to_dict()
    assert RunSpec.from_dict(spec_of(file).to_dict()) == spec_of(file)
    assert f"--metric {file}" in spec_of(file).command()
    assert spec_of(file).baseline.metrics == (file,)


def test_a_changed_file_is_measured_again(tmp_path):
    spec = spec_of(write(tmp_path))
    record = make_record(spec, quality={"own": evaluated(spec)[0]})
    Store(tmp_path).put(record, make_sheets(record))
    assert known.current_record(Store(tmp_path), spec, {"test-machine"}) is not None
    write(tmp_path, BRIGHTNESS.replace("mean", "max", 1))
    assert known.current_record(Store(tmp_path), spec, {"test-machine"}) is None
    (tmp_path / "brightness.py").unlink()  # what is not here cannot be compared
    assert known.current_record(Store(tmp_path), spec, {"test-machine"}) is not None


def stored(record: RunRecord) -> Stored:
    return Stored(record, "local", Path("a.json"))


@pytest.fixture
def runs(tmp_path) -> list[Stored]:
    """A baseline and a candidate with an own metric."""
    file, result = write(tmp_path), []
    for techniques, value in (((), 100.0), (({"name": "quantization", "bits": 4},), 80.0)):
        spec = replace(spec_of(file), techniques=techniques)
        entry = evaluated(spec)[0]["brightness"] | {"value": value, "interval": [value - 5, value + 5]}
        result.append(stored(make_record(spec, quality={"own": {"brightness": entry}})))
    return result


def test_it_is_an_axis_a_tile_a_column_a_row_and_a_line_of_the_command_line(runs):
    candidate = runs[1].record
    (title,) = [title for title in quality_axes(runs) if title.startswith("Brightness")]
    axis = quality_axes(runs)[title]
    assert axis.label == "Brightness, levels (higher is better)"
    assert (axis.read(candidate), axis.interval(candidate)) == (80.0, (75.0, 85.0))
    assert "own metric brightness" in title
    assert "Brightness" in [metric.title for metric in tiles.tiles(candidate)]
    row = list(csv.DictReader(io.StringIO(runs_table.csv(runs).decode())))[1]
    assert [float(row[f"Brightness, levels{end}"]) for end in ("", ", low", ", high")] == [80, 75, 85]
    assert "Own metric brightness" in row["Brightness, levels, measured as"]
    rows = {row.title.partition("\u00a0")[0]: row for row in comparison_table.rows(runs)}
    assert (rows["Brightness, levels"].texts, rows["Brightness, levels"].best) == (("100", "80.0"), {0})
    assert "= 80 [75, 85]" in summary(candidate, RunSpec.from_dict(candidate.spec))


def test_values_of_another_content_of_the_file_are_on_another_axis_and_are_not_compared(runs):
    baseline, candidate = (run.record for run in runs)
    entry = {**candidate.quality["own"]["brightness"], "digest": "0" * 12}
    other = replace(candidate, quality={**candidate.quality, "own": {"brightness": entry}})
    (metric,) = table.of([candidate])
    assert metric.comparable(candidate, baseline)
    assert not metric.comparable(candidate, other)
    by_field = {item.field: item for item in reproducibility.compare(candidate, other)}
    assert "another content" in by_field["quality.brightness"].reason
    worse = {**candidate.quality["own"]["brightness"], "value": 84.0}
    changed = replace(candidate, quality={**candidate.quality, "own": {"brightness": worse}})
    by_field = {item.field: item for item in reproducibility.compare(candidate, changed)}
    assert not by_field["quality.brightness"].ok


@pytest.mark.parametrize(
    "change",
    [{"value": "high"}, {"better": "up"}, {"interval": None}, {"interval": [90, 95]}, {"value": None}, {"title": ""}],
)
def test_a_record_with_a_damaged_own_metric_is_refused(runs, change):
    data = runs[1].record.to_dict()
    data["quality"]["own"]["brightness"] |= change
    with pytest.raises(RecordError, match=r"quality\.own must be"):
        RunRecord.from_dict(data)


def test_the_command_line_refuses_a_bad_file_in_one_line(tmp_path, capsys):
    assert main(["run", "--samples", "12", "--metric", str(tmp_path / "none.py"), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_a_run_keeps_its_record_if_an_own_metric_raises(tmp_path, monkeypatch, untimed):
    from dit_core.experiment import prepare
    from dit_core.experiment.run import run
    from dit_core.listener import Listener

    monkeypatch.setattr(prepare, "SHEET_IMAGES", 2)
    notes: list[str] = []
    files = write(tmp_path), write(tmp_path, returning("undefined"), "faulty.py")
    spec = RunSpec(steps=1, guidance=1, batch_size=1, samples=4, metrics=files, device="cpu")
    record = run(spec, store=Store(tmp_path / "records"), listener=Listener(note=notes.append))
    own = record.quality["own"]
    assert own["brightness"]["interval"][0] <= own["brightness"]["value"] <= own["brightness"]["interval"][1]
    assert "NameError" in own["faulty"]["reason"]
    assert len(notes) == 1
    assert len(Store(tmp_path / "records").load().records) == 1
    again = run(spec, store=Store(tmp_path / "records"))
    assert again.created_at == record.created_at
