"""Searches: what a file asks for, what is told to Optuna, and that the store is the only truth."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from dit_core.errors import BadRequest
from dit_core.experiment import known
from dit_core.recipes.recipe import canonical
from dit_core.records import pareto
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.sweeps import explore as search
from dit_core.sweeps import failures
from dit_core.sweeps.isolated_run import Outcome
from tests.factory import make_record, make_sheets

FILE = """
[protocol]
samples = 1000
[[recipes]]
techniques = [{ name = "quantization", bits = { min = 3 }, group_size = [64, 128] }]
[[recipes]]
techniques = [
    { name = "depth_pruning", keep = { max = 12 } },
    { name = "solver", steps = { min = 4, max = 8, step = 2 } },
]
"""
BASE = {"ratio": None, "low": None, "high": None, "reason": "this run is the baseline"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "explore.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def looked(tmp_path, monkeypatch):
    """Explore, with a stand-in for the process that measures; returns what was found and the specs. 3 bits fail."""
    store, seen = Store(tmp_path / "results"), []
    monkeypatch.setattr(known, "fingerprint", lambda device: "test-machine")

    def measure(spec, out):
        seen.append(spec)
        if any(entry.get("bits") == 3 for entry in spec.techniques):
            return Outcome("failed", "3 bits are not enough.")
        record = make_record(spec, **({} if spec.techniques else {"speedup": BASE}))
        store.put(record, make_sheets(record), local=out is None, again=True)
        return Outcome("done")

    def explore(path, trials, measure=measure):
        seen.clear()
        return search.explore(path, trials, out=store.root, measure=measure), list(seen)

    return explore


def test_knobs_range_as_their_metadata_says_unless_the_file_narrows_them(file):
    first, second = search.read_search(file).recipes.values()
    bits, group_size = first.distributions.values()
    keep, steps = second.distributions.values()
    assert (bits.low, bits.high, bits.step) == (3, 8, 1)
    assert group_size.choices == (64, 128)
    assert (keep.low, keep.high) == (1, 12)
    assert (steps.low, steps.high, steps.step) == (4, 8, 2)


def test_an_empty_table_is_the_whole_range_of_a_knob(file):
    file.write_text(
        """[protocol]\nsamples = 9\n[[recipes]]\ntechniques = [
        { name = "window_attention", shift = {} }, { name = "unstructured_pruning", sparsity = {}, score = {} }]"""
    )
    (recipe,) = search.read_search(file).recipes.values()
    shift, sparsity, score = recipe.distributions.values()
    assert (sparsity.low, sparsity.high, sparsity.step) == (0.0, 0.95, 0.05)
    assert (score.choices, shift.choices) == (("magnitude", "wanda"), (False, True))


def test_a_recipe_and_its_parameters_are_each_others_inverse(file):
    recipe = next(iter(search.read_search(file).recipes.values()))
    values = dict(zip(recipe.distributions, (4, 128), strict=True))
    filled = recipe.filled(values)
    assert filled == canonical([{"name": "quantization", "bits": 4, "group_size": 128}])
    assert recipe.values(filled) == values
    assert recipe.values(canonical([{"name": "quantization", "bits": 4, "method": "hqq"}])) is None
    assert recipe.values(()) is None


def test_the_file_that_ships_is_read():
    assert len(search.read_search(Path("dit_core/sweeps/explore.toml")).recipes) == 5


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("samples = 1000", "samples = 0", "set samples"),
        ("samples = 1000", 'samples = 1000\n[search]\nobjectives = ["distance"]', "two or more"),
        ("samples = 1000", 'samples = 1000\n[search]\nobjectives = ["distance", "joy"]', "Unknown objective 'joy'"),
        ("samples = 1000", 'samples = 1000\n[search]\nsampler = "luck"', "Unknown sampler"),
        ("samples = 1000", "samples = 1000\n[search]\nseed = -1", "seed must be"),
        ("samples = 1000", "samples = 1000\n[other]", "unknown table 'other'"),
        ("{ min = 3 }", "{ min = 1 }", "bits must be between 2 and 8"),
        ("{ min = 3 }", "{ low = 3 }", "not by 'low'"),
        ("{ min = 3 }", "{ min = 5, max = 4 }", "min below max"),
        ("[64, 128]", "[64, 65]", "group_size must be one of"),
        ("[64, 128]", "[]", "name some of 32, 64"),
        ("[64, 128]", "{ min = 64 }", "name some of 32, 64"),
        ("keep =", "keeps =", "no knob 'keeps'"),
        ('"solver"', '"solve"', "Unknown technique"),
    ],
)
def test_what_is_no_search_is_refused_in_one_line(file, old, new, says):
    file.write_text(FILE.replace(old, new, 1))
    with pytest.raises(BadRequest, match=says):
        search.read_search(file)


def test_the_baseline_is_measured_first_and_every_trial_ends_in_one_way(file, looked):
    found, specs = looked(file, 12)
    assert not specs[0].techniques
    assert sum(found.trials.values()) == 12
    assert found.trials["refused"] > 0  # depth_pruning cannot keep more blocks than there are
    assert found.trials["measured"] == len({spec.run_id for spec in specs[1:] if spec.techniques[0].get("bits") != 3})
    assert len(specs) == len({spec.run_id for spec in specs})


def test_the_front_and_its_volume_are_those_of_all_that_is_known(file, looked):
    found, specs = looked(file, 8)
    costs = {point.run_id: point.costs for point in found.front}
    records = [make_record(spec) for spec in specs if spec.techniques and spec.techniques[0].get("bits") != 3]
    every = [(1.0, 1525.0), *((1 / one.speedup["ratio"], one.quality["distance"]) for one in records)]
    assert found.baseline.costs == every[0]
    assert sorted(set(costs.values())) == sorted({every[i] for i in pareto.front(every)})
    assert found.volume == pytest.approx(pareto.coverage(every, found.baseline.costs))


def test_a_search_goes_on_from_the_store_and_measures_nothing_twice(file, looked, tmp_path):
    first, specs = looked(file, 6)
    second, more = looked(file, 6)
    done = {spec.run_id for spec in specs if spec.techniques[:1] and spec.techniques[0].get("bits") != 3}
    assert not done & {spec.run_id for spec in more}
    assert second.volume >= first.volume
    records = Store(tmp_path / "results").load().records
    assert len(records) == len({one.record.run_id for one in records})


def test_the_study_is_made_of_the_records_of_this_workload_machine_and_metric(file, tmp_path):
    asked, store = search.read_search(file), Store(tmp_path)
    base = make_record(asked.baseline, speedup=BASE)

    def put(bits, machine="test-machine", metric=None, **workload):
        recipe = canonical([{"name": "quantization", "bits": bits}])
        changed = {"environment": {"fingerprint": machine}, "quality": {"metric": metric} if metric else {}}
        record = make_record(replace(asked.baseline, techniques=recipe, **workload), **changed)
        store.put(record, make_sheets(record), again=True)
        return record

    good = put(4)
    put(5, machine="laptop")
    put(6, metric="FD of another extractor")
    put(7, steps=7)
    put(2)  # out of the range of the file
    ((point, trial),) = search._stored(asked, store, base, {"test-machine"})
    assert point.run_id == good.run_id
    assert sorted(map(str, trial.params.values())) == ["1. quantization", "4", "64"]
    assert trial.values == [1 / good.speedup["ratio"], good.quality["distance"]]
    study = search._study(asked, [trial])
    assert [one.values for one in study.best_trials] == [trial.values]


def test_the_same_store_and_seed_ask_for_the_same(file, looked, tmp_path):
    def proposals():
        study = search._study(search.read_search(file), [])
        return [search.read_search(file).recipes["1. quantization"].proposed(study.ask()) for _ in range(4)]

    assert proposals() == proposals()


@pytest.mark.parametrize("distance", [None, math.nan, math.inf])
def test_a_figure_that_is_not_known_or_not_finite_is_a_failed_trial(file, distance):
    import optuna

    asked = search.read_search(file)
    base = make_record(asked.baseline, speedup=BASE)
    record = replace(base, quality={**base.quality, "distance": distance})
    assert search.costs_of(asked, record, base) is None
    study = search._study(asked, [])
    search._tell(study, study.ask(), search.costs_of(asked, record, base))
    assert [trial.state for trial in study.trials] == [optuna.trial.TrialState.FAIL]


def test_failures_are_kept_and_not_tried_twice(file, looked, tmp_path):
    file.write_text("[protocol]\nsamples = 9\n[[recipes]]\ntechniques = [{ name = 'quantization', bits = [3] }]")
    found, specs = looked(file, 3)
    assert (found.trials["failed"], len(specs)) == (3, 2)
    assert [entry["reason"] for entry in failures.read(tmp_path / "results")] == ["3 bits are not enough."]
    assert [point.label for point in found.front] == ["baseline"]


def test_without_a_baseline_there_is_no_search(file, looked):
    with pytest.raises(RuntimeError, match="baseline could not be measured: no luck"):
        looked(file, 3, measure=lambda spec, out: Outcome("failed", "no luck"))


def test_what_was_found_is_told_in_words_and_as_data(file, looked):
    found, _ = looked(file, 4)
    words, data = search.report(found), json.loads(search.as_json(found))
    assert f"Hypervolume {found.volume:.3f}, the baseline has 1; reference point: 2, 3050." in words
    assert data["reference"] == {"relative_time": 2.0, "distance": 3050.0}
    assert [entry["run_id"] for entry in data["front"]] == [point.run_id for point in found.front]
    assert RunSpec().label() in words
