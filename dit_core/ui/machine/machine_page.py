"""Parts of the page This machine: current load, the job queue, bundled weights, and what each technique can do."""

import inspect
import time
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import groupby

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dit_core.errors import BadRequest
from dit_core.experiment.doctor import BundledSetting, bundled_settings, limits
from dit_core.jobs.queue import Job, Queue, QueueError, Sweep
from dit_core.recipes.knobs import Knob
from dit_core.recipes.registry import Technique, registry
from dit_core.records.spec import RunSpec
from dit_core.ui import format, home, style
from dit_core.ui.components import elements, owner, sweeps
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.machine import gauges
from dit_core.ui.run_live import form
from dit_core.ui.server import keep_worker

EVERY_S = 2.0
GAUGE_WIDTH = 165  # pixels: two in a row on a phone; `12.3 GB of 80.0 GB` fits
JOBS = 20  # latest single jobs in the list
RUN_LIVE = "../../pages/run_live.py"


@st.fragment(run_every=EVERY_S)
def live_readings() -> None:
    """The current load of every GPU and of the processor, on a timer."""
    processor, st.session_state["ticks"] = gauges.processor(st.session_state.get("ticks"))
    gpus, reason = gauges.gpus()
    for name, readings in [*gpus, ("Processor", processor)]:
        st.markdown(f"**{name}**")
        with st.grid(2, min_column_width=GAUGE_WIDTH, gap="small"):
            for gauge in readings:
                st.metric(gauge.title, gauge.text, help=gauge.reason or None)
    if not gpus:
        st.caption(f"No GPU readings: {reason}")


@st.fragment(run_every=EVERY_S)
def queue_list() -> None:
    """The worker, and the latest jobs and sweeps of all browsers, newest first, on a timer.

    The timer also runs while no job is active, because another browser may submit one.
    """
    try:
        _queue_list(Queue())
    except QueueError as error:
        st.error(format.escaped(str(error)))


