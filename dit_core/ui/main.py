"""The script that `app.py` runs: navigation, style, and the chosen page."""

from contextlib import suppress
from pathlib import Path

import streamlit as st

from dit_core.jobs.queue import Queue, QueueError
from dit_core.ui.components import elements, ignored, owner
from dit_core.ui.server import keep_worker

PAGES = Path(__file__).resolve().parents[2] / "pages"

st.set_page_config(page_title="DiT trade-offs", page_icon=elements.MARK, layout="wide")
st.logo(elements.MARK, size="large")
st.html(elements.STYLE)
elements.script()
owner.remember()
page = st.navigation(
    [
        st.Page(PAGES / "home.py", title="Home", default=True, help="The best recipes so far, with their images."),
        st.Page(PAGES / "run_live.py", title="Run live", help="Choose a technique and its knobs, and run it here."),
        st.Page(PAGES / "pareto.py", title="Pareto", help="Quality against time and memory; click a run to see it."),
        st.Page(PAGES / "compare.py", title="Compare", help="Runs from the same seeds, overlaid and side by side."),
        st.Page(PAGES / "inside.py", title="Inside", help="What each technique does inside the network."),
        st.Page(PAGES / "claims.py", title="Claims", help="What the paper reports, next to what was measured here."),
        st.Page(PAGES / "scale.py", title="Scale", help="How cost grows with tokens, width, depth and batch."),
        st.Page(
            PAGES / "machine.py", title="This machine", help="Load, queue, models, and what each technique can do."
        ),
        st.Page(PAGES / "tour.py", title="Tour", help="Guided steps, to present or to learn from."),
    ],
    position="top",
)
with suppress(QueueError, OSError):
    keep_worker(Queue())
if page.url_path == "run_live":  # its form says itself what it ignores
    page.run()
else:
    with ignored.page(page.url_path):
        page.run()
