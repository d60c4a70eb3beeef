"""In a real browser: a run from the keyboard, where its progress stands, and the steps of denoising of several runs."""

import io
import re
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import expect

from dit_core.experiment import trajectories
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui.comparisons import point_id
from tests.browser.conftest import with_worker
from tests.dashboard import Dashboard, painted
from tests.factory import make_record, make_sheets
from tests.workers import until

STEPS = (12, 4)  # of the runs compared


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory) -> Iterator[Dashboard]:
    """Two runs that have kept how their images form, and a worker that fakes new ones."""
    folder = tmp_path_factory.mktemp("run")
    store = Store(folder)
    for steps, recipe in zip(STEPS, ((), canonical([{"name": "quantization", "bits": 4}])), strict=True):
        record = make_record(RunSpec(techniques=recipe, samples=1000))
        store.put(record, make_sheets(record), local=False)
        stored = store.get(record.run_id)
        assert stored
        trajectories.write(stored, forming(steps, record.samples["tile"], len(record.samples["labels"])))
    with with_worker(folder, "tests.fake_job") as served:
        yield served


def forming(steps: int, tile: int, images: int) -> bytes:
    """A trajectory whose steps are greys."""
    rows, data = len(trajectories.places(images)), io.BytesIO()
    picture = Image.new("RGB", (steps * tile, rows * tile))
    for step in range(steps):
        picture.paste((20 * step,) * 3, (step * tile, 0, (step + 1) * tile, rows * tile))
    picture.save(data, "WEBP", lossless=True)
    return data.getvalue()


def test_a_run_is_started_and_cancelled_by_keys_and_its_progress_stands_above_the_knobs(browser, dashboard):
    page = dashboard.open(browser, "/run_live?quantization_bits=5&steps=1000", viewport={"width": 390, "height": 800})
    painted(page)
    page.keyboard.press("Control+Enter")
    page.wait_for_url(re.compile(r"job=\d"))
    progress = page.get_by_test_id("stProgress")
    expect(progress).to_be_visible()
    knob = page.locator(".st-key-quantization_bits")
    above, below = progress.bounding_box(), knob.bounding_box()
    assert above
    assert below
    assert above["y"] + above["height"] < min(800, below["y"])
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def faults() -> list[str]:
        found = axe.run(page).response["violations"]
        return [one["id"] for one in found if one["impact"] in ("serious", "critical")]

    until(lambda: not faults())  # while an element fades in, its contrast is low
    page.keyboard.press("Alt+x")
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()


def test_a_step_of_denoising_moves_all_runs_in_the_browser_and_is_in_the_link(browser, dashboard):
    runs = sorted(Store(dashboard.results).load().records, key=lambda one: len(one.record.spec["techniques"]))
    address = f"/compare?{'&'.join(f'runs={point_id(one)}' for one in runs)}&pictures=How+they+form"
    page = dashboard.open(browser, address)
    painted(page)
    captions = page.locator(".stage figcaption")
    expect(captions).to_have_text(["Baseline, step 6 of 12", "Quantization, step 2 of 4"])
    before = page.locator(".stage img").evaluate_all("e => e.map(i => i.src)")
    slider = page.locator(".steps input")
    slider.press("End")
    assert captions.all_inner_texts() == ["Baseline, step 12 of 12", "Quantization, step 4 of 4"]  # at once
    after = page.locator(".stage img").evaluate_all("e => e.map(i => i.src)")
    assert all(old != new for old, new in zip(before, after, strict=True))

    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("radio", name="Divider").click()
    page.wait_for_url(re.compile(r"step=12"))
    assert {"view=divider", "zoom=2", "step=12"} <= set(page.url.partition("?")[2].split("&"))
    page.reload()
    painted(page)
    expect(captions).to_have_text(["Baseline, step 12 of 12  |  Quantization, step 4 of 4"])
    expect(page.locator(".zoom output")).to_have_text("2×")
    expect(page.get_by_role("radio", name="Divider")).to_have_attribute("aria-checked", "true")


def test_one_class_is_not_drawn_larger_than_its_pixels_are_worth(browser, dashboard):
    runs = [point_id(one) for one in Store(dashboard.results).load().records]
    page = dashboard.open(browser, f"/compare?{'&'.join(f'runs={run}' for run in runs)}&images=heart")
    painted(page)
    widths = page.locator(".pane").evaluate_all("e => e.map(i => i.clientWidth)")
    assert all(width <= 200 for width in widths)
