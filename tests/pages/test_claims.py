"""The page Claims: reported and measured figures, a verdict computed from the records, and its runs."""

import html
import json
import re

from dit_core.analysis import claims
from dit_core.analysis.claim_file import read
from dit_core.cli.commands import main
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.ui.claims import claims_page as page
from dit_core.ui.claims.rows import LISTED
from tests.pages.conftest import baseline, put, quantized, texts


def rows(at) -> dict[str, str]:
    """Id of each claim -> the text of its row and of its details, in the order of the page."""
    (table,) = (one.proto.body for one in at.get("html") if "dit-claims-head" in one.proto.body)
    found = re.findall(r'<details id="claim-([^"]+)"[^>]*>(.*?)</details>', table, re.DOTALL)
    return {identifier: plain(row) for identifier, row in found}


def plain(markup: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<(?!a )[^>]+>", " ", markup)))


def test_without_records_every_claim_is_listed_without_a_verdict(open_page):
    at = open_page("claims")
    assert "No run has been measured yet" in texts(at)
    assert [link.value for link in at.page_link] == ["Make the first run"]
    assert list(rows(at)) == [one.id for one in read()]
    assert all("– not testable here" in row for row in rows(at).values())


def test_a_figure_in_the_range_is_reproduced_with_its_run_and_its_machine(open_page):
    put(baseline())
    put(quantized(4), memory={"weight_bytes": 500_000, "baseline_weight_bytes": 1_000_000})
    at = open_page("claims")
    row = rows(at)["quantization-memory"]
    assert "✓ reproduced" in row
    assert "Reported about 50 %" in row
    assert "Measured 50 %" in row
    assert "In range 1 of 1" in row
    assert "of the baseline's weight bytes saved" in row
    assert "on Test CPU." in row
    assert ">See the run" in row
    assert ">Compare with the baseline" in row


def test_a_figure_outside_is_not_reproduced_and_a_claim_about_another_device_cannot_be_tested(open_page):
    put(baseline())
    put(quantized(4), memory={"weight_bytes": 900_000, "baseline_weight_bytes": 1_000_000})
    found = rows(open_page("claims"))
    assert "✗ not reproduced" in found["quantization-memory"]
    assert "– not testable here" in found["quantization-throughput"]


def test_one_setting_of_three_is_partly_and_the_best_is_labelled_as_chosen_from_three(open_page):
    put(baseline())
    for bits, share in ((4, 0.5), (3, 0.3), (2, 0.2)):
        put(quantized(bits), memory={"weight_bytes": int(1e6 * share), "baseline_weight_bytes": 1_000_000})
    row = rows(open_page("claims"))["quantization-memory"]
    assert "◐ partly" in row
    assert "Measured 50 %" in row
    assert "In range 1 of 3" in row
    assert "best of 3 settings, interval corrected for 3 (Sidak)" in row


def test_what_would_test_a_claim_without_records_is_told(open_page):
    row = rows(open_page("claims"))["fora-speed"]
    assert "--technique feature_caching:method=interval,interval=3 --samples 5000" in row


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
    shown = rows(open_page("claims"))
    assert all(entry["reason"] in shown[entry["claim"]["id"]] for entry in printed)


def test_the_tally_counts_every_claim_once(open_page):
    put(baseline())
    put(quantized(4))
    at = open_page("claims")
    counted = [text.value for text in at.markdown if "-badge[" in text.value]
    assert sum(int(part) for text in counted for part in text.split() if part.isdigit()) == len(read())
    assert f"**{len(read())} claims:**" in texts(at)


def test_every_record_behind_a_verdict_is_listed_with_a_link(open_page):
    put(baseline())
    ids = {put(quantized(bits)) for bits in (2, 4, 8)}
    row = rows(open_page("claims"))["quantization-memory"]
    settings = row[row.index("Measured on") :]
    assert set(re.findall(r'href="pareto\?run=([^"]+)"', settings)) == ids
    assert settings.count("environment test-machine") == 3
    assert " yes " not in settings


def test_of_many_settings_the_best_are_listed_and_the_rest_is_counted(open_page):
    for number in range(LISTED + 2):
        put(baseline(), environment={"fingerprint": f"machine-{number}"}, again=True)
        put(quantized(4), environment={"fingerprint": f"machine-{number}"}, again=True)
    row = rows(open_page("claims"))["quantization-speed"]
    assert row.count("environment machine-") == LISTED
    assert "2 more: python -m dit_core claims --json" in re.sub(" +", " ", row)


def test_the_link_to_a_claim_opens_it(open_page):
    at = open_page("claims", claim="fora-speed")
    (table,) = (one.proto.body for one in at.get("html") if "dit-claims-head" in one.proto.body)
    assert re.findall(r'<details id="claim-([^"]+)" open>', table) == ["fora-speed"]
    assert 'href="claims?claim=fora-speed"' in rows(at)["fora-speed"]


def test_the_source_of_a_reported_figure_is_linked_and_says_whether_it_is_the_paper(open_page):
    found = rows(open_page("claims"))
    for one in read():
        kind = "the paper" if one.source.kind == "paper" else "a summary of the paper"
        assert f'<a href="{one.source.link}"' in found[one.id]
        assert re.search(f">{re.escape(one.source.by)} ?, {kind}", found[one.id])


def test_runs_with_random_weights_do_not_count(open_page):
    recipe = canonical([{"name": "quantization", "bits": 4}])
    put(RunSpec(model="random:DiT-S/2@256", techniques=recipe), speedup={"ratio": 3.0, "low": 2.9, "high": 3.1})
    assert all("not testable here" in row for row in rows(open_page("claims")).values())
