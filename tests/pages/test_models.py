"""Models on the page This machine and on Run live: the list, what each model needs, and the form that adds one."""

from dataclasses import replace

import pytest
import torch

from dit_core.models import sources
from dit_core.models.formats import FORMS
from dit_core.models.sources import Options, registry
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui import data
from tests.factory import make_record, make_sheets
from tests.models.published_files import autoencoder, state_dict
from tests.pages.conftest import quantized, texts


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_DATA", str(tmp_path / "data"))
    autoencoder().save_pretrained(tmp_path / "vae")
    torch.save(state_dict(), tmp_path / "my_own_0400000.pt")
    return tmp_path / "my_own_0400000.pt"


def plain(at) -> str:
    """The text of a page as a browser shows it."""
    return texts(at).replace("\\", "")


def test_every_model_is_listed_with_what_it_needs(open_page):
    at = open_page("machine")
    queries = [link.proto.query_string for link in at.page_link]
    assert len([query for query in queries if query.startswith("model=")]) == len(sources.names())
    for listed in sources.overview():
        assert all(need in plain(at) for need in listed.needs)


def test_the_form_adds_a_model_with_options_and_the_list_forgets_it(open_page, checkpoint):
    at = open_page("machine")
    at.text_input(key="add-name").set_value("mine")
    at.text_input(key="add-target").set_value(str(checkpoint))
    at.text_input(key="add-autoencoder").set_value(str(checkpoint.parent / "vae"))
    at.selectbox(key="add-prediction").set_value("v_prediction")
    at.selectbox(key="add-null_label").set_value(True)
    at.button(key="add-submit").click().run()
    assert not at.error
    assert sources.find("mine").schedule.prediction == "v_prediction"
    assert sources.find("mine").null_label == 10
    at.button(key="forget-mine").click().run()
    assert "mine" not in registry.entries()


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [("", "x.pt", "Enter a name"), ("mine", "nope.pt", "Unknown model"), ("emoji", "x", "name of another model")],
)
def test_the_form_says_what_to_change_and_keeps_nothing(open_page, checkpoint, name, target, message):
    at = open_page("machine")
    at.text_input(key="add-name").set_value(name)
    at.text_input(key="add-target").set_value(target)
    at.button(key="add-submit").click().run()
    assert message in at.error[0].value.replace("\\", "")
    assert not registry.entries()


def test_the_form_has_an_input_for_every_option(open_page):
    at = open_page("machine")
    keys = {widget.key for kind in (at.text_input, at.selectbox) for widget in kind}
    assert {f"add-{name}" for name in Options.__dataclass_fields__} <= keys


def test_run_live_shows_what_is_assumed_of_a_model_and_what_it_needs(open_page, checkpoint):
    sources.add("mine", str(checkpoint), Options(autoencoder=str(checkpoint.parent / "vae")))
    at = open_page("run_live", model="mine")
    assert "prediction epsilon (assumed)" in plain(at)
    assert "reference images" in plain(at)
    assert "mine" in at.selectbox(key="model").options


def test_a_model_file_that_is_damaged_does_not_stop_the_page(open_page, checkpoint):
    sources.add("mine", str(checkpoint), Options(autoencoder=str(checkpoint.parent / "vae")))
    checkpoint.write_bytes(b"no checkpoint")
    at = open_page("machine")
    assert not at.exception
    assert "no checkpoint" in plain(at)


def test_a_record_of_other_weights_is_not_shown_and_its_file_is_named(open_page, checkpoint):
    source = sources.add("mine", str(checkpoint), Options(autoencoder=str(checkpoint.parent / "vae")))
    record = make_record(RunSpec(model="mine"))
    record = replace(record, environment={**record.environment, "weights": source.digest})
    Store().put(record, make_sheets(record), name="baseline")
    assert data.find(record.run_id)
    assert [stored.record.run_id for stored in data.loaded().records] == [record.run_id]
    torch.save(state_dict(seed=1), checkpoint)
    assert not data.loaded().records
    assert data.find(record.run_id) is None
    assert "other weights" in data.loaded().skipped[0].reason


def test_an_unchanged_network_can_be_exported_in_every_format_and_a_packed_one_in_one(open_page, queue):
    halved = RunSpec(techniques=canonical([{"name": "depth_pruning", "keep": 4}]))
    for spec, forms in ((halved, FORMS), (quantized(4), FORMS[:1])):
        job = queue.submit(spec, kind="export")
        queue.claim()
        queue.finish(job, "failed", reason="The disk is full")
        at = open_page("run_live", job=str(job))
        chosen = [box for box in at.selectbox if box.key == "form-job"]
        assert len(chosen) == (len(forms) > 1)
        if chosen:
            chosen[0].set_value("pt").run()
        at.button(key="make-job").click().run()
        assert queue.list()[0].export_form == ("pt" if chosen else "folder")
        queue.cancel(queue.list()[0].id)
