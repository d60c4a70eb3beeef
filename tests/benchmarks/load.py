"""Many browsers at once for a while: `python -m tests.benchmarks.load --minutes 10 --sessions 8`.

Chromium opens a dashboard over made records in as many profiles and walks each over all pages: by their names at the
top, and once a round by an address of its own, which is a new session for the server. Nobody leaves a page before it
is drawn. Counts pages, exceptions shown, errors of the browser, requests that failed, and how much the
resident memory of the server's process grows once every session has walked `WARM_UP` rounds.
"""

import argparse
import asyncio
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

from dit_core.ui.reads import cpu_name
from tests.benchmarks.made import fill
from tests.dashboard import CHROMIUM, DRAWN, FLAGS, Dashboard, serve

PAUSE_S, SAMPLE_S = 1.0, 2.0
PATIENCE_MS = 300_000  # so many pages are drawn at once that a busy machine is slow; slowness is no error
WARM_UP = 2  # rounds of every session
RECORDS = 100
MB = 1e6
PROBED = re.compile(r"/\w+/_stcore/(health|host-config)")  # Streamlit looks for its server at each parent of an address


@dataclass
class Seen:
    """What all sessions met: pages drawn, troubles by kind, rounds by session, memory in bytes by time."""

    drawn: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    rounds: Counter[int] = field(default_factory=Counter)
    resident: list[tuple[float, int]] = field(default_factory=list)
    warm_at: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--records", type=int, default=RECORDS)
    asked = parser.parse_args()
    print(f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), asked.records)
        with serve(Path(folder)) as dashboard:
            seen = asyncio.run(_visit(dashboard, asked.sessions, 60 * asked.minutes))
    for title, value in report(seen, asked.sessions, asked.minutes):
        print(f"{title:<34}{value:>24}")
    raise SystemExit(1 if seen.troubles else 0)


def report(seen: Seen, sessions: int, minutes: float) -> list[tuple[str, str]]:
    """The table's rows."""
    rows = [
        ("sessions, minutes", f"{sessions}, {minutes:g}"),
        ("pages drawn", f"{seen.drawn:,}"),
        ("errors and exceptions", f"{seen.troubles.total()}"),
        *((f"  {what}", f"  {count}") for what, count in seen.troubles.most_common(8)),
    ]
    warm = [size for at, size in seen.resident if seen.warm_at is not None and at >= seen.warm_at]
    if len(warm) < 2:
        return [*rows, ("server's memory", "too short to warm up")]
    first, last = (statistics.median(part) / MB for part in (warm[:5], warm[-5:]))
    return [
        *rows,
        ("server's memory, MB, warm / end", f"{first:.0f} / {last:.0f}"),
        ("growth after warm-up, MB", f"{last - first:+.1f}"),
        ("over, minutes", f"{(seen.resident[-1][0] - (seen.warm_at or 0)) / 60:.1f}"),
    ]


async def _visit(dashboard: Dashboard, sessions: int, seconds: float) -> Seen:
    seen, until = Seen(), time.monotonic() + seconds
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        walks = [_walk(browser, dashboard, number, seen, until) for number in range(sessions)]
        await asyncio.gather(_watch(dashboard, sessions, seen, until), *walks)
        await browser.close()
    return seen


async def _watch(dashboard: Dashboard, sessions: int, seen: Seen, until: float) -> None:
    """Read the server's memory, and note when every session has warmed it up."""
    while time.monotonic() < until:
        pages = int(Path(f"/proc/{dashboard.pid}/statm").read_text().split()[1])
        seen.resident.append((time.monotonic(), pages * os.sysconf("SC_PAGE_SIZE")))
        if seen.warm_at is None and all(seen.rounds[number] >= WARM_UP for number in range(sessions)):
            seen.warm_at = time.monotonic()
        await asyncio.sleep(SAMPLE_S)


async def _walk(browser: Browser, dashboard: Dashboard, number: int, seen: Seen, until: float) -> None:
    """One visitor; every round begins with a fresh session at another page's own address."""
    page = await (await browser.new_context(viewport={"width": 1280, "height": 900})).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: seen.troubles.update([f"script: {error.message}"]))
    page.on("response", lambda response: _note(seen, response))
    link = page.locator('[data-testid="stTopNavLink"]')
    address, start = dashboard.url, 0  # and its place among the names at the top
    while time.monotonic() < until:
        try:
            await page.goto(address)
            await _drawn(page, seen)
            at = start
            for place in range(await link.count()):
                if time.monotonic() >= until:
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
