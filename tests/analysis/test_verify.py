import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from dit_core.analysis import reproducibility, verify
from dit_core.cli.commands import main
from dit_core.recipes.recipe import canonical
from dit_core.records import schema
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.factory import make_record, make_sheets

JUDGED = {
    "distance": 1000.0,
    "low": 950.0,
    "high": 1050.0,
    "spatial_metric": "spatial FD x",
    "spatial_distance": 100.0,
    "distance_infinity": 800.0,
    **dict.fromkeys(("precision", "recall", "class_accuracy"), 0.5),
    "classifier_score": 20.0,
    "fid_metric": "FID x",
    "fid": 10.0,
    "sfid": 10.0,
    "inception_score": 5.0,
}
COUNTED = {"int8_ops": 5, "moved_bytes": 5, "routing": {"tokens": [[[50, 50]]]}}


def spec_of(bits: int | None = 4, **fields) -> RunSpec:
    recipe = canonical([{"name": "quantization", "bits": bits}]) if bits else ()
    return RunSpec(techniques=recipe, samples=1000, **fields)


def whole(spec: RunSpec, **sections) -> RunRecord:
    """A record that agrees with itself; the baseline has no speed-up."""
    if not spec.techniques:
        nothing = dict.fromkeys(("ratio", "low", "high", "confidence", "blocks", "baseline_latency_s"))
        sections = {"speedup": {**nothing, "reason": "this run is the baseline"}, **sections}
    return make_record(spec, **sections)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for bits in (None, 4, 8):
        record = whole(spec_of(bits))
        store.put(record, make_sheets(record), local=False)
    return store


def problems(store: Store) -> str:
    return "\n".join(f"{problem.file}: {problem.problem}" for problem in verify.check(store))


def rewrite(path: Path, section: str, **figures) -> None:
    data = json.loads(path.read_text())
    data[section].update(figures)
    path.write_text(json.dumps(data))


def by_field(recorded: RunRecord, measured: RunRecord) -> dict[str, reproducibility.Comparison]:
    return {comparison.field: comparison for comparison in reproducibility.compare(recorded, measured)}


def failing(recorded: RunRecord, measured: RunRecord) -> list[str]:
    """The fields outside their tolerance."""
    return [field for field, comparison in by_field(recorded, measured).items() if not comparison.ok]


def path_of(store: Store, spec: RunSpec) -> Path:
    stored = store.get(spec.run_id)
    assert stored is not None
    return stored.path


def test_the_bundled_records_have_no_problem():
    assert problems(Store(Path(__file__).resolve().parents[2] / "cached_results")) == ""


def test_a_consistent_store_has_no_problem(store):
    assert problems(store) == ""


@pytest.mark.parametrize(
    ("section", "figures", "says"),
    [
        ("latency", {"latency_s": 9.0}, "not the median of its raw times"),
        ("latency", {"calls": 7}, "5 raw times but 7 calls"),
        ("latency", {"throughput_images_per_s": 1.0}, "not its batch size divided by its latency"),
        ("latency", {"batch_size": 3}, "batch size is not that of its spec"),
        ("latency", {"raw_s": "none"}, "raw_s must be a list"),
        ("flops", {"macs": 5}, "not twice its macs"),
        ("speedup", {"ratio": 9.0, "high": 10.0}, "not the ratio of its latencies"),
        ("latency", {"latency_p25_s": 1e-9, "latency_p75_s": 9.0}, "quartiles are not those of its raw times"),
        ("latency", {"time_shares": {"ffn": 0.4, "vae": 0.5}}, "do not add up to one"),
        ("speedup", {"baseline_raw_s": [9.0, 9.1]}, "baseline's latency is not the median"),
        ("speedup", {"low": 1e-9, "high": 2e-9}, "speedup.ratio is outside its own interval"),
        ("flops", {"moved_bytes": 10, "arithmetic_intensity_flop_per_byte": 1.0}, "arithmetic intensity"),
        ("flops", {"routing": {"tokens": [[[9, 1]]], "balance": [[1.0]]}}, "balance is not that of its tokens"),
        ("quality", {"low": 1.0, "high": 2.0}, "quality.distance is outside its own interval"),
        ("quality", {"recall": 0.9, "intervals": {"recall": [0.1, 0.2]}}, "quality.recall is outside"),
        ("fidelity", {"intervals": {"ssim": [0.1, 0.2]}}, "fidelity.ssim is outside its own interval"),
        ("quality", {"metric": "FD x, 50 images, reference y"}, "named for 50 images"),
        ("quality", {"replicates": 4}, "evaluated 4 sets of images"),
        ("quality", {"count": 10}, "evaluated 10 images"),
        ("quality", {"distance": float("nan")}, "not a finite number"),
        ("quality", {"class_accuracy": 0.5, "class_accuracy_by_class": {"a": 0.5, "b": 0.7}}, "not the mean over its"),
        ("quality", {"class_accuracy_by_class": {"a": 55}}, "each value a number from 0 to 1"),
        ("environment", {"device": "cuda"}, "ran on cuda"),
        ("spec", {"seed": 9}, "run_id does not belong"),
        ("samples", {"sheet": "0000000000000000.webp"}, "candidate sheet 0000000000000000.webp is missing"),
        ("samples", {"indices": [0]}, "not have one index for each label"),
        ("samples", {"tile": 16}, "128 by 64 pixels, but its tiles need 64 by 32"),
    ],
)
def test_an_altered_record_is_reported_with_its_problem(store, section, figures, says):
    path = path_of(store, spec_of(4))
    rewrite(path, section, **figures)
    messages = problems(store)
    assert f"{path.name}: " in messages
    assert says in messages


