"""Style sheet, badges, captions and pictures that several pages share."""

from pathlib import Path
from typing import Any, Literal

import streamlit as st

from dit_core.jobs.job import PICTURES
from dit_core.jobs.queue import Job, Sweep
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Skipped, Stored
from dit_core.ui import data, format, provenance, style

MARK = str(Path(__file__).parents[1] / "mark.svg")
# Corrections of Streamlit's own style:
# - contrast: text on the dark theme's primary colour, text of plots (also over filled cells), shortcut keys on buttons;
# - no fading while a fragment reruns, because a timer would make it flicker;
# - a visible ring around the link or button with the keyboard focus;
# - numbers of tables aligned right, except in containers whose key begins with `prose`; less padding on a phone,
#   where pictures come before the form and there are no hints about keys;
#   titles are smaller, and samples stand side by side, before the figures;
# - notes below plots, marks below sliders, the button that copies the link, elements that only run a script;
# - larger text in containers whose key begins with `aloud`, for a projector.
STYLE = f"""<style>
[data-testid="stMultiSelect"] [data-tag-index] * {{ color: light-dark(#fff, #101317); }}
button[kind="primary"]:enabled, button[kind="primary"]:enabled * {{ color: light-dark(#fff, #101317); }}
.js-plotly-plot :is(.xtick, .ytick) > text,
.js-plotly-plot :is(.xtitle, .ytitle, .legendtext, .annotation-text) {{
    fill: light-dark({", ".join(style.INKS)}) !important;
}}
:is(a, button, summary):focus-visible {{
    outline: 2px solid light-dark(#2a5fd0, #7da6ff) !important; outline-offset: 1px;
}}
[data-stale] {{ opacity: 1 !important; transition: none !important; }}
[data-testid="stMetricLabel"] * {{ white-space: normal !important; overflow: visible !important; }}
[data-testid="stTable"] {{ font-variant-numeric: tabular-nums; }}
[data-testid="stTable"] :is(th, td):not(:first-child) {{ text-align: right !important; }}
@media (max-width: 640px) {{
    [data-testid="stTable"] :is(th, td) {{ padding: 0.3rem 0.15rem !important; font-size: 0.72rem !important; }}
    [data-testid="stTable"] th {{ min-width: 3.2rem !important; }}
    [data-testid="stTable"] th * {{ font-size: 0.68rem !important; overflow-wrap: anywhere !important; }}
}}
@media (max-width: 640px) {{
    h1 {{ font-size: 1.5rem !important; line-height: 1.2 !important; padding: 0.4rem 0 !important; }}
    [data-testid="stMainBlockContainer"] > [data-testid="stVerticalBlock"] {{ gap: 0.7rem; }}
    [data-testid="stLayoutWrapper"]:has(> [class*="st-key-after-pictures-"]) {{ order: 1; }}
    .st-key-side-by-side [data-testid="stHorizontalBlock"] {{ flex-wrap: nowrap !important; gap: 0.6rem !important; }}
    .st-key-side-by-side [data-testid="stColumn"] {{ min-width: 0 !important; }}
    .dit-note {{ min-height: 2.7em; }}
    [data-testid="stMetricValue"] {{ font-size: 1.15rem !important; }}
    .js-plotly-plot .modebar {{ display: none !important; }}
    .st-key-pictures-first > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] {{ gap: 0.7rem; }}
    .st-key-pictures-first > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] > :last-child,
    .st-key-pictures-first > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] > :last-child
    > [data-testid="stVerticalBlock"] {{ display: contents; }}
    .st-key-pictures-first > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] > :last-child
    > [data-testid="stVerticalBlock"] > :not(:has(> [class*="st-key-after-pictures-"])) {{ order: -1; }}
}}
@media (max-width: 640px), (pointer: coarse) {{ button kbd {{ display: none !important; }} }}
[class*="st-key-prose"] [data-testid="stTable"] :is(th, td) {{ text-align: left !important; }}
[class*="st-key-aloud"] [data-testid="stMarkdown"]:not(:has([data-testid="stCaptionContainer"])) :is(p, li) {{
    font-size: 1.2rem; line-height: 1.6;
}}
.dit-marks {{ position: relative; height: 8px; margin-top: -0.9rem; }}
.dit-marks i {{
    position: absolute; width: 8px; height: 8px; margin-left: -4px; border-radius: 50%;
    background: light-dark(#0E9280, #3BC9B4);
}}
[class*="st-key-silent"], [data-testid="stLayoutWrapper"]:has(> [class*="st-key-silent"]) {{ display: none; }}
:is(.dit-copy, .dit-save, .dit-notify) {{
    font: inherit; font-size: 0.875rem; color: inherit; background: none; cursor: pointer; padding: 0.3rem 0.7rem;
    border: 1px solid light-dark(#7A828E, #7A828E); border-radius: 0.5rem; white-space: nowrap;
}}
:is(.dit-copy, .dit-save, .dit-notify):hover {{ border-color: light-dark(#2a5fd0, #7da6ff); }}
.dit-foot {{ display: flex; gap: 0.4rem; align-items: flex-start; }}
.dit-foot .dit-note {{ flex: 1; }}
.dit-save {{ font-size: 0.75rem; padding: 0.1rem 0.45rem; }}
.dit-note {{ font-size: 0.8rem; line-height: 1.35; min-height: 4.05em; opacity: 0.85; }}
[class*="st-key-aloud"] h3 {{ font-size: 1.4rem; }}
[class*="st-key-aloud"] :is(
    [data-testid="stCaptionContainer"] :is(p, li), summary p, button p, [data-testid="stPageLink"] :is(p, span),
    .stMarkdownBadge, td, th, .dit-note, .dit-save
) {{
    font-size: 1rem !important;
}}
button kbd, button kbd * {{ color: inherit !important; opacity: 1 !important; }}
</style>"""
# DOMPurify removes a script that contains a tag, also inside a string; the escape means the same inside strings.
_SOURCE = (Path(__file__).parent / "page.js").read_text().replace("<", "\\u003c")
SCRIPT = f"<script>{_SOURCE}</script>"
COPY_LINK = (
    '<button class="dit-copy" type="button" title="Copies the address of this view to the clipboard.">'
    "<span>Copy link</span></button>"
)
NOTIFY = (
    '<button class="dit-notify" type="button" title="The browser reports the end of the job if its tab is hidden.">'
    "Notify me</button>"
)
IN_URL: dict[str, Any] = {"bind": "query-params"}  # a widget whose value is in the link
Colour = Literal["red", "blue", "green", "orange", "violet", "gray"]
BADGES: dict[str, tuple[str, Colour, str]] = {
    "local": ("measured here", "blue", "Measured by this program and stored in your results folder only."),
    "bundled": ("bundled", "gray", "Measured by this program on the named machine and shipped with the project."),
    "imported": ("imported", "green", "Measured by this program on the named machine and imported from there."),
    "reported": ("reported", "violet", "Copied from a paper or a model card, not measured by this program."),
}
STATE_COLOURS: dict[str, Colour] = {"queued": "gray", "running": "blue", "done": "green", "cancelled": "gray"}


