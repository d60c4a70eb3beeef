"""Parts of the page about this machine: what each technique can do here, and the queue that all browsers share."""

import inspect
import time
from functools import lru_cache

import streamlit as st

from dit_core.doctor import limits
from dit_core.jobs import Job, Queue
from dit_core.techniques import Knob, Technique, registry
from dit_core.ui import components, form, gauges, live, looks, words

EVERY_S = 2.0
DEVICES = {"cpu": "processor", "cuda": "GPU"}


def family(name: str, members: list[Technique], device: str) -> None:
    """The techniques of one family, under its colour and shape on the plots."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.image(looks.swatch(name), width=16, alt=f"The mark of {name} on the plots")
        st.subheader(name.capitalize(), width="content", anchor=False)
    for technique in members:
        technique_card(technique, device)


@st.fragment
def technique_card(technique: Technique, device: str) -> None:
    """What a technique does, its knobs in plain words, and what this device refuses, with the reason."""
    refused = _refused(technique.name, device)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{technique.title}**", width="content")
            if refused:
                st.badge("not everything runs here", color="orange")
            st.space("stretch")
            query = {"technique": technique.name}
            st.page_link("../../pages/run_live.py", label="Run live", icon=":material/play_arrow:", query_params=query)
        st.caption(technique.summary)
        for value, reason in refused.items():
            st.warning(f"{value} cannot run on this machine's {DEVICES.get(device, device)}: {reason}")
        more = st.expander("How it works, and its knobs", key=f"about-{technique.name}", bind="query-params")
        if more.open:
            more.markdown(inspect.cleandoc(technique.description).partition("\n")[2])
            more.table(
                {words.knob_label(knob.name): f"{_limits(knob)}. {knob.help}" for knob in technique.knobs},
                border="horizontal",
                alt=f"Knobs of {technique.title}",
            )


@st.fragment(run_every=EVERY_S)
def live_readings() -> None:
    """What the device is doing now: each GPU where NVML tells, the processor in any case."""
    readings, st.session_state["ticks"] = gauges.processor(st.session_state.get("ticks"))
    found, reason = gauges.gpus()
    for name, shown in [*found, ("Processor", readings)]:
        st.markdown(f"**{name}**")
        with st.grid(2, min_column_width=130, gap="small"):
            for one in shown:
                st.metric(one.title, one.text, help=one.reason or None)
    if not found:
        st.caption(f"No GPU readings: {reason}")


def queue_table(queue: Queue) -> None:
    """The latest jobs, with who has the device, and a way to cancel and to look."""
    live.keep_worker(queue)
    jobs = queue.list(20)
    if not jobs:
        st.caption("No job has been submitted yet.")
    for job in jobs:
        with st.container(horizontal=True, vertical_alignment="center"):
            components.state_badge(job)
            st.page_link(
                "../../pages/run_live.py",
                label=f"Job {job.id}: {components.job_title(job, words.title(job.spec))}",
                query_params={**form.address(job.spec), "job": str(job.id)},
            )
            st.caption(_when(job), width="content")
            if job.active:
                st.button("Cancel", key=f"cancel-{job.id}", on_click=queue.cancel, args=(job.id,), type="tertiary")


@lru_cache(maxsize=64)
def _refused(name: str, device: str) -> dict[str, str]:
    return limits(registry()[name], device)


def _when(job: Job) -> str:
    if job.state == "queued":
        return f"waiting for {words.duration(time.time() - job.created_at)}"
    if job.state == "running" and job.started_at:
        return f"running for {words.duration(time.time() - job.started_at)}"
    took = f", took {words.duration(job.ended_at - job.started_at)}" if job.started_at and job.ended_at else ""
    ago = f"{words.duration(time.time() - job.ended_at)} ago" if job.ended_at else ""
    return f"{ago}{took}{f': {job.reason}' if job.reason else ''}"


def _limits(knob: Knob) -> str:
    if knob.choices:
        return f"{', '.join(map(words.knob_value, knob.choices))} (default {words.knob_value(knob.default)})"
    if knob.kind is bool:
        return f"yes or no (default {words.knob_value(knob.default)})"
    if knob.min is not None and knob.max is not None:
        return (
            f"{words.knob_value(knob.min)} to {words.knob_value(knob.max)} (default {words.knob_value(knob.default)})"
        )
    return f"default {words.knob_value(knob.default)}"
