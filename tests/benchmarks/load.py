"""Load test with several browser sessions: `python -m tests.benchmarks.load --minutes 10 --sessions 8`.

Chromium opens a dashboard with generated records in several profiles. Each session visits all pages through the
navigation, and once a round by address, which is a new session for the server. A session leaves a page only when it is
drawn. The measurement starts when every session has finished `WARM_UP` rounds, within `WARM_UP_S` at most. Counts drawn
pages, exceptions, browser errors, failed requests, and the growth of the server's resident memory. The last line is a
summary. Exits with 1 after an error or a growth of `MOST_MB` or more.
"""

import argparse
import asyncio
import math
import os
import re
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser, Error, Page, Response, async_playwright

from dit_core.system.hardware import load_average, processor_name, usable_cores
from tests.benchmarks.made import fill
from tests.dashboard import CHROMIUM, DRAWN, FLAGS, Dashboard, serve

PAUSE_S, SAMPLE_S = 1.0, 2.0
PATIENCE_MS = 300_000  # so many pages are drawn at once that a busy machine is slow; slowness is no error
WARM_UP, WARM_UP_S = 2, 3600.0  # rounds of every session, and seconds that all of them may take
MOST_MB = 50
ENDS = 5  # samples of memory whose median is the level at the start and at the end
RECORDS = 100
MB = 1e6
PROBED = re.compile(r"/\w+/_stcore/(health|host-config)")  # Streamlit looks for its server at each parent of an address


@dataclass
class Seen:
    """Counts over all sessions: drawn pages, problems by kind, rounds by session, memory samples in bytes.

    `until` is the end in seconds of the monotonic clock; it is set again when the warm-up ends.
    """

    until: float
    drawn: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    rounds: Counter[int] = field(default_factory=Counter)
    resident: list[int] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    @property
    def levels(self) -> tuple[float, float] | None:
        """Memory at the start and at the end in MB; None if the warm-up did not end."""
        if len(self.resident) < 2 * ENDS:
            return None
        first, last = (statistics.median(part) / MB for part in (self.resident[:ENDS], self.resident[-ENDS:]))
        return first, last


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--records", type=int, default=RECORDS)
    asked = parser.parse_args()
    print(f"{processor_name()}, {usable_cores()} cores, load {load_average():.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), asked.records)
        with serve(Path(folder)) as dashboard:
            seen = asyncio.run(_visit(dashboard, asked.sessions, 60 * asked.minutes))
    for what, count in seen.troubles.most_common():
        print(f"{count:>6} {what}")
    print(summary(seen, asked.sessions, asked.minutes))
    grown = seen.levels[1] - seen.levels[0] if seen.levels else math.inf
    raise SystemExit(1 if seen.troubles or grown >= MOST_MB else 0)


def summary(seen: Seen, sessions: int, minutes: float) -> str:
    """Return the summary line."""
    told = "the warm-up did not end, so its memory was not measured"
    if seen.levels:
        first, last = seen.levels
        told = f"memory of the server {last - first:+.1f} MB (from {first:.0f} to {last:.0f} MB)"
    errors = seen.troubles.total()
    met = f"{seen.drawn:,} pages drawn, {errors} error{'s' * (errors != 1)}"
    return f"{sessions} sessions at once over {minutes:g} minutes, after {WARM_UP} rounds to warm up: {met}, {told}"


async def _visit(dashboard: Dashboard, sessions: int, seconds: float) -> Seen:
    seen = Seen(until=time.monotonic() + WARM_UP_S)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        walks = [_walk(browser, dashboard, number, seen) for number in range(sessions)]
        await asyncio.gather(_watch(dashboard, sessions, seen, seconds), *walks)
        await browser.close()
    return seen


async def _watch(dashboard: Dashboard, sessions: int, seen: Seen, seconds: float) -> None:
    """Wait for the warm-up of every session, then sample the server's memory for `seconds`."""
    while not seen.over and any(seen.rounds[number] < WARM_UP for number in range(sessions)):
        await asyncio.sleep(SAMPLE_S)
    if seen.over:
        return
    seen.until, seen.drawn = time.monotonic() + seconds, 0
    while not seen.over:
        pages = int(Path(f"/proc/{dashboard.pid}/statm").read_text().split()[1])
        seen.resident.append(pages * os.sysconf("SC_PAGE_SIZE"))
        await asyncio.sleep(SAMPLE_S)


async def _walk(browser: Browser, dashboard: Dashboard, number: int, seen: Seen) -> None:
    """Run one session; every round starts with a new server session at the address of another page."""
    page = await (await browser.new_context(viewport={"width": 1280, "height": 900})).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: seen.troubles.update([f"script: {error.message}"]))
    page.on("response", lambda response: _note(seen, response))
    link = page.locator('[data-testid="stTopNavLink"]')
    address, start = dashboard.url, 0  # and its place among the names at the top
    while not seen.over:
        try:
            await page.goto(address)
            await _drawn(page, seen)
            at = start
            for place in range(await link.count()):
                if seen.over:
                    break
                before = await page.locator("h1").inner_text()
                await link.nth(place).click()
                await asyncio.sleep(PAUSE_S)
                if place != at:  # a busy server has not begun the script after the pause
                    await page.wait_for_function("old => document.querySelector('h1')?.innerText !== old", arg=before)
                at = place
                await _drawn(page, seen)
                if place == number % await link.count():
                    address, start = page.url, place
            seen.rounds[number] += 1
        except Error as error:
            seen.troubles.update([f"browser: {error.message.splitlines()[0]}"])
            await asyncio.sleep(PAUSE_S)
    await page.context.close()


async def _drawn(page: Page, seen: Seen) -> None:
    await page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    await page.wait_for_selector("h1")
    await page.wait_for_function(DRAWN)
    seen.drawn += 1
    if shown := await page.get_by_test_id("stException").count():
        seen.troubles.update({"exception on a page": shown})


def _note(seen: Seen, response: Response) -> None:
    path = urlsplit(response.url).path
    if response.status >= 400 and not PROBED.fullmatch(path):
        seen.troubles.update([f"answer {response.status} to {path}"])


if __name__ == "__main__":
    main()
