"""The figures of claims: what each is compared with, and which records have it."""

import pytest

from dit_core.recipes.recipe import canonical
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from tests.analysis.test_claims import UNTESTABLE, baseline, record_of, timed, verdict, weights
from tests.factory import make_record


def test_fid_is_compared_only_between_records_of_the_same_method():
    def with_fid(value, name="FID a"):
        return {"quality": {"fid": value, "fid_metric": name, "intervals": {"fid": [value - 0.05, value + 0.05]}}}

    result = verdict("quantization-fid", record_of(), baseline())
    assert result.verdict == UNTESTABLE
    assert "Inception" in result.reason
    assert verdict("quantization-fid", record_of(**with_fid(5.3)), baseline(**with_fid(5.0))).verdict == "reproduced"
    assert (
        verdict("quantization-fid", record_of(**with_fid(5.7)), baseline(**with_fid(5.0))).verdict == "not reproduced"
    )
    other = baseline(**with_fid(5.0, "FID b"))
    assert verdict("quantization-fid", record_of(**with_fid(5.3)), other).verdict == UNTESTABLE
    assert verdict("quantization-fid", record_of(**with_fid(5.3))).verdict == UNTESTABLE


def test_peak_memory_of_a_cpu_is_known_up_to_its_tolerance_and_that_of_a_gpu_exactly():
    def pair(own, device):
        memory = {"peak_memory_bytes": 100}
        return record_of(memory={"peak_memory_bytes": own}, device=device), baseline(device, memory=memory)

    claim = "quantization-peak-memory"
    assert verdict(claim, *pair(85, "cuda")).verdict == "reproduced"
    assert verdict(claim, *pair(95, "cuda")).verdict == "not reproduced"
    assert verdict(claim, *pair(85, "cpu")).verdict == UNTESTABLE  # a rerun may differ by 20 % on both sides
    assert verdict(claim, *pair(60, "cpu")).verdict == "reproduced"
    assert verdict(claim, *pair(140, "cpu")).verdict == "not reproduced"


def student(distance: float, share: float, recover: str = "bundled", half: float = 30) -> RunRecord:
    """A student with this share of its teacher's bytes."""
    spec = RunSpec(techniques=({"name": "distillation", "depth": share, "recover": recover},), samples=1000)
    judged = {"distance": distance, "low": distance - half, "high": distance + half}
    return make_record(spec, quality=judged, **weights(share))


def test_every_smaller_student_is_compared_with_the_next_larger_beyond_both_intervals():
    large, middle, small = student(800.0, 0.6), student(1000.0, 0.4), student(1400.0, 0.3)
    result = verdict("distillation-gap", large, middle, small)
    assert result.verdict == "reproduced"
    # The largest student has no larger one to compare with.
    assert {evidence.run_id for evidence in result.evidence} == {middle.run_id, small.run_id}
    close = verdict("distillation-gap", large, student(835.0, 0.4), small)  # half widths add to 42
    assert close.verdict == "partly"
    better = verdict("distillation-gap", large, student(700.0, 0.4))
    assert better.verdict == "not reproduced"


def test_untrained_students_and_a_single_student_are_no_evidence_of_the_gap():
    assert "no recovered record" in verdict("distillation-gap", student(2000.0, 0.5, "none")).reason
    single = verdict("distillation-gap", student(800.0, 0.6), student(2000.0, 0.3, "none"))
    assert single.verdict == UNTESTABLE
    assert "no larger run" in single.reason


def mediated(distance: float, mediators: int, recover: str = "bundled", half: float = 4, **quality) -> RunRecord:
    recipe = ({"name": "mediated_attention", "mediators": mediators, "recover": recover},)
    judged = {"distance": distance, "low": distance - half, "high": distance + half, **quality}
    return make_record(RunSpec(techniques=recipe, samples=1000), quality=judged)


def test_kept_and_improved_quality_are_two_claims():
    teacher = baseline(quality={"distance": 1000.0, "low": 996.0, "high": 1004.0})
    alike, worse, better = mediated(1010.0, 4), mediated(1200.0, 2), mediated(900.0, 8)
    assert verdict("attention-quality-kept", teacher, alike, better).verdict == "reproduced"
    assert verdict("attention-quality-kept", teacher, alike, worse).verdict == "partly"
    assert verdict("attention-quality-improved", teacher, alike, worse).verdict == "not reproduced"
    result = verdict("attention-quality-improved", teacher, alike, worse, better)
    assert (result.verdict, [item.run_id for item in result.in_range]) == ("partly", [better.run_id])
    assert not verdict("attention-quality-kept", teacher, mediated(2000.0, 4, "none")).evidence


