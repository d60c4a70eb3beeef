"""What a run buys and costs, in words."""

from dit_core.spec import RunSpec
from dit_core.ui.verdict import judge, suspicion
from tests.factory import make_record

BASE = make_record(RunSpec(samples=1000), quality={"distance": 1000.0, "low": 960.0, "high": 1040.0})


def quantized(**sections):
    return make_record(RunSpec(techniques=({"name": "quantization", "bits": 4},), samples=1000), **sections)


def test_a_quicker_smaller_and_worse_run_buys_time_and_bytes_and_costs_quality():
    verdict = judge(quantized(quality={"distance": 1500.0, "low": 1450.0, "high": 1550.0}), BASE)
    assert verdict.buys == ("22 % less time (1.28 times as fast)", "88 % smaller weights (32.0 MB → 4.00 MB)")
    assert verdict.costs == ("pictures much further from real ones (distance 1,000 → 1,500)",)
    assert verdict.same == ("number of operations",)


def test_what_lies_within_its_interval_is_the_same():
    record = quantized(
        quality={"distance": 1030.0, "low": 990.0, "high": 1070.0}, speedup={"ratio": 1.02, "low": 0.98, "high": 1.06}
    )
    assert judge(record, BASE).same == ("time", "number of operations", "quality, as far as 1,000 images can tell")


def test_a_slower_run_with_more_work_pays_for_it():
    record = quantized(speedup={"ratio": 0.8, "low": 0.78, "high": 0.82}, flops={"flops": 5, "baseline_flops": 4})
    assert {"25 % more time (0.80 times as fast)", "25 % more operations"} <= set(judge(record, BASE).costs)


def test_what_is_not_known_or_not_comparable_is_left_out():
    other = make_record(RunSpec(samples=500), quality={"distance": 1.0, "low": 1.0, "high": 1.0})
    for base in (None, other):
        verdict = judge(quantized(), base)
        assert not any("quality" in text or "pictures" in text for text in (*verdict.same, *verdict.costs))


def test_a_change_of_distance_is_told_by_its_size():
    told = []
    for distance in (1100.0, 1300.0, 800.0):
        judged = {"distance": distance, "low": distance - 10, "high": distance + 10}
        verdict = judge(quantized(quality=judged), BASE)
        told += [text.partition(" (")[0] for text in (*verdict.buys, *verdict.costs) if "pictures" in text]
    assert told == [
        "pictures a little further from real ones",
        "pictures further from real ones",
        "pictures closer to real ones",
    ]


def test_a_large_speed_up_is_told_in_fewer_digits():
    record = quantized(speedup={"ratio": 2.5, "low": 2.4, "high": 2.6})
    assert judge(record, BASE).buys[0] == "60 % less time (2.5 times as fast)"


def test_empty_lines_are_not_written():
    assert str(judge(quantized(), BASE)).count("**") == 4


def test_better_than_the_baseline_beyond_both_intervals_is_told_to_be_suspect():
    better = quantized(quality={"distance": 800.0, "low": 760.0, "high": 840.0})
    verdict = judge(better, BASE)
    assert "pictures closer to real ones (distance 1,000 → 800)" in verdict.buys
    assert "as suspect as worse" in suspicion(better, BASE)
    assert "**Check** It is closer to real images than its own baseline" in str(verdict)
    for quality in (
        {"distance": 990.0, "low": 950.0, "high": 1030.0},
        {"distance": 1500.0, "low": 1450.0, "high": 1550.0},
    ):
        assert judge(quantized(quality=quality), BASE).doubts == ()
    assert suspicion(better, None) == suspicion(BASE, BASE) == ""
