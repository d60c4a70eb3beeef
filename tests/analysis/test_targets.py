"""Targets: judged from records, never typed."""

from dataclasses import replace

import pytest

from dit_core.analysis import targets
from dit_core.models import sources
from dit_core.records.store import Store
from tests.factory import make_record

WORKLOAD = {"model": "emoji", "scheduler": "dpm++2m", "steps": 12, "guidance": 3.0, "batch_size": 8}


def target(figure, least=None, most=None, run=("quantization:bits=4",), **fields):
    entry = {"statement": "it holds", "run": list(run), "figure": figure, "tried": "twice", **fields}
    bound = {"least": least} if least is not None else {"most": most}
    return targets._target({**entry, **bound}, WORKLOAD)


def made(spec, samples=1000, ratio=1.0, distance=700.0, flops=100, weights=10):
    """A record of this run with these figures; its baseline has 100 FLOPs and 10 bytes."""
    return make_record(
        replace(spec, samples=samples),
        speedup={"ratio": ratio},
        flops={"flops": flops, "baseline_flops": 100},
        memory={"weight_bytes": weights, "baseline_weight_bytes": 10},
        quality={"distance": distance, "low": distance - 30, "high": distance + 30},
    )


def value(target, *records):
    return targets.judge([target], records)[0].value


def test_every_shipped_target_has_a_figure_among_the_bundled_records():
    shipped = targets.read()
    assert len({target.statement for target in shipped}) == len(shipped) >= 20
    outcomes = targets.judge(shipped, [stored.record for stored in Store().load().records])
    assert [outcome.target.statement for outcome in outcomes if outcome.value is None] == []


def test_a_missed_shipped_target_says_what_was_tried():
    outcomes = targets.judge(targets.read(), [stored.record for stored in Store().load().records])
    unexplained = [outcome for outcome in outcomes if outcome.verdict != "met" and not outcome.target.tried]
    assert unexplained == []


def test_figures_match_values_computed_by_hand():
    run = target("speedup", least=1).spec
    base = made(run.baseline, distance=700.0)
    record = made(run, ratio=1.25, distance=735.0, flops=50, weights=3)
    assert value(target("speedup", least=1), record) == 1.25
    assert value(target("bytes", most=1), record) == 0.3
    assert value(target("flops_saved", least=0), record) == 0.5
    assert value(target("time_saved_of_predicted", least=0), record) == pytest.approx(0.2 / 0.5)
    assert value(target("speedup_of_predicted", least=0), record) == pytest.approx(1.25 / 2)
    roof = {"int8_ops_per_s": 5e12, "float32_flops_per_s": 1e12}
    int8 = replace(record, flops={**record.flops, "roofline": roof})
    assert value(target("speedup_of_int8_peak", least=1), int8) == 0.25
    assert value(target("speedup_of_int8_peak", least=1), record) is None
    assert value(target("quality_loss", most=1), record, base) == pytest.approx(0.05)
    assert value(target("quality_loss_beyond_interval", most=1), record, base) == pytest.approx(5 / 700)
    assert value(target("quality_loss_beyond_interval", most=1), made(run, distance=720.0), base) == 0
    assert value(target("speed_over", least=1), record, base) == 1.25
    slow = target("speed_over", least=1, against=["solver:steps=250"])
    assert value(slow, record, made(slow.against, ratio=0.05)) == 25
    assert value(slow, record) is None
    assert value(target("speed_over", least=1, against_workload={"steps": 50}), record, base) is None
    sure, unsure = (
        replace(side, quality={**side.quality, "class_accuracy": share})
        for side, share in ((base, 0.75), (record, 0.7))
    )
    assert value(target("accuracy_lost", most=1), sure, unsure) == pytest.approx(0.05)


def test_the_growth_with_tokens_is_the_exponent_between_two_sizes():
    sizes = {
        "model": "random:DiT-S/2@512",
        "against": ["quantization:bits=4"],
        "against_workload": {"model": "random:DiT-S/2@256"},
    }
    growth = target("growth", most=1, **sizes)
    large, small = (
        make_record(spec, latency={"latency_s": seconds})
        for spec, seconds in ((growth.spec, 0.8), (growth.against, 0.1))
    )
    assert value(growth, large, small) == pytest.approx(1.5)  # four times the tokens, eight times the time
    assert value(growth, large) is None


