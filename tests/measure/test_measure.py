import math
import random
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchao.quantization import Int8WeightOnlyConfig, quantize_

from dit_core.listener import Listener
from dit_core.measure import count, environment, latency, measure_pair, speed, weight_bytes
from dit_core.measure.latency import PairTiming, disturbance
from dit_core.models.dit import PRESETS, DiT
from dit_core.spec import RunSpec
from dit_core.techniques.quantization import dynamic_int8, packed_linear


def test_a_linear_layer_counts_rows_by_inputs_by_outputs():
    layer = nn.Linear(32, 48)
    assert count(lambda: layer(torch.randn(5, 32))).macs == 5 * 32 * 48


def test_an_operator_without_a_formula_is_listed_with_how_often_it_ran():
    library = torch.library.Library("listed", "DEF")
    library.define("my_matmul(Tensor a, Tensor b) -> Tensor")
    library.impl("my_matmul", lambda a, b: a + b, "CPU")
    counted = count(lambda: [torch.ops.listed.my_matmul(torch.ones(2), torch.ones(2)) for _ in range(3)])
    assert counted.flops == 0
    assert counted.uncounted == {"listed.my_matmul": 3}


def test_an_int8_layer_counts_like_its_float_origin():
    layer = dynamic_int8(nn.Linear(32, 48), torch.device("cpu"))
    counted = count(lambda: layer(torch.randn(5, 32)))
    assert counted.macs == 5 * 32 * 48
    assert not counted.uncounted


def test_a_packed_layer_counts_like_its_float_origin():
    layer = packed_linear(nn.Linear(64, 48), 3, 32)
    assert count(lambda: layer(torch.randn(5, 64))).macs == 5 * 64 * 48


def test_cpu_attention_counts_both_products():
    q = torch.randn(2, 4, 16, 8)
    assert count(lambda: F.scaled_dot_product_attention(q, q, q)).macs == 2 * (2 * 4 * 16 * 16 * 8)


def test_dit_s_2_counts_what_its_sizes_say():
    width, depth, tokens = 384, 12, 256
    block = tokens * 12 * width**2 + 2 * tokens**2 * width + 6 * width**2
    outer = tokens * 16 * width + 256 * width + width**2 + 2 * width**2 + tokens * width * 32
    with torch.device("meta"):
        dit = DiT(PRESETS["DiT-S/2"])
        x, t, y = torch.zeros(1, 4, 32, 32), torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
        counted = count(lambda: dit(x, t, y))
    assert counted.macs == pytest.approx(depth * block + outer, rel=0.001)


def test_dit_xl_2_has_the_published_118_6_gmac():
    with torch.device("meta"):
        dit = DiT(PRESETS["DiT-XL/2"])
        x, t, y = torch.zeros(1, 4, 32, 32), torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
        assert count(lambda: dit(x, t, y)).macs / 1e9 == pytest.approx(118.6, abs=0.1)


def test_shared_storages_count_once_and_packed_ones_by_their_bytes():
    layer = nn.Linear(64, 64, bias=False)
    both = nn.ModuleList([layer, layer])
    assert weight_bytes(both) == 64 * 64 * 4
    dynamic = nn.Linear(64, 64, bias=False).requires_grad_(False)
    quantize_(dynamic, Int8WeightOnlyConfig(set_inductor_config=False))
    assert 64 * 64 <= weight_bytes(dynamic) < 64 * 64 + 64 * 16


class Drifting:
    """A clock under which the machine slows down all the time, with noise; both sides take the same work."""

    def __init__(self, seed: int) -> None:
        self.now, self.noise = 0.0, random.Random(seed)

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds * (1 + self.now / 20) * self.noise.uniform(0.9, 1.1)


def test_a_run_against_itself_under_drift_contains_one():
    missed = 0
    for seed in range(40):
        clock = Drifting(seed)
        timing = measure_pair(lambda c=clock: c.work(0.1), lambda c=clock: c.work(0.1), clock=clock, seed=seed)
        low, high = timing.interval()
        missed += not low <= 1 <= high
    assert missed <= 4


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9, 0.97])
def test_a_run_against_itself_in_noise_that_lasts_is_called_different_in_one_of_twenty_at_most(memory):
    """The noise is autoregressive from call to call, as of a machine that is busy for a while."""
    missed, tries = 0, 100
    for seed in range(tries):
        noise, clock = random.Random(seed), Drifting(seed)
        state = noise.gauss(0, 1)

        def work(noise=noise, clock=clock):
            nonlocal state
            state = memory * state + math.sqrt(1 - memory**2) * noise.gauss(0, 1)
            clock.now += math.exp(0.1 * state)

        low, high = measure_pair(work, work, clock=clock, seed=seed, max_seconds=30).interval(draws=200)
        missed += not low <= 1 <= high
    assert missed <= tries / 20


def test_what_disturbed_a_timing_is_told():
    assert not disturbance(0.99, 0)
    assert "had it 55 %" in disturbance(0.55, 0)
    assert "2 other processes" in disturbance(1.0, 2)


def test_a_timing_tells_how_much_of_the_processor_it_had(monkeypatch):
    monkeypatch.setattr(latency, "ENOUGH_S", 0.0)
    told, _ = speed(lambda: time.sleep(0.001), None, RunSpec(), Listener())  # waiting is not having it
    assert told["processor_share"] < 0.9
    assert "used the processor" in told["flag"]


def test_a_candidate_twice_as_fast_is_found():
    clock = Drifting(1)
    timing = measure_pair(lambda: clock.work(0.2), lambda: clock.work(0.1), clock=clock)
    low, high = timing.interval()
    assert low < 2 < high
    assert high - low < 0.5
    assert len(timing.candidate_s) == len(timing.baseline_s) >= 5


def test_the_ratio_is_of_medians_so_that_one_hiccup_does_not_count():
    assert PairTiming([2.0, 2.0, 50.0], [1.0, 1.0, 1.0]).ratio() == 2


def test_the_fingerprint_follows_what_decides_speed_and_not_the_load():
    assert environment("cpu")["fingerprint"] == environment("cpu")["fingerprint"]
    assert environment("cpu", threads=1)["fingerprint"] != environment("cpu", threads=64)["fingerprint"]
