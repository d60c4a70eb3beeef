"""The dashboard in a real browser, with a real server and a real worker, in a results folder of its own."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from dit_core.jobs import Queue
from dit_core.spec import RunSpec
from dit_core.store import Store
from dit_core.techniques import canonical
from dit_core.worker import worker_state
from tests import fake_job
from tests.dashboard import CHROMIUM, PATIENCE_MS, ROOT, Dashboard, chromium, painted, serve, settle
from tests.factory import make_record, make_sheets

MAIN = ROOT / "dit_core" / "ui" / "main.py"
PATHS = tuple("/" + name.replace("home", "") for name in re.findall(r'PAGES / "(\w+)\.py"', MAIN.read_text()))
VIEWS = ("/run_live?technique=depth_pruning&technique=quantization", "/pareto?within_ms=1000", "/tour?step=4")
RUN_MS = 900_000  # for a whole run on a busy machine
TABLE = '[data-testid="stTable"]'
TABS = 100  # more than any page has

expect.set_options(timeout=PATIENCE_MS)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Iterator[Dashboard]:
    with serve(tmp_path_factory.mktemp("empty")) as dashboard:
        yield dashboard
        assert dashboard.foreign == []


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("filled")
    store = Store(folder)
    for bits in (None, 8, 4, 2):
        recipe = canonical([{"name": "quantization", "bits": bits}]) if bits else ()
        record = make_record(RunSpec(techniques=recipe, samples=1000))
        store.put(record, make_sheets(record), local=False)
    with serve(folder) as dashboard:
        yield dashboard
        assert dashboard.foreign == []


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Iterator[Dashboard]:
    """A dashboard whose worker fakes the runs: a step takes 20 ms."""
    folder = tmp_path_factory.mktemp("quick")
    queue = Queue(folder / "queue")
    env = {**os.environ, "DIT_RESULTS": str(folder), "DIT_QUEUE": str(queue.root)}
    worker = subprocess.Popen(fake_job.COMMAND, cwd=ROOT, env=env)
    try:
        until = time.monotonic() + 60
        while not worker_state(queue).alive and time.monotonic() < until:
            time.sleep(0.1)
        with serve(folder) as dashboard:
            yield dashboard
            assert dashboard.foreign == []
    finally:
        worker.terminate()
        worker.wait(60)


def run(page: Page) -> None:
    page.locator(".st-key-run button").click()
    page.wait_for_url(re.compile(r"job=\d"))


def click_point(page: Page, plot: int, nth: int) -> None:
    """Click the marker of a run; markers are in the order in which the figure draws them."""
    points = page.locator(".js-plotly-plot").nth(plot).locator(".scatterlayer .trace .points path.point")
    expect(points.first).to_be_visible()
    box = points.nth(nth).bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_a_quantized_generation_from_click_to_point(browser, empty):
    page = empty.open(browser, "/run_live?quantization_bits=4&steps=2&batch=1&judged=40")
    page.locator(".st-key-run button").click()
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
    (record,) = Store(empty.results).load().records
    assert record.record.spec["techniques"][0]["bits"] == 4

    page.get_by_role("link", name="See it among the others").click()
    page.wait_for_url(re.compile(r"/pareto\?run="))
    page.locator(".st-key-close button").click()
    expect(page.locator(".st-key-samples")).to_have_count(0)
    click_point(page, plot=1, nth=0)
    expect(page.locator(".st-key-samples").get_by_role("img", name=re.compile("^Quantization"))).to_be_visible()
    assert f"run={record.record.run_id}-local" in page.url
    assert empty.foreign == []


def test_a_killed_worker_is_explained_and_replaced(browser, tmp_path):
    with serve(tmp_path) as dashboard:
        page = dashboard.open(browser, "/run_live?steps=1000&batch=1&judged=0")
        page.locator(".st-key-run button").click()
        queue = Queue(tmp_path / "queue")
        expect(page.get_by_text("running", exact=True)).to_be_visible()
        first = worker_state(queue).pid
        assert first
        os.kill(first, signal.SIGKILL)
        expect(page.get_by_text("The worker died while this job ran. Submit it again.")).to_be_visible()
        expect(page.locator(".st-key-rerun button")).to_be_visible()
        assert worker_state(queue).pid not in (None, first)


def test_a_click_on_a_point_shows_its_samples_and_a_reload_keeps_them(browser, filled):
    page = filled.open(browser, "/pareto")
    click_point(page, plot=0, nth=1)
    samples = page.locator(".st-key-samples")
    expect(samples.get_by_role("img", name=re.compile("^Baseline"))).to_be_visible()
    assert "run=" in page.url
    page.reload()
    expect(samples.get_by_role("img", name=re.compile("^Baseline"))).to_be_visible()
    assert filled.foreign == []


def test_a_point_on_the_home_page_opens_it_on_the_pareto_page(browser, filled):
    page = filled.open(browser, "/")
    click_point(page, plot=0, nth=1)
    page.wait_for_url(re.compile(r"/pareto\?run="))
    expect(page.locator(".st-key-samples")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PATHS, *VIEWS])
def test_every_page_opens_by_its_own_address_is_accessible_and_fits_a_phone(browser, filled, scheme, path):
    page = filled.open(browser, path, color_scheme=scheme)
    painted(page)
    expect(page.locator("h1")).to_be_visible()
    assert page.get_by_test_id("stException").count() == 0
    ground = page.get_by_test_id("stApp").evaluate("e => getComputedStyle(e).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 19, 23)"}[scheme]
    assert filled.foreign == []
    if scheme == "light":
        page.set_viewport_size({"width": 390, "height": 800})
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert faults(page) == []
    page.context.close()


def faults(page: Page) -> list[tuple[str, str]]:
    """Serious violations that axe finds, each with the element.

    Not counted: that a table of Streamlit's scrolls and is not in the tab order; a test below scrolls one by keyboard.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = [(one, node) for one in axe.run(page).response["violations"] for node in one["nodes"]]
    return [
        (one["id"], node["html"])
        for one, node in found
        if one["impact"] in ("serious", "critical")
        and (one["id"] != "scrollable-region-focusable" or not _of_table(page, node["target"][0]))
    ]