@pytest.mark.parametrize("knobs", ["", ",shared=1", ",layers=first-half,expert_size=32"])
def test_executed_work_is_read_from_the_record_or_computed_from_its_counts(knobs):
    mixture = target("executed", most=1.1, run=[f"moe:experts=4,top_k=2{knobs}"])
    structure = sources.find("emoji").structure
    (recipe,), width = mixture.spec.techniques, structure.size.hidden_size
    blocks = structure.chosen(recipe["layers"])
    neurons = 32 if "expert_size" in knobs else structure.blocks[0].neurons // 4
    run = 2 + recipe["shared"]
    activated = len(blocks) * (width * (4 - recipe["shared"]) + 2 * width * neurons * run)
    dense = len(blocks) * 2 * width * structure.blocks[0].neurons
    tokens = 12 * 8 * 2 * structure.size.tokens
    macs, before = 10**12 + round(1.05 * activated * tokens), 10**12 + dense * tokens
    counted = make_record(mixture.spec, flops={"macs": macs, "baseline_macs": before})
    assert value(mixture, counted) == pytest.approx(1.05)
    kept = {"executed_macs_per_token": 3.0, "activated_macs_per_token": 2.0}
    assert value(mixture, make_record(mixture.spec, flops={"experts": kept})) == 1.5


def test_an_unknown_value_is_not_measured():
    run = target("speedup", least=1).spec
    unknown = make_record(
        run,
        speedup={**dict.fromkeys(("ratio", "low", "high", "baseline_latency_s")), "reason": "not timed"},
        memory={"weight_bytes": None, "reason": "not counted"},
        flops={"uncounted": {"aten.mystery": 1}},
    )
    for name in targets.FIGURES:
        if name != "executed":
            assert value(target(name, least=1), unknown) is None


def test_a_value_equal_to_the_bound_meets_it():
    run = target("speedup", least=1.5).spec
    verdicts = [targets.judge([target("speedup", least=1.5)], [made(run, ratio=r)])[0].verdict for r in (1.5, 1.49)]
    assert verdicts == ["met", "**missed**"]
    assert targets.judge([target("speedup", least=1.5)], [])[0].verdict == "not measured"


def test_qualities_are_compared_only_for_the_same_number_of_images():
    loss = target("quality_loss", most=1)
    run, base = loss.spec, loss.spec.baseline
    assert value(loss, made(run, samples=5000), made(base, samples=1000)) is None
    assert value(loss, made(run, 5000, distance=800.0), made(run, 1000, distance=770.0), made(base)) == pytest.approx(
        0.1
    )


def test_both_runs_of_a_comparison_come_from_one_environment():
    loss = target("quality_loss", most=1)
    run, base = made(loss.spec, distance=770.0), made(loss.spec.baseline)
    elsewhere = {**run.environment, "fingerprint": "elsewhere"}
    other_base = replace(made(loss.spec.baseline, distance=1000.0), environment=elsewhere, created_at="2100-01-01")
    other_run = replace(made(loss.spec, distance=1500.0), environment=elsewhere, created_at="2100-01-01")
    assert value(loss, run, base, other_base) == pytest.approx(0.1)
    assert value(loss, run, other_base) is None
    assert value(loss, run, base, other_base, other_run) == pytest.approx(0.5)  # the newest run


def test_a_target_can_compare_with_another_recipe():
    loss = target("quality_loss", most=-0.5, against=["quantization:bits=2"])
    assert value(loss, made(loss.spec, distance=400.0), made(loss.against, distance=1000.0)) == pytest.approx(-0.6)


def test_the_table_says_what_was_tried_only_for_missed_targets():
    good, bad = target("speedup", least=1), target("speedup", least=2)
    text = targets.table(targets.judge([bad, good], [made(good.spec, ratio=1.5)]))
    assert text.startswith("1 of 2 targets are met.")
    rows = text.splitlines()[-2:]
    assert rows[0].endswith("| at least 1.00 times | 1.50 times | met |  |")
    assert rows[1].endswith("| at least 2.00 times | 1.50 times | **missed** | twice |")


def test_a_target_without_a_bound_or_with_an_unknown_figure_is_refused():
    for entry in ({"figure": "luck", "most": 1}, {"figure": "speedup"}):
        with pytest.raises(ValueError, match="needs a known figure, and either least or most"):
            targets._target({"statement": "x", "run": [], **entry}, WORKLOAD)
