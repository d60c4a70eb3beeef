"""The page Claims: reported and measured figures, a verdict computed from the records, and its runs."""

import json

from dit_core.analysis import claims
from dit_core.analysis.claim_file import read
from dit_core.cli.commands import main
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.ui import claims as page
from tests.pages.conftest import baseline, put, quantized, texts


def badges(at) -> list[str]:
    """The verdicts on the cards, in the order of the file; without the tally above them."""
    shown = [text.value for text in at.markdown if "-badge[" in text.value]
    return shown[-len(read()) :]


def card(identifier: str) -> int:
    return [one.id for one in read()].index(identifier)


def test_without_records_every_claim_is_listed_without_a_verdict(open_page):
    at = open_page("claims")
    assert "No run has been measured yet" in texts(at)
    assert [link.value for link in at.page_link] == ["Make the first run"]
    assert len(badges(at)) == len(read())
    assert all("not testable here" in badge for badge in badges(at))


def test_a_figure_in_the_range_is_reproduced_with_its_run_and_its_machine(open_page):
    put(baseline())
    put(quantized(4), memory={"weight_bytes": 500_000, "baseline_weight_bytes": 1_000_000})
    at = open_page("claims")
    badge = badges(at)[card("quantization-memory")]
    assert badge == ":green-badge[:material/check_circle: reproduced]"
    measured = [metric.value for metric in at.metric if metric.label == "Measured"]
    reported = [metric.value for metric in at.metric if metric.label == "Reported"]
    assert (reported[0], measured[0]) == ("about 50 %", "50 %")
    assert "of the baseline's weight bytes saved" in texts(at)
    assert "Test CPU" in texts(at)
    assert "environment" not in texts(at)
    assert next(metric for metric in at.metric if metric.label == "Measured").help == (
        "Measured on Test CPU, environment test-machine."
    )
    assert {"See the run", "Compare"} <= {link.value for link in at.page_link}


def test_a_figure_outside_is_not_reproduced_and_a_claim_about_another_device_cannot_be_tested(open_page):
    put(baseline())
    put(quantized(4), memory={"weight_bytes": 900_000, "baseline_weight_bytes": 1_000_000})
    found = badges(open_page("claims"))
    assert ":material/cancel:" in found[card("quantization-memory")]
    assert "not reproduced" in found[card("quantization-memory")]
    assert ":material/do_not_disturb_on:" in found[card("quantization-throughput")]
    assert "not testable here" in found[card("quantization-throughput")]


def test_one_setting_of_three_is_partly_and_the_best_is_labelled_as_chosen_from_three(open_page):
    put(baseline())
    for bits, share in ((4, 0.5), (3, 0.3), (2, 0.2)):
        put(quantized(bits), memory={"weight_bytes": int(1e6 * share), "baseline_weight_bytes": 1_000_000})
    at = open_page("claims")
    assert badges(at)[card("quantization-memory")] == (":orange-badge[:material/contrast: partly, in 1 of 3 settings]")
    assert next(metric for metric in at.metric if metric.label == "Measured, best of 3").value == "50 %"
    assert "best of 3 settings, interval corrected for 3 (Sidak)" in texts(at)


def test_what_would_test_a_claim_without_records_is_told(open_page):
    at = open_page("claims")
    assert len(at.code) == 0
    at.session_state["test-fora-speed"] = True
    (code,) = at.run().code
    assert "--technique feature_caching:method=interval,interval=3 --samples 5000" in code.value


def test_the_page_and_the_command_line_show_the_same_verdicts_from_the_same_records(open_page, capsys):
    """Also with two machines, records measured twice within a second, and records of weights that changed since."""
    here, there = {"fingerprint": "here", "cpu": "Xeon"}, {"fingerprint": "there", "cpu": "EPYC"}
    for environment in (here, there):
        put(baseline(), environment=environment, again=True)
        for bits in (2, 3, 4, 8):
            put(quantized(bits), environment=environment, again=True)
    unknown = {"peak_memory_bytes": None, "reason": "the process was killed"}
    put(quantized(4), environment=here, again=True, memory=unknown)
    put(quantized(8), environment=here, local=True, speedup={"ratio": 2.0, "low": 1.99, "high": 2.01})
    put(quantized(6), environment={**here, "weights": "0" * 12})
    put(quantized(5, samples=500), environment=there)
    assert main(["claims", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(claims.as_json(page.verdicts()))
    sizes = {entry["claim"]["id"]: len(entry["evidence"]) for entry in printed}
    assert sizes["quantization-size"] == 5  # bits 2, 3, 4, 5 and 8: once for both machines
    assert sizes["quantization-speed"] == 9
    assert sizes["quantization-peak-memory"] == 7  # one peak is unknown now, and one run has no baseline
    at = open_page("claims")
    shown = [text.value for text in at.markdown if "settings in the range" in text.value]
    assert shown == [entry["reason"] for entry in printed if "settings in the range" in entry["reason"]]


def test_the_tally_counts_every_claim_once(open_page):
    put(baseline())
    put(quantized(4))
    at = open_page("claims")
    counted = [text.value for text in at.markdown if "-badge[" in text.value][: -len(read())]
    assert sum(int(part) for text in counted for part in text.split() if part.isdigit()) == len(read())
    assert f"**{len(read())} claims:**" in texts(at)


def test_every_record_behind_a_verdict_is_listed_with_a_link(open_page):
    put(baseline())
    ids = {put(quantized(bits)) for bits in (2, 4, 8)}
    at = open_page("claims")
    assert len(at.dataframe) == 0
    at.session_state["all-quantization-memory"] = True
    first = at.run().dataframe[0].value
    assert set(first["In the range"]) == {"no"}
    assert set(first["Samples"]) == {f"pareto?run={run_id}" for run_id in ids}
    assert len(set(first["Run"])) == 3


def test_the_source_of_a_reported_figure_is_linked_and_says_whether_it_is_the_paper(open_page):
    told = texts(open_page("claims"))
    for one in read():
        kind = "the paper" if one.source.kind == "paper" else "a summary of the paper"
        assert f"[{one.source.by}]({one.source.link}), {kind}." in told


def test_runs_with_random_weights_do_not_count(open_page):
    recipe = canonical([{"name": "quantization", "bits": 4}])
    put(RunSpec(model="random:DiT-S/2@256", techniques=recipe), speedup={"ratio": 3.0, "low": 2.9, "high": 3.1})
    assert all("not testable here" in badge for badge in badges(open_page("claims")))
