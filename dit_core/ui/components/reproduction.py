"""Reproduce a record: a button that measures its run again here, and the comparison figure by figure."""

import streamlit as st

from dit_core.analysis import verify
from dit_core.analysis.reproducibility import Comparison, differences, short
from dit_core.analysis.verify import Rerun
from dit_core.errors import BadRequest
from dit_core.experiment import known
from dit_core.experiment.checks import check
from dit_core.jobs.queue import Job, Queue, QueueError
from dit_core.jobs.worker import ensure_worker
from dit_core.records.store import Store, Stored
from dit_core.ui import comparisons, data

HELP = "Measures this run again on this machine, as a second record, and compares figure by figure."
EVERY_S = 2.0  # seconds between two looks at a running job


def offer(stored: Stored) -> None:
    """Draw the button and, once the run was measured again on this machine, the comparison with the record."""
    try:
        job = _active(stored)
    except QueueError as error:
        st.caption(str(error))
        return
    st.fragment(_button, run_every=EVERY_S if job else None)(stored)
    if again := rerun_of(stored):
        _comparison(verify.compared_with(stored.path.name, stored.record, again.record))


def rerun_of(stored: Stored) -> Stored | None:
    """Return the newest record of the same run that this machine measured after this record; None if there is none."""
    here = known.fingerprint(stored.record.environment["device"]) if _has_device(stored) else None
    later = (
        item
        for item in Store().load().records  # newest first
        if item.origin == "local" and item.record.run_id == stored.record.run_id and item.recency > stored.recency
    )
    return next((item for item in later if here and item.record.environment["fingerprint"] == here), None)


def _button(stored: Stored) -> None:
    """Draw the state of the run that measures the record again, or the button that starts it."""
    job, was, key = _active(stored), "reproducing", stored.point_id
    if job:
        st.session_state[was] = job.id
        ahead = Queue().position(job.id)
        progress = f"waiting for {ahead} job{'s' * (ahead != 1)}" if ahead else "measuring…"
        st.button(f"Reproduce: {progress}", key=f"reproducing-{key}", disabled=True, icon=":material/hourglass_top:")
        return
    if st.session_state.pop(was, None):
        st.rerun()  # stops the timer and shows the comparison
    problem = _problem(stored)
    st.button(
        "Reproduce here",
        key=f"reproduce-{key}",
        icon=":material/replay:",
        on_click=_submit,
        args=(stored,),
        disabled=bool(problem),
        help=problem or f"{HELP} {_expected(stored)}".strip(),
    )


def _expected(stored: Stored) -> str:
    """Return before a run how this machine differs from the record's and what that means; empty if it does not."""
    here = known.local_environment(stored.record.environment["device"])
    sentences = map(str, differences(stored.record.environment, here or {}))
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def _problem(stored: Stored) -> str:
    """Return why this machine cannot measure the run; empty if it can."""
    if not _has_device(stored):
        return f"This machine has no {stored.record.environment['device']}."
    try:
        check(comparisons.spec_of(stored))
    except BadRequest as error:
        return str(error)
    return ""


def _has_device(stored: Stored) -> bool:
    return stored.record.environment["device"] in data.devices()


def _active(stored: Stored) -> Job | None:
    """Return the waiting or running job that measures this run."""
    jobs = (job for job in data.history() if job.active and job.export_form is None)
    return next((job for job in jobs if job.spec.run_id == stored.record.run_id), None)


def _submit(stored: Stored) -> None:
    try:
        queue = Queue()
        if _active(stored) is None:
            queue.submit(comparisons.spec_of(stored), again=True)
        ensure_worker(queue)
    except (BadRequest, QueueError, OSError) as error:
        st.toast(str(error))


def _comparison(run: Rerun) -> None:
    """Draw how many figures hold, how the environments differ, and every figure that was compared."""
    with st.expander(f"Reproduced here: {run.outcome}", key=f"reproduced-{run.file}", expanded=not run.ok):
        for difference in run.differences:
            st.markdown(f"- {str(difference)[0].upper()}{str(difference)[1:]}.")
        rows = sorted(run.compared, key=lambda comparison: comparison.ok)
        st.dataframe(
            {
                "Figure": [row.field for row in rows],
                "Recorded": [short(row.recorded) for row in rows],
                "Measured here": [short(row.measured) for row in rows],
                "Allowed": [row.allowed for row in rows],
                "Holds": [_holds(row) for row in rows],
            },
            hide_index=True,
            alt=f"Figures of {run.label}, recorded and measured here",
        )
        if skipped := len(run.comparisons) - len(rows):
            st.caption(f"{skipped} fields are not compared: they describe the machine, the effort or single files.")


def _holds(comparison: Comparison) -> str:
    return "yes" if comparison.ok else "NO"
