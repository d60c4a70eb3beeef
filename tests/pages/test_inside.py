"""The page Inside: one panel for each family, links to its choices, and a message if it is outdated."""

import json

import pytest

from dit_core.inside import files
from tests.pages.conftest import alts, texts

HEADINGS = {
    "Quantization": "All weights of this layer",
    "Pruning": "Block influence",
    "Attention": "Attention of the marked token",
    "Experts": "Tokens per expert",
    "Distillation": "Similarity of features",
}


def specs(at) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in at.get("plotly_chart")]


@pytest.mark.parametrize("panel", HEADINGS)
def test_a_link_opens_its_panel_with_text_figures_and_papers(open_page, inside_files, panel):
    at = open_page("inside", panel=panel)
    text = texts(at)
    assert HEADINGS[panel] in text
    assert [text.count(other) > 0 for other in HEADINGS.values()].count(True) == 1
    assert "https://arxiv.org/abs/" in text
    assert "python -m dit_core inside" in text
    charts = at.get("plotly_chart")
    assert charts
    assert all(chart.proto.alt for chart in charts)
    assert all(alts(at))


def test_it_opens_with_quantization_and_fewer_bits_leave_fewer_values(open_page, inside_files):
    at = open_page("inside")
    at.segmented_control(key="bits").set_value(2).run()
    (group,) = [spec for spec in specs(at) if any(trace.get("name") == "A weight" for trace in spec["data"])]
    marks = next(trace for trace in group["data"] if trace.get("name") == "A weight")
    assert len(set(marks["y"])) <= 4 < len(set(marks["x"]))
    assert "2 bits, nearest" in texts(at)


PICKED = {  # panel -> choices in a link that are not the defaults, and a text that they lead to
    "Quantization": (
        {"bits": "2", "method": "HQQ", "block": "1", "layer": "feed-forward in"},
        "HQQ rounding to 2 bits",
    ),
    "Pruning": ({"way": "the smallest of the network", "sparsity": "70 %"}, "70 % zeros, the smallest of the network"),
    "Attention": ({"block": "1", "row": "1", "column": "1"}, "Attention of the marked token"),
    "Experts": ({"layer": "1"}, "Expert with the highest score"),
}


@pytest.mark.parametrize("panel", PICKED)
def test_a_link_opens_a_panel_with_the_knobs_that_it_names(open_page, inside_files, panel):
    named, expected = PICKED[panel]
    at = open_page("inside", panel=panel, **named)
    for key, text in named.items():
        assert at.query_params[key] == text
        widget = at.get_by_key(key)
        assert widget.format_func(widget.value) == text
    assert expected in texts(at)
    if panel == "Attention":
        assert alts(at) != alts(open_page("inside", panel=panel))


def test_a_link_with_an_unknown_choice_opens_the_panel_with_its_defaults(open_page, inside_files):
    at = open_page("inside", panel="Quantization", bits="99", block="none")
    assert at.get_by_key("bits").value == 4


def test_a_mixture_is_described_in_words_instead_of_knob_names(open_page, inside_files):
    text = texts(open_page("inside", panel="Experts"))
    assert "Each token runs 2 of 8 experts, with its bundled recovered weights." in text
    assert "top_k" not in text


def test_attention_maps_follow_the_token(open_page, inside_files):
    at = open_page("inside", panel="Attention")
    before = alts(at)
    assert sum("the token attends most to" in alt for alt in before) == len(files.read("attention")["data"]["kinds"])
    at.segmented_control(key="row").set_value(0).run()
    at.segmented_control(key="column").set_value(0).run()
    assert alts(at) != before


def test_global_pruning_removes_more_from_some_layers(open_page, inside_files):
    at = open_page("inside", panel="Pruning")
    even = next(spec for spec in specs(at) if spec["data"][0]["type"] == "heatmap")
    assert len({round(value) for row in even["data"][0]["z"] for value in row}) == 1
    at.segmented_control(key="way").set_value("global").run()
    spread = next(spec for spec in specs(at) if spec["data"][0]["type"] == "heatmap")
    assert len({round(value) for row in spread["data"][0]["z"] for value in row}) > 5


def test_without_files_it_says_which_command_to_run(open_page):
    at = open_page("inside")
    assert "not been computed yet: run python -m dit_core inside" in texts(at)
    assert not at.get("plotly_chart")


def test_a_panel_that_was_computed_from_other_weights_is_not_shown(open_page, inside_files):
    path = inside_files / "pruning.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights": "000000000000"}))
    at = open_page("inside", panel="Pruning")
    assert "computed from other weights than emoji has now: run python -m dit_core inside" in texts(at)
    assert not at.get("plotly_chart")


def test_without_the_sheet_the_figures_are_still_shown(open_page, inside_files):
    (inside_files / "attention-estimates.webp").unlink()
    at = open_page("inside", panel="Attention")
    assert "The images are missing or damaged." in texts(at)
    assert at.get("plotly_chart")