def _of_table(page: Page, target: str) -> bool:
    return page.locator(f"{TABLE} > :is({target})").count() > 0


def test_a_table_wider_than_a_phone_scrolls_by_keyboard(browser, filled):
    runs = [f"runs={one.path.stem}" for one in Store(filled.results).load().records if one.origin == "bundled"]
    page = filled.open(browser, f"/compare?{'&'.join(runs)}", viewport={"width": 320, "height": 800})
    painted(page)
    scrolled = page.locator(f"{TABLE} > div").first
    assert scrolled.evaluate("e => e.scrollWidth > e.clientWidth && e.scrollLeft == 0")
    within = f"document.activeElement.closest('{TABLE}')"
    for _ in range(TABS):
        page.keyboard.press("Tab")
        if page.evaluate(f"!!{within}"):
            break
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{within}.firstElementChild.scrollLeft > 0")


def test_a_deep_link_opens_its_page_first(browser, filled):
    context = browser.new_context()
    context.add_init_script(
        """window.headings = [];
        const look = () => document.querySelectorAll('h1').forEach(e => window.headings.push(e.innerText));
        new MutationObserver(look).observe(document, {childList: true, subtree: true})"""
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(filled.url + "/compare")
    settle(page)
    expect(page.locator("h1")).to_have_text("Compare runs")
    assert set(page.evaluate("window.headings")) == {"Compare runs"}


def test_two_browsers_queue_and_both_finish(browser, quick):
    first, second = (
        quick.open(browser, f"/run_live?quantization_bits={bits}&steps={steps}") for bits, steps in ((4, 200), (2, 5))
    )
    run(first)
    run(second)
    expect(second.get_by_text("1 job before this one")).to_be_visible()
    for page, bits in ((first, 4), (second, 2)):
        expect(page.get_by_text("Speed-up", exact=True)).to_be_visible()
        expect(page.get_by_text(f"bits {bits}").first).to_be_visible()
    assert {one.record.spec["techniques"][0]["bits"] for one in Store(quick.results).load().records} >= {4, 2}


def test_a_reload_keeps_the_job_and_the_form_and_cancel_frees_the_worker(browser, quick):
    page = quick.open(browser, "/run_live?quantization_bits=5&steps=1000")
    run(page)
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_text(re.compile(r"\d+ of 1,000"))).to_be_visible()
    expect(page.locator(".st-key-quantization_bits")).to_contain_text("5")
    page.locator(".st-key-cancel button").click()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    other = quick.open(browser, "/run_live?quantization_bits=6&steps=5")
    run(other)
    expect(other.get_by_text("Speed-up", exact=True)).to_be_visible()