def test_a_missing_replicate_is_reported(store):
    record = whole(spec_of(4, replicates=3), quality={**JUDGED, "replicates": 3})
    store.put(record, make_sheets(record), local=False)
    assert problems(store) == ""
    rewrite(path_of(store, spec_of(4, replicates=3)), "quality", replicate_values={"distance": [1000.0, 1001.0]})
    assert "its quality is not tested: 2 of 3 replicates were judged" in problems(store)


def test_a_baseline_with_other_baseline_weights_is_reported(store):
    rewrite(path_of(store, spec_of(None)), "memory", baseline_weight_bytes=5)
    assert "its operations or weights differ from its baseline's" in problems(store)


def test_a_record_with_a_number_too_large_for_a_float_is_reported(store):
    path = path_of(store, spec_of(4))
    rewrite(path, "latency", latency_s=10**400)
    assert f"{path.name}: latency.latency_s must be a number above 0" in problems(store)


def test_a_lossy_sheet_is_found(store):
    record = whole(spec_of(6))
    lossy = io.BytesIO()
    Image.effect_noise((128, 64), 50).convert("RGB").save(lossy, "WEBP", quality=50)
    store.put(record, {**make_sheets(record), "candidate": lossy.getvalue()}, local=False)
    assert "is not lossless WebP" in problems(store)


def test_a_damaged_sheet_an_orphan_and_a_truncated_record_are_found(store, tmp_path):
    sheet = next((tmp_path / "sheets").glob("*"))
    (tmp_path / "sheets" / "orphan.webp").write_bytes(sheet.read_bytes())
    assert problems(store) == "sheets/orphan.webp: no record names this sheet"
    sheet.write_bytes(sheet.read_bytes()[:-5])
    assert "is missing or was damaged" in problems(store)
    path = path_of(store, spec_of(8))
    path.write_text(path.read_text()[:100])
    assert "not whole JSON" in problems(store)


def test_two_bundled_records_of_one_run_in_one_environment_are_a_problem_and_on_two_machines_are_not(store):
    record = whole(spec_of(4))
    other_machine = replace(record, environment={**record.environment, "fingerprint": "other"})
    store.put(other_machine, make_sheets(record), local=False, again=True)
    assert problems(store) == ""
    store.put(record, make_sheets(record), local=False, again=True)
    assert "two records of one recipe" in problems(store)


def test_a_recipe_without_a_knob_equals_the_recipe_with_its_default(store):
    short = whole(RunSpec(techniques=({"name": "quantization", "bits": 5},), samples=1000))
    store.put(short, make_sheets(short), local=False)
    assert problems(store) == ""
    written_out = whole(spec_of(5))
    store.put(written_out, make_sheets(written_out), local=False)
    assert "two records of one recipe" in problems(store)


