"""A run from click to record: submit it, follow it, show its result. The job and its inputs are in the link."""

from typing import Any

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.experiment.known import is_current
from dit_core.jobs.job import PICTURES
from dit_core.jobs.job import RUN as RUN_KIND
from dit_core.jobs.queue import Job, Queue, QueueError
from dit_core.jobs.worker import ensure_worker
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store, Stored
from dit_core.ui import comparisons, data, eta, format, provenance
from dit_core.ui.components import model_download, owner, result
from dit_core.ui.run_live import job_progress, workload

RUN = "Queues the run, or shows its result if that is already known."
MEASURE_HERE = "Queues the run on this machine. The result below is from another machine or other versions."
AGAIN = "Adds a second record of this run."
RUN_KEYS = "Ctrl+Enter"  # no browser uses it, and nobody types it by accident
LOG_LINES = 60


def submit(spec: RunSpec, *, again: bool = False, kind: str = RUN_KIND) -> None:
    """Show the run if its record exists or it is running, else queue it and name the job in the link."""
    if (job := current_job()) and job.active and (job.kind, job.spec, job.again) == (kind, spec, again):
        return
    known = None if again else _known_record(spec)
    forget()
    if known:
        return
    try:
        queue = Queue()
        st.query_params["job"] = str(queue.submit(spec, again=again, kind=kind, owner=owner.browser_id()))
        ensure_worker(queue)
    except (BadRequest, QueueError, OSError) as error:
        st.session_state["live-error"] = str(error)


def forget() -> None:
    """Remove the job from the link, unless it is still active."""
    job = current_job()
    if job is None or not job.active:
        st.query_params.pop("job", None)


def current_job() -> Job | None:
    """Return the job that the link names."""
    number = st.query_params.get("job", "")
    try:
        return Queue().get(int(number)) if number.isdecimal() and len(number) < 18 else None
    except QueueError:
        return None


def bar(spec: RunSpec | None, problem: str) -> None:
    """The Run button, and next to it the job's state, what is wrong with the form, or what Run will do."""
    left, right = st.columns([3, 8], gap="large")
    from_elsewhere = bool(spec and _record_from_elsewhere(spec))
    only = bool(st.session_state.get("pictures-only"))
    label, help_text = ("Measure here", MEASURE_HERE) if from_elsewhere and not only else ("Run", RUN)
    with left:
        options: dict[str, Any] = {"type": "primary", "width": "stretch", "shortcut": RUN_KEYS, "help": help_text}
        clicked = st.button(label, key="run", disabled=spec is None, **options)
        st.toggle(
            "Pictures only",
            key="pictures-only",
            help="Draws the images of both sides and measures nothing, which takes a fraction of the time.",
        )
    if clicked and spec:
        submit(spec, again=from_elsewhere, kind=PICTURES if only else RUN_KIND)
    with right:
        active = _job_message()
        if problem:
            st.error(format.escaped(problem))
        elif not active and spec and (message := expectation(spec, pictures_only=only)):
            (st.info if from_elsewhere or (clicked and _known_record(spec)) else st.caption)(message)
        if spec:
            st.caption(f"Runs on {format.device(spec.device)}, {spec.precision}.")
            if note := workload.unjudged_note(spec):
                st.info(note)


def show(spec: RunSpec | None) -> None:
    """The images or the record of the link's job; without a job, the known record of the form's run."""
    job = current_job()
    if job and job.active:
        job_progress.forming_images(job.id)
    elif job and (stored := _record_of(job)):
        _result(job.spec, stored)
    elif job and job.kind == PICTURES and job.state == "done":
        job_progress.pictures(Queue(), job)
    elif job:
        result.nothing_yet("This job has no result. See the message next to **Run**.")
    elif spec and (known := _known_record(spec)):
        _result(spec, known)
    elif spec:
        result.nothing_yet("Not measured yet. Press **Run** to watch its images form next to the baseline's.")
    else:
        result.nothing_yet("These inputs cannot be run. The message next to **Run** says what to change.")


