"""Targets: judged from records, never typed."""

from dataclasses import replace

import pytest

from dit_core import targets
from dit_core.models import catalog
from dit_core.store import Store
from tests.factory import make_record

WORKLOAD = {"model": "emoji", "scheduler": "dpm++2m", "steps": 12, "guidance": 3.0, "batch_size": 8}


def target(figure, least=None, most=None, run=("quantization:bits=4",), **fields):
    entry = {"says": "it holds", "run": list(run), "figure": figure, "tried": "twice", **fields}
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


def value(one, *records):
    return targets.judge([one], records)[0].value


def test_every_shipped_target_has_a_figure_among_the_bundled_records():
    told = targets.read()
    assert len({one.says for one in told}) == len(told) >= 20
    outcomes = targets.judge(told, [found.record for found in Store().load().records])
    assert [one.target.says for one in outcomes if one.value is None] == []


def test_a_missed_shipped_target_says_what_was_tried():
    outcomes = targets.judge(targets.read(), [found.record for found in Store().load().records])
    assert [one.target.says for one in outcomes if one.verdict != "met" and not one.target.tried] == []


def test_figures_are_those_of_hand_counts():
    run = target("speedup", least=1).spec
    base = made(run.baseline, distance=700.0)
    record = made(run, ratio=1.25, distance=735.0, flops=50, weights=3)
    assert value(target("speedup", least=1), record) == 1.25
    assert value(target("bytes", most=1), record) == 0.3
    assert value(target("flops_saved", least=0), record) == 0.5
    assert value(target("promise_kept", least=0), record) == pytest.approx(0.2 / 0.5)
    assert value(target("speed_kept", least=0), record) == pytest.approx(1.25 / 2)
    roof = {"int8_ops_per_s": 5e12, "float32_flops_per_s": 1e12}
    int8 = replace(record, flops={**record.flops, "roofline": roof})
    assert value(target("int8_kept", least=1), int8) == 0.25
    assert value(target("int8_kept", least=1), record) is None
    assert value(target("distance", most=1), record, base) == pytest.approx(0.05)
    assert value(target("beyond_interval", most=1), record, base) == pytest.approx(5 / 700)
    assert value(target("beyond_interval", most=1), made(run, distance=720.0), base) == 0


def test_the_growth_with_tokens_is_the_exponent_between_two_sizes():
    sizes = {
        "model": "random:DiT-S/2@512",
        "against": ["quantization:bits=4"],
        "beside": {"model": "random:DiT-S/2@256"},
    }
    one = target("growth", most=1, **sizes)
    large, small = (
        make_record(spec, latency={"latency_s": seconds}) for spec, seconds in ((one.spec, 0.8), (one.against, 0.1))
    )
    assert value(one, large, small) == pytest.approx(1.5)  # four times the tokens, eight times the time
    assert value(one, large) is None


@pytest.mark.parametrize("knobs", ["", ",shared=1", ",layers=first-half,expert_size=32"])
def test_executed_work_is_what_a_record_keeps_or_what_its_counts_say(knobs):
    one = target("executed", most=1.1, run=[f"moe:experts=4,top_k=2{knobs}"])
    outline = catalog.outline("emoji")
    (recipe,), width = one.spec.techniques, outline.size.hidden_size
    blocks = outline.chosen(recipe["layers"])
    neurons = 32 if "expert_size" in knobs else outline.blocks[0].neurons // 4
    run = 2 + recipe["shared"]
    activated = len(blocks) * (width * (4 - recipe["shared"]) + 2 * width * neurons * run)
    dense = len(blocks) * 2 * width * outline.blocks[0].neurons
    tokens = 12 * 8 * 2 * outline.size.tokens
    macs, before = 10**12 + round(1.05 * activated * tokens), 10**12 + dense * tokens
    counted = make_record(one.spec, flops={"macs": macs, "baseline_macs": before})
    assert value(one, counted) == pytest.approx(1.05)
    kept = {"executed_macs_per_token": 3.0, "activated_macs_per_token": 2.0}
    assert value(one, make_record(one.spec, flops={"experts": kept})) == 1.5


def test_a_figure_that_a_record_does_not_know_is_not_measured():
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


def test_a_bound_itself_is_met_and_beyond_it_missed():
    run = target("speedup", least=1.5).spec
    verdicts = [targets.judge([target("speedup", least=1.5)], [made(run, ratio=r)])[0].verdict for r in (1.5, 1.49)]
    assert verdicts == ["met", "**missed**"]
    assert targets.judge([target("speedup", least=1.5)], [])[0].verdict == "not measured"


def test_qualities_are_compared_only_on_as_many_images():
    one = target("distance", most=1)
    run, base = one.spec, one.spec.baseline
    assert value(one, made(run, samples=5000), made(base, samples=1000)) is None
    assert value(one, made(run, 5000, distance=800.0), made(run, 1000, distance=770.0), made(base)) == pytest.approx(
        0.1
    )


def test_another_recipe_can_stand_in_for_the_baseline():
    one = target("distance", most=-0.5, against=["quantization:bits=2"])
    assert value(one, made(one.spec, distance=400.0), made(one.against, distance=1000.0)) == pytest.approx(-0.6)


def test_the_table_counts_and_tells_what_was_tried_only_where_it_is_missed():
    good, bad = target("speedup", least=1), target("speedup", least=2)
    text = targets.table(targets.judge([bad, good], [made(good.spec, ratio=1.5)]))
    assert text.startswith("1 of 2 targets are met.")
    rows = text.splitlines()[-2:]
    assert rows[0].endswith("| at least 1.00 times | 1.50 times | met |  |")
    assert rows[1].endswith("| at least 2.00 times | 1.50 times | **missed** | twice |")


def test_a_target_without_a_bound_or_with_an_unknown_figure_is_refused():
    for entry in ({"figure": "luck", "most": 1}, {"figure": "speedup"}):
        with pytest.raises(ValueError, match="needs a known figure, and either least or most"):
            targets._target({"says": "x", "run": [], **entry}, WORKLOAD)