@pytest.mark.parametrize(
    ("section", "figures", "outside"),
    [
        ("flops", {"flops": 7, "macs": 3}, "flops.flops"),
        ("memory", {"weight_bytes": 5_000_000}, "memory.weight_bytes"),
        ("memory", {"peak_memory_bytes": 200_000_000}, "memory.peak_memory_bytes"),
        ("quality", {"distance": 1080.0}, "quality.distance"),
        ("quality", {"metric": "FD other"}, "quality.distance"),
        ("fidelity", {"psnr_db": 30.0}, "fidelity.psnr_db"),
        ("speedup", {"ratio": 1.7, "low": 1.69, "high": 1.71}, "speedup.ratio"),
        ("flops", {"uncounted": {"aten.x": 3}}, "flops.uncounted"),
        ("flops", {"int8_ops": 7}, "flops.int8_ops"),
        ("flops", {"moved_bytes": 7}, "flops.moved_bytes"),
        ("flops", {"routing": {"tokens": [[[30, 70]]]}}, "flops.routing"),
        ("quality", {"spatial_distance": 130.0}, "quality.spatial_distance"),
        ("quality", {"distance_infinity": 900.0}, "quality.distance_infinity"),
        ("quality", {"precision": 0.52}, "quality.precision"),
        ("quality", {"recall": 0.52}, "quality.recall"),
        ("quality", {"class_accuracy": 0.52}, "quality.class_accuracy"),
        ("quality", {"classifier_score": 21.0}, "quality.classifier_score"),
        ("quality", {"fid": 12.0}, "quality.fid"),
        ("quality", {"sfid": 12.0}, "quality.sfid"),
        ("quality", {"inception_score": 6.0}, "quality.inception_score"),
        ("fidelity", {"feature_cosine": 0.95}, "fidelity.feature_cosine"),
        ("latency", {"latency_s": 9.0, "raw_s": [9.0] * 5}, "latency.latency_s"),
    ],
)
def test_a_value_outside_its_tolerance_is_reported(section, figures, outside):
    values = {"quality": JUDGED, "flops": COUNTED, "fidelity": {"feature_cosine": 0.9}}
    recorded = whole(spec_of(4), **values)
    measured = make_record(spec_of(4), **{**values, section: {**values.get(section, {}), **figures}})
    wrong = failing(recorded, measured)
    assert outside in wrong
    assert all(name.startswith(section) for name in wrong)


def test_quality_must_repeat_on_one_machine_and_agree_within_both_intervals_on_another():
    recorded = whole(spec_of(4), quality=JUDGED)
    later = {"distance": 1060.0, "low": 1010.0, "high": 1110.0}  # apart by less than 70.7
    other_machine = whole(spec_of(4), quality=later, environment={"fingerprint": "other"})
    assert failing(recorded, other_machine) == []
    same_machine = whole(spec_of(4), quality=later)
    assert failing(recorded, same_machine) == ["quality.distance"]
    assert by_field(recorded, same_machine)["quality.distance"].kind == reproducibility.SEEDED
    rounded = whole(spec_of(4), quality={**JUDGED, "distance": 1000.2})
    assert failing(recorded, rounded) == []


def test_after_a_disturbed_timing_the_speed_up_is_compared_and_the_latency_is_not(store):
    slow = {"latency_s": 9.0, "raw_s": [9.0] * 5, "flag": "something else used the processor"}
    recorded, measured = whole(spec_of(4)), whole(spec_of(4), latency=slow)
    figures = by_field(recorded, measured)
    assert figures["latency.latency_s"].kind == reproducibility.NOT_COMPARED
    assert "something else" in figures["latency.latency_s"].reason
    assert figures["speedup.ratio"].ok
    (run,) = verify.rerun(store, 1, measure=lambda spec: measured)
    assert "latency not compared: something else used the processor" in verify.report([], [run], 1)


