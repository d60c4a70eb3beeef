"""Runs from click to record in a real browser: real ones, and quick ones that a worker fakes."""

import os
import re
import signal

import pytest
from playwright.sync_api import Page, expect

from dit_core.jobs.queue import Queue
from dit_core.jobs.worker import worker_state
from dit_core.records.store import Store
from tests.browser.conftest import click_point, wait_for_worker, with_worker
from tests.dashboard import serve
from tests.workers import until

RUN_MS = 900_000  # for a whole run on a busy machine


def run(page: Page) -> None:
    page.locator(".st-key-run button:visible").click()
    page.wait_for_url(re.compile(r"job=\d"))


@pytest.fixture
def brief(tmp_path):
    """No records, and a worker of real runs that are timed briefly."""
    with with_worker(tmp_path, "tests.brief_job") as dashboard:
        yield dashboard


def test_a_quantized_generation_from_click_to_point(browser, brief):
    page = brief.open(browser, "/run_live?quantization_bits=4&steps=2&batch=1&judged=40")
    page.locator(".st-key-run button:visible").click()
    expect(page.get_by_test_id("stProgress")).to_be_visible()
    page.wait_for_url(re.compile(r"job=1\b"))

    forming = page.get_by_role("img", name="Quantization, forming")
    expect(forming).to_be_visible(timeout=RUN_MS)
    expect(page.get_by_role("img", name="Baseline, forming")).to_be_visible()

    expect(page.get_by_text("Speed-up", exact=True)).to_be_visible(timeout=RUN_MS)
    expect(page.get_by_text("measured here").first).to_be_visible()
    for name in ("Baseline, 36 samples", "Quantization, 36 samples"):
        sheet = page.get_by_role("img", name=re.compile(name))
        expect(sheet).to_be_visible()
        assert page.request.get(sheet.evaluate("e => e.src")).body().startswith(b"\x89PNG")
    (record,) = Store(brief.results).load().records
    assert record.record.spec["techniques"][0]["bits"] == 4

    page.get_by_role("link", name="Show on the Pareto plots").click()
    page.wait_for_url(re.compile(r"/pareto\?run="))
    page.locator(".st-key-close button").click()
    expect(page.locator(".st-key-samples")).to_have_count(0)
    click_point(page, plot=1, nth=0)
    expect(page.locator(".st-key-samples").get_by_role("img", name=re.compile("^Quantization"))).to_be_visible()
    assert f"run={record.record.run_id}-local" in page.url
    assert brief.foreign == []


def test_a_killed_worker_is_explained_and_replaced_by_one_that_runs_later_jobs(browser, tmp_path):
    with serve(tmp_path) as dashboard:
        page = dashboard.open(browser, "/run_live?steps=1000&batch=1&judged=0")
        page.locator(".st-key-run button:visible").click()
        queue = Queue(tmp_path / "queue")
        expect(page.get_by_text("running", exact=True)).to_be_visible()
        first = worker_state(queue).pid
        assert first
        os.kill(first, signal.SIGKILL)
        expect(page.get_by_text("The worker died while this job ran. Submit it again.")).to_be_visible()
        expect(page.locator(".st-key-rerun button:visible")).to_be_visible()
        assert worker_state(queue).pid not in (None, first)

        later = dashboard.open(browser, "/run_live?quantization_bits=8&steps=99&batch=1&judged=0")
        run(later)
        expect(later.get_by_role("img", name="Baseline, forming")).to_be_visible(timeout=RUN_MS)
        queue.cancel(2)
        until(lambda: [job.state for job in queue.list()] == ["cancelled", "failed"])


def test_two_browsers_queue_and_the_second_run_begins_when_the_first_has_ended(browser, quick):
    first, second = (
        quick.open(browser, f"/run_live?quantization_bits={bits}&steps={steps}") for bits, steps in ((4, 1000), (2, 5))
    )
    run(first)
    run(second)
    expect(second.get_by_text("1 job ahead")).to_be_visible()
    first.locator(".st-key-cancel button:visible").click()
    expect(first.get_by_text("cancelled", exact=True)).to_be_visible()
    expect(second.get_by_text("Speed-up", exact=True)).to_be_visible()
    expect(second.get_by_text("bits 2").first).to_be_visible()
    assert 2 in {one.record.spec["techniques"][0]["bits"] for one in Store(quick.results).load().records}


def test_a_reload_keeps_the_job_and_the_form_and_cancel_frees_the_worker(browser, quick):
    page = quick.open(browser, "/run_live?quantization_bits=5&steps=1000")
    run(page)
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_text(re.compile(r"\d+ of 1,000"))).to_be_visible()
    expect(page.locator(".st-key-quantization_bits")).to_contain_text("5")
    page.locator(".st-key-cancel button:visible").click()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    other = quick.open(browser, "/run_live?quantization_bits=6&steps=5")
    run(other)
    expect(other.get_by_text("Speed-up", exact=True)).to_be_visible()


def test_an_export_and_a_queue_that_was_empty_are_followed_without_a_reload(browser, quick):
    queue_page = quick.open(browser, "/machine")
    expect(queue_page.get_by_role("heading", name="Queue")).to_be_visible()
    page = quick.open(browser, "/run_live?quantization_bits=7&steps=5")
    run(page)
    number = int(re.findall(r"job=(\d+)", page.url)[0])
    expect(queue_page.get_by_role("link", name=re.compile(f"Job {number}: Quantization"))).to_be_visible()
    page.get_by_role("button", name="Create model file").click()
    expect(page.get_by_role("button", name=re.compile(r"Model \(.* zip\)"))).to_be_visible()
    expect(queue_page.get_by_role("link", name=re.compile(f"Job {number + 1}: Export of Quantization"))).to_be_visible()


def test_the_worker_that_a_server_started_ends_after_it(tmp_path):
    with serve(tmp_path, stop=False):
        queue = Queue(tmp_path / "queue")
        wait_for_worker(queue)
    until(lambda: not worker_state(queue).alive)
