"""A run from click to record: submit, wait, watch it form, cancel. The job and its inputs live in the URL."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.job import ACTIVE
from dit_core.jobs import Job, Queue, QueueError
from dit_core.spec import RunSpec
from dit_core.store import Store, Stored, is_current
from dit_core.ui import components, here, images, model_file, reads, result, waiting, words
from dit_core.worker import WorkerState, ensure_worker, worker_state

EVERY_S = 0.5  # two pictures a second at most
RUN = "Queues the run, or shows it at once where it is known."
MEASURE_HERE = "Queues the run on this machine; so far it is known from another."
AGAIN = "Its record here will be a second one."
RUN_KEYS, CANCEL_KEYS = "Ctrl+Enter", "Alt+X"  # neither is taken by a browser or can be typed by accident
STAGES = {
    "load": "Loading the model",
    "train": "Training what is left",
    "baseline": "Making the baseline's images",
    "candidate": "Making the candidate's images",
    "speed": "Timing both in turn",
    "memory": "Measuring memory in a process of its own",
    "compute": "Counting operations",
    "quality": "Judging quality",
}


def submit(spec: RunSpec, *, again: bool = False) -> None:
    """Show the run if it is known or running, else queue it and name the job in the URL."""
    if (job := current_job()) and job.active and (job.kind, job.spec, job.again) == ("run", spec, again):
        return
    known = None if again else _known(spec)
    forget()
    if known:
        return
    try:
        queue = Queue()
        st.query_params["job"] = str(queue.submit(spec, again=again))
        ensure_worker(queue)
    except (BadRequest, QueueError, OSError) as error:
        st.session_state["live-error"] = str(error)


def keep_worker(queue: Queue) -> WorkerState:
    """Who works on the queue. One that died while a job waits or runs is replaced: the new one ends what was left."""
    state = worker_state(queue)
    if not state.alive and queue.count(*ACTIVE):
        ensure_worker(queue)
    return state


def forget() -> None:
    """Leave the job that is shown, unless it still runs: then it stays until it ends."""
    job = current_job()
    if job is None or not job.active:
        st.query_params.pop("job", None)


def current_job() -> Job | None:
    """The job that the URL names."""
    named = st.query_params.get("job", "")
    try:
        return Queue().get(int(named)) if named.isdecimal() and len(named) < 18 else None
    except QueueError:
        return None


def bar(spec: RunSpec | None, problem: str) -> None:
    """Run, and beside it what there is to know: the job of the URL, what is wrong with the form, or what to expect."""
    left, right = st.columns([3, 8], gap="large")
    strange = bool(spec and _known_elsewhere(spec))
    label, told = ("Measure here", MEASURE_HERE) if strange else ("Run", RUN)
    with left:
        shared: dict[str, Any] = {"type": "primary", "width": "stretch", "shortcut": RUN_KEYS, "help": told}
        clicked = st.button(label, key="run", disabled=spec is None, **shared)
    if clicked and spec:
        submit(spec, again=strange)
    with right:
        busy = _news()
        if problem:
            st.error(problem)
        elif not busy and spec and (told := expectation(spec)):
            (st.info if strange or (clicked and _known(spec)) else st.caption)(told)


def show(spec: RunSpec | None) -> None:
    """The pictures or the record of the URL's job; without one, what is known of the form's run."""
    job = current_job()
    if job and job.active:
        st.fragment(_forming, run_every=EVERY_S)(job.id)
    elif job and (stored := _made(job)):
        _result(job.spec, stored)
    elif job:
        result.nothing_yet("This job left no result. What happened stands beside **Run**.")
    elif spec and (known := _known(spec)):
        _result(spec, known)
    elif spec:
        result.nothing_yet("Not measured yet. Press **Run** to see it form beside the baseline.")
    else:
        result.nothing_yet("These inputs cannot be run. The line beside **Run** says what to change.")


def expectation(spec: RunSpec) -> str:
    """What Run will do: show what is known, or take about so long."""
    if strange := _known_elsewhere(spec):
        return (
            f"Known from {here.whence(strange.record)}: its times and its memory, shown below, are of that one. "
            f"**Measure here** runs it on this machine. {waiting.before(spec)}"
        )
    if _known(spec):
        return "Already measured: the result is on this page. **Measure again** stands beside its name."
    return waiting.before(spec)


def _known(spec: RunSpec) -> Stored | None:
    """The record of this run, unless the model has had other weights since."""
    stored = Store().get(spec.run_id)
    return stored if stored and is_current(stored.record) else None


def _known_elsewhere(spec: RunSpec) -> Stored | None:
    """The record of this run where it is known, but not from this machine as it is now."""
    known = _known(spec)
    return None if known is None or here.is_here(known.record) else known


def _news() -> bool:
    """What became of the last click, and where the URL's job stands or how it ended; whether it still runs or waits."""
    if error := st.session_state.pop("live-error", ""):
        st.error(error)
    job = current_job()
    if job is None and "job" in st.query_params:
        st.warning(f"Job {st.query_params['job']} is not in this queue. The form still has its inputs.")
    elif job and job.active:
        st.fragment(_watch, run_every=EVERY_S)(job.id)
    elif job and not _made(job):
        _ended(job)
    return bool(job and job.active)


def _watch(job_id: int) -> None:
    """Where the job stands; runs on a timer while it is active."""
    try:
        with st.container(key="moving-job"):
            _stand(job_id)
    except QueueError as error:
        st.error(str(error))


