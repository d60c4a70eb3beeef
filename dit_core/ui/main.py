"""The script behind `app.py`: the frame around every page."""

from contextlib import suppress
from pathlib import Path

import streamlit as st

from dit_core.jobs import Queue, QueueError
from dit_core.ui import components, live

PAGES = Path(__file__).resolve().parents[2] / "pages"

st.set_page_config(page_title="DiT trade-offs", page_icon=components.MARK, layout="wide")
st.logo(components.MARK, size="large")
st.html(components.STYLE)
page = st.navigation(
    [
        st.Page(
            PAGES / "home.py", title="Home", default=True, help="What this is, and the front of the bundled results."
        ),
        st.Page(PAGES / "run_live.py", title="Run live", help="Pick a technique and its knobs, run it, watch it form."),
        st.Page(
            PAGES / "pareto.py", title="Pareto", help="Quality against time and memory; a click shows the samples."
        ),
        st.Page(PAGES / "compare.py", title="Compare", help="Runs from the same seeds laid over each other."),
        st.Page(PAGES / "inside.py", title="Inside", help="What each technique does within the network."),
        st.Page(PAGES / "claims.py", title="Claims", help="What the paper reports beside what was measured here."),
        st.Page(PAGES / "scale.py", title="Scale", help="How cost grows with tokens, width, depth and batch."),
        st.Page(PAGES / "machine.py", title="This machine", help="What each technique can do here, and the job queue."),
        st.Page(PAGES / "tour.py", title="Tour", help="A guided path of six steps, to show or to learn from."),
    ],
    position="top",
)
with suppress(QueueError, OSError):
    live.keep_worker(Queue())
page.run()