def test_the_report_has_both_values_and_the_allowed_range_of_every_field():
    recorded = whole(spec_of(4), quality=JUDGED)
    measured = whole(spec_of(4), quality={**JUDGED, "distance": 1080.0})
    run = verify.Rerun("a.json", "int4", tuple(reproducibility.compare(recorded, measured)))
    text = verify.report([], [run], 1)
    assert "flops.flops (exact): recorded" in text
    assert "quality.distance (same seeds): recorded 1000, measured 1080, OUTSIDE [990, 1010]" in text
    assert "speedup.ratio (measured)" in text
    assert "latency.load_s: not compared: it happens once" in text
    assert all(comparison.field in text for comparison in run.comparisons)
    compared = sum(comparison.compared for comparison in run.comparisons)
    assert f"{compared - 1} of {compared} figures hold" in text


def test_every_field_of_the_bundled_records_has_an_entry():
    """Every field has a tolerance for reruns, except for the texts about other fields."""
    texts = {"reason", "reasons", "flag", "fid_flag"}
    unknown = {
        f"{section}.{name}"
        for stored in Store(Path(__file__).resolve().parents[2] / "cached_results").load().records
        for section in schema.REQUIRED
        if section != "environment"
        for name in set(getattr(stored.record, section)) - texts
    } - set(schema.ALL)
    assert unknown == set()


def test_between_machines_only_values_with_an_interval_are_compared():
    values = {"intervals": {"recall": [0.4, 0.6]}, "interval_method": {"recall": "x"}}
    recorded = whole(spec_of(4), quality={**JUDGED, **values})
    near, far = (
        whole(spec_of(4), quality={**JUDGED, **values, "recall": recall}, environment={"fingerprint": "other"})
        for recall in (0.6, 0.65)
    )
    assert failing(recorded, far) == ["quality.recall"]
    comparisons = by_field(recorded, near)
    assert comparisons["quality.recall"].ok
    assert "no interval" in comparisons["quality.spatial_distance"].reason


def test_times_of_one_process_have_a_wider_tolerance_than_times_of_several():
    def timed(ratio, **rest):
        return whole(spec_of(4), speedup={"ratio": ratio, "low": ratio - 0.01, "high": ratio + 0.01, **rest})

    several = {"process_ratios": [1.27, 1.28, 1.29]}

    def ok(recorded, measured):
        return by_field(recorded, measured)["speedup.ratio"].ok

    assert ok(timed(1.28), timed(1.33))
    assert not ok(timed(1.28), timed(1.36))
    assert not ok(timed(1.28, **several), timed(1.33, **several))


def test_fid_that_one_record_lacks_is_not_compared():
    recorded = whole(spec_of(4), quality=JUDGED)
    unknown = {**JUDGED, "fid": None, "reasons": {"fid": "no Inception weights"}}
    comparisons = by_field(recorded, whole(spec_of(4), quality=unknown))
    assert comparisons["quality.fid"].ok
    assert not comparisons["quality.fid"].compared


def test_the_exit_code_is_1_for_problems_and_2_for_a_bad_request(store, tmp_path, capsys, monkeypatch):
    assert main(["verify", "--results", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"records": 3, "problems": [], "reruns": []}
    monkeypatch.setattr(verify, "measure_in_new_process", lambda spec: whole(spec, memory={"weight_bytes": 1}))
    assert main(["verify", "--results", str(tmp_path), "--rerun", "1", "--json"]) == 1
    (run,) = json.loads(capsys.readouterr().out)["reruns"]
    assert [item["field"] for item in run["comparisons"] if not item["ok"]] == ["memory.weight_bytes"]
    rewrite(path_of(store, spec_of(4)), "latency", calls=99)
    assert main(["verify", "--results", str(tmp_path)]) == 1
    assert "5 raw times but 99 calls" in capsys.readouterr().out
    assert main(["verify", "--results", str(tmp_path / "nowhere")]) == 2
    assert main(["verify", "--results", str(tmp_path), "--rerun", "9"]) == 2


def test_the_checks_load_no_torch(store, tmp_path):
    code = f"import sys; from dit_core.cli.commands import main; main(['verify', '--results', {str(tmp_path)!r}])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("False\n")


def test_peak_memory_may_differ_by_the_freed_memory_that_an_allocator_keeps():
    def peak(measured):
        recorded, again = (whole(spec_of(4), memory={"peak_memory_bytes": value}) for value in (174_500_000, measured))
        return by_field(recorded, again)["memory.peak_memory_bytes"].ok

    assert peak(191_500_000)
    assert not peak(215_000_000)
