"""Loading time of pages: `python -m tests.benchmarks.paint --records 1000 --pages Pareto Claims`.

Chromium opens a dashboard with generated records: first each page in a new profile without a cache (*first paint*,
measured from the request), then all pages through the navigation (*page change*, measured from the click). Two times
are measured for each: until the heading is visible, and until everything is drawn. Prints the median and the 95th
percentile, the machine with its load, and a summary line for each size of the store. The default number of rounds is
large enough that the 95th percentile is not the maximum.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Browser, Page

from dit_core.system.hardware import load_average, processor_name, usable_cores
from tests.benchmarks.made import fill
from tests.dashboard import PATIENCE_MS, Dashboard, chromium, painted, serve

SIZES = (6, 1000)  # records in the store
COLUMNS = ("first paint: heading", "all drawn", "page change: heading", "all drawn")
PAGES = {  # name at the top: address, how its heading begins
    "Home": ("/", "What does each"),
    "Run live": ("/run_live", "Run live"),
    "Pareto": ("/pareto", "Pareto fronts"),
    "Compare": ("/compare", "Compare runs"),
    "Inside": ("/inside", "Inside the network"),
    "Claims": ("/claims", "Claims, checked"),
    "Scale": ("/scale", "How cost grows"),
    "This machine": ("/machine", "This machine"),
    "Tour": ("/tour", "Tour"),
}
ROUNDS, WARM_UP = 40, 2  # two of forty are above the 95th percentile
Took = tuple[float, float]  # seconds until the heading is there, until all is drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--records", type=int, nargs="+", default=SIZES, help="sizes of the store")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=list(PAGES))
    asked = parser.parse_args()
    if asked.rounds < 2:
        parser.error("a percentile needs at least two rounds")
    print(f"{processor_name()}, {usable_cores()} cores, load {load_average():.1f}, {asked.rounds} rounds")
    print("milliseconds, median / 95th percentile")
    print(f"{'records':>7} {'page':<13}" + "".join(f"{what:>24}" for what in COLUMNS))
    rounds = asked.rounds + WARM_UP
    for size in asked.records:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), size)
            with serve(Path(folder)) as dashboard, chromium() as browser:
                first = {name: [opened(dashboard, browser, name) for _ in range(rounds)] for name in asked.pages}
                change = changed(dashboard, browser, asked.pages, rounds)
        for name in asked.pages:
            moments = [moment for took in (first, change) for moment in zip(*took[name][WARM_UP:], strict=True)]
            print(f"{size:>7,} {name:<13}" + "".join(f"{told(moment):>24}" for moment in moments), flush=True)
        print(summary(size, first, {name: change[name] for name in asked.pages}), flush=True)
    print(f"load {load_average():.1f} at the end")


def summary(size: int, first: dict[str, list[Took]], change: dict[str, list[Took]]) -> str:
    """Return the summary line: all pages of one store size together, without the warm-up."""
    told_of = []
    for what, pages in (("first paint", first), ("page change", change)):
        pooled = [took for found in pages.values() for took in found[WARM_UP:]]
        there, drawn = zip(*pooled, strict=True)
        told_of.append(f"{what} {told(there)} ms, all drawn {told(drawn)} ms (n = {len(pooled)})")
    pages = f"{len(first)} page{'s' * (len(first) != 1)}"
    return f"{size:,} made records, {pages}, median / 95th percentile: {'; '.join(told_of)}"


def opened(dashboard: Dashboard, browser: Browser, name: str) -> Took:
    """Open a page by its address in a new profile; return its times."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    path, heading = PAGES[name]
    start = time.perf_counter()
    page.goto(dashboard.url + path, wait_until="commit")
    took = _wait(page, heading, start)
    page.context.close()
    return took


def changed(dashboard: Dashboard, browser: Browser, names: Sequence[str], rounds: int) -> dict[str, list[Took]]:
    """Open these pages in rotation through the navigation; a single page alternates with another."""
    turn = list(names) if len(names) > 1 else [*names, next(name for name in PAGES if name not in names)]
    page = dashboard.open(browser, PAGES[turn[-1]][0])
    painted(page)
    took: dict[str, list[Took]] = {name: [] for name in turn}
    for name in rounds * turn:
        link = page.get_by_test_id("stTopNavLink").get_by_text(name, exact=True).first
        link.hover()
        start = time.perf_counter()
        link.click()
        took[name].append(_wait(page, PAGES[name][1], start))
    return took


def _wait(page: Page, heading: str, start: float) -> Took:
    page.wait_for_function("start => document.querySelector('h1')?.innerText.startsWith(start)", arg=heading)
    there = time.perf_counter() - start
    painted(page)
    return there, time.perf_counter() - start


def told(seconds: Sequence[float]) -> str:
    worst = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    return f"{1e3 * statistics.median(seconds):.0f} / {1e3 * worst:.0f}"


if __name__ == "__main__":
    main()
