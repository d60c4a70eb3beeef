"""The display of a job that waits or runs: its place or stage, the time left, and its images while they form.

Both parts run on a timer while the job is active.
"""

import time
from collections.abc import Callable
from contextlib import suppress

import streamlit as st

from dit_core.jobs.job import PICTURES
from dit_core.jobs.queue import Job, Queue, QueueError
from dit_core.jobs.worker import WorkerState
from dit_core.ui import data, eta, format, images, sample_images
from dit_core.ui.components import elements, owner, result
from dit_core.ui.server import keep_worker

EVERY_S = 0.5  # at most two images a second
CANCEL_KEYS = "Alt+X"  # no browser uses it, and nobody types it by accident
PICTURE_STAGES = 5  # the first stages, after which a job that draws only pictures ends
STAGES = {  # stage names of the job runner, in order
    "load": "Loading the model",
    "reference": "Reading the reference images",
    "train": "Recovery training",
    "baseline": "Generating the baseline's images",
    "candidate": "Generating the candidate's images",
    "speed": "Timing baseline and candidate alternately",
    "compute": "Counting operations",
    "quality": "Computing quality metrics",
    "memory": "Measuring memory in a separate process",
}


def status(job_id: int) -> None:
    """The job's place in the queue or its stage, with the time left."""
    st.fragment(_status, run_every=EVERY_S)(job_id)


def forming_images(job_id: int) -> None:
    """The images of a run while they form."""
    st.fragment(_forming_images, run_every=EVERY_S)(job_id)


def heading(job: Job, *beside: Callable[[], object]) -> None:
    """What the job does and its state, with further elements to the right."""
    title = elements.job_title(job, format.recipe(job.spec))
    badges = (lambda: elements.state_badge(job), lambda: owner.badge(job))
    result.heading(job.spec, *badges, *beside, title=title)


def _status(job_id: int) -> None:
    try:
        with st.container(key="moving-job"):
            _draw_status(Queue(), job_id)
    except QueueError as error:
        st.error(format.escaped(str(error)))


def _draw_status(queue: Queue, job_id: int) -> None:
    job = queue.get(job_id)
    if job is None or not job.active:
        st.rerun()
        return
    heading(job, lambda: st.space("stretch"), elements.notify_button, lambda: _cancel_button(queue, job))
    worker = keep_worker(queue)
    if job.state == "queued":
        elements.tab_progress(0.0)
        st.progress(0.0, text=_place(queue.position(job.id), worker))
    else:
        _progress(job)


def _cancel_button(queue: Queue, job: Job) -> None:
    owner.cancel_button(job, queue.cancel, "cancel", help="Stops this job.", shortcut=CANCEL_KEYS)


def _place(ahead: int, worker: WorkerState) -> str:
    """How many jobs are ahead, and which job runs."""
    if not worker.alive:
        return "Waiting for the worker to start"
    state = f"job {worker.job} is running" if worker.job else "the worker is idle"
    return f"Waiting: {ahead} job{'s' * (ahead != 1)} ahead, {state}" if ahead else "Next in the queue"


def _progress(job: Job) -> None:
    """A bar over all stages; its text names the stage, its step, and the times."""
    stage, _, detail = job.stage.partition(" (")  # `train (loss 0.17)`
    names = list(STAGES)[: PICTURE_STAGES if job.kind == PICTURES else None]
    place = names.index(stage) if stage in names else 0
    fraction = min(1.0, job.step / job.of) if job.of else 0.0
    elapsed = max(0.0, time.time() - (job.started_at or time.time()))
    parts = [
        STAGES.get(stage, stage.capitalize() or "Starting"),
        detail.removesuffix(")"),
        f"{job.step:,} of {job.of:,}" if job.of > 1 else "",
        f"{format.duration(elapsed)} elapsed",
        _time_left(job, stage),
    ]
    elements.tab_progress((place + fraction) / len(names))
    st.progress((place + fraction) / len(names), text=" · ".join(filter(None, parts)))


def _time_left(job: Job, stage: str) -> str:
    """The time left, by the forecast, else by the pace since this browser first saw the stage."""
    starts = st.session_state.setdefault(f"pace-{job.id}", {})
    start = starts.setdefault(stage, eta.StageStart(time.time(), job.step))
    key = f"expected-{job.id}"
    if key not in st.session_state:
        st.session_state[key] = eta.expected_seconds(job, data.history())
    return eta.time_left(job, stage, time.time(), start, st.session_state[key])


def _forming_images(job_id: int) -> None:
    with suppress(QueueError):
        queue = Queue()
        if (job := queue.get(job_id)) and job.export_form is None:
            with st.container(key="moving-pictures"):
                _draw_images(queue, job)


def pictures(queue: Queue, job: Job) -> None:
    """The images of a job that drew pictures only."""
    _draw_images(queue, job)


def _draw_images(queue: Queue, job: Job) -> None:
    """The images of both sides, or placeholders of the same size, so that nothing moves when an image arrives."""
    folder, titles = queue.folder(job.id), {"baseline": "Baseline", "candidate": format.recipe(job.spec)}
    previews = {side: sample_images.preview(folder / f"{side}.png") for side in titles}
    size = next((images.size_of(preview) for preview in previews.values() if preview), None)
    placeholder = images.empty(size) if size else images.empty()
    if not job.spec.techniques:
        del titles["candidate"]
    for (side, title), column in zip(titles.items(), st.columns(2), strict=False):
        with column:
            st.markdown(f"**{title}**")
            preview = previews[side]
            state = "forming" if job.active else "pictures only"
            alt = f"{title}, {state}" if preview else f"{title}, not started"
            st.image(preview or placeholder, output_format="PNG", width="stretch", alt=alt)
