"""A sweep in a real browser, with runs that a worker fakes: it outlives its page, and its points appear on Pareto."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from dit_core.jobs.queue import Queue
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.system.environment import environment
from tests.browser.conftest import with_worker
from tests.dashboard import Dashboard, painted
from tests.factory import make_record, make_sheets

MARKERS = """() => { const plot = document.querySelector('.js-plotly-plot');
    return plot ? plot.data.filter(t => t.customdata).reduce((n, t) => n + t.x.length, 0) : 0 }"""


@pytest.fixture
def dashboard(tmp_path) -> Iterator[Dashboard]:
    """Two records of another machine, and a worker that fakes new ones on this one."""
    for recipe in ((), canonical([{"name": "quantization", "bits": 4}])):
        record = make_record(RunSpec(techniques=recipe, samples=1000))
        Store(tmp_path).put(record, make_sheets(record), local=False)
    with with_worker(tmp_path, "tests.fake_job") as served:
        yield served


def test_a_sweep_goes_on_after_its_page_was_closed_and_its_points_appear_on_pareto(browser, dashboard):
    page = dashboard.open(browser, "/run_live?technique=quantization&knob-sweep=true&steps=40")
    painted(page)
    expect(page.locator(".st-key-prose-knob-sweep").get_by_text("not measured yet")).to_have_count(6)
    page.locator(".st-key-sweep-knob button").click()
    page.wait_for_url(re.compile(r"sweep=1\b"))
    expect(page.get_by_text("Sweep 1 · Quantization: bits 2, 4, 5, 6, 8")).to_be_visible()
    page.context.close()

    other = dashboard.open(browser, "/pareto")
    expect(other.get_by_text("Sweep in progress: Quantization: bits 2, 4, 5, 6, 8")).to_be_visible()
    other.locator(".st-key-follow-1 button").click()
    expect(other.get_by_text(re.compile(r"[1-5] of 6 done"))).to_be_visible()
    other.locator(".st-key-points button").click()
    machine = re.compile(re.escape(environment("cpu")["cpu"]))
    expect(other.get_by_role("combobox", name="Machine")).to_have_value(machine)
    expect(other.get_by_text("6 of 6 done")).to_be_visible()
    other.wait_for_function(f"({MARKERS})() == 6")
    assert {job.state for job in Queue(dashboard.results / "queue").list()} == {"done"}


def test_the_fronts_of_another_machine_are_measured_here_and_shown_as_soon_as_they_are(browser, dashboard):
    page = dashboard.open(browser, "/pareto")
    page.locator(".st-key-sweep-fronts button").click()
    page.wait_for_url(re.compile(r"sweep=1\b"))
    expect(page.get_by_text("2 of 2 done")).to_be_visible()
    expect(page.get_by_text("2 are already measured here. Nothing is left to measure.")).to_be_visible()
    page.locator(".st-key-fronts-of-here button").click()
    expect(page.get_by_text("These fronts were measured on another machine")).to_have_count(0)
    page.wait_for_function(f"({MARKERS})() == 2")
    page.locator(".st-key-close-sweep button").click()
    page.wait_for_function("!location.search.includes('sweep')")
    expect(page.get_by_text("2 of 2 done")).to_have_count(0)


def test_a_sweep_is_cancelled_as_a_whole(browser, dashboard):
    page = dashboard.open(browser, "/run_live?technique=quantization&knob-sweep=true&steps=1000")
    page.locator(".st-key-sweep-knob button").click()
    expect(page.get_by_text("running: Baseline")).to_be_visible()
    page.locator(".st-key-cancel-sweep-1 button:visible").click()
    expect(page.get_by_text("0 of 6 done, 6 cancelled")).to_be_visible()
    expect(page.locator(".st-key-close-sweep")).to_be_visible()