def _queue_list(queue: Queue) -> None:
    """The worker's state, and each job and sweep with its state, a link and a Cancel button."""
    keep_worker(queue)
    home.this_machine()
    jobs, all_sweeps = queue.list(JOBS, single=True), queue.sweeps()
    if not jobs and not all_sweeps:
        st.caption("No jobs yet.")
    titles = format.brief_titles([job.spec for job in jobs])
    lines: dict[int, Callable[[], None]] = {sweep.id: partial(_sweep_line, queue, sweep) for sweep in all_sweeps}
    lines |= {job.id: partial(_job_line, queue, job, title) for job, title in zip(jobs, titles, strict=True)}
    for number in sorted(lines, reverse=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            lines[number]()


def bundled_weights() -> None:
    """A table per model of the settings with bundled recovered weights, by technique; folded."""
    more = st.expander("Bundled recovered weights", key="bundled-weights", **IN_URL)
    if not more.open:
        return
    try:
        settings = bundled_settings()
    except BadRequest as error:
        more.error(format.escaped(str(error)))
        return
    if not settings:
        more.caption("No model has bundled recovered weights.")
    else:
        more.caption("With these settings, choose *Recover: bundled* to use trained weights without training here.")
    for model, of_model in groupby(settings, lambda setting: setting.model):
        columns: dict[str, list[str]] = {"Recipe": [], "Knobs": [], "Training steps": []}
        for setting in of_model:
            columns["Recipe"].append(format.recipe(RunSpec(techniques=setting.recipe)))
            columns["Knobs"].append(_recovered_knobs(setting) or format.UNKNOWN)
            columns["Training steps"].append(f"{setting.steps:,}")
        more.markdown(f"**{model}**")
        with more.container(key=f"prose-bundled-{model}"):
            st.table(columns, border="horizontal", hide_index=True, alt=f"Bundled recovered weights of {model}")


@st.fragment
def family(name: str, members: list[Technique], device: str) -> None:
    """The techniques of a family, one row each, and on request how they work and which knobs they have."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.image(style.swatch(name), width=16, alt=f"The mark of {name} on the plots")
        st.subheader(name.capitalize(), width="content", anchor=False)
    with st.container(gap="xsmall"):
        for technique in members:
            _row(technique, device)
    more = st.expander("How it works, and the knobs", key=f"about-{name}", **IN_URL)
    if more.open:
        for technique in members:
            _about(more, technique)


def _row(technique: Technique, device: str) -> None:
    """A technique with a link to its form, what it does, and what the device does not support."""
    left, right = st.columns([2, 6], gap="xxsmall", vertical_alignment="center")
    left.page_link(
        RUN_LIVE,
        label=f"**{technique.title}**",
        icon=":material/play_arrow:",
        help="Open it on Run live.",
        query_params=form.technique_address(technique.name),
    )
    with right.container(gap="xxsmall"):
        st.caption(technique.summary)
        for limit in _device_limits(technique.name, device):
            st.markdown(f":orange[:small[:material/block: {limit}]]")


def _about(where: DeltaGenerator, technique: Technique) -> None:
    """How a technique works, and a table of its knobs."""
    details = inspect.cleandoc(technique.description).partition("\n")[2].strip()
    where.markdown(f"**{technique.title}**  \n{details}")
    where.container(key=f"prose-{technique.name}").table(
        {format.knob_label(knob.name): f"{_values(knob)}. {knob.help}" for knob in technique.knobs},
        border="horizontal",
        alt=f"Knobs of {technique.title}",
    )


def _job_line(queue: Queue, job: Job, title: str) -> None:
    elements.state_badge(job)
    label = f"Job {job.id}: {elements.job_title(job, title)}"
    st.page_link(RUN_LIVE, label=label, query_params={**form.address(job.spec), "job": str(job.id)})
    st.caption(_times(job), width="content")
    owner.badge(job)
    if job.active:
        owner.cancel_button(job, queue.cancel, f"cancel-{job.id}", type="tertiary")


def _sweep_line(queue: Queue, sweep: Sweep) -> None:
    elements.state_badge(sweep)
    label = f"Sweep {sweep.id}: {sweeps.title(sweep)}"
    st.page_link(RUN_LIVE, label=label, query_params={"sweep": str(sweep.id)})
    st.caption(sweeps.status(queue, sweep), width="content")
    owner.badge(sweep)
    if sweep.active:
        sweeps.cancel_button(queue, sweep)


def _times(job: Job) -> str:
    """How long a job has waited or run, or when it ended, how long it took and why it failed."""
    if job.state == "queued":
        return f"waiting for {format.duration(max(0.0, time.time() - job.created_at))}"
    if job.state == "running" and job.started_at:
        return f"running for {format.duration(max(0.0, time.time() - job.started_at))}"
    ended = f"{format.duration(max(0.0, time.time() - job.ended_at))} ago" if job.ended_at else ""
    took = f", took {format.duration(job.ended_at - job.started_at)}" if job.started_at and job.ended_at else ""
    return f"{ended}{took}{f': {job.reason}' if job.reason else ''}"


@lru_cache(maxsize=64)
def _device_limits(name: str, device: str) -> list[str]:
    """What a device does not support, each reason once: `pick b: it needs a GPU`, or `mode float8 needs a GPU`."""
    lines = []
    for value, reason in limits(registry()[name], device).items():
        knob, _, setting = value.partition("=")
        subject = f"{format.knob_label(knob).lower()} {setting}"
        lines.append(reason if subject in reason else f"{subject}: {reason}")
    return list(dict.fromkeys(lines))


def _values(knob: Knob) -> str:
    """The values that a knob takes, and its default."""
    default = f"default {format.knob_value(knob.default)}"
    if knob.choices:
        return f"{', '.join(map(format.knob_value, knob.choices))} ({default})"
    if knob.kind is bool:
        return f"yes or no ({default})"
    if knob.min is not None and knob.max is not None:
        return f"{format.knob_value(knob.min)} to {format.knob_value(knob.max)} ({default})"
    return default


def _recovered_knobs(setting: BundledSetting) -> str:
    """The knobs of the technique that was recovered: `keep 4, importance influence`."""
    knobs = {name: value for name, value in setting.recipe[-1].items() if name != "recover"}
    return format.knobs(RunSpec(techniques=(knobs,)))
