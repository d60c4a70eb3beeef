import copy
import json

import pytest
import torch
from torch import nn

from dit_core.figures import OPTIONAL
from dit_core.listener import Listener
from dit_core.measure import count, latency, profile, roofline, speed
from dit_core.measure.explain import explain
from dit_core.measure.profile import NotProfiled, time_shares
from dit_core.measure.routing import add_routing
from dit_core.measure.turns import Plan
from dit_core.measure.why import why
from dit_core.sampling import Sampling, generate
from dit_core.spec import RunSpec
from dit_core.techniques.quantization import packed_linear
from tests.factory import make_record

PEAKS = {
    "float32_flops_per_s": 100e9,
    "int8_ops_per_s": 400e9,
    "copy_bytes_per_s": 10e9,
    "load_per_thread": 0.1,
}
QUIET = {"fingerprint": "f", "device": "cpu", "threads": 2, "load_average_1min": 0.2}


def runs(model):
    return lambda: generate(model, [0, 1], sampling=Sampling(steps=2), batch_size=2)


class Slow(nn.Module):
    """Takes so many seconds of a clock of its own."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def forward(self, x, *rest):
        self.clock.now += self.seconds
        return x


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_shares_are_those_of_a_network_whose_parts_take_known_times(tiny_model, monkeypatch):
    """One pass of two blocks: attention 3 s, feed-forward 2 s and modulation 1 s each; the sampler 5 s."""
    clock, dit, block = Clock(), nn.Module(), nn.Module()
    block.attn, block.mlp, block.adaLN_modulation = Slow(clock, 3), Slow(clock, 2), Slow(clock, 1)
    block.forward = lambda x: block.mlp(block.attn(block.adaLN_modulation(x)))
    dit.blocks = nn.ModuleList([block])
    dit.weight = nn.Parameter(torch.zeros(1))
    dit.forward = lambda x: dit.blocks[0](dit.blocks[0](x))

    def call():
        dit(torch.zeros(1))
        clock.now += 5

    monkeypatch.setattr(profile, "MOST_CALLS", 1)
    shares = time_shares(call, tiny_model.with_dit(dit), clock)
    expected = {"attention": 6 / 17, "ffn": 4 / 17, "modulation": 2 / 17, "sampler": 5 / 17}
    assert shares == pytest.approx({**dict.fromkeys(profile.PARTS, 0.0), **expected})


def test_a_real_network_shows_every_part_that_it_has(tiny_model):
    shares = time_shares(runs(tiny_model), tiny_model)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(shares[part] > 0 for part in ("attention", "ffn", "modulation", "embedding", "sampler", "vae"))
    assert shares["dequantization"] == shares["routing"] == 0


def test_restoring_packed_weights_has_a_share_and_the_network_is_left_as_it_was(tiny_model):
    dit = copy.deepcopy(tiny_model.dit)
    for block in dit.blocks:
        block.mlp.fc1 = packed_linear(block.mlp.fc1, 3, 32)
    before = [type(module) for module in dit.modules()]
    model = tiny_model.with_dit(dit)
    shares = time_shares(runs(model), model)
    assert shares["dequantization"] > 0
    assert [type(module) for module in dit.modules()] == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in dit.modules())


def test_a_call_that_fails_leaves_no_hooks(tiny_model):
    def call():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        time_shares(call, tiny_model)
    assert not any(module._forward_hooks for module in tiny_model.dit.modules())


def test_a_compiled_network_has_no_shares_and_says_why(tiny_model):
    with pytest.raises(NotProfiled, match="compiled"):
        time_shares(runs(tiny_model), tiny_model.with_dit(torch.compile(tiny_model.dit)))


def test_the_peaks_are_positive_and_of_this_device():
    found = roofline.measured(torch.device("cpu"), sides=(64,), copied_bytes=2**16, repeats_s=0.0)
    assert all(found[name] > 0 for name in ("float32_flops_per_s", "int8_ops_per_s", "copy_bytes_per_s"))


def test_peaks_are_taken_once_and_again_only_after_a_busy_taking(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_CACHE", str(tmp_path))
    taken = []

    def measured(device):
        taken.append(device)
        return {name: 10.0 * len(taken) if name != "int8_ops_per_s" else 5.0 for name in roofline.PEAKS}

    monkeypatch.setattr(roofline, "measured", measured)
    busy = {**QUIET, "load_average_1min": 3.0}
    assert roofline.roofline(busy)["float32_flops_per_s"] == 10.0
    assert roofline.roofline(busy)["float32_flops_per_s"] == 10.0  # as busy as before: nothing to gain
    assert len(taken) == 1
    quiet = roofline.roofline(QUIET)
    assert (quiet["float32_flops_per_s"], quiet["load_per_thread"]) == (20.0, 0.1)
    assert roofline.roofline(QUIET) == roofline.roofline(busy) == quiet
    assert len(taken) == 2
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({"torn": 1}))
    assert roofline.roofline(QUIET)["float32_flops_per_s"] == 30.0


def test_a_better_peak_of_a_busy_taking_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_CACHE", str(tmp_path))
    values = iter([50.0, 40.0])

    def measured(device):
        return dict.fromkeys(roofline.PEAKS, next(values))

    monkeypatch.setattr(roofline, "measured", measured)
    roofline.roofline({**QUIET, "load_average_1min": 3.0})
    assert roofline.roofline(QUIET)["copy_bytes_per_s"] == 50.0


def test_the_bound_is_the_longer_of_computing_and_moving():
    computing = roofline.bound(200e9, 0, 1e9, PEAKS)
    assert (computing["bound"], computing["attainable_s"]) == ("compute", pytest.approx(2.0))
    moving = roofline.bound(10e9, 0, 5e9, PEAKS)
    assert (moving["bound"], moving["attainable_s"]) == ("memory", pytest.approx(0.5))
    assert roofline.bound(200e9, 100e9, 0, PEAKS)["compute_s"] == pytest.approx(1.0 + 0.25)
    assert computing["ridge_flop_per_byte"] == 10


def test_bytes_are_read_and_written_by_every_operator_and_views_move_none():
    a, b = torch.zeros(4, 8), torch.zeros(8, 16)
    assert count(lambda: a @ b).moved_bytes == 4 * (4 * 8 + 8 * 16 + 4 * 16)
    assert count(lambda: a.t().view(8, 4)).moved_bytes == 0


def test_int8_products_are_told_apart():
    x, y = (torch.zeros(32, 32, dtype=torch.int8) for _ in range(2))
    counted = count(lambda: torch._int_mm(x, y))
    assert counted.int8_ops == counted.flops == 2 * 32**3
    assert count(lambda: torch.zeros(4, 4) @ torch.zeros(4, 4)).int8_ops == 0


def sections(**changes):
    """Of a run that keeps work and time; `changes` go into the section that has the figure."""
    record = make_record(RunSpec(techniques=({"name": "quantization", "bits": 4},)))
    found = {name: dict(getattr(record, name)) for name in ("latency", "memory", "flops", "speedup")}
    found["speedup"].update(ratio=1.0, low=0.9, high=1.1)
    found["memory"].update(weight_bytes=32_000_000)
    for path, value in changes.items():
        section, _, name = path.partition("__")
        found[section][name] = value
    return found


def faster(ratio):
    return {"speedup__ratio": ratio, "speedup__low": 0.98 * ratio, "speedup__high": 1.02 * ratio}


HALF = {"flops__flops": 10**9, "flops__baseline_flops": 2 * 10**9}
EVEN = dict.fromkeys(profile.PARTS, 0.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "takes the same time, as far as can be told"),
        (
            {**faster(0.8), "memory__weight_bytes": 3_840_000, "latency__time_shares": {"dequantization": 0.25}},
            "12 % of its weight bytes and takes 1.25 times as long: 25 % of its time goes into restoring weights",
        ),
        (
            {**faster(1.1), "flops__int8_ops": 10**9, "flops__roofline": {**PEAKS, "int8_ops_per_s": 120e9}}
            | {"flops__flops": 2 * 10**9, "flops__baseline_flops": 2 * 10**9},
            "50 % of them are int8, which this device multiplies 1.2 times as fast as float32",
        ),
        ({**HALF, **faster(1.2), "latency__time_shares": {"routing": 0.2}}, "20 % of its time goes into routing"),
        (
            {**HALF, **faster(1.3), "latency__time_shares": {**EVEN, "sampler": 0.3, "vae": 0.2}},
            "the work promises 2.00, but 50 % of its time goes into what stays as it was",
        ),
        ({**HALF, **faster(1.3), "flops__roofline": {"bound": "memory"}}, "but moving bytes is what bounds it"),
        ({**HALF, **faster(1.3)}, "its smaller products run less efficiently"),
        ({**HALF, **faster(2.0)}, "is 2.00 times as fast: time follows the work"),
        ({**HALF, **faster(2.6)}, "time falls more than the work"),
        (
            {
                **faster(0.8),
                "latency__time_shares": {**EVEN, "attention": 0.6, "ffn": 0.4},
                "speedup__baseline_time_shares": {**EVEN, "attention": 0.5, "ffn": 0.5},
            },
            "the time of attention grows most, by 25 % of the baseline's whole",
        ),
    ],
)  # fmt: skip
def test_the_sentence_names_the_reason_that_the_figures_show(changes, says):
    sentence = explain(**sections(**changes))
    assert says in sentence
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0


def test_a_baseline_is_told_where_its_time_goes():
    nothing = dict.fromkeys(("ratio", "low", "high"))
    found = sections()
    found["speedup"] = {**nothing, "reason": "this run is the baseline"}
    assert explain(**found) == ""
    found["latency"]["time_shares"] = {**EVEN, "ffn": 0.4, "vae": 0.3}
    found["flops"]["roofline"] = {"bound": "compute", "attainable_s": 0.5}
    assert explain(**found) == (
        "40 % of the time goes into the feed-forward networks; by this device's peaks arithmetic is what bounds it, at "
        "0.5 s a call."
    )


def test_every_explaining_figure_of_a_new_record_is_there_or_null_with_a_reason(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_CACHE", str(tmp_path))
    monkeypatch.setattr(roofline, "measured", lambda device: PEAKS)
    monkeypatch.setattr(latency, "PROCESSES", 1)
    monkeypatch.setattr(latency, "PLAN", Plan(most_s=0))
    found = sections()
    timed = speed(runs(tiny_model), runs(tiny_model), RunSpec(), Listener())
    for name, told in zip(("latency", "speedup"), timed, strict=True):
        found[name].update(told)
    counted = {"int8_ops": 0, "moved_bytes": 10**9, "baseline_moved_bytes": 10**9}
    found["flops"].update(counted, arithmetic_intensity_flop_per_byte=2.4)
    compiled = tiny_model.with_dit(torch.compile(tiny_model.dit))
    why(found, QUIET, (runs(tiny_model), compiled), (runs(tiny_model), tiny_model))
    add_routing(found["flops"], runs(tiny_model), compiled.dit)
    for section in ("latency", "flops", "speedup"):
        assert set(OPTIONAL[section]) <= set(found[section])
    assert "compiled" in found["latency"]["reasons"]["time_shares"]
    make_record(RunSpec(techniques=({"name": "quantization", "bits": 4},)), **found)