def test_the_server_ends_the_worker_that_it_started(tmp_path):
    with serve(tmp_path):
        queue = Queue(tmp_path / "queue")
        until = time.monotonic() + 60
        while not worker_state(queue).alive and time.monotonic() < until:
            time.sleep(0.1)
        assert worker_state(queue).alive
    assert not worker_state(queue).alive


def test_runs_are_laid_over_each_other_without_asking_the_server(browser, filled):
    runs = [one.path.stem for one in Store(filled.results).load().records if one.origin == "bundled"]
    page = filled.open(browser, "/compare?" + "&".join(f"runs={run}" for run in runs[:3]))
    images = page.locator(".stage img")
    expect(images).to_have_count(3)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))

    page.get_by_role("button", name="Zoom in").click()
    zooms = images.evaluate_all("e => e.map(i => new DOMMatrix(getComputedStyle(i).transform).a)")
    assert zooms == [2, 2, 2]
    page.get_by_role("button", name="Reset").click()

    page.get_by_role("radio", name="Divider").click()
    divider = page.get_by_role("slider", name="Divider")
    divider.press("ArrowLeft")
    assert divider.get_attribute("aria-valuenow") == "48"
    box = page.locator(".pane").bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.48 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20)
    page.mouse.up()
    assert abs(int(divider.get_attribute("aria-valuenow") or 0) - 25) <= 1
    assert "inset(0px 0px 0px 2" in page.locator(".layer").nth(1).evaluate("e => getComputedStyle(e).clipPath")

    page.get_by_role("radio", name="Flicker").click()
    title = page.locator(".stage figcaption")
    before = title.inner_text()
    expect(title).not_to_have_text(before)

    page.get_by_role("radio", name="Difference").click()
    picture = page.locator(".stage canvas")
    expect(picture).to_have_attribute("aria-label", re.compile("of 255 on average"))
    corner = picture.evaluate("c => [...c.getContext('2d').getImageData(0, 0, 1, 1).data].slice(0, 3)")
    shades = [int(run[:2], 16) for run in runs[:2]]  # the sheets of `tests.factory` differ in green
    assert corner == [0, min(255, 4 * abs(shades[0] - shades[1])), 0]
    assert sent == []
    assert filled.foreign == []


def test_rows_of_the_table_lead_to_their_comparison(browser, filled):
    page = filled.open(browser, "/pareto")
    table = page.get_by_test_id("stDataFrame")
    table.scroll_into_view_if_needed()
    for row in (1, 2):
        painted(page)
        box = table.bounding_box()
        assert box
        page.mouse.click(box["x"] + 15, box["y"] + 17 + 35 * row)
    page.get_by_role("link", name="Compare these 2 runs").click()
    page.wait_for_url(re.compile(r"/compare\?runs=.*runs="))
    expect(page.locator(".stage img")).to_have_count(2)


def test_the_knobs_of_a_technique_are_shown_on_request_and_have_a_link(browser, filled):
    page = filled.open(browser, "/machine")
    table = page.get_by_test_id("stTable")
    expect(table).to_have_count(0)
    page.get_by_text("How it works, and its knobs").first.click()
    expect(table).to_contain_text("Bits")
    expect(filled.open(browser, page.url.removeprefix(filled.url)).get_by_test_id("stTable")).to_contain_text("Bits")
