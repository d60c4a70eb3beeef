"""The page on how cost grows: lines against tokens, crossing points, shares of attention, width, depth and batch."""

import json

import pytest

from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.ui import data, format, style
from tests.pages.conftest import put, texts

BASE = dict.fromkeys(("ratio", "low", "high", "baseline_latency_s"), None) | {"reason": "this run is the baseline"}
TIMES = {256: 0.1, 512: 0.8, 1024: 12.8}  # pixels -> seconds of softmax attention
SHARES = {256: 0.25, 512: 0.5, 1024: 0.8}


def spec(pixels: int, name: str | None = None, **fields) -> RunSpec:
    recipe = canonical([{"name": name}]) if name else ()
    shared = {"steps": 1, "guidance": 1.0, "batch_size": 1}
    return RunSpec(model=f"random:DiT-S/2@{pixels}", techniques=recipe, **{**shared, **fields})


def put_baselines() -> None:
    for pixels, seconds in TIMES.items():
        latency = {"latency_s": seconds, "time_shares": {"attention": SHARES[pixels], "ffn": 1 - SHARES[pixels]}}
        put(spec(pixels), latency=latency, speedup=BASE)


def put_line(name: str, *ratios: float) -> None:
    for (pixels, seconds), ratio in zip(TIMES.items(), ratios, strict=True):
        speedup = {"ratio": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio, "baseline_latency_s": seconds}
        put(spec(pixels, name), speedup=speedup, latency={"latency_s": seconds / ratio})


@pytest.fixture
def tokens():
    put_baselines()
    put_line("focused_linear_attention", 0.5, 2.0, 8.0)
    put_line("grouped_query_attention", 0.9, 0.9, 0.9)


def figures(at) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in at.get("plotly_chart")]


def trace(figure: dict, name: str) -> dict:
    return next(one for one in figure["data"] if one["name"] == name)


def cells(at) -> dict[str, dict[str, str]]:
    """The table by kind of attention."""
    rows = at.table[0].value.to_dict("records")
    return {row["Attention"]: row for row in rows}


def test_without_runs_of_random_weights_it_says_how_to_make_them(open_page):
    at = open_page("scale")
    assert "No network with random weights has been measured at two sizes" in texts(at)
    assert at.code[0].value == "python -m dit_core sweep dit_core/sweeps/scale.toml"
    assert not at.get("plotly_chart")


def test_a_line_is_the_baselines_time_over_the_speedup(open_page, tokens):
    time = figures(open_page("scale"))[0]
    assert time["layout"]["xaxis"]["type"] == time["layout"]["yaxis"]["type"] == "log"
    assert trace(time, "Softmax attention")["x"] == [256, 1024, 4096]
    assert trace(time, "Softmax attention")["y"] == pytest.approx([100, 800, 12800])
    assert trace(time, "Focused linear attention")["y"] == pytest.approx([200, 400, 1600])


def test_every_line_has_its_own_look(open_page, tokens):
    lines = figures(open_page("scale"))[0]["data"]
    assert len({(line["line"]["color"], line["marker"]["symbol"]) for line in lines}) == len(lines) == 3


def test_kinds_of_attention_use_its_shades_and_markers_of_no_other_family(open_page, tokens):
    time = figures(open_page("scale"))[0]
    others = {style.style(family)[1] for family in format.FAMILIES if family != "attention"}
    for name in ("Focused linear attention", "Grouped-query attention"):
        assert trace(time, name)["line"]["color"] in style.shades("attention")
        assert trace(time, name)["marker"]["symbol"].removesuffix("-open") not in others


def test_the_table_has_exponents_and_crossing_points(open_page, tokens):
    rows = cells(open_page("scale"))
    softmax, linear, grouped = (
        rows[name] for name in ("Softmax attention", "Focused linear attention", "Grouped-query attention")
    )
    assert softmax["Exponent of time"] == "1.75"
    assert linear["Exponent of time"] == "0.75"
    assert linear["Faster from"] == "510 (470 to 570)"
    assert grouped["Faster from"] == "beyond 4,096, the largest measured"
    assert linear["At 4,096"] == "×8.00 (7.20 to 8.80)"


def test_the_share_of_attention_is_stated_and_drawn(open_page, tokens):
    at = open_page("scale")
    assert "Softmax attention takes 25 % of the time at 256 tokens and 80 % at 4,096." in texts(at)
    assert "**Focused linear attention** is fastest, with a speed-up of ×8.00" in texts(at)
    assert "Never faster than softmax attention in this range: grouped-query attention." in texts(at)
    share = figures(at)[1]
    assert trace(share, "Softmax attention")["y"] == pytest.approx([25, 50, 80])
    assert "Softmax attention, of operations" in [one["name"] for one in share["data"]]


def test_operations_can_be_drawn_instead_of_time_and_the_choice_is_in_the_address(open_page, tokens):
    axis = figures(open_page("scale", cost="Operations"))[0]["layout"]["yaxis"]
    assert axis["title"]["text"] == "Operations per image, GFLOP (log scale)"


def test_what_has_not_been_measured_is_named_with_the_command_that_measures_it(open_page, tokens):
    at = open_page("scale")
    assert "Width, depth, batch: not measured at two sizes yet." in texts(at)
    assert [code.value for code in at.code] == ["python -m dit_core sweep dit_core/sweeps/scale.toml"]
    put(spec(256, batch_size=32), latency={"latency_s": 1.6}, speedup=BASE)
    assert "Width, depth: not measured at two sizes yet." in texts(open_page("scale"))


def test_the_origin_of_the_figures_has_a_badge(open_page, tokens):
    assert ":gray-badge[bundled]" in texts(open_page("scale"))
    assert "measured here" not in texts(open_page("scale"))


def test_batch_is_drawn_for_one_image(open_page):
    put(spec(256), latency={"latency_s": 0.1}, speedup=BASE)
    put(spec(256, batch_size=32), latency={"latency_s": 1.6}, speedup=BASE)
    at = open_page("scale", along="Batch")
    (chart,) = figures(at)
    assert chart["data"][0]["x"] == [1, 32]
    assert chart["data"][0]["y"] == pytest.approx([100, 50])
    assert "power of -0.20" in texts(at)


def test_the_machine_and_what_is_fixed_are_named(open_page, tokens):
    text = texts(open_page("scale"))
    assert "Test CPU" in text
    assert "width 384, 12 blocks, batch 1, 1 step, guidance 1" in text


def test_a_record_of_other_weights_is_left_out(open_page, tokens, monkeypatch):
    monkeypatch.setattr(data, "is_current", lambda record: False)
    assert "No network with random weights has been measured at two sizes" in texts(open_page("scale"))
