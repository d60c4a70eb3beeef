"""Command lines and links of version 0.1.0 still ask for the same runs and open the same choices.

`links.json` was written by version 0.1.0 and is never written again.
"""

import json
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from streamlit.util import calc_hash

from dit_core.cli.arguments import parser, spec_of
from dit_core.cli.commands import COMMANDS
from dit_core.experiment import known
from dit_core.jobs.queue import Queue
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from tests.app_pages import AppTest
from tests.workers import start_no_worker

MAIN = Path(__file__).resolve().parents[2] / "dit_core" / "ui" / "main.py"
CONTRACTS: dict[str, Any] = json.loads((Path(__file__).parent / "links.json").read_text())
LINKS: dict[str, list[dict[str, Any]]] = CONTRACTS["links"]


def each(entries: list[dict[str, Any]]):
    """One test for each entry, named by its field `what`."""
    return pytest.mark.parametrize("entry", entries, ids=[entry["what"] for entry in entries])


@pytest.fixture(autouse=True)
def queue_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DIT_QUEUE", str(tmp_path / "queue"))
    start_no_worker(monkeypatch)


@each(CONTRACTS["runs"])
def test_a_spec_as_plain_data_keeps_its_run_id(entry):
    assert RunSpec.from_dict(entry["spec"]).run_id == entry["run_id"]


@each(CONTRACTS["runs"])
def test_a_recipe_keeps_its_canonical_form_and_run_id(entry):
    recipe = canonical(entry["spec"].get("techniques", []))
    assert list(recipe) == entry["recipe"]
    assert canonical(entry["recipe"]) == recipe
    assert RunSpec.from_dict({**entry["spec"], "techniques": recipe}).run_id == entry["canonical_run_id"]


@each(CONTRACTS["runs"])
def test_a_command_line_asks_for_the_same_run(entry):
    options = parser("", COMMANDS).parse_args(shlex.split(entry["command"])[3:])
    assert spec_of(options).run_id == entry["canonical_run_id"]


def open_link(link: str) -> AppTest:
    """Open a page as a browser does: by its path in the address, not by its file."""
    page, _, query = link.removeprefix("/").partition("?")
    at = AppTest.from_file(str(MAIN), default_timeout=60)
    at._page_hash = calc_hash(page)
    for name, values in parse_qs(query).items():
        at.query_params[name] = values if len(values) > 1 else values[0]
    at.run()
    assert not at.exception
    return at


@each(LINKS["run_live"])
def test_a_link_to_run_live_fills_in_the_form_of_its_run(entry, monkeypatch):
    monkeypatch.setattr(known, "local_environment", lambda device: None)  # bundled records are from another machine
    at = open_link(entry["link"])
    assert not at.error
    at.button(key="run").click().run()
    assert [job.spec.run_id for job in Queue().list()] == [entry["run_id"]]


@each(LINKS["compare"])
def test_a_link_to_compare_shows_its_runs_in_the_viewer_as_it_was(entry):
    at = open_link(entry["link"])
    assert not at.warning
    assert [identifier.partition(":")[0] for identifier in at.multiselect[0].value] == entry["runs"]
    (viewer,) = [json.loads(element.proto.json) for element in at.get("bidi_component")]
    assert len(viewer["pictures"]) == len(entry["runs"])
    assert viewer["start"] == entry["start"]


@each(LINKS["inside"])
def test_a_link_to_inside_opens_its_panel_with_its_inputs(entry):
    at = open_link(entry["link"])
    assert at.get_by_key("panel").value == entry["panel"]
    for key, values in parse_qs(entry["link"].partition("?")[2]).items():
        widget = at.get_by_key(key)
        assert [widget.format_func(widget.value)] == values


@each(LINKS["pareto"])
def test_a_link_to_pareto_opens_its_filters_and_limits(entry):
    at = open_link(entry["link"])
    assert {key: at.get_by_key(key).value for key in entry.get("widgets", {})} == entry.get("widgets", {})
