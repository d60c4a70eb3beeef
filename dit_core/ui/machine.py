"""Parts of the page about this machine: what each technique can do here, and the queue that all browsers share."""

import inspect
import time
from collections.abc import Callable
from functools import lru_cache, partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dit_core.doctor import limits
from dit_core.jobs import Job, Queue, Sweep
from dit_core.techniques import Knob, Technique, registry
from dit_core.ui import components, form, gauges, live, looks, sweeps, words

EVERY_S = 2.0
WIDE = 210  # pixels: `12.3 GB of 80.0 GB` is not cut
DEVICES = {"cpu": "processor", "cuda": "GPU"}


@st.fragment
def family(name: str, members: list[Technique], device: str) -> None:
    """The techniques of one family, one row each, under its colour and shape; more about them on request."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.image(looks.swatch(name), width=16, alt=f"The mark of {name} on the plots")
        st.subheader(name.capitalize(), width="content", anchor=False)
    with st.container(gap="xsmall"):
        for technique in members:
            _row(technique, device)
    more = st.expander("How it works, and the knobs", key=f"about-{name}", bind="query-params")
    if more.open:
        for technique in members:
            _about(more, technique)


def _row(technique: Technique, device: str) -> None:
    """What a technique does, what this device refuses, with the reason, and the way to run it."""
    left, right = st.columns([2, 6], gap="xxsmall", vertical_alignment="center")
    shared = {"icon": ":material/play_arrow:", "help": "Run it live", "query_params": {"technique": technique.name}}
    left.page_link("../../pages/run_live.py", label=f"**{technique.title}**", **shared)
    with right.container(gap="xxsmall"):
        st.caption(technique.summary)
        for told in _refused(technique.name, device):
            st.markdown(f":orange[:small[:material/block: {told}]]")


def _about(where: DeltaGenerator, technique: Technique) -> None:
    """How a technique works, and its knobs in plain words."""
    where.markdown(f"**{technique.title}**  \n{inspect.cleandoc(technique.description).partition(chr(10))[2].strip()}")
    where.container(key=f"prose-{technique.name}").table(
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
        with st.grid(2, min_column_width=WIDE, gap="small"):
            for one in shown:
                st.metric(one.title, one.text, help=one.reason or None)
    if not found:
        st.caption(f"No GPU readings: {reason}")


def queue_table(queue: Queue) -> None:
    """The latest jobs and sweeps, newest first, with who has the device, and a way to cancel and to look."""
    live.keep_worker(queue)
    jobs, found = queue.list(20, single=True), queue.sweeps()
    if not jobs and not found:
        st.caption("No job has been submitted yet.")
    titles = words.brief_titles([job.spec for job in jobs])  # told apart by the knobs that differ
    lines: dict[int, Callable[[], None]] = {sweep.id: partial(_sweep_line, queue, sweep) for sweep in found}
    lines |= {job.id: partial(_job_line, queue, job, title) for job, title in zip(jobs, titles, strict=True)}
    for number in sorted(lines, reverse=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            lines[number]()


def _job_line(queue: Queue, job: Job, title: str) -> None:
    components.state_badge(job)
    st.page_link(
        "../../pages/run_live.py",
        label=f"Job {job.id}: {components.job_title(job, title)}",
        query_params={**form.address(job.spec), "job": str(job.id)},
    )
    st.caption(_when(job), width="content")
    if job.active:
        st.button("Cancel", key=f"cancel-{job.id}", on_click=queue.cancel, args=(job.id,), type="tertiary")


def _sweep_line(queue: Queue, sweep: Sweep) -> None:
    components.state_badge(sweep)
    label, where = f"Sweep {sweep.id}: {sweeps.title(sweep)}", {"sweep": str(sweep.id)}
    st.page_link("../../pages/run_live.py", label=label, query_params=where)
    st.caption(sweeps.stand(queue, sweep), width="content")
    if sweep.active:
        sweeps.cancel_button(queue, sweep)


@lru_cache(maxsize=64)
def _refused(name: str, device: str) -> list[str]:
    """What a device refuses, once for each reason: `mode float8 needs a GPU` or `pick b: it needs a GPU`."""
    told = []
    for value, reason in limits(registry()[name], device).items():
        knob, _, setting = value.partition("=")
        named = f"{words.knob_label(knob).lower()} {setting}"
        told.append(reason if named in reason else f"{named}: {reason}")
    return list(dict.fromkeys(told))


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