def test_the_pairs_of_the_same_seeds_decide_where_a_record_has_them():
    teacher = baseline(quality={"distance": 1000.0, "low": 900.0, "high": 1100.0})
    pairs = {"difference": -30.0, "difference_low": -40.0, "difference_high": -20.0}
    pairs |= {"difference_detectable": 12.0, "difference_method": "16 random halves of 1000 pairs, Student's t"}
    assert verdict("attention-quality-improved", teacher, mediated(970.0, 4, half=100)).verdict == UNTESTABLE
    paired = verdict("attention-quality-improved", teacher, mediated(970.0, 4, half=100, **pairs))
    assert paired.verdict == "reproduced"
    assert paired.evidence[0].figure.value == pytest.approx(-0.03)


def test_a_record_with_a_missing_replicate_is_no_evidence():
    def judged(distance, **quality):
        recipe = ({"name": "mediated_attention", "mediators": 4, "recover": "bundled"},) if distance != 1000 else ()
        values = {"distance": distance, "low": distance - 4, "high": distance + 4, "replicates": 3, **quality}
        return make_record(RunSpec(techniques=recipe, samples=1000, replicates=3), quality=values)

    teacher = judged(1000.0)
    assert verdict("attention-quality-kept", teacher, judged(1010.0)).verdict == "reproduced"
    assert verdict("attention-quality-kept", teacher, judged(1010.0, replicates=2)).verdict == UNTESTABLE
    assert verdict("attention-quality-kept", judged(1000.0, replicates=2), judged(1010.0)).verdict == UNTESTABLE


def caching(method: str, distance: float, order: int = 1) -> RunRecord:
    entry = {"name": "feature_caching", "method": method, "interval": 4, "order": order}
    judged = {"distance": distance, "low": distance - 4, "high": distance + 4}
    return make_record(RunSpec(techniques=canonical([entry]), samples=1000), quality=judged)


def test_a_forecast_is_compared_with_reuse_at_the_same_interval_whatever_knobs_are_idle():
    forecast, reuse = caching("taylor", 900.0, order=2), caching("interval", 1000.0)
    assert verdict("taylorseer-reuse", forecast, reuse).verdict == "reproduced"
    assert verdict("taylorseer-reuse", forecast).verdict == UNTESTABLE
    other = RunSpec(
        techniques=canonical([{"name": "feature_caching", "method": "interval", "interval": 3}]), samples=1000
    )
    assert verdict("taylorseer-reuse", forecast, make_record(other, quality=reuse.quality)).verdict == UNTESTABLE


def test_a_claim_about_half_of_the_blocks_takes_no_other_depth():
    def pruned(keep, ratio):
        spec = RunSpec(techniques=canonical([{"name": "depth_pruning", "keep": keep}]), samples=1000)
        return make_record(spec, **timed(ratio))

    assert verdict("tinyfusion-speed", pruned(4, 2.0)).verdict == "reproduced"
    assert verdict("tinyfusion-speed", pruned(3, 2.0)).verdict == UNTESTABLE


def test_sizes_are_compared_with_16_bits_whatever_the_precision_of_the_run():
    recipe = canonical([{"name": "quantization", "bits": 4, "method": "low_rank"}])

    def run(precision, ratio):
        spec = RunSpec(techniques=recipe, samples=1000, precision=precision)
        memory = {"weight_bytes": 1_000_000, "baseline_weight_bytes": int(1_000_000 * ratio)}
        return make_record(spec, memory=memory)

    assert verdict("svdquant-size", run("float32", 7.0)).verdict == "reproduced"
    assert verdict("svdquant-size", run("bfloat16", 3.5)).verdict == "reproduced"
    assert verdict("svdquant-size", run("float32", 3.5)).verdict == "not reproduced"


def test_two_candidates_are_compared_over_their_common_baseline():
    def run(method, ratio):
        recipe = canonical([{"name": "quantization", "bits": 4, "method": method}])
        return make_record(RunSpec(techniques=recipe, samples=1000, device="cuda"), **timed(ratio))

    assert verdict("svdquant-speed", run("low_rank", 3.2), run("nearest", 1.0)).verdict == "reproduced"
    assert verdict("svdquant-speed", run("low_rank", 3.2), run("nearest", 2.0)).verdict == "not reproduced"
    assert verdict("svdquant-speed", run("low_rank", 3.2)).verdict == UNTESTABLE


def test_more_than_twice_excludes_exactly_twice():
    def mixture(low):
        return record_of("moe", **timed(low + 0.1, low, low + 0.2), **weights(1.02))

    assert verdict("mixture-throughput", mixture(2.0)).verdict == UNTESTABLE
    assert verdict("mixture-throughput", mixture(2.01)).verdict == "reproduced"


def test_work_with_uncounted_operators_and_mixtures_of_another_size_have_no_figure():
    uncounted = record_of("depth_pruning", flops={"flops": 65, "baseline_flops": 100, "uncounted": {"aten.x": 3}})
    assert verdict("pruning-flops", uncounted).verdict == UNTESTABLE
    assert verdict("mixture-throughput", record_of("moe", **timed(3.0), **weights(0.5))).verdict == UNTESTABLE
