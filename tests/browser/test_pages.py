"""Every page over what is bundled, in both themes and two widths: it opens, nothing overflows, axe finds no fault."""

import re

import pytest
from playwright.sync_api import Page, TimeoutError, expect

from dit_core.ui import style
from dit_core.ui.inside import inside_page
from tests.browser.conftest import TABLE
from tests.dashboard import ROOT, painted

MAIN = ROOT / "dit_core" / "ui" / "main.py"
NAMES = tuple(re.findall(r'PAGES / "(\w+)\.py"', MAIN.read_text()))
PANELS = tuple(f"/inside?panel={title}" for title in inside_page.TITLES.values())
PAGES = tuple(f"/{name.replace('home', '')}" for name in NAMES)
VIEWS = (
    *PANELS,
    "/run_live?technique=depth_pruning&technique=quantization",
    "/run_live?technique=quantization&knob-sweep=true",
    "/pareto?within_ms=1000",
    "/pareto?reported=true",
    "/tour?step=2",
    "/tour?step=5",
    "/tour?step=6",
)
HEADINGS = {  # address of a page -> the only heading that may ever be seen there
    "/": "What does each optimization of a diffusion transformer cost, and what does it save?",
    "/run_live": "Run live",
    "/pareto": "Pareto fronts",
    "/compare": "Compare runs",
    "/inside": "Inside the network",
    "/claims": "Claims, checked",
    "/scale": "How cost grows",
    "/machine": "This machine",
    "/tour": "Tour",
}
NOTE_HEADINGS = """window.headings = [];
    const look = () => document.querySelectorAll('h1').forEach(e => window.headings.push(e.innerText));
    new MutationObserver(look).observe(document, {childList: true, subtree: true})"""
GROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 19, 23)"}
HAS_GROUND = """ground =>
    getComputedStyle(document.querySelector('[data-testid="stApp"]')).backgroundColor == ground"""
WIDTHS = (1280, 390)
PLOTTED = ("/", "/pareto", "/scale", "/inside")  # pages with words and figures on plots
FITS = """() => { const main = document.querySelector('[data-testid="stMain"]');
    return main.scrollWidth <= main.clientWidth && document.documentElement.scrollWidth <= innerWidth }"""
REST_MS = 10_000  # until plots have the width of a window that was made smaller
WRITTEN = ".js-plotly-plot :is(.xtick > text, .ytick > text, .xtitle, .ytitle, .legendtext, .annotation-text)"


@pytest.mark.parametrize("path", [*PAGES, *VIEWS])
def test_every_page_opens_first_by_its_own_address_is_accessible_and_fits_a_phone(browser, bundled, path):
    page = bundled.open(browser, path, NOTE_HEADINGS)
    for (scheme, ground), ink in zip(GROUNDS.items(), style.INKS, strict=True):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(HAS_GROUND, arg=ground)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            painted(page)
            expect(page.locator("h1")).to_be_visible()
            assert page.get_by_test_id("stException").count() == 0
            assert fits(page), f"wider than {width} pixels"
            assert faults(page) == []
            wanted = f"rgb({', '.join(str(int(ink[i : i + 2], 16)) for i in (1, 3, 5))})"
            fills = page.locator(WRITTEN).evaluate_all("every => every.map(e => getComputedStyle(e).fill)")
            assert set(fills) <= {wanted}
            assert fills or path.split("?")[0] not in PLOTTED
    assert set(page.evaluate("window.headings")) == {HEADINGS[path.split("?")[0]]}
    assert bundled.foreign == []


def test_a_page_opens_in_the_dark_theme_for_who_prefers_it(browser, bundled):
    page = bundled.open(browser, "/machine", color_scheme="dark")
    page.wait_for_function(HAS_GROUND, arg=GROUNDS["dark"])


@pytest.mark.parametrize("path", ["/compare", "/scale"])
def test_every_column_of_a_table_is_seen_on_a_phone(browser, bundled, path):
    page = bundled.open(browser, path, viewport={"width": 390, "height": 900})
    painted(page)
    tables = page.locator(f"{TABLE} > div")
    assert tables.count()
    assert all(tables.evaluate_all("every => every.map(e => e.scrollWidth <= e.clientWidth)"))


def test_on_a_phone_the_form_is_between_the_pictures_and_the_figures(browser, bundled):
    page = bundled.open(browser, "/run_live", viewport={"width": 390, "height": 900})
    painted(page)
    places = [
        page.locator(f'[data-testid="{kind}"]').first.bounding_box() for kind in ("stImage", "stSlider", "stMetric")
    ]
    tops = [place["y"] for place in places if place]
    assert len(tops) == 3
    assert tops == sorted(tops)


def test_a_link_that_has_the_focus_of_the_keyboard_has_a_ring(browser, bundled):
    page = bundled.open(browser, "/machine")
    painted(page)
    page.keyboard.press("Tab")
    page.wait_for_function("document.activeElement.tagName == 'A'")
    ring = page.evaluate("getComputedStyle(document.activeElement).outline")
    assert "solid 2px" in ring
    page.context.close()


def test_a_page_that_is_too_wide_is_noticed(browser, bundled):
    page = bundled.open(browser, "/claims", viewport={"width": 390, "height": 900})
    painted(page)
    page.locator("h1").evaluate("e => { e.style.width = '500px' }")
    assert not fits(page, patience_ms=1000)


def test_a_link_to_knobs_of_the_page_inside_opens_them_and_a_click_changes_the_link(browser, bundled):
    page = bundled.open(browser, "/inside?panel=Quantization&bits=2")
    expect(page.get_by_text("nearest rounding to 2 bits")).to_be_visible()
    page.locator(".st-key-bits button", has_text="6").click()
    expect(page.get_by_text("nearest rounding to 6 bits")).to_be_visible()
    page.wait_for_url(re.compile(r"bits=6"))
    page.context.close()


def fits(page: Page, patience_ms: int = REST_MS) -> bool:
    """Whether nothing has to be scrolled sideways once the page has come to rest; Streamlit scrolls within `stMain`."""
    try:
        page.wait_for_function(FITS, timeout=patience_ms)
    except TimeoutError:
        return False
    return True


def faults(page: Page) -> list[tuple[str, str]]:
    """Serious violations that axe finds, each with the element.

    Not counted: that a table of Streamlit's scrolls and is not in the tab order; a test scrolls one by keyboard.
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
