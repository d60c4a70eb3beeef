"""Records grouped by what may be compared."""

from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui.comparisons import comparisons, differing, point_id, spec_of
from tests.factory import make_record, make_sheets


def test_only_runs_of_one_workload_on_one_machine_are_compared(tmp_path):
    def put(steps, fingerprint, bits=None):
        recipe = ({"name": "quantization", "bits": bits},) if bits else ()
        spec = RunSpec(steps=steps, techniques=recipe)
        record = make_record(spec, environment={"fingerprint": fingerprint})
        Store(tmp_path).put(record, make_sheets(record))

    for steps, fingerprint, bits in ((20, "a", None), (20, "a", 4), (20, "b", 8), (10, "a", 2)):
        put(steps, fingerprint, bits)
    groups = comparisons(Store(tmp_path).load().records)
    assert [len(group.runs) for group in groups] == [2, 1, 1]
    assert len({group.title for group in groups}) == 3


def test_the_runs_with_the_most_techniques_come_first_then_the_most_runs(tmp_path):
    def put(steps, *recipes):
        for recipe in recipes:
            record = make_record(RunSpec(steps=steps, techniques=canonical(recipe)))
            Store(tmp_path).put(record, make_sheets(record))

    bits = [[{"name": "quantization", "bits": bits}] for bits in (2, 3, 4, 8)]
    put(5, *bits[:3])
    put(6, *bits)
    put(7, bits[0], [{"name": "token_merging"}])
    groups = comparisons(Store(tmp_path).load().records)
    assert [spec_of(group.runs[0]).steps for group in groups] == [7, 6, 5]


def test_what_makes_runs_not_comparable_is_named(tmp_path):
    def put(recipe=(), fingerprint="a", **fields):
        record = make_record(RunSpec(techniques=recipe, **fields), environment={"fingerprint": fingerprint})
        path = Store(tmp_path).put(record, make_sheets(record), again=True)
        return next(stored for stored in Store(tmp_path).load().records if stored.path == path)

    first = put(samples=1000)
    assert differing(put(({"name": "quantization", "bits": 4},), samples=1000), first) == ""
    assert differing(put(samples=1000, seed=3), first) == "seed 3 instead of 0"
    assert differing(put(samples=500, replicates=3), first) == "samples 500 instead of 1000, replicates 3 instead of 1"
    assert differing(put(samples=1000, fingerprint="b"), first) == "another machine or other versions"
    assert differing(put(samples=1000, classes=("animal",)), first) == "classes animal instead of none"


def test_specs_are_parsed_once_and_the_number_of_kept_specs_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr("dit_core.ui.comparisons.MAX_SPECS", 2)
    monkeypatch.setattr("dit_core.ui.comparisons._SPECS", kept := {})
    for steps in (5, 6, 7):
        record = make_record(RunSpec(steps=steps))
        Store(tmp_path).put(record, make_sheets(record))
    stored = Store(tmp_path).load().records
    assert [spec_of(one) for one in stored] == [RunSpec.from_dict(one.record.spec) for one in stored]
    assert len(kept) == 2
    assert spec_of(stored[-1]) is spec_of(stored[-1])


def test_a_bundled_and_a_local_record_of_one_run_are_two_points(tmp_path):
    record = make_record()
    for local in (True, False):
        Store(tmp_path).put(record, make_sheets(record), local=local)
    assert len({point_id(stored) for stored in Store(tmp_path).load().records}) == 2
