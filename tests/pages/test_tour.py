"""The tour: steps with their text, figures from records, and links that open the page a step speaks of."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from dit_core.analysis.claims import read
from dit_core.recipes.recipe import canonical
from dit_core.recipes.registry import registry
from dit_core.records.spec import RunSpec
from dit_core.ui import format
from dit_core.ui.inside import inside_page
from dit_core.ui.tour.steps import STEPS
from tests.pages.conftest import MAIN, alts, baseline, put, texts

EVERY = range(1, len(STEPS) + 1)


def spec_of(step: int) -> RunSpec:
    return baseline(techniques=canonical(STEPS[step - 1].recipe))


@pytest.fixture
def measured():
    """Records of the baseline and of the recipe of every step."""
    specs = {spec.run_id: spec for spec in map(spec_of, EVERY)}
    for spec in specs.values():
        put(spec, speedup={"explanation": "stored"})


def link(at) -> tuple[str, dict[str, list[str]]]:
    found = at.page_link[0]
    return Path(found.proto.page).stem, parse_qs(found.proto.query_string)


def test_every_family_has_a_step_with_one_paragraph_and_no_measured_figure():
    families = {registry()[entry["name"]].family for step in STEPS for entry in step.recipe}
    assert families == {"quantization", "pruning", "experts", "attention", "distillation", "sampling", "caching"}
    for step in STEPS:
        assert 40 <= len(step.text.split()) <= 90
        assert not re.search(r"×|\d ?(%|ms|s|MB|GB|GFLOP)\b", step.text)


@pytest.mark.parametrize("step", EVERY)
def test_every_step_opens_a_page_of_the_navigation(open_page, measured, step):
    at = open_page("tour", step=str(step))
    assert STEPS[step - 1].title in texts(at)
    assert STEPS[step - 1].text in texts(at)
    assert f'"{STEPS[step - 1].page}.py"' in MAIN.read_text()
    assert at.page_link[0].value.strip("*") == STEPS[step - 1].label


@pytest.mark.parametrize("step", EVERY)
def test_a_page_opens_with_what_the_link_of_its_step_names(open_page, measured, inside_files, step):
    page, query = link(open_page("tour", step=str(step)))
    view = open_page(page if STEPS[step - 1].page != "home" else "home", **query)
    family = format.family(spec_of(step))
    if page == "run_live":
        assert query["technique"] == [entry["name"] for entry in spec_of(step).techniques]
        assert view.metric
    elif page == "pareto":
        assert view.get_by_key("families").value == ["baseline", family]
    elif page == "inside":
        panel = "quantization" if family == "baseline" else family
        assert view.get_by_key("panel").value == inside_page.TITLES[panel]
        assert panel != "quantization" or view.get_by_key("bits").value == 2
    elif page == "compare":
        assert [option.partition(":")[0] for option in query["runs"]] == [baseline().run_id, spec_of(step).run_id]
        assert not view.warning


def test_figures_come_from_records_and_name_their_machine(open_page, measured):
    at = open_page("tour", step="2")
    assert "22 % less time" in texts(at)
    assert "of the baseline's operations with" in texts(at)
    assert "Test CPU, 2 threads" in texts(at)
    assert [alt.partition(":")[0] for alt in alts(at)] == ["Baseline", "Quantization, bits 4"]
    assert ":gray-badge[bundled]" in texts(at)
    first = open_page("tour")
    assert "A batch of 8 images takes 1.60 s. The weights take 32.0 MB." in texts(first)
    assert [alt.partition(":")[0] for alt in alts(first)] == ["Baseline"]


@pytest.mark.parametrize("step", EVERY)
def test_every_step_has_a_picture_a_plot_and_a_question_with_a_folded_answer(open_page, measured, inside_files, step):
    put(baseline(), latency={"time_shares": {"attention": 0.4, "ffn": 0.6}}, again=True)
    at = open_page("tour", step=str(step))
    assert "?" in STEPS[step - 1].text
    assert alts(at)
    assert at.get("plotly_chart")
    (answer,) = at.expander
    assert (answer.label, answer.proto.expanded) == ("Show the answer", False)
    assert max(len(text.value) for text in answer.markdown) > 100


def test_the_figures_that_answer_a_question_are_folded_with_it(open_page, measured):
    (answer,) = open_page("tour", step="2").expander
    assert any("22 % less time (1.28 times as fast)" in text.value for text in answer.markdown)
    pruned = open_page("tour", step="6")
    assert [alt.partition(":")[0] for alt in alts(pruned)] == ["Baseline", "Depth pruning"]
    assert "scattered zeros save memory but no time" in pruned.expander[0].markdown[0].value


def test_the_plot_of_a_step_shows_the_runs_of_its_family(open_page, measured):
    put(baseline(techniques=canonical([{"name": "depth_pruning"}])))
    (chart,) = open_page("tour", step="3").get("plotly_chart")
    names = {trace.get("name") for trace in json.loads(chart.proto.spec)["data"]}
    assert {"Pareto front", "Baseline", "Quantization"} <= names
    assert "Pruning" not in names


def test_the_first_step_shows_where_the_time_of_the_baseline_goes(open_page):
    put(baseline(), latency={"time_shares": {"attention": 0.4, "ffn": 0.6}}, speedup={"explanation": "stored"})
    at = open_page("tour")
    assert at.get("plotly_chart")[0].proto.alt == "Where the time goes. Baseline: attention 40 %, feed-forward 60 %."
    assert any(text.value.startswith("The largest part is feed-forward: 60 % of the time.") for text in at.markdown)
    assert "of the time is spent on" not in texts(at)


def test_the_step_about_weights_shows_many_and_few_bits(open_page, measured, inside_files):
    at = open_page("tour", step="5")
    many, few = (chart.proto.alt for chart in at.get("plotly_chart"))
    assert "rounding to 8 bits" in many
    assert "rounding to 2 bits" in few


def test_the_last_step_counts_the_verdicts(open_page, measured):
    at = open_page("tour", step=str(len(STEPS)))
    assert f"**{len(read())} claims:**" in [text.value for text in at.expander[0].markdown]


@pytest.mark.parametrize("step", EVERY)
def test_without_records_a_step_links_to_the_form_of_its_run(open_page, step):
    at = open_page("tour", step=str(step))
    assert STEPS[step - 1].text in texts(at)
    page, query = link(at)
    assert page == "run_live"
    recipe = STEPS[step - 1].recipe
    assert query["technique"] == ([technique["name"] for technique in recipe] or ["none"])
    assert "not measured yet" in texts(at)


def test_buttons_go_through_the_steps_and_stop_at_both_ends(open_page):
    at = open_page("tour")
    assert at.button(key="previous").disabled
    for step in EVERY[1:]:
        at.button(key="next").click().run()
        assert STEPS[step - 1].title in texts(at)
        assert at.query_params["step"] == str(step)
    assert at.button(key="next").disabled
    at.button(key="previous").click().run()
    assert STEPS[-2].title in texts(at)


def test_a_visitor_who_returns_from_another_page_sees_the_same_step(open_page):
    at = open_page("tour", step="3")
    at.switch_page("../../pages/pareto.py").run()
    del at.query_params["step"]
    at.switch_page("../../pages/tour.py").run()
    assert STEPS[2].title in texts(at)


@pytest.mark.parametrize("named", ["0", "-1", "99", "x", "9" * 30, ""])
def test_a_step_number_out_of_range_opens_a_step_in_range(open_page, named):
    at = open_page("tour", step=named)
    assert sum(step.title in texts(at) for step in STEPS) == 1
