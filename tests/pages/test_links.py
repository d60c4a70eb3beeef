"""Links to Run live: what a form shows, its link shows again; what a link asks in vain is said."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_core.models import sources
from dit_core.models.sources.folder import save_model
from dit_core.records.spec import RunSpec
from dit_core.ui.run_live import form, ignored
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
    "sampler": "euler",
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
    assert "There is no run 0123456789ab in this store" in texts(open_page("pareto", run="0123456789ab"))


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
