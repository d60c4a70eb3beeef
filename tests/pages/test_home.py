"""The home page: the question, images of a recipe, the front, and links to the other pages."""

import json

from tests.pages.conftest import alts, baseline, put, quantized, texts


def test_without_results_it_says_so_and_links_to_the_other_pages(open_page):
    at = open_page("home")
    assert "What does each optimization" in at.title[0].value
    assert "No results yet" in texts(at)
    assert {link.value for link in at.page_link} == {
        "Make the first run",
        "Open Run live",
        "Open Pareto",
        "Start the tour",
    }


def test_it_shows_the_front_of_the_bundled_results_with_their_machine(open_page):
    put(baseline())
    put(quantized(4))
    put(quantized(2, seed=1), local=True)
    at = open_page("home")
    (chart,) = at.get("plotly_chart")
    names = [trace["name"] for trace in json.loads(chart.proto.spec)["data"] if "name" in trace]
    assert {"Pareto front", "Baseline", "Quantization"} <= set(names)
    assert "Test CPU" in texts(at)
    assert "bundled" in texts(at)


def test_the_cost_can_be_memory_and_the_choice_is_in_the_address(open_page):
    put(baseline())
    put(quantized(4))
    at = open_page("home", against="Peak memory")
    layout = json.loads(at.get("plotly_chart")[0].proto.spec)["layout"]
    assert layout["xaxis"]["title"]["text"] == "Peak memory, MB (lower is better)"


def test_it_shows_the_state_of_the_worker(open_page, queue):
    queue.submit(quantized())
    assert "No worker is running" in texts(open_page("home"))


def test_a_recipe_is_shown_next_to_the_baseline_with_what_it_saves_and_costs(open_page):
    judged = {"distance": 1500.0, "low": 1450.0, "high": 1550.0}
    put(baseline(), quality=judged)
    put(quantized(8), quality=judged)
    put(quantized(2), quality={"distance": 3000.0, "low": 2900.0, "high": 3100.0})
    at = open_page("home", beside="Quantization, bits 2")
    assert alts(at)[0].startswith("Baseline: ")
    assert alts(at)[-1].startswith("Quantization, bits 2: ")
    assert "**Losses:** images much further from real images (distance 1,500 → 3,000)." in texts(at)


def test_it_opens_with_the_fastest_recipe_that_cannot_be_told_from_the_baseline_and_then_a_cheaper_one(open_page):
    judged = {"distance": 1500.0, "low": 1450.0, "high": 1550.0}
    pair = {"difference": 20.0, "difference_low": -10.0, "difference_high": 50.0, "difference_detectable": 60.0}
    worse = {**pair, "difference_low": 10.0}
    put(baseline(), quality=judged)
    for bits, ratio, quality in (
        (8, 1.5, judged),  # intervals overlap
        (7, 2.0, {**judged, **pair}),
        (6, 2.2, {**judged, **worse}),  # told apart in pairs, although the intervals overlap
        (5, 2.7, {"distance": 1700.0, "low": 1650.0, "high": 1750.0}),
        (4, 4.0, {"distance": 1900.0, "low": 1850.0, "high": 1950.0}),
    ):
        put(quantized(bits), quality=quality, speedup={"ratio": ratio, "low": ratio - 0.1, "high": ratio + 0.1})
    put(quantized(3), quality=judged, speedup={"ratio": 1.1, "low": 0.9, "high": 1.3})
    at = open_page("home")
    assert at.subheader[0].value == "2.00 times as fast, no difference in quality found"
    assert "**Quantization, bits 7.**" in texts(at)
    assert at.selectbox(key="beside").value == "Quantization, bits 5"
    assert [alt.partition(":")[0] for alt in alts(at)] == ["Baseline", "Quantization, bits 7", "Quantization, bits 5"]


def test_without_a_gain_int4_is_shown_first_with_a_description_and_the_reason_for_its_time(open_page):
    put(baseline())
    put(quantized(8), speedup={"ratio": 0.9, "low": 0.8, "high": 0.95})
    run = put(quantized(4), speedup={"explanation": "stored", "ratio": 0.7, "low": 0.6, "high": 0.8})
    at = open_page("home")
    assert at.selectbox(key="beside").value == "Quantization, bits 4 (int4)"
    assert "int4 stores each weight of the network in 4 bits instead of 32" in texts(at)
    assert "Why: It does 100 % of the baseline's operations" in texts(at)
    data = json.loads(at.get("plotly_chart")[0].proto.spec)["data"]
    (ring,) = [trace for trace in data if trace.get("marker", {}).get("symbol") == "circle-open"]
    (dots,) = [trace for trace in data if run in str(trace.get("customdata"))]
    assert ring["x"][0] in dots["x"]


def test_the_description_of_a_recipe_has_no_citations(open_page):
    put(baseline())
    put(quantized(8))
    assert "Store weights in few bits, or compute in a smaller type." in texts(open_page("home"))


def test_figures_from_another_machine_say_so_and_link_to_a_run_here(open_page):
    put(baseline())
    put(quantized(4))
    at = open_page("home")
    assert "computer: Test CPU, 2 threads]" in texts(at)
    assert "This machine: " in texts(at)
    (link,) = [link for link in at.page_link if link.value == "Run it here"]
    assert "quantization_bits=4" in link.proto.query_string
