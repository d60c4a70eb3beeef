import copy

import pytest

from dit_core.listener import Listener
from dit_core.measure import (
    Calls,
    add_attribution,
    add_block_evaluations,
    add_compilation,
    add_routing,
    latency,
    roofline,
    speed,
)
from dit_core.measure.interleaved import Plan
from dit_core.records.schema import OPTIONAL
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import generate
from tests.factory import make_record
from tests.fake_workload import Sleeping
from tests.measure.test_roofline import PEAKS, QUIET

QUANTIZED = RunSpec(techniques=({"name": "quantization", "bits": 4},))


def runs(model):
    return lambda: generate(model, [0, 1], sampling=SamplingConfig(steps=2), batch_size=2)


def sections(monkeypatch, tmp_path):
    """A record's sections, with peaks that are given rather than measured."""
    monkeypatch.setenv("DIT_CACHE", str(tmp_path))
    monkeypatch.setattr(roofline, "measure_peaks", lambda device: PEAKS)
    record = make_record(QUANTIZED)
    copies = {name: dict(getattr(record, name)) for name in ("latency", "memory", "flops", "speedup")}
    counted = {"int8_ops": 0, "macs_by_type": {"float32": 1}, "moved_bytes": 10**9, "baseline_moved_bytes": 10**9}
    copies["flops"].update(counted, arithmetic_intensity_flop_per_byte=2.4)
    return copies


def test_a_candidate_has_shares_of_both_sides_a_roofline_and_an_explanation(tiny_model, tmp_path, monkeypatch):
    record = sections(monkeypatch, tmp_path)
    candidate = tiny_model.with_dit(copy.deepcopy(tiny_model.dit))
    add_attribution(record, QUIET, (runs(candidate), candidate), (runs(tiny_model), tiny_model))
    assert record["flops"]["roofline"]["float32_flops_per_s"] == PEAKS["float32_flops_per_s"]
    assert sum(record["latency"]["time_shares"].values()) > 0.99
    assert sum(record["speedup"]["baseline_time_shares"].values()) > 0.99
    assert record["speedup"]["explanation"].startswith("It does ")


def test_a_baseline_has_shares_of_one_side_and_its_own_explanation(tiny_model, tmp_path, monkeypatch):
    record = sections(monkeypatch, tmp_path)
    add_attribution(record, QUIET, (runs(tiny_model), tiny_model), (runs(tiny_model), tiny_model))
    assert record["speedup"]["baseline_time_shares"] is None
    assert " of the time is spent on " in record["speedup"]["explanation"]


@pytest.mark.slow
def test_every_figure_of_a_compiled_candidate_is_there_or_null_with_a_reason(tiny_model, tmp_path, monkeypatch):
    record = sections(monkeypatch, tmp_path)
    monkeypatch.setattr(latency, "PROCESSES", 1)
    monkeypatch.setattr(latency, "PLAN", Plan(most_s=0))
    timed = speed(Calls(runs(tiny_model), runs(tiny_model)), Sleeping(QUANTIZED), Listener())
    for name, section in zip(("latency", "speedup"), timed, strict=True):
        record[name].update(section)
    compiled = tiny_model.with_dit(copy.deepcopy(tiny_model.dit))
    compiled.dit.compile()
    add_attribution(record, QUIET, (runs(tiny_model), compiled), (runs(tiny_model), tiny_model))
    add_routing(record["flops"], runs(tiny_model), compiled.dit)
    add_block_evaluations(record["flops"], runs(compiled), compiled.dit, steps=2, images=1)
    add_compilation(record["latency"], Sleeping(QUANTIZED), tiny_model.dit)
    for section in ("latency", "flops", "speedup"):
        assert set(OPTIONAL[section]) <= set(record[section])
    assert "compiled" in record["latency"]["reasons"]["time_shares"]
    make_record(QUANTIZED, **record)
