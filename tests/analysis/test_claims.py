import json
from pathlib import Path

import pytest

from dit_core.analysis import claims
from dit_core.analysis.claims import Claim, judge, read
from dit_core.cli.commands import main
from dit_core.recipes.registry import registry
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from tests.factory import make_record

NO_SPEEDUP = {**dict.fromkeys(("ratio", "low", "high", "confidence", "blocks", "baseline_latency_s")), "reason": "base"}


def record_of(technique: str = "quantization", *, device: str = "cpu", seed: int = 0, **sections) -> RunRecord:
    spec = RunSpec(techniques=({"name": technique, "keep": seed},), samples=1000, device=device)
    return make_record(spec, **sections)


def baseline(device: str = "cpu", **sections) -> RunRecord:
    return make_record(RunSpec(samples=1000, device=device), **{"speedup": NO_SPEEDUP, **sections})


def claim_of(identifier: str) -> Claim:
    return next(claim for claim in read() if claim.id == identifier)


def verdict(identifier: str, *records: RunRecord):
    (result,) = judge([claim_of(identifier)], records)
    return result


def weights(share: float) -> dict:
    return {"memory": {"weight_bytes": int(1_000_000 * share), "baseline_weight_bytes": 1_000_000}}


def work(share: float) -> dict:
    return {"flops": {"flops": int(1000 * share), "baseline_flops": 1000}}


def timed(ratio: float, low: float | None = None, high: float | None = None) -> dict:
    return {"speedup": {"ratio": ratio, "low": low or 0.98 * ratio, "high": high or 1.02 * ratio}}


def test_every_claim_names_existing_techniques_a_known_figure_and_a_source():
    shipped = read()
    assert len({claim.id for claim in shipped}) == len(shipped) >= 9
    for claim in shipped:
        assert set(claim.techniques) <= set(registry())
        assert "2509.17894" in claim.source.by
        assert claim.source.link.startswith("https://")
        assert claim.figure in claims.FIGURES


def test_without_records_there_is_no_verdict():
    assert {result.verdict for result in judge(read(), [])} == {"no records yet"}
    assert {result.verdict for result in judge(read(), [baseline()])} == {"no records yet"}


@pytest.mark.parametrize(
    ("identifier", "technique", "inside", "outside"),
    [
        ("quantization-memory", "quantization", weights(0.5), weights(0.27)),
        ("quantization-size", "quantization", weights(0.27), weights(0.5)),
        ("quantization-speed", "quantization", timed(1.9), timed(1.2)),
        ("pruning-flops", "depth_pruning", work(0.65), work(0.99)),
        ("mixture-throughput", "moe", {**timed(2.4), **weights(1.02)}, {**timed(1.2), **weights(1.02)}),
    ],
)  # fmt: skip
def test_one_record_in_the_range_reproduces_a_claim_and_records_outside_do_not(identifier, technique, inside, outside):
    good, bad = record_of(technique, seed=1, **inside), record_of(technique, seed=2, **outside)
    result = verdict(identifier, good, bad)
    assert (result.verdict, result.run_ids) == ("reproduced", (good.run_id,))
    assert "1 of 2 records" in result.reason
    assert verdict(identifier, bad).verdict == "not reproduced"


def test_an_interval_that_overlaps_the_range_counts_as_inside():
    assert verdict("quantization-speed", record_of(**timed(1.75, 1.65, 1.85))).verdict == "reproduced"
    assert verdict("quantization-speed", record_of(**timed(1.75, 1.70, 1.79))).verdict == "not reproduced"


def test_a_combination_with_other_techniques_is_no_evidence():
    spec = RunSpec(techniques=({"name": "quantization", "bits": 4}, {"name": "depth_pruning", "keep": 3}))
    stack = make_record(spec, **timed(3.0))
    assert verdict("quantization-speed", stack).verdict == "no records yet"


def test_a_claim_about_another_device_is_not_testable_here():
    loss = timed(0.8)
    assert verdict("quantization-throughput", record_of(**loss)).verdict == "not testable here"
    assert verdict("quantization-throughput", record_of(device="cuda", **loss)).verdict == "reproduced"
    assert verdict("quantization-throughput", record_of(device="cuda", **timed(1.3))).verdict == "not reproduced"


def test_fid_is_compared_only_between_records_of_the_same_method():
    def with_fid(value, name="FID a"):
        return {"quality": {"fid": value, "fid_metric": name}}

    result = verdict("quantization-fid", record_of(), baseline())
    assert result.verdict == "not testable here"
    assert "Inception" in result.reason
    assert verdict("quantization-fid", record_of(**with_fid(5.3)), baseline(**with_fid(5.0))).verdict == "reproduced"
    assert (
        verdict("quantization-fid", record_of(**with_fid(5.6)), baseline(**with_fid(5.0))).verdict == "not reproduced"
    )
    other = baseline(**with_fid(5.0, "FID b"))
    assert verdict("quantization-fid", record_of(**with_fid(5.3)), other).verdict == "not testable here"
    assert verdict("quantization-fid", record_of(**with_fid(5.3))).verdict == "not testable here"