def expectation(spec: RunSpec, *, pictures_only: bool = False) -> str:
    """Return what Run will do: show a known result, or run for about so long."""
    if stored := _record_from_elsewhere(spec):
        whose = f"The result below is from {provenance.source(stored.record)}, and so are its times and memory."
        press = "**Run** to draw its images" if pictures_only else "**Measure here** to run it"
        return f"{whose} Press {press} on this machine. {eta.estimate(spec, pictures_only=pictures_only)}"
    if _known_record(spec):
        return "Already measured: the result is below. To repeat the run, press **Measure again**."
    return eta.estimate(spec, pictures_only=pictures_only)


def _known_record(spec: RunSpec) -> Stored | None:
    """The record of this run, unless the model's weights have changed since."""
    stored = Store().get(spec.run_id)
    return stored if stored and is_current(stored.record) else None


def _record_from_elsewhere(spec: RunSpec) -> Stored | None:
    """The known record of this run if it is from another machine or from other versions."""
    known = _known_record(spec)
    return None if known is None or provenance.measured_here(known.record) else known


def _job_message() -> bool:
    """Draw the error of the last click, and the state or the end of the link's job; return whether it is active."""
    if error := st.session_state.pop("live-error", ""):
        st.error(format.escaped(error))
    job = current_job()
    if job is None and "job" in st.query_params:
        number = format.escaped(st.query_params["job"])
        st.warning(f"Job {number} is not in this queue. The form still has its inputs.")
    elif job and job.active:
        job_progress.status(job.id)
    elif job and not _record_of(job):
        _ended_without_record(job)
    return bool(job and job.active)


def _record_of(job: Job) -> Stored | None:
    """The record that a finished job wrote, unless the model's weights have changed since."""
    return _known_record(job.spec) if job.state == "done" and job.run_id else None


def _ended_without_record(job: Job) -> None:
    """How a job ended that has no record, and a button to repeat it."""
    job_progress.heading(job)
    if job.export_form and model_download.download(job, "job"):
        return
    if job.kind == PICTURES and job.state == "done":
        st.info("Pictures only: time, memory and quality were not measured.")
        st.button("Measure this run", key="measure", on_click=submit, args=(job.spec,))
        return
    if job.state == "cancelled":
        st.info(format.escaped(job.reason or "Cancelled."))
    elif job.state == "done":
        st.warning("The job finished, but its result can no longer be read. Run it again.")
    else:
        st.error(format.escaped(" ".join(f"{part.rstrip('.')}." for part in (job.reason, job.hint) if part)))
        _log(job)
    if job.export_form:
        model_download.offer(job.spec, "job")
        return
    st.button(
        "Run again", key="rerun", on_click=submit, args=(job.spec,), kwargs={"again": job.again, "kind": job.kind}
    )


def _result(spec: RunSpec, stored: Stored) -> None:
    """A record, with buttons next to its title to measure it, to measure its baseline, and to see it on the plots."""
    here = provenance.measured_here(stored.record)

    def measure_again() -> None:
        label, help_text = ("Measure again", AGAIN) if here else ("Measure here", MEASURE_HERE)
        options: dict[str, Any] = {"type": "tertiary", "icon": ":material/replay:", "help": help_text}
        st.button(label, key="again", on_click=submit, args=(spec,), kwargs={"again": True}, **options)

    def measure_baseline() -> None:
        if spec.techniques and data.baseline_of(stored) is None:
            st.button("Measure the baseline too", key="base", on_click=submit, args=(spec.baseline,), type="tertiary")

    def pareto_link() -> None:
        options: dict[str, Any] = {"query_params": {"run": comparisons.point_id(stored)}}
        st.page_link("../../pages/pareto.py", label="Show on the Pareto plots", icon=":material/show_chart:", **options)

    result.show(stored, measure_again, measure_baseline, lambda: st.space("stretch"), pareto_link)


def _log(job: Job) -> None:
    path = Queue().folder(job.id) / "log.txt"
    if path.is_file():
        with st.expander("Log"):
            lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:]
            st.code("\n".join(lines), language=None, wrap_lines=True)
