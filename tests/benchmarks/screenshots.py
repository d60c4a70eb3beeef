"""Screenshots of the pages of a running dashboard, in both themes and two widths.

    streamlit run app.py &
    python -m tests.benchmarks.screenshots http://127.0.0.1:8501 FOLDER [PATH ...]

Writes `FOLDER/<page>-<theme>-<width>.png`, each with the full height of its page.
"""

import re
import sys
from pathlib import Path

from playwright.sync_api import Page

from tests.dashboard import Dashboard, chromium, painted

PATHS = ("/", "/run_live", "/pareto", "/compare", "/inside", "/claims", "/scale", "/machine", "/tour")
WIDTHS, HEIGHT = (1280, 390), 900  # pixels
MOVING_MS = 500  # until animations have ended


def main(url: str, folder: Path, paths: tuple[str, ...] = PATHS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    dashboard = Dashboard(url.rstrip("/"), folder)
    with chromium() as browser:
        for path in paths:
            for theme in ("light", "dark"):
                for width in WIDTHS:
                    page = dashboard.open(
                        browser, path, color_scheme=theme, viewport={"width": width, "height": HEIGHT}
                    )
                    target = folder / f"{_name(path)}-{theme}-{width}.png"
                    shoot(page, target, width)
                    page.context.close()
                    print(target)


def shoot(page: Page, target: Path, width: int) -> None:
    """Save the whole page. Streamlit scrolls inside a frame, so the window gets the height of the frame's content."""
    painted(page)
    page.wait_for_timeout(MOVING_MS)
    tall = page.evaluate("document.querySelector('[data-testid=\"stMain\"]').scrollHeight")
    page.set_viewport_size({"width": width, "height": max(HEIGHT, int(tall))})
    painted(page)
    page.wait_for_timeout(MOVING_MS)
    page.screenshot(path=target)


def _name(path: str) -> str:
    return re.sub(r"\W+", "_", path).strip("_")[:40] or "home"


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), tuple(sys.argv[3:]) or PATHS)