def test_peak_memory_is_compared_with_the_baseline_of_the_same_machine():
    lean = record_of(memory={"peak_memory_bytes": 50})
    assert (
        verdict("quantization-peak-memory", lean, baseline(memory={"peak_memory_bytes": 100})).verdict == "reproduced"
    )
    elsewhere = baseline(memory={"peak_memory_bytes": 100}, environment={"fingerprint": "other"})
    assert verdict("quantization-peak-memory", lean, elsewhere).verdict == "not testable here"


def student(distance: float, share: float, recover: str = "bundled", half: float = 30) -> RunRecord:
    """A student with this share of its teacher's bytes."""
    spec = RunSpec(techniques=({"name": "distillation", "depth": share, "recover": recover},), samples=1000)
    judged = {"distance": distance, "low": distance - half, "high": distance + half}
    return make_record(spec, quality=judged, **weights(share))


def test_every_smaller_student_must_be_worse_than_the_next_larger_beyond_both_intervals():
    large, middle, small = student(800.0, 0.6), student(1000.0, 0.4), student(1400.0, 0.3)
    result = verdict("distillation-gap", large, middle, small)
    assert result.verdict == "reproduced"
    # The largest student has no larger one to compare with.
    assert {evidence.run_id for evidence in result.evidence} == {middle.run_id, small.run_id}
    close = verdict("distillation-gap", large, student(835.0, 0.4), small)  # half widths add to 42
    assert close.verdict == "not reproduced"
    better = verdict("distillation-gap", large, student(700.0, 0.4))
    assert better.verdict == "not reproduced"


def test_untrained_students_and_a_single_student_are_no_evidence_of_the_gap():
    assert verdict("distillation-gap", student(2000.0, 0.5, "none")).verdict == "no records yet"
    single = verdict("distillation-gap", student(800.0, 0.6), student(2000.0, 0.3, "none"))
    assert single.verdict == "not testable here"
    assert "no larger run" in single.reason


def test_kept_and_improved_quality_of_attention_are_two_claims():
    teacher = baseline(quality={"distance": 1000.0, "low": 970.0, "high": 1030.0})

    def mediated(distance, mediators, recover="bundled"):
        recipe = ({"name": "mediated_attention", "mediators": mediators, "recover": recover},)
        judged = {"distance": distance, "low": distance - 40, "high": distance + 40}
        return make_record(RunSpec(techniques=recipe, samples=1000), quality=judged)

    alike, worse, better = mediated(1040.0, 4), mediated(1200.0, 2), mediated(900.0, 8)
    assert verdict("attention-quality-kept", teacher, alike, better).verdict == "reproduced"
    assert verdict("attention-quality-kept", teacher, alike, worse).verdict == "not reproduced"
    assert verdict("attention-quality-improved", teacher, alike, worse).verdict == "not reproduced"
    result = verdict("attention-quality-improved", teacher, alike, worse, better)
    assert (result.verdict, result.run_ids) == ("reproduced", (better.run_id,))
    assert verdict("attention-quality-kept", teacher, mediated(2000.0, 4, "none")).verdict == "no records yet"


def test_more_than_twice_excludes_exactly_twice():
    def mixture(low):
        return record_of("moe", **timed(low + 0.1, low, low + 0.2), **weights(1.02))

    assert verdict("mixture-throughput", mixture(2.0)).verdict == "not reproduced"
    assert verdict("mixture-throughput", mixture(2.01)).verdict == "reproduced"


def test_work_with_uncounted_operators_and_mixtures_of_another_size_have_no_figure():
    uncounted = record_of("depth_pruning", flops={"flops": 65, "baseline_flops": 100, "uncounted": {"aten.x": 3}})
    assert verdict("pruning-flops", uncounted).verdict == "not testable here"
    assert verdict("mixture-throughput", record_of("moe", **timed(3.0), **weights(0.5))).verdict == "not testable here"


def test_a_verdict_lists_its_records_with_their_environment_the_representative_first():
    near, best = record_of(seed=1, **timed(1.9)), record_of(seed=2, **timed(4.0))
    slow = record_of(seed=3, environment={"cpu": "Other CPU", "fingerprint": "other"}, **timed(1.2))
    result = verdict("quantization-speed", slow, near, best)
    assert [evidence.run_id for evidence in result.evidence] == [best.run_id, near.run_id, slow.run_id]
    assert result.run_ids == (best.run_id, near.run_id)
    assert result.evidence[0].text == "4.00 times (3.92 to 4.08 times)"
    assert [(evidence.machine, evidence.fingerprint, evidence.in_range) for evidence in result.evidence[1:]] == [
        ("Test CPU", "test-machine", True),
        ("Other CPU", "other", False),
    ]
    students = student(800.0, 0.6, half=10), student(1400.0, 0.4, half=10), student(700.0, 0.3, half=10)
    worst = verdict("distillation-gap", *students).evidence[0]
    assert worst.run_id == students[2].run_id


