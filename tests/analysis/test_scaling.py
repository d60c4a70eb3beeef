"""How cost grows, from records: paired times, exponents, crossing points, depth-pruned networks."""

from pathlib import Path

import pytest

from dit_core import sweeps
from dit_core.analysis import scaling
from dit_core.analysis.scaling import Crossing, Size, crossing, exponent, scalings
from dit_core.models import sources
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.sweeps import read_grid
from tests.factory import make_record

FIELDS = {"steps": 1, "guidance": 1.0}
BASE = dict.fromkeys(("ratio", "low", "high", "baseline_latency_s"), None) | {"reason": "this run is the baseline"}
GRID = Path(sweeps.__file__).with_name("scale.toml")


def dense(pixels: int, latency_s: float, batch: int = 1, preset: str = "DiT-S/2", **sections) -> RunRecord:
    spec = RunSpec(model=f"random:{preset}@{pixels}", batch_size=batch, **FIELDS)
    return make_record(spec, **{"latency": {"latency_s": latency_s}, "speedup": BASE, **sections})


def changed(pixels: int, ratio: float, baseline_s: float, name: str = "window_attention", **knobs) -> RunRecord:
    spec = RunSpec(model=f"random:DiT-S/2@{pixels}", batch_size=1, techniques=({"name": name, **knobs},), **FIELDS)
    speedup = {"ratio": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio, "baseline_latency_s": baseline_s}
    return make_record(spec, speedup=speedup, latency={"latency_s": baseline_s / ratio})


def test_time_is_the_median_of_all_baselines_divided_by_the_speed_up_of_the_own_run():
    records = [
        dense(256, 1.0),
        dense(512, 10.0),
        changed(256, 0.5, 3.0),  # on a machine that was three times as slow just then
        changed(512, 2.0, 12.0),
        changed(256, 1.0, 2.0, "pooled_attention"),
    ]
    (group,) = scalings(records, "tokens")
    baseline, window = group.lines
    assert [point.time_s for point in baseline.points] == [(2.0, 1.0, 3.0), (11.0, 10.0, 12.0)]
    assert [point.time_s.value for point in window.points] == [4.0, 5.5]
    assert window.points[1].time_s == pytest.approx((5.5, 5.0, 11 / 1.8))
    assert group.places() == [256, 1024]


def test_a_line_needs_two_sizes():
    assert scalings([dense(256, 1.0), changed(256, 2.0, 1.0)], "tokens") == []
    (group,) = scalings([dense(256, 1.0), dense(512, 4.0), changed(256, 2.0, 1.0)], "tokens")
    assert [line.recipe for line in group.lines] == [()]


def test_a_line_has_one_machine_and_one_workload():
    local, other = dense(256, 1.0), dense(512, 4.0, environment={"fingerprint": "other"})
    assert scalings([local, other], "tokens") == []
    more_steps = RunSpec(model="random:DiT-S/2@512", batch_size=1, steps=2, guidance=1.0)
    assert scalings([local, make_record(more_steps, speedup=BASE)], "tokens") == []


def test_only_the_newest_finished_runs_of_random_weights_count():
    trained = [make_record(RunSpec(model="emoji", batch_size=batch)) for batch in (1, 8)]
    assert scalings(trained, "batch") == []
    assert scalings([dense(256, 1.0), dense(512, 4.0, status="failed")], "tokens") == []
    again = dense(256, 2.0, created_at="2027-01-01T00:00:00+00:00")
    (group,) = scalings([again, dense(256, 1.0), dense(512, 4.0)], "tokens")
    assert group.lines[0].points[0].time_s.value == 2.0


def test_a_depth_pruned_network_is_the_baseline_at_another_depth():
    records = [dense(256, 1.2), changed(256, 2.0, 1.2, "depth_pruning", keep=6)]
    (group,) = scalings(records, "depth")
    assert group.places() == [6, 12]
    assert [point.time_s.value for point in group.lines[0].points] == [0.6, 1.2]


def test_width_and_batch_are_dimensions_of_their_own():
    records = [dense(256, 1.0), dense(256, 3.0, preset="DiT-B/2"), dense(256, 20.0, batch=32)]
    assert scalings(records, "width")[0].places() == [384, 768]
    assert scalings(records, "batch")[0].places() == [1, 32]
    assert scalings(records, "width")[0].fixed == Size(256, 0, 12, 1)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_the_exponent_of_a_power_is_that_power(power):
    tokens = [256, 1024, 4096]
    assert exponent(tokens, [3.0 * n**power for n in tokens]) == pytest.approx(power)


@pytest.mark.parametrize(
    ("speedups", "expected"),
    [
        ((0.5, 2.0, 4.0), Crossing("at", 512)),  # half way between 256 and 1,024 in logarithms
        ((1.1, 2.0, 4.0), Crossing("below", 256)),
        ((0.5, 0.8, 0.9), Crossing("beyond", 4096)),
        ((1.2, 0.5, 2.0), Crossing("at", 2048)),  # what is faster and then slower again has not crossed
        ((0.5, 0.5, 1.0), Crossing("beyond", 4096)),
    ],
)
def test_the_crossing_point_is_where_the_speedup_passes_1_for_good(speedups, expected):
    side, tokens = crossing([256, 1024, 4096], speedups)
    assert (side, tokens) == (expected.side, pytest.approx(expected.tokens))


def test_the_share_of_attention_in_the_flops_matches_a_count_by_hand():
    tokens, width, depth = 256, 384, 12
    projections, products = 4 * tokens * width**2, 2 * tokens**2 * width  # multiply-accumulates of a block
    assert scaling.softmax_flops(Size(tokens, width, depth, 2)) == 2 * 2 * depth * (projections + products)
    flops = scaling.softmax_flops(Size(tokens, width, depth, 1))
    records = [dense(256, 1.0, flops={"flops": 4 * flops}), dense(512, 4.0)]
    assert scalings(records, "tokens")[0].lines[0].points[0].attention_flops == 0.25


def test_softmax_flops_agree_with_the_counter():
    import torch

    from dit_core.measure import count
    from dit_core.models.dit import Attention

    layer, tokens, width = Attention(64, 4), 16, 64
    counted = count(lambda: layer(torch.randn(3, tokens, width)))
    assert not counted.uncounted
    assert scaling.softmax_flops(Size(tokens, width, 1, 3)) == 2 * counted.macs


def test_the_grid_has_softmax_and_six_kinds_of_attention_at_three_sizes_without_quality():
    specs = read_grid(GRID)
    assert 20 <= len(specs) <= 35
    assert all(sources.is_cost_only(spec.model) and spec.samples == 0 and spec.steps == 1 for spec in specs)
    over = [spec for spec in specs if spec.label() == "baseline" or spec.techniques[0]["name"].endswith("attention")]
    kinds = {spec.label() for spec in over if spec.model == "random:DiT-S/2@1024"}
    assert len(kinds) == 7
    for pixels in (256, 512):
        assert kinds <= {spec.label() for spec in over if spec.model == f"random:DiT-S/2@{pixels}"}


def test_what_the_grid_measures_gives_every_dimension():
    records = [make_record(spec, **({} if spec.techniques else {"speedup": BASE})) for spec in read_grid(GRID)]
    for dimension in scaling.DIMENSIONS:
        assert scalings(records, dimension), dimension
    tokens = scalings(records, "tokens")[0]
    assert tokens.places() == [256, 1024, 4096]
    assert all(len(line.points) == 3 for line in tokens.lines)
    assert len(tokens.lines) == len({spec.label() for spec in read_grid(GRID) if spec.model == "random:DiT-S/2@1024"})
