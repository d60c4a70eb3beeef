"""Walks of visitors through the dashboard, each from its beginning to its end, with runs that a worker fakes.

Exports and pictures are real. No walk depends on how long anything takes.
"""

import csv
import io
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dit_core import load_model
from dit_core.analysis import archive
from dit_core.jobs.queue import Queue
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui.tour.steps import STEPS
from tests.browser.conftest import click_point, with_worker
from tests.dashboard import ROOT, Dashboard, painted, settle
from tests.factory import make_record, make_sheets
from tests.workers import until

CLICKS = 6  # from Home to a loaded model
RUN_MS = 600_000  # for real pictures or a real export on a busy machine


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory) -> Iterator[Dashboard]:
    """All that is bundled, and a worker that fakes runs: a step takes 20 ms."""
    folder = tmp_path_factory.mktemp("walks")
    unwanted = shutil.ignore_patterns("local", "trajectories")
    shutil.copytree(ROOT / "cached_results", folder, ignore=unwanted, dirs_exist_ok=True)
    with with_worker(folder, "tests.fake_job") as served:
        yield served


@pytest.fixture
def queue(dashboard) -> Queue:
    return Queue(dashboard.results / "queue")


def job_in(page: Page) -> int:
    page.wait_for_url(re.compile(r"job=\d"))
    return int(re.findall(r"job=(\d+)", page.url)[0])


def test_from_home_to_the_best_recipe_in_60_percent_of_the_time_exported_and_loaded(browser, dashboard, tmp_path):
    page, clicks = dashboard.open(browser, "/"), 0

    def click(element) -> None:
        nonlocal clicks
        element.click()
        clicks += 1

    click(page.get_by_role("link", name="Open Pareto"))
    budget = page.locator(".st-key-budget")
    limit = budget.get_by_role("spinbutton", name=re.compile("^Relative time, at most %"))
    click(limit)
    limit.fill("60")
    limit.press("Enter")
    page.wait_for_url(re.compile(r"within_time=60"))
    expect(budget).to_contain_text("of 35 runs meet the limits")
    click(budget.get_by_role("button", name="Create model file"))
    ready = budget.get_by_role("button", name=re.compile(r"^Model \(.* zip\)$"))
    expect(ready).to_be_visible(timeout=RUN_MS)
    with page.expect_download() as download:
        click(ready)
    assert clicks <= CLICKS
    with zipfile.ZipFile(download.value.path()) as exported:
        exported.extractall(tmp_path)
    folder = min((path.parent for path in tmp_path.rglob("README.md")), key=lambda path: len(path.parts))
    assert load_model(str(folder)).dit is not None
    page.context.close()


def test_a_lecture_is_held_with_the_keyboard_alone(browser, dashboard):
    page = dashboard.open(browser, "/tour")
    for number, (step, key) in enumerate(zip(STEPS, ("ArrowRight", "PageDown") * len(STEPS), strict=False), start=1):
        expect(page.get_by_role("heading", name=step.title)).to_be_in_viewport()
        answer = page.locator(f".st-key-answer-{number} details")
        expect(answer).not_to_have_attribute("open", "")
        painted(page)
        page.keyboard.press(key)
        expect(answer).to_have_attribute("open", "")
        expect(answer.locator("summary")).to_be_in_viewport()
        if number < len(STEPS):
            page.keyboard.press(key)
            page.wait_for_url(re.compile(rf"step={number + 1}\b"))
    for key, number in (("ArrowLeft", len(STEPS) - 1), ("PageUp", len(STEPS) - 2)):
        page.keyboard.press(key)
        page.wait_for_url(re.compile(rf"step={number}\b"))
        settle(page)
    page.context.close()