def _stand(job_id: int) -> None:
    queue = Queue()
    job = queue.get(job_id)
    if job is None or not job.active:
        st.rerun()
        return
    _heading(job, lambda: st.space("stretch"), lambda: _cancel(queue, job))
    worker = keep_worker(queue)
    if job.state == "queued":
        st.progress(0.0, text=_place(queue.position(job.id), worker))
    else:
        _running(job)


def _forming(job_id: int) -> None:
    """The pictures of a job that waits or runs."""
    with suppress(QueueError):
        queue = Queue()
        if (job := queue.get(job_id)) and job.kind == "run":
            with st.container(key="moving-pictures"):
                _slots(queue, job)


def _heading(job: Job, *beside: Callable[[], object]) -> None:
    title = components.job_title(job, words.recipe(job.spec))
    result.heading(job.spec, lambda: components.state_badge(job), *beside, title=title)


def _slots(queue: Queue, job: Job) -> None:
    """Both pictures while they form, in places that do not move."""
    folder, names = queue.folder(job.id), {"baseline": "Baseline", "candidate": words.recipe(job.spec)}
    pictures = {which: reads.preview(folder / f"{which}.png") for which in names}
    size = next((images.size_of(picture) for picture in pictures.values() if picture), None)
    blank = images.empty(size) if size else images.empty()
    if not job.spec.techniques:
        del names["candidate"]
    for (which, title), column in zip(names.items(), st.columns(2), strict=False):
        with column:
            st.markdown(f"**{title}**")
            picture = pictures[which]
            alt = f"{title}, forming" if picture else f"{title}, not begun"
            st.image(picture or blank, output_format="PNG", width="stretch", alt=alt)


def _cancel(queue: Queue, job: Job) -> None:
    label = "Stopping" if job.cancelling else "Cancel"
    shared: dict[str, Any] = {
        "args": (job.id,),
        "disabled": job.cancelling,
        "shortcut": CANCEL_KEYS,
        "help": "Frees the device.",
    }
    st.button(label, key="cancel", on_click=queue.cancel, **shared)


def _place(ahead: int, worker: WorkerState) -> str:
    """Who comes first, in words."""
    if not worker.alive:
        return "Waiting for the worker to start"
    holder = f"job {worker.job} has the device" if worker.job else "the device is idle"
    return f"Waiting: {ahead} job{'s' * (ahead != 1)} before this one, {holder}" if ahead else "Next in the queue"


def _running(job: Job) -> None:
    names, (stage, detail) = list(STAGES), _stage(job)
    place = names.index(stage) if stage in STAGES else 0
    part = min(1.0, job.step / job.of) if job.of else 0.0
    elapsed = time.time() - (job.started_at or time.time())
    told = [STAGES.get(stage, stage.capitalize() or "Starting"), detail]
    if job.of > 1:
        told.append(f"{job.step:,} of {job.of:,}")
    told += [f"{words.duration(elapsed)} elapsed", _time_left(job, stage)]
    st.progress((place + part) / len(names), text=" · ".join(filter(None, told)))


def _stage(job: Job) -> tuple[str, str]:
    """A stage and what it tells beside its name: `train (loss 0.17)` is `train` and `loss 0.17`."""
    name, _, detail = job.stage.partition(" (")
    return name, detail.removesuffix(")")


def _time_left(job: Job, stage: str) -> str:
    """As this browser saw the stage begin."""
    seen = st.session_state.setdefault(f"pace-{job.id}", {})
    began = seen.setdefault(stage, waiting.Seen(time.time(), job.step))
    return waiting.left(job, stage, time.time(), began, waiting.usual(job, reads.history()))


def _made(job: Job) -> Stored | None:
    """The record that a job left."""
    return Store().get(job.run_id) if job.state == "done" and job.run_id else None


def _ended(job: Job) -> None:
    """How a job ended that left no record."""
    _heading(job)
    if job.kind == "export" and model_file.download(job, "job"):
        return
    if job.state == "cancelled":
        st.info(job.reason or "Cancelled.")
    elif job.state == "done":
        st.warning("It is done, but what it made cannot be read any more. Run it again.")
    else:
        st.error(" ".join(f"{part.rstrip('.')}." for part in (job.reason, job.hint) if part))
        _log(job)
    if job.kind == "export":
        model_file.offer(job.spec, "job")
        return
    st.button("Run again", key="rerun", on_click=submit, args=(job.spec,), kwargs={"again": job.again})


def _result(spec: RunSpec, stored: Stored) -> None:
    """A record, with what else can be done beside its name."""

    def again() -> None:
        shared: dict[str, Any] = {
            "args": (spec,),
            "kwargs": {"again": True},
            "type": "tertiary",
            "icon": ":material/replay:",
        }
        label, told = ("Measure again", AGAIN) if here.is_here(stored.record) else ("Measure here", MEASURE_HERE)
        st.button(label, key="again", on_click=submit, help=told, **shared)

    def base() -> None:
        if spec.techniques and reads.baseline_of(stored) is None:
            st.button("Measure the baseline too", key="base", on_click=submit, args=(spec.baseline,), type="tertiary")

    def others() -> None:
        where: dict[str, Any] = {"run": reads.point_id(stored)}
        icon = ":material/show_chart:"
        st.page_link("../../pages/pareto.py", label="See it among the others", icon=icon, query_params=where)

    result.show(stored, again, base, lambda: st.space("stretch"), others)


def _log(job: Job) -> None:
    path = Queue().folder(job.id) / "log.txt"
    if path.is_file():
        with st.expander("Log"):
            st.code("\n".join(path.read_text(errors="replace").splitlines()[-60:]), language=None, wrap_lines=True)