@pytest.mark.parametrize(
    ("identifier", "figures", "best"),
    [
        ("attention-compute", [work(0.998), work(0.87), work(0.95)], "13 %"),  # above 0: the most
        ("quantization-memory", [weights(0.46), weights(0.49), weights(0.54)], "51 %"),  # about 50: the nearest
        ("quantization-memory", [weights(0.1), weights(0.3)], "70 %"),  # none of them: the nearest, too
    ],
)
def test_if_one_record_is_enough_the_best_record_is_first(identifier, figures, best):
    technique = claim_of(identifier).techniques[0]
    records = [record_of(technique, seed=seed, **figure) for seed, figure in enumerate(figures)]
    assert verdict(identifier, *records).evidence[0].text == best


def test_only_the_newest_measurement_of_a_run_counts():
    old = record_of(created_at="2026-01-01T00:00:00+00:00", **timed(2.5))
    new = record_of(created_at="2026-01-02T00:00:00+00:00", **timed(1.1))
    assert verdict("quantization-speed", new, old).verdict == "not reproduced"


def test_runs_of_random_weights_are_no_evidence():
    spec = RunSpec(model="random:DiT-S/2@256", techniques=({"name": "quantization", "bits": 4},))
    assert verdict("quantization-speed", make_record(spec, **timed(3.0))).verdict == "no records yet"


def test_the_range_is_written_as_text():
    ranges = {claim.id: claim.range_text for claim in read()}
    assert ranges["quantization-memory"] == "45 to 55 %"
    assert ranges["quantization-speed"] == "at least 1.80 times"
    assert ranges["quantization-fid"] == "at most +0.50"
    assert ranges["distillation-gap"] == "above 0 %"


def test_less_than_one_percent_is_written_with_two_digits():
    assert verdict("attention-compute", record_of("mediated_attention", **work(0.997))).evidence[0].text == "0.30 %"
    assert verdict("attention-compute", record_of("mediated_attention", **work(1.0))).evidence[0].text == "0 %"


def test_verdicts_are_counted():
    verdicts = judge(read(), [record_of(**timed(2.0))])
    counted = claims.tally(verdicts)
    assert tuple(counted) == claims.VERDICTS
    assert sum(counted.values()) == len(verdicts)
    assert counted["reproduced"] == sum(result.verdict == "reproduced" for result in verdicts) > 0
    assert f"{len(verdicts)} claims: {counted['reproduced']} reproduced" in claims.report(verdicts)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"figure": "beauty"}, "unknown figure"),
        ({"source": None}, "has no source"),
        ({"source": '"d"'}, "unknown source 'd'"),
        ({"least": None}, "needs about"),
        ({"about": 0.5}, "needs about"),
        ({"verdict": '"reproduced"'}, "unknown field 'verdict'"),
    ],
)
def test_an_incomplete_claim_is_refused(change, says, tmp_path: Path):
    entry = {"id": '"a"', "statement": '"b"', "techniques": "[]", "figure": '"speedup"', "rule": '"any"'}
    entry |= {"reported": '"d"', "source": '"c"', "least": 1.0} | {
        key: f'"{value}"' if key == "figure" else value for key, value in change.items()
    }
    path = tmp_path / "claims.toml"
    source = '[sources.c]\nkind = "summary"\nby = "e"\nlink = "https://f"\n'
    path.write_text(source + "[[claims]]\n" + "".join(f"{k} = {v}\n" for k, v in entry.items() if v is not None))
    with pytest.raises(ValueError, match=says):
        read(path)


def test_the_command_line_judges_the_store(tmp_path: Path, capsys):
    from dit_core.records.store import Store
    from tests.factory import make_sheets

    record = record_of(**timed(2.0))
    Store(tmp_path).put(record, make_sheets(record))
    assert main(["claims", "--results", str(tmp_path), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    verdicts = {result["claim"]["id"]: result["verdict"] for result in results}
    assert verdicts["quantization-speed"] == "reproduced"
    assert verdicts["mixture-throughput"] == "no records yet"
    speed = next(result for result in results if result["claim"]["id"] == "quantization-speed")
    assert speed["run_ids"] == [record.run_id]
    assert speed["evidence"][0]["figure"]["value"] == 2.0
    assert main(["claims"]) == 0
    assert "Quantization" in capsys.readouterr().out
