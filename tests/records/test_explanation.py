import dataclasses

import pytest

from dit_core.records.explanation import PART_NAMES, explain_baseline, explain_candidate, explanation_of
from dit_core.records.spec import RunSpec
from tests.factory import make_record

ROOFLINE = {"float32_flops_per_s": 100e9, "int8_ops_per_s": 120e9, "copy_bytes_per_s": 10e9}
HALF = {"flops__flops": 10**9, "flops__baseline_flops": 2 * 10**9}
NO_TIME = dict.fromkeys(PART_NAMES, 0.0)


def record_with(**changes):
    """A run with the operations and the time of its baseline; keys are section__name."""
    record = make_record(RunSpec(techniques=({"name": "quantization", "bits": 4},)))
    copies = {name: dict(getattr(record, name)) for name in ("latency", "memory", "flops", "speedup")}
    copies["speedup"].update(ratio=1.0, low=0.9, high=1.1)
    copies["memory"].update(weight_bytes=32_000_000)
    for path, value in changes.items():
        section, _, name = path.partition("__")
        copies[section][name] = value
    return dataclasses.replace(record, **copies)


def faster(ratio):
    return {"speedup__ratio": ratio, "speedup__low": 0.98 * ratio, "speedup__high": 1.02 * ratio}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "takes the same time within the measurement's interval"),
        (
            {**faster(0.8), "memory__weight_bytes": 3_840_000, "latency__time_shares": {"dequantization": 0.25}},
            "12 % of its weight bytes and takes 1.25 times as long: 25 % of its time is spent on restoring weights",
        ),
        (
            {**faster(1.1), "flops__int8_ops": 10**9, "flops__roofline": ROOFLINE}
            | {"flops__flops": 2 * 10**9, "flops__baseline_flops": 2 * 10**9},
            "50 % of its operations are int8, which this device computes 1.2 times as fast as float32",
        ),
        ({**HALF, **faster(1.2), "latency__time_shares": {"routing": 0.2}}, "20 % of its time is spent on routing"),
        (
            {**HALF, **faster(1.3), "latency__time_shares": {**NO_TIME, "sampler": 0.3, "vae": 0.2}},
            "suggests 2.00 times the speed, but 50 % of its time is spent on parts that stay unchanged",
        ),
        ({**HALF, **faster(1.3), "flops__roofline": {"bound": "memory"}}, "but memory traffic limits the time"),
        ({**HALF, **faster(1.3)}, "its smaller matrix products run less efficiently"),
        ({**HALF, **faster(2.0)}, "is 2.00 times as fast: the time follows the operation count"),
        ({**HALF, **faster(2.6)}, "suggests 2.00 times the speed, and the time falls further than that"),
        (
            {
                **faster(0.8),
                "latency__time_shares": {**NO_TIME, "attention": 0.6, "ffn": 0.4},
                "speedup__baseline_time_shares": {**NO_TIME, "attention": 0.5, "ffn": 0.5},
            },
            "the time for attention grows most, by 25 % of the baseline's time",
        ),
    ],
)  # fmt: skip
def test_the_sentence_names_the_cause_that_the_figures_show(changes, says):
    sentence = explain_candidate(record_with(**changes))
    assert says in sentence
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0


@pytest.mark.parametrize("path", ["speedup__ratio", "flops__flops", "memory__baseline_weight_bytes"])
def test_an_unknown_figure_gives_no_sentence(path):
    assert explain_candidate(record_with(**{path: None})) == ""


def test_a_baseline_s_sentence_names_its_largest_part_and_its_limit():
    shares = {**NO_TIME, "ffn": 0.4, "vae": 0.3}
    roofline = {"bound": "compute", "attainable_s": 0.5}
    assert explain_baseline({}, {}) == ""
    assert explain_baseline({"time_shares": shares}, {"roofline": roofline}) == (
        "40 % of the time is spent on the feed-forward networks; at this device's peak rates a call takes at least "
        "0.5 s, limited by arithmetic."
    )


def test_a_stored_explanation_is_computed_anew_and_a_record_without_one_has_none():
    record = make_record(RunSpec(techniques=({"name": "quantization", "bits": 4},)))
    assert explanation_of(record) == ""
    stored = dataclasses.replace(record, speedup={**record.speedup, "explanation": "an older wording"})
    assert explanation_of(stored).startswith("It does ")
    baseline = make_record(RunSpec())
    shares = {**NO_TIME, "ffn": 0.4}
    stored = dataclasses.replace(
        baseline,
        latency={**baseline.latency, "time_shares": shares},
        speedup={**baseline.speedup, "explanation": "an older wording"},
    )
    assert explanation_of(stored) == "40 % of the time is spent on the feed-forward networks."