def test_four_browsers_share_a_queue_and_nobody_cancels_by_accident_what_is_not_theirs(browser, dashboard, queue):
    first, second, third, fourth = (
        dashboard.open(browser, f"/run_live?technique=quantization&quantization_bits={bits}&steps={steps}{more}")
        for bits, steps, more in ((4, 1000, ""), (3, 999, ""), (2, 998, ""), (8, 3, "&knob-sweep=true"))
    )
    jobs = []
    for page in (first, second):
        page.locator(".st-key-run button:visible").click()
        jobs.append(job_in(page))
    fourth.locator(".st-key-sweep-knob button").click()
    fourth.wait_for_url(re.compile(r"sweep=\d"))
    fourth.context.close()

    expect(second.get_by_text("1 job ahead")).to_be_visible()
    second.locator(".st-key-cancel button:visible").click()  # their own: at once
    expect(second.get_by_text("cancelled", exact=True)).to_be_visible()

    third.goto(f"{dashboard.url}/machine")
    third.locator(f".st-key-cancel-{jobs[0]}-ask button").click()  # not theirs: only after a question
    expect(third.get_by_text("submitted this job in another browser. Cancel it anyway?")).to_be_visible()
    third.keyboard.press("Escape")
    assert queue.get(jobs[0]).active
    expect(first.locator(".st-key-cancel button:visible")).to_be_visible()
    first.locator(".st-key-cancel button:visible").click()
    expect(first.get_by_text("cancelled", exact=True)).to_be_visible()
    until(lambda: {job.state for job in queue.list() if job.sweep} == {"done"})  # after its page was closed
    for page in (first, second, third):
        page.context.close()


def test_a_point_leads_to_its_command_its_interval_its_row_and_a_citation(browser, dashboard):
    page = dashboard.open(browser, "/pareto")
    painted(page)
    click_point(page, plot=0, nth=1)
    page.wait_for_url(re.compile(r"run=[0-9a-f]{12}"))
    identifier = re.findall(r"run=([0-9a-f]{12}[^&]*)", page.url)[0]
    details = page.locator(".st-key-details")
    details.locator("summary").first.click()
    command = details.locator("code").filter(has_text="python -m dit_core run").first
    expect(command).to_be_visible()
    stored = Store(dashboard.results).get(identifier)
    assert stored
    fingerprint = stored.record.environment["fingerprint"]

    with page.expect_download() as download:
        page.locator(".st-key-take-csv button").click()
    rows = {row["Id"]: row for row in csv.DictReader(io.StringIO(Path(download.value.path()).read_text()))}
    row = rows[identifier]
    assert row["Command"].split(" --device")[0] == command.inner_text().split(" --device")[0]
    assert (row["Seed"], row["Environment"]) == (str(stored.record.spec["seed"]), fingerprint)
    low, high = (stored.record.speedup[end] for end in ("low", "high"))
    expect(details).to_contain_text(f"{low:.2f} to {high:.2f}")
    assert {f"{end:.6g}" for end in (low, high)} <= {f"{float(row[name]):.6g}" for name in row if is_number(row[name])}

    page.locator(".st-key-cite button").first.click()
    citation = page.locator("code").filter(has_text="@misc{dit-core-")
    expect(citation).to_contain_text(fingerprint)
    page.context.close()


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_a_question_from_the_audience_is_answered_with_pictures(browser, dashboard):
    page = dashboard.open(browser, "/run_live?technique=quantization&quantization_bits=4&steps=2&batch=1")
    painted(page)
    page.locator(".st-key-quantization_bits").get_by_role("slider").press("ArrowLeft")
    page.wait_for_url(re.compile(r"quantization_bits=3"))
    page.locator(".st-key-pictures-only label").first.click()
    page.locator(".st-key-run button:visible").click()
    job_in(page)
    for title in ("Baseline", "Quantization"):
        expect(page.get_by_role("img", name=f"{title}, pictures only")).to_be_visible(timeout=RUN_MS)
    expect(page.get_by_text("Pictures only: time, memory and quality were not measured.")).to_be_visible()
    page.context.close()


def test_records_of_another_machine_are_merged_under_its_name(browser, dashboard, tmp_path):
    other = Store(tmp_path / "other")
    spec = RunSpec(techniques=canonical([{"name": "quantization", "bits": 5}]), samples=1000, steps=3)
    environment = {"cpu": "Lecture Hall CPU", "fingerprint": "lecture-hall"}
    record = make_record(spec, environment=environment)
    other.put(record, make_sheets(record))
    file = tmp_path / "records.zip"
    file.write_bytes(archive.pack(other))

    page = dashboard.open(browser, "/machine")
    page.locator(".st-key-import-file input[type=file]").set_input_files(file)
    expect(page.get_by_title("records.zip")).to_be_visible()
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text("1 record imported")).to_be_visible()

    page.goto(f"{dashboard.url}/pareto?run={spec.run_id}-imported")
    expect(page.get_by_role("combobox", name="Machine")).to_have_value(re.compile("Lecture Hall CPU"))
    page.context.close()
