"""The home page: the question, the front, the ways in."""

import json

from tests.pages.conftest import alts, baseline, put, quantized, texts


def test_without_results_it_says_so_and_still_leads_on(open_page):
    at = open_page("home")
    assert "What does each optimization" in at.title[0].value
    assert "No results yet" in texts(at)
    assert {link.value for link in at.page_link} == {"Make the first run", "Run live", "Pareto", "Tour"}


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
    assert layout["xaxis"]["title"]["text"] == "Peak memory, MB (less is better)"


def test_it_says_who_has_the_device(open_page, queue):
    queue.submit(quantized())
    assert "No worker runs" in texts(open_page("home"))


def test_a_recipe_is_shown_beside_the_baseline_with_what_it_buys_and_costs(open_page):
    judged = {"distance": 1500.0, "low": 1450.0, "high": 1550.0}
    put(baseline(), quality=judged)
    put(quantized(8), quality=judged)
    put(quantized(2), quality={"distance": 3000.0, "low": 2900.0, "high": 3100.0})
    at = open_page("home", beside="Quantization, bits 2")
    assert alts(at)[0].startswith("Baseline: ")
    assert alts(at)[1].startswith("Quantization, bits 2: ")
    assert "**Costs** pictures much further from real ones (distance 1,500 → 3,000)." in texts(at)


def test_int4_comes_first_with_what_it_does_in_plain_words_and_why_it_takes_its_time(open_page):
    put(baseline())
    put(quantized(8), speedup={"ratio": 3.0, "low": 2.9, "high": 3.1})
    run = put(quantized(4), speedup={"explanation": "It restores its weights."})
    at = open_page("home")
    assert at.selectbox(key="beside").value == "Quantization, bits 4 (int4)"
    assert "int4 stores each weight of the network in 4 bits instead of 32" in texts(at)
    assert "Why: It restores its weights." in texts(at)
    data = json.loads(at.get("plotly_chart")[0].proto.spec)["data"]
    (ring,) = [trace for trace in data if trace.get("marker", {}).get("symbol") == "circle-open"]
    (dots,) = [trace for trace in data if run in str(trace.get("customdata"))]
    assert ring["x"][0] in dots["x"]


def test_another_recipe_is_told_without_its_sources(open_page):
    put(baseline())
    put(quantized(8))
    assert "Store weights in few bits, or compute in a smaller type." in texts(open_page("home"))


def test_figures_of_another_machine_are_named_so_with_the_way_to_measure_them_here(open_page):
    put(baseline())
    put(quantized(4))
    at = open_page("home")
    assert "computer: Test CPU, 2 threads]" in texts(at)
    assert "This machine: " in texts(at)
    (link,) = [link for link in at.page_link if link.value == "Run it here"]
    assert "quantization_bits=4" in link.proto.query_string
