"""Sweeps: what a grid file means, what is measured again, and which runs are the best."""

from types import SimpleNamespace

import pytest

from dit_core import sweeps as search
from dit_core.errors import BadRequest
from dit_core.experiment import known, run
from dit_core.measure import environment
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.sweeps import failures
from dit_core.sweeps import grid_sweep as sweeps
from dit_core.sweeps.grid import judged_images, read_grid
from dit_core.sweeps.isolated_run import Outcome
from tests.factory import make_record, make_sheets

GRID = """
[protocol]
samples = 1000
[[runs]]
[[runs]]
techniques = [{ name = "quantization", bits = [8, 4] }]
[[runs]]
techniques = [{ name = "solver", steps = [4, 8] }, { name = "quantization", bits = 4 }]
[[runs]]
techniques = [{ name = "quantization", bits = 8 }]
"""
BASE = {"ratio": None, "low": None, "high": None, "reason": "this run is the baseline"}


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return path


@pytest.fixture(autouse=True)
def _this_machine(monkeypatch):
    """The one that the factory's records are from."""
    monkeypatch.setattr(known, "fingerprint", lambda device: "test-machine")


@pytest.fixture
def measured(tmp_path):
    """Sweep, with a stand-in for the process that measures; returns what it did and the specs.

    2 bits always fail, and 8 steps are beaten in all.
    """
    store, seen = Store(tmp_path / "results"), []

    def measure(spec, out):
        seen.append(spec)
        if any(technique.get("bits") == 2 for technique in spec.techniques):
            return Outcome("failed", "2 bits are not enough.")
        poor = {"quality": {"distance": 9000}} if any(entry.get("steps") == 8 for entry in spec.techniques) else {}
        record = make_record(spec, **poor, **({} if spec.techniques else {"speedup": BASE}))
        store.put(record, make_sheets(record), local=out is None, again=True)
        return Outcome("done")

    def sweep(path, **how):
        seen.clear()
        return search.sweep(path, out=store.root, measure=measure, **how), list(seen)

    return sweep


def test_lists_stand_for_all_combinations_without_repeats(grid):
    recipes = [
        [(entry["name"], entry.get("bits"), entry.get("steps")) for entry in spec.techniques]
        for spec in search.read_grid(grid)
    ]
    assert recipes == [
        [],
        [("quantization", 8, None)],
        [("quantization", 4, None)],
        [("solver", None, 4), ("quantization", 4, None)],
        [("solver", None, 8), ("quantization", 4, None)],
    ]


def test_a_sweep_measures_what_is_not_there_and_never_twice(grid, measured):
    first, specs = measured(grid)
    assert (len(first["measured"]), first["known"], first["failed"]) == (5, [], [])
    second, specs = measured(grid)
    assert (second["measured"], len(second["known"]), specs) == ([], 5, [])
    third, specs = measured(grid, again=True)
    assert len(third["measured"]) == len(specs) == 5


def test_a_sweep_stops_in_time_and_goes_on_where_it_stopped(grid, measured, monkeypatch):
    now = iter(range(100))
    clock = SimpleNamespace(monotonic=lambda: 10.0 * next(now))
    monkeypatch.setattr("dit_core.sweeps.grid_sweep.time", clock)
    first, _ = measured(grid, within_s=60)
    assert 0 < len(first["measured"]) < 5
    assert len(first["measured"]) + len(first["left"]) == 5
    second, _ = measured(grid)
    assert second["measured"] == first["left"]
    assert "left" not in second


def test_a_run_without_a_device_uses_the_best(tmp_path, monkeypatch):
    (tmp_path / "grid.toml").write_text("[[runs]]\nprecision = ['bfloat16', 'tf32']\n")
    monkeypatch.setenv("DIT_DEVICE", "cuda:1")
    specs = search.read_grid(tmp_path / "grid.toml")
    assert [(spec.device, spec.precision) for spec in specs] == [("cuda:1", "bfloat16"), ("cuda:1", "tf32")]


def test_records_of_another_machine_are_not_known_and_not_lost(grid, measured, monkeypatch, tmp_path):
    first, _ = measured(grid)
    monkeypatch.setattr(known, "fingerprint", lambda device: "laptop")
    assert measured(grid)[0]["measured"] == first["measured"]
    assert len(Store(tmp_path / "results").load().records) == 10
    monkeypatch.setattr(known, "fingerprint", lambda device: "test-machine")
    third, specs = measured(grid)
    assert (third["known"], specs) == (first["measured"], [])


def test_a_single_run_takes_a_bundled_record_of_another_machine_for_known(tmp_path):
    """As the dashboard does, which badges it and offers to measure again."""
    record = make_record(RunSpec())
    Store(tmp_path).put(record, make_sheets(record), local=False)
    found = run.run(RunSpec(), store=Store(tmp_path))
    assert found.environment["fingerprint"] == "test-machine"


def test_nothing_is_known_where_the_environment_is_not(grid, measured, monkeypatch):
    measured(grid)
    monkeypatch.setattr(known, "fingerprint", lambda device: None)
    assert len(measured(grid)[0]["measured"]) == 5


def test_bundled_records_of_this_environment_are_known_to_a_sweep_into_local_results(grid, monkeypatch, tmp_path):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path))
    bundled, *rest = search.read_grid(grid)
    record = make_record(bundled)
    Store().put(record, make_sheets(record), local=False)

    def measure(spec, out):
        record = make_record(spec)
        Store(out).put(record, make_sheets(record), local=out is None)
        return Outcome("done")

    done = search.sweep(grid, measure=measure)
    assert (done["known"], done["measured"]) == ([bundled.run_id], [spec.run_id for spec in rest])
    assert {one.origin for one in Store().load().records if one.record.run_id != bundled.run_id} == {"local"}


