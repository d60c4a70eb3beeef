"""A part of a page that waits for a job and follows it without a reload."""

from collections.abc import Callable

import streamlit as st


def follow(draw: Callable[[], bool], waits: bool, every_s: float) -> None:
    """Draw a part of a page as a fragment; while `waits`, on a timer of `every_s` seconds.

    `draw` returns whether the part waits for a job now. A browser learns the interval of a fragment only when the whole
    page is drawn, so the page is drawn again when the answer changes: a click inside the part that submits a job starts
    the timer, and the end of the job stops it.
    """

    def part() -> None:
        if draw() != waits:
            st.rerun()

    st.fragment(part, run_every=every_s if waits else None)()