NOT_RETRAINED: tuple[str, Colour, str] = (
    format.NOT_RETRAINED,
    "orange",
    "A technique of this run removed or replaced a part of the network, and the network was not trained afterwards. "
    "Its images are worse than they can be. Open symbols on the plots.",
)


def command(spec: RunSpec) -> None:
    """Draw the command that repeats a run on this machine."""
    st.code(spec.command(data.assumed_fields(spec.model)), language=None, wrap_lines=True)


def training_badge(spec: RunSpec) -> None:
    """Draw a badge if a run removed a part of the network without training afterwards."""
    if format.training(spec) == format.NOT_RETRAINED:
        label, colour, meaning = NOT_RETRAINED
        st.badge(label, color=colour, help=meaning)


def origin_badge(stored: Stored) -> None:
    """Draw the badge that says whether a record was measured here or is bundled."""
    label, colour, meaning = BADGES[stored.origin]
    st.badge(label, color=colour, help=meaning)


def place_badge(record: RunRecord) -> None:
    """Draw the machine or the versions of a record, if they differ from this machine's."""
    if place := provenance.difference(record):
        note = f"Time and memory were measured on {provenance.source(record)}. They may differ here."
        st.badge(place, icon=":material/computer:", color="orange", help=note)


def script() -> None:
    """Run the script of the pages in the browser: `page.js`."""
    with st.container(key="silent-script"):
        st.html(SCRIPT, unsafe_allow_javascript=True)


def tab_progress(share: float) -> None:
    """Show the progress of a job in the title of the browser's tab."""
    with st.container(key="silent-progress"):
        st.html(f'<span class="dit-progress" data-share="{100 * share:.0f} %"></span>')


def notify_button() -> None:
    """Draw a button that asks the browser for permission to report the end of a job while its tab is hidden."""
    st.html(NOTIFY, width="content")


def heading(title: str) -> None:
    """Draw the title of a page, with a button at the right that copies the link of the present view."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title(title, anchor=False, width="stretch")
        st.html(COPY_LINK, width="content")


def badge_legend() -> None:
    """Draw all badges, each with its meaning."""
    for label, colour, meaning in (*BADGES.values(), NOT_RETRAINED):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(label, color=colour)
            st.caption(meaning)


def state_badge(work: Job | Sweep) -> None:
    """Draw the state of a job or a sweep."""
    st.badge(work.state, color=STATE_COLOURS.get(work.state, "red"))


def job_title(job: Job, recipe: str) -> str:
    """Return the title of a job in the queue: the recipe that it measures, exports or draws pictures of."""
    if job.kind == PICTURES:
        return f"Pictures of {recipe}"
    return f"Export of {recipe}" if job.export_form else recipe


def environment_caption(record: RunRecord) -> None:
    """Draw where and when a record was measured."""
    st.caption(f"Measured on {format.environment(record)}, {format.day(record.created_at)}.")
    if facts := format.model_facts(record):
        st.caption(format.escaped(f"Model: {facts}."))


def skipped_note(skipped: list[Skipped]) -> None:
    """List the record files that could not be read, each with its reason; nothing if there are none."""
    if skipped:
        with st.expander(f"{len(skipped)} record{'s' * (len(skipped) > 1)} skipped", icon=":material/warning:"):
            for file in skipped:
                st.text(f"{file.path.name}: {file.reason}")


def picture(png: bytes | None, alt: str, missing: str) -> None:
    """Draw a lossless picture as wide as its column, or the text `missing` if there is none."""
    if png is None:
        st.caption(missing)
    else:
        st.image(png, output_format="PNG", width="stretch", alt=alt)
