"""Verdicts on claims: what counts as in the range, selection among many settings, several machines, and what agrees."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from dit_core.analysis import claim_figures, claims
from dit_core.analysis.claim_figures import FIGURES, Figure
from dit_core.analysis.claim_file import Claim, read
from dit_core.analysis.claims import Verdict, judge
from dit_core.cli.commands import main
from dit_core.measure import interval
from dit_core.recipes.recipe import canonical, parse_argument
from dit_core.recipes.registry import registry
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store, Stored
from dit_core.system.statistics import student_quantile
from tests.factory import make_record, make_sheets

NO_SPEEDUP = {**dict.fromkeys(("ratio", "low", "high", "confidence", "blocks", "baseline_latency_s")), "reason": "base"}
UNTESTABLE = "not testable here"


def record_of(technique: str = "quantization", *, device: str = "cpu", seed: int = 0, **sections) -> RunRecord:
    """A record of a technique; `seed` makes it another setting."""
    spec = RunSpec(techniques=({"name": technique, "setting": seed},), samples=1000, device=device)
    return make_record(spec, **sections)


def baseline(device: str = "cpu", **sections) -> RunRecord:
    return make_record(RunSpec(samples=1000, device=device), **{"speedup": NO_SPEEDUP, **sections})


def claim_of(identifier: str) -> Claim:
    return next(claim for claim in read() if claim.id == identifier)


def stored(records) -> list[Stored]:
    return [Stored(record, "local", Path(f"{number:03}.json")) for number, record in enumerate(records)]


def verdict(identifier: str, *records: RunRecord) -> Verdict:
    (result,) = judge([claim_of(identifier)], stored(records))
    return result


def weights(share: float) -> dict:
    return {"memory": {"weight_bytes": int(1_000_000 * share), "baseline_weight_bytes": 1_000_000}}


def work(share: float) -> dict:
    return {"flops": {"flops": int(1000 * share), "baseline_flops": 1000}}


def timed(ratio: float, low: float | None = None, high: float | None = None) -> dict:
    return {"speedup": {"ratio": ratio, "low": low or 0.999 * ratio, "high": high or 1.001 * ratio}}


def test_every_claim_names_existing_techniques_a_known_figure_a_source_and_recipes_that_would_test_it():
    shipped = read()
    assert len({claim.id for claim in shipped}) == len(shipped) >= 30
    for claim in shipped:
        assert set(claim.techniques) <= set(registry())
        assert "arXiv" in claim.source.by
        assert claim.source.link.startswith("https://")
        assert claim.figure in FIGURES
        recipes = [canonical([parse_argument(text)]) for text in claim.test]
        records = [make_record(RunSpec(techniques=recipe)) for recipe in recipes]
        tested = [claims._matches(claims._Run(run), replace(claim, recovered=False)) for run in stored(records)]
        assert any(tested), claim.id
        assert all(command.startswith("python -m dit_core run") for command in claim.commands)


@pytest.mark.parametrize(
    "number",
    ["2412.01199", "2407.01425", "2503.06923", "2411.10510", "2303.17604", "2404.07724", "2407.11633", "2411.05007"],
)
def test_the_papers_of_the_techniques_have_claims(number):
    assert [claim for claim in read() if number in claim.source.by and claim.source.kind == "paper"]


def test_without_records_nothing_is_tested():
    for records in ([], [baseline()]):
        results = judge(read(), stored(records))
        assert {result.verdict for result in results} == {UNTESTABLE}
        assert all("There is no" in result.reason for result in results)
        assert "would test it: python -m dit_core run --technique" in claims.report(results)


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
def test_one_setting_of_two_in_the_range_is_partly_and_is_listed(identifier, technique, inside, outside):
    good, bad = record_of(technique, seed=1, **inside), record_of(technique, seed=2, **outside)
    result = verdict(identifier, good, bad)
    assert (result.verdict, [item.run_id for item in result.in_range]) == ("partly", [good.run_id])
    assert "1 of 2 settings in the range" in result.reason
    assert f"in the range: {technique} setting=1 on Test CPU" in claims.report([result])
    assert verdict(identifier, good).verdict == "reproduced"
    assert verdict(identifier, bad).verdict == "not reproduced"


def test_an_interval_that_holds_an_end_of_the_range_does_not_count():
    inside, across, outside = timed(1.9, 1.81, 2.0), timed(1.9, 1.79, 2.0), timed(1.7, 1.6, 1.79)
    assert verdict("quantization-speed", record_of(**inside)).verdict == "reproduced"
    assert verdict("quantization-speed", record_of(**outside)).verdict == "not reproduced"
    undecided = verdict("quantization-speed", record_of(**across))
    assert undecided.verdict == UNTESTABLE
    assert "1 undecided because the interval holds an end of the range" in undecided.reason
    assert undecided.evidence[0].state == "undecided"


def test_an_undecided_setting_counts_among_all_but_not_in_the_range():
    inside, across = record_of(seed=1, **timed(3.0)), record_of(seed=2, **timed(1.9, 1.7, 2.1))
    result = verdict("quantization-speed", inside, across)
    assert (result.verdict, len(result.in_range), len(result.evidence)) == ("partly", 1, 2)
    outside = record_of(seed=3, **timed(1.0))
    assert verdict("quantization-speed", across, outside).verdict == "not reproduced"


def test_a_figure_without_an_interval_is_not_tested():
    without = {"speedup": {"ratio": 2.0, "low": None, "high": None, "reason": "one process"}}
    assert verdict("quantization-speed", record_of(**without)).verdict == UNTESTABLE
    fid = {"quality": {"fid": 5.0, "fid_metric": "FID a"}}
    assert verdict("quantization-fid", record_of(**fid), baseline(**fid)).verdict == UNTESTABLE


def test_the_best_of_many_is_corrected_for_its_selection():
    close = timed(1.9, 1.85, 1.95)
    assert verdict("quantization-speed", record_of(**close)).verdict == "reproduced"
    others = [record_of(seed=seed, **timed(1.0)) for seed in range(1, 20)]
    result = verdict("quantization-speed", record_of(**close), *others)
    assert (result.verdict, result.evidence[0].state) == ("not reproduced", "undecided")
    assert result.best == "best of 20 settings, interval corrected for 20 (Sidak)"
    wider = student_quantile(2, 0.95 ** (1 / 20)) / student_quantile(2)
    assert result.evidence[0].figure.low == pytest.approx(1.9 * (1.85 / 1.9) ** wider)


def test_intervals_of_many_settings_hold_together_in_95_of_100_cases():
    """Truth known: twenty settings of a true speed-up of 1; the best must not look faster than 1 by selection."""
    generator, trials, settings = random.Random(0), 2000, 20
    wrong = {"corrected": 0, "as they are": 0}
    for _ in range(trials):
        values = [generator.gauss(0, 1) for _ in range(settings)]
        best = Figure(max(values), max(values) - 1.96, max(values) + 1.96)
        wrong["corrected"] += best.simultaneous(settings).low > 0
        wrong["as they are"] += best.low > 0
    assert wrong["corrected"] / trials <= 0.05
    assert wrong["as they are"] / trials > 0.3


def test_a_single_setting_needs_no_correction_and_exact_figures_have_none():
    figure = Figure(1.5, 1.4, 1.6, degrees=2)
    assert figure.simultaneous(1) == figure
    assert Figure(0.5, 0.5, 0.5).simultaneous(30) == Figure(0.5, 0.5, 0.5)


def test_the_law_of_an_interval_is_that_of_its_method():
    assert claim_figures.SPEEDUP_DEGREES == interval.FULL - 1
    assert claim_figures._degrees("16 random halves of 1000 pairs, Student's t") == 15
    assert claim_figures._degrees("3 replicates, Student's t") == 2
    assert claim_figures._degrees("8 random halves (delete-half jackknife)") == 7
    assert claim_figures._degrees("binomial (Wilson)") is claim_figures._degrees(None) is None


def test_a_combination_with_other_techniques_is_no_evidence():
    spec = RunSpec(techniques=({"name": "quantization", "bits": 4}, {"name": "depth_pruning", "keep": 3}))
    assert not verdict("quantization-speed", make_record(spec, **timed(3.0))).evidence


def test_a_claim_about_another_device_is_not_testable_here():
    loss = timed(0.8)
    result = verdict("quantization-throughput", record_of(**loss))
    assert (result.verdict, "ran on cuda" in result.reason) == (UNTESTABLE, True)
    assert result.claim.commands[0].endswith("--device cuda")
    assert verdict("quantization-throughput", record_of(device="cuda", **loss)).verdict == "reproduced"
    assert verdict("quantization-throughput", record_of(device="cuda", **timed(1.3))).verdict == "not reproduced"


def test_peers_are_from_the_same_environment():
    lean, beside = record_of(memory={"peak_memory_bytes": 60}), {"memory": {"peak_memory_bytes": 100}}
    assert verdict("quantization-peak-memory", lean, baseline(**beside)).verdict == "reproduced"
    elsewhere = baseline(**beside, environment={"fingerprint": "other"})
    assert verdict("quantization-peak-memory", lean, elsewhere).verdict == UNTESTABLE


def test_a_time_on_another_machine_is_another_setting_and_a_size_is_not():
    def on(fingerprint, cpu, ratio):
        return record_of(environment={"cpu": cpu, "fingerprint": fingerprint}, **weights(0.5), **timed(ratio))

    two = on("a", "Xeon", 2.0), on("b", "EPYC", 1.0)
    speed = verdict("quantization-speed", *two)
    assert (speed.verdict, len(speed.evidence)) == ("partly", 2)
    assert "1 of 1 on Xeon, 0 of 1 on EPYC" in speed.reason
    size = verdict("quantization-memory", *two)
    assert (size.verdict, len(size.evidence)) == ("reproduced", 1)


def test_more_images_or_another_seed_are_the_same_setting_and_the_most_images_count():
    recipe = ({"name": "mediated_attention", "mediators": 4, "recover": "bundled"},)

    def judged(distance, samples, half, seed=0):
        records = []
        for techniques, value in ((recipe, distance), ((), 1000.0)):
            spec = RunSpec(techniques=techniques, samples=samples, seed=seed)
            method = f"FD x, {samples} images, reference y"
            quality = {"metric": method, "distance": value, "low": value - half, "high": value + half}
            records.append(make_record(spec, quality=quality))
        return records

    few, many = judged(1001.0, 1000, 5), judged(1200.0, 5000, 5)
    result = verdict("attention-quality-kept", *few, *many)
    assert (result.verdict, len(result.evidence)) == ("not reproduced", 1)
    other_seed = verdict("attention-quality-kept", few[0], judged(1001.0, 1000, 5, seed=1)[1])
    assert other_seed.verdict == UNTESTABLE  # the baseline of other seeds is no peer


def test_a_verdict_lists_its_settings_with_their_environment_the_best_first():
    near, best = record_of(seed=1, **timed(1.9)), record_of(seed=2, **timed(4.0))
    slow = record_of(seed=3, environment={"cpu": "Other CPU", "fingerprint": "other"}, **timed(1.2))
    result = verdict("quantization-speed", slow, near, best)
    assert [evidence.run_id for evidence in result.evidence] == [best.run_id, near.run_id, slow.run_id]
    assert [item.run_id for item in result.in_range] == [best.run_id, near.run_id]
    assert result.evidence[0].text == "4.00 times (3.99 to 4.01 times)"
    assert [(evidence.machine, evidence.fingerprint, evidence.state) for evidence in result.evidence[1:]] == [
        ("Test CPU", "test-machine", "in range"),
        ("Other CPU", "other", "outside"),
    ]


@pytest.mark.parametrize(
    ("identifier", "figures", "best"),
    [
        ("attention-compute", [work(0.998), work(0.87), work(0.95)], "13 %"),  # above 0: the most
        ("quantization-memory", [weights(0.46), weights(0.49), weights(0.54)], "51 %"),  # about 50: the nearest
        ("quantization-memory", [weights(0.1), weights(0.3)], "70 %"),  # none of them: the nearest, too
    ],
)
def test_the_best_setting_is_first(identifier, figures, best):
    technique = claim_of(identifier).techniques[0]
    records = [record_of(technique, seed=seed, **figure) for seed, figure in enumerate(figures)]
    assert verdict(identifier, *records).evidence[0].text == best


def test_only_the_newest_measurement_of_a_run_counts():
    old = record_of(created_at="2026-01-01T00:00:00+00:00", **timed(2.5))
    new = record_of(created_at="2026-01-02T00:00:00+00:00", **timed(1.1))
    assert verdict("quantization-speed", new, old).verdict == "not reproduced"


def test_runs_of_random_weights_and_of_weights_that_changed_are_no_evidence():
    spec = RunSpec(model="random:DiT-S/2@256", techniques=({"name": "quantization", "bits": 4},))
    assert not verdict("quantization-speed", make_record(spec, **timed(3.0))).evidence
    outdated = make_record(
        RunSpec(techniques=canonical([{"name": "quantization", "bits": 4}])),
        environment={"weights": "0" * 12},
        **timed(3.0),
    )
    assert not verdict("quantization-speed", outdated).evidence


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
    verdicts = judge(read(), stored([record_of(**timed(2.0))]))
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
        ({"test": None}, "has no test"),
        ({"source": '"d"'}, "unknown source 'd'"),
        ({"least": None}, "needs about"),
        ({"about": 0.5}, "needs about"),
        ({"verdict": '"reproduced"'}, "unknown field 'verdict'"),
    ],
)
def test_an_incomplete_claim_is_refused(change, says, tmp_path: Path):
    entry = {"id": '"a"', "statement": '"b"', "techniques": "[]", "figure": '"speedup"', "test": "[]"}
    entry |= {"reported": '"d"', "source": '"c"', "least": 1.0} | {
        key: f'"{value}"' if key == "figure" else value for key, value in change.items()
    }
    path = tmp_path / "claims.toml"
    source = '[sources.c]\nkind = "summary"\nby = "e"\nlink = "https://f"\n'
    path.write_text(source + "[[claims]]\n" + "".join(f"{k} = {v}\n" for k, v in entry.items() if v is not None))
    with pytest.raises(ValueError, match=says):
        read(path)


def test_the_command_line_judges_the_store(tmp_path: Path, capsys):
    record = record_of(**timed(2.0))
    Store(tmp_path).put(record, make_sheets(record))
    assert main(["claims", "--results", str(tmp_path), "--json"]) == 0
    results = {result["claim"]["id"]: result for result in json.loads(capsys.readouterr().out)}
    assert results["quantization-speed"]["verdict"] == "reproduced"
    assert results["mixture-throughput"]["verdict"] == UNTESTABLE
    speed = results["quantization-speed"]
    assert speed["in_range"] == [record.run_id]
    assert speed["evidence"][0]["figure"]["value"] == 2.0
    assert (speed["claim"]["least"], speed["claim"]["most"]) == (1.8, None)
    assert main(["claims"]) == 0
    assert "Quantization" in capsys.readouterr().out


def test_the_order_of_the_records_changes_no_verdict():
    records = stored([record_of(seed=seed, **timed(1.5 + seed / 4)) for seed in range(4)] * 2)
    texts = {claims.as_json(judge(read(), random.Random(seed).sample(records, len(records)))) for seed in range(5)}
    assert len(texts) == 1