def test_a_record_of_other_weights_is_not_known(grid, measured, monkeypatch):
    measured(grid)
    monkeypatch.setattr(known, "is_current", lambda record: False)
    assert len(measured(grid)[0]["measured"]) == 5


@pytest.mark.slow
def test_the_fingerprint_of_this_machine_is_that_of_its_records(monkeypatch):
    monkeypatch.undo()
    assert known.fingerprint("cpu") == environment("cpu")["fingerprint"]
    assert known.fingerprint("no such device") != known.fingerprint("cpu")


def test_a_run_that_fails_does_not_stop_the_others_and_is_tried_again(grid, measured):
    grid.write_text(GRID.replace("[8, 4]", "[8, 2, 4]"))
    first, _ = measured(grid)
    assert (len(first["measured"]), len(first["failed"])) == (5, 1)
    second, specs = measured(grid)
    assert second["failed"] == [spec.run_id for spec in specs] == first["failed"]


def test_failures_are_kept_and_told_at_the_end_with_their_reasons(grid, measured, tmp_path, capsys):
    grid.write_text(GRID.replace("[8, 4]", "[8, 2, 4]"))
    done, _ = measured(grid)
    told = capsys.readouterr().err.splitlines()[-2:]
    assert f"failed: {done['failed'][0]} quantization" in told[0]
    assert told[0].endswith(": 2 bits are not enough.")
    assert str(failures.path_in(tmp_path / "results")) in told[1]
    assert [entry["run_id"] for entry in failures.read(tmp_path / "results")] == done["failed"]


@pytest.mark.parametrize(
    ("elapsed_s", "done", "of", "words"),
    [
        (0, 0, 4, ""),
        (60, 1, 4, "about 3 min left"),
        (90, 1, 2, "about 2 min left"),
        (7200, 2, 5, "about 3.0 h left"),
        (60, 4, 4, ""),
    ],
)
def test_the_time_left_is_that_of_the_rest_at_the_pace_so_far(elapsed_s, done, of, words):
    assert sweeps.time_left(elapsed_s, done, of) == words


def test_a_sweep_tells_the_time_left_before_each_run_but_the_first(grid, measured, monkeypatch, capsys):
    clock = iter(range(0, 6000, 60))
    monkeypatch.setattr("dit_core.sweeps.grid_sweep.time", SimpleNamespace(monotonic=lambda: next(clock)))
    measured(grid)
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert lines[0] == "baseline"
    assert [line.rpartition(", ")[2] for line in lines[1:]] == [f"about {n} min left" for n in (8, 5, 3, 2)]


def test_the_best_runs_are_judged_again_on_more_images(grid, measured):
    measured(grid)
    done, specs = measured(grid, front=5000)
    assert {spec.samples for spec in specs} == {5000}
    assert not specs[0].techniques
    assert len(done["measured"]) == 4
    again, specs = measured(grid, front=5000)
    assert (again["measured"], specs) == ([], [])


def test_the_fronts_hold_what_nothing_beats():
    def record(bits, ratio, distance, weights):
        spec = RunSpec(samples=1000, techniques=({"name": "quantization", "bits": bits},) if bits else ())
        return make_record(
            spec,
            speedup={"ratio": ratio, **({} if ratio else BASE)},
            quality={"distance": distance, **({} if distance else {"reason": "not judged"})},
            memory={"weight_bytes": weights},
        )

    base = record(None, None, 700, 100)
    fast, small, beaten, unjudged = (
        record(8, 2.0, 800, 90),
        record(2, 0.9, 900, 10),
        record(4, 0.8, 910, 20),
        record(3, 9.0, None, 1),
    )
    assert search.fronts([beaten, small, unjudged, fast, base]) == [base, fast, small]
    assert search.fronts([]) == []


def test_a_front_mixes_neither_environments_nor_metrics():
    def record(bits, distance, machine="a", metric="FD 1000"):
        recipe = ({"name": "quantization", "bits": bits},) if bits else ()
        quality = {"distance": distance, "metric": metric, **({} if distance else {"reason": "not judged"})}
        changed = {"quality": quality, "environment": {"fingerprint": machine}}
        return make_record(RunSpec(samples=1000, techniques=recipe), **changed, **({} if bits else {"speedup": BASE}))

    base, fast, good = record(None, 900), record(2, 800), record(4, 700)
    others = [record(8, 1, machine="b"), record(7, 1, metric="FD 5000"), record(6, None), record(5, None)]
    assert search.fronts([*others, base, good, fast]) == [base, fast, good]


@pytest.mark.parametrize("text", ["no toml", "[other]\nx = 1"])
def test_what_is_no_grid_is_refused(tmp_path, text):
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(BadRequest, match="grid"):
        search.read_grid(tmp_path / "grid.toml")


def test_on_cuda_a_run_has_the_fields_of_that_table_unless_it_names_its_own(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(
        "[protocol]\nsamples = 1000\n[on_cuda]\nsamples = 5000\n"
        '[[runs]]\ndevice = ["cpu", "cuda:1"]\n[[runs]]\ndevice = "cuda"\nsamples = 7\n'
        '[[runs]]\ndevice = "cpu"\nseed = 1\n'
    )
    specs = [(spec.device, spec.samples) for spec in read_grid(path)]
    assert specs == [("cpu", 1000), ("cuda:1", 5000), ("cuda", 7), ("cpu", 1000)]


def test_the_bundled_protocol_judges_5000_images_on_cuda_and_1000_elsewhere():
    assert [judged_images(device) for device in ("cuda", "cuda:1", "cpu", "mps")] == [5000, 5000, 1000, 1000]
