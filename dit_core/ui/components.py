"""Small pieces that several pages show in the same way."""

from pathlib import Path
from typing import Literal

import streamlit as st

from dit_core.jobs import Job, Sweep
from dit_core.spec import RunRecord
from dit_core.store import Skipped, Stored
from dit_core.ui import here, looks, words

MARK = str(Path(__file__).parent / "mark.svg")
# What Streamlit leaves too faint to read: white on the dark theme's primary colour, the grey text of plots, which
# is also over filled cells, the keys of a shortcut on a button, and what fades while it runs anew, again and again
# where a timer runs it. A ring around the link or button that has the keyboard's focus. Figures of tables at the right,
# except where a container's key begins with `prose`, and closer together on a phone. Large letters for what is read
# aloud from a projector.
STYLE = f"""<style>
[data-testid="stMultiSelect"] [data-tag-index] * {{ color: light-dark(#fff, #101317); }}
button[kind="primary"]:enabled, button[kind="primary"]:enabled * {{ color: light-dark(#fff, #101317); }}
.js-plotly-plot :is(.xtick, .ytick) > text,
.js-plotly-plot :is(.xtitle, .ytitle, .legendtext, .annotation-text) {{
    fill: light-dark({", ".join(looks.INKS)}) !important;
}}
:is(a, button, summary):focus-visible {{
    outline: 2px solid light-dark(#2a5fd0, #7da6ff) !important; outline-offset: 1px;
}}
[data-stale] {{ opacity: 1 !important; transition: none !important; }}
[data-testid="stTable"] {{ font-variant-numeric: tabular-nums; }}
[data-testid="stTable"] :is(th, td):not(:first-child) {{ text-align: right !important; }}
@media (max-width: 640px) {{
    [data-testid="stTable"] :is(th, td) {{ padding: 0.3rem 0.2rem !important; font-size: 0.8rem !important; }}
}}
[class*="st-key-prose"] [data-testid="stTable"] :is(th, td) {{ text-align: left !important; }}
[class*="st-key-aloud"] [data-testid="stMarkdown"]:not(:has([data-testid="stCaptionContainer"])) :is(p, li) {{
    font-size: 1.2rem; line-height: 1.6;
}}
button kbd, button kbd * {{ color: inherit !important; opacity: 1 !important; }}
</style>"""
Colour = Literal["red", "blue", "green", "orange", "violet", "gray"]
BADGES: dict[str, tuple[str, Colour, str]] = {
    "local": ("measured here", "blue", "Measured by this program in this folder; it is yours and is not committed."),
    "bundled": (
        "bundled",
        "gray",
        "Measured by this program on the machine that is named, and shipped with the project.",
    ),
    "reported": ("reported", "violet", "Copied from a paper or a model card, not measured by this program."),
}
STATE_COLOURS: dict[str, Colour] = {"queued": "gray", "running": "blue", "done": "green", "cancelled": "gray"}


def origin_badge(stored: Stored) -> None:
    label, colour, meaning = BADGES[stored.origin]
    st.badge(label, color=colour, help=meaning)


def place_badge(record: RunRecord) -> None:
    """The machine of a record, where that is another than this one or it had other versions then."""
    if place := here.place(record):
        told = f"Its times and its memory are from {here.whence(record)}. Measured here they may differ."
        st.badge(place, icon=":material/computer:", color="orange", help=told)


def badge_legend() -> None:
    """All badges with what each says of a figure's origin."""
    for label, colour, meaning in BADGES.values():
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(label, color=colour)
            st.caption(meaning)


def state_badge(one: Job | Sweep) -> None:
    st.badge(one.state, color=STATE_COLOURS.get(one.state, "red"))


def job_title(job: Job, recipe: str) -> str:
    """What a job does to that recipe, as the queue names it: it measures the run, or writes its model into a file."""
    return f"Export of {recipe}" if job.kind == "export" else recipe


def environment_caption(record: RunRecord) -> None:
    st.caption(f"Measured on {words.environment(record)}, {words.day(record.created_at)}.")


def skipped_note(skipped: list[Skipped]) -> None:
    """Name the record files that are not shown, and why."""
    if skipped:
        with st.expander(f"{len(skipped)} record{'s' * (len(skipped) > 1)} skipped", icon=":material/warning:"):
            for one in skipped:
                st.text(f"{one.path.name}: {one.reason}")


def picture(png: bytes | None, alt: str, missing: str) -> None:
    """A lossless picture as wide as its column, or one line that says why there is none."""
    if png is None:
        st.caption(missing)
    else:
        st.image(png, output_format="PNG", width="stretch", alt=alt)
