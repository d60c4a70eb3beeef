"""Plots, tables and pictures that react to a click, in a real browser."""

import re

from playwright.sync_api import expect

from dit_core.records.store import Store
from dit_core.ui.comparisons import point_id
from tests.browser.conftest import TABLE, click_point
from tests.dashboard import painted

TABS = 100  # more than any page has


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


def test_a_table_wider_than_a_phone_scrolls_by_keyboard(browser, filled):
    runs = [f"runs={point_id(one)}" for one in Store(filled.results).load().records if one.origin == "bundled"]
    page = filled.open(browser, f"/compare?{'&'.join(runs)}", viewport={"width": 240, "height": 800})
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


def test_runs_are_laid_over_each_other_without_asking_the_server(browser, filled):
    runs = [point_id(one) for one in Store(filled.results).load().records if one.origin == "bundled"]
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
    page.get_by_text("How it works, and the knobs").first.click()
    expect(table).to_contain_text("Bits")
    expect(filled.open(browser, page.url.removeprefix(filled.url)).get_by_test_id("stTable")).to_contain_text("Bits")
