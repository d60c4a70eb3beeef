"""Links to Run live: what a form shows, its link shows again; what a link asks in vain is said."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_core.models import sources
from dit_core.models.sources.folder import save_model
from dit_core.records.places import BUNDLED
from dit_core.records.spec import RunSpec
from dit_core.ui.components import ignored
from dit_core.ui.run_live import form
from tests.pages.conftest import baseline, put, quantized, run_button, texts

NAMES = ("tench, Tinca tinca", 'the "best", it\'s', "é 中 & = + #")


@pytest.fixture
def model(tiny_model, folders, monkeypatch):
    folder = folders / "my model, é"
    save_model(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "classes": NAMES}))
    monkeypatch.setenv("DIT_DATA", str(folders / "data"))
    sources.add("odd", str(folder))
    return "odd"


def test_a_link_with_commas_quotes_and_other_alphabets_opens_the_same_run(open_page, queue, model):
    spec = RunSpec(model=model, classes=NAMES[:2], steps=3, batch_size=1)
    at = open_page("run_live", **form.address(spec))
    assert not at.warning
    run_button(at).click().run()
    assert [job.spec for job in queue.list()] == [spec]


BAD = {
    "steps": "99999",
    "technique": ["nope", "quantization"],
    "quantization_bits": "99",
    "quantization_mode": "wat",
    "stps": "3",
    "classes": ["food", "unicorn"],
    "seed": "-4",
    "guidance": "abc",
    "sampler": "heun",
    "precision": "float8",
    "replicates": "2.5",
}


def test_what_a_link_asks_in_vain_is_said_until_an_input_changes(open_page):
    at = open_page("run_live", batch="7", **BAD)
    (warning,) = at.warning
    said = warning.value.replace("\\", "")
    assert all(f"{key}=" in said or f"{key} is no input" in said for key in BAD)
    assert "batch" not in said
    at.run()
    assert len(at.warning) == 1
    at.number_input(key="seed").set_value(3).run()
    assert not at.warning


def test_a_link_to_a_run_that_is_gone_says_so(open_page):
    put(baseline())
    put(quantized(4))
    assert "Run 0123456789ab is not in this store" in texts(open_page("pareto", run="0123456789ab"))


def test_a_link_to_a_step_that_the_tour_does_not_have_says_so(open_page):
    assert "There is no step 99" in texts(open_page("tour", step="99"))


@given(
    asked=st.dictionaries(st.sampled_from("abc"), st.lists(st.text(max_size=5), max_size=3)),
    shown=st.dictionaries(st.sampled_from("ab"), st.text(max_size=5) | st.lists(st.text(max_size=5), max_size=3)),
)
def test_a_message_names_every_input_that_differs_and_no_other(asked, shown):
    text = ignored.message(asked, shown)
    for key, values in asked.items():
        own = [shown[key]] if isinstance(shown.get(key), str) else shown.get(key)
        if own is None:
            assert f"{key} is no input" in text
        elif [value for value in values if value] == [value for value in own if value]:
            assert f"{key}=" not in text.partition(":")[2].split("; ")
    assert bool(text) or all(key in shown for key in asked)


VAIN = {
    "pareto": {
        "hide": "perhaps",
        "families": ["quantization", "nonsense"],
        "techniques": "nonsense",
        "plots": "Nonsense",
        "quality": "nonsense",
        "machine": "nonsense",
        "within_latency_s": "-5",
        "typo": "1",
    },
    "scale": {"cost": "nonsense", "along": "nonsense", "typo": "1"},
    "inside": {"panel": "Nonsense", "bits": "99", "block": "0", "layer": "nonsense", "error": "nonsense", "typo": "1"},
    "compare": {"images": "nonsense", "pictures": "nonsense", "view": "nonsense", "zoom": "77", "typo": "1"},
    "home": {"against": "nonsense", "beside": "nonsense", "typo": "1"},
    "machine": {"bundled-weights": "nonsense", "typo": "1"},
    "tour": {"typo": "1"},
    "claims": {"typo": "1"},
}


@pytest.fixture
def bundled_results(monkeypatch):
    monkeypatch.setenv("DIT_RESULTS", str(BUNDLED))


@pytest.mark.parametrize("page", VAIN)
def test_every_page_says_what_its_link_asks_in_vain(page, open_page, bundled_results):
    at = open_page(page, **VAIN[page])
    (said,) = [warning.value.replace("\\", "") for warning in at.warning if "Ignored" in warning.value]
    assert "typo is no input" in said
    assert [key for key in VAIN[page] if f"{key}=" not in said and f"{key} is no input" not in said] == []
    assert "Ignored" in texts(at.run())


RIGHT = {
    "pareto": {"hide": "TRUE", "families": ["quantization"], "techniques": "Quantization", "plots": "Own axes"},
    "scale": {"cost": "Time", "along": "Batch"},
    "inside": {"panel": "Quantization", "bits": "4", "block": "1", "layer": "feed-forward in", "error": "the weights"},
    "compare": {"pictures": "Final images", "view": "divider", "zoom": "2", "embed": "true"},
    "home": {"against": "Weights"},
    "machine": {"bundled-weights": "true"},
    "tour": {"step": "2"},
}


@pytest.mark.parametrize("page", RIGHT)
def test_no_page_complains_of_a_link_that_it_follows(page, open_page, bundled_results):
    at = open_page(page, **RIGHT[page])
    assert not [warning.value for warning in at.warning]


def test_a_page_forgets_what_an_earlier_link_asked_once_an_input_changes(open_page, bundled_results):
    at = open_page("pareto", hide="perhaps")
    assert "hide=perhaps" in texts(at)
    at.toggle(key="all").set_value(True).run()
    at.query_params["all"] = "true"  # as the browser writes it
    assert "hide=perhaps" not in texts(at.run())


PICTURE = "![x](https://example.org/x.png)"


@pytest.mark.parametrize(
    ("page", "key"),
    [
        ("run_live", "job"),
        ("run_live", "sweep"),
        ("run_live", "model"),
        ("run_live", "reference"),
        ("run_live", "training"),
        ("run_live", "classes"),
        ("pareto", "run"),
        ("pareto", "sweep"),
        ("compare", "runs"),
        ("tour", "step"),
        ("claims", PICTURE),
    ],
)
def test_the_text_of_a_link_is_never_drawn_as_a_picture_of_another_host(page, key, open_page, bundled_results):
    """Markdown would load it, and so tell that host who opened the link."""
    at = open_page(page, **{key: PICTURE, "seed": "1"})
    drawn = [each.value for kind in ("markdown", "caption", "info", "warning", "error") for each in getattr(at, kind)]
    assert any("example" in text for text in drawn)
    assert not [text for text in drawn if PICTURE in text]
