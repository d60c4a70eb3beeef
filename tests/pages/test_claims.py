"""The page Claims: reported and measured figures, a verdict computed from the records, and its runs."""

from dit_core.analysis import claims
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from tests.pages.conftest import baseline, put, quantized, texts


def badges(at) -> list[str]:
    """The verdicts on the cards, in the order of the file; without the tally above them."""
    told = [text.value for text in at.markdown if "-badge[" in text.value]
    return [text for text in told if not any(char.isdigit() for char in text)]


def card(identifier: str) -> int:
    return [one.id for one in claims.read()].index(identifier)


def test_without_records_every_claim_is_listed_without_a_verdict(open_page):
    at = open_page("claims")
    assert "No run has been measured yet" in texts(at)
    assert [link.value for link in at.page_link] == ["Make the first run"]
    assert len(badges(at)) == len(claims.read())
    assert all("no records yet" in badge for badge in badges(at))


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


def test_the_tally_counts_every_claim_once(open_page):
    put(baseline())
    put(quantized(4))
    at = open_page("claims")
    counted = [text.value for text in at.markdown if "-badge[" in text.value and text.value not in badges(at)]
    assert sum(int(part) for text in counted for part in text.split() if part.isdigit()) == len(claims.read())
    assert f"**{len(claims.read())} claims:**" in texts(at)


def test_every_record_behind_a_verdict_is_listed_with_a_link(open_page):
    put(baseline())
    ids = {put(quantized(bits)) for bits in (2, 4, 8)}
    at = open_page("claims")
    assert len(at.dataframe) == 0
    at.session_state["all-quantization-memory"] = True
    first = at.run().dataframe[0].value
    assert set(first["Samples"]) == {f"pareto?run={run_id}" for run_id in ids}
    assert len(set(first["Run"])) == 3


def test_the_source_of_a_reported_figure_is_linked_and_called_a_summary(open_page):
    told = texts(open_page("claims"))
    for one in claims.read():
        assert f"[{one.source.by}]({one.source.link}), a summary of the paper." in told


def test_runs_with_random_weights_do_not_count(open_page):
    recipe = canonical([{"name": "quantization", "bits": 4}])
    put(RunSpec(model="random:DiT-S/2@256", techniques=recipe), speedup={"ratio": 3.0, "low": 2.9, "high": 3.1})
    assert all("no records yet" in badge for badge in badges(open_page("claims")))
