"""What a run gains and loses, in sentences."""

from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.ui.components.verdict import doubt_about, verdict_of
from tests.factory import make_record

BASE = make_record(RunSpec(samples=1000), quality={"distance": 1000.0, "low": 960.0, "high": 1040.0})


def quantized(**sections):
    return make_record(RunSpec(techniques=({"name": "quantization", "bits": 4},), samples=1000), **sections)


def judged(distance: float, half: float = 40.0) -> dict:
    return {"distance": distance, "low": distance - half, "high": distance + half}


def test_a_faster_smaller_and_worse_run_gains_time_and_bytes_and_loses_quality():
    verdict = verdict_of(quantized(quality=judged(1500.0)), BASE)
    assert verdict.gains == ("22 % less time (1.28 times as fast)", "88 % smaller weights (32.0 MB → 4.00 MB)")
    assert verdict.losses == ("images much further from real images (distance 1,000 → 1,500)",)
    assert verdict.unchanged == ("operations",)


def test_a_change_within_its_interval_is_no_change():
    record = quantized(quality=judged(1030.0), speedup={"ratio": 1.02, "low": 0.98, "high": 1.06})
    unchanged = (
        "time",
        "operations",
        "quality (not compared on the same seeds: the intervals of 1,000 images overlap)",
    )
    assert verdict_of(record, BASE).unchanged == unchanged


def compared(difference: float, half: float) -> dict:
    ends = {"difference_low": difference - half, "difference_high": difference + half}
    return {"difference": difference, **ends, "difference_detectable": 1.5 * half}


def test_with_a_missing_replicate_quality_is_not_tested():
    spec = RunSpec(techniques=({"name": "quantization", "bits": 4},), samples=1000, replicates=3)
    whole = {**judged(1500.0), **compared(500.0, 20.0), "replicates": 3}
    assert verdict_of(make_record(spec, quality=whole), None).losses
    for missing in ({"replicates": 2}, {"replicate_values": {"distance": [1500.0, 1501.0]}}):
        verdict = verdict_of(make_record(spec, quality={**whole, **missing}), None)
        assert not verdict.losses
        assert "quality (not tested: 2 of 3 replicates were judged)" in verdict.unchanged


def test_pairs_decide_where_intervals_overlap_and_tell_what_they_could_have_detected():
    worse = quantized(quality={**judged(1030.0), **compared(30.0, 20.0)})
    assert verdict_of(worse, BASE).losses == ("images slightly further from real images (distance 1,000 → 1,030)",)
    same = quantized(quality={**judged(1010.0), **compared(10.0, 20.0)})
    expected = "quality (1,000 images would show a difference of 3.0 % or more)"
    assert expected in verdict_of(same, None).unchanged
    assert verdict_of(same, BASE).doubts == ()
    better = quantized(quality={**judged(970.0), **compared(-30.0, 20.0)})
    assert "which is suspicious" in doubt_about(better, None)


def test_a_slower_run_with_more_operations_loses_both():
    record = quantized(speedup={"ratio": 0.8, "low": 0.78, "high": 0.82}, flops={"flops": 5, "baseline_flops": 4})
    assert {"25 % more time (0.80 times as fast)", "25 % more operations"} <= set(verdict_of(record, BASE).losses)


def test_unknown_or_incomparable_quality_is_not_mentioned():
    other = make_record(RunSpec(samples=500), quality={"distance": 1.0, "low": 1.0, "high": 1.0})
    for base in (None, other):
        verdict = verdict_of(quantized(), base)
        assert not any("quality" in text or "images" in text for text in (*verdict.unchanged, *verdict.losses))


def test_the_words_for_a_change_of_distance_follow_its_size():
    texts = []
    for distance in (1100.0, 1300.0, 800.0):
        verdict = verdict_of(quantized(quality=judged(distance, half=10)), BASE)
        texts += [text.partition(" (")[0] for text in (*verdict.gains, *verdict.losses) if "images" in text]
    assert texts == [
        "images slightly further from real images",
        "images further from real images",
        "images closer to real images",
    ]


def test_a_large_speed_up_has_fewer_digits():
    record = quantized(speedup={"ratio": 2.5, "low": 2.4, "high": 2.6})
    assert verdict_of(record, BASE).gains[0] == "60 % less time (2.5 times as fast)"


def test_empty_lines_are_not_written():
    assert str(verdict_of(quantized(), BASE)).count("**") == 4


def test_a_quality_above_the_baseline_beyond_both_intervals_is_doubted():
    better = quantized(quality=judged(800.0))
    verdict = verdict_of(better, BASE)
    assert "images closer to real images (distance 1,000 → 800)" in verdict.gains
    assert "which is suspicious" in doubt_about(better, BASE)
    assert "**Check:** The images are closer to real images than the baseline's" in str(verdict)
    sampled = canonical([{"name": "guidance_interval"}])
    otherwise = make_record(RunSpec(samples=1000, techniques=sampled), quality=judged(800.0))
    assert "compare class accuracy as well" in doubt_about(otherwise, BASE)
    for quality in (judged(990.0), judged(1500.0, half=50)):
        assert verdict_of(quantized(quality=quality), BASE).doubts == ()
    assert doubt_about(better, None) == doubt_about(BASE, BASE) == ""
