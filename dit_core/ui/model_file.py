"""A recipe's network as a file to take away: the worker writes it, for the server has no torch."""

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.jobs import Job, Queue, QueueError
from dit_core.models import catalog
from dit_core.spec import RunSpec
from dit_core.ui import reads, words
from dit_core.worker import ensure_worker

EVERY_S = 1.0  # seconds between two looks at a file that is being written


def offer(spec: RunSpec, place: str) -> None:
    """Make it, watch it being made, or download it; `place` keeps two offers on one page apart."""
    if catalog.is_random(spec.model):
        return
    try:
        job = newest(spec)
        st.fragment(_stand, run_every=EVERY_S if job and job.active else None)(spec, place)
    except QueueError as error:
        st.caption(str(error))


def newest(spec: RunSpec) -> Job | None:
    """The latest job that writes this recipe's network, whoever asked for it."""
    exports = (job for job in reads.history() if job.kind == "export")
    return next((job for job in exports if _network(job.spec) == _network(spec)), None)


def download(job: Job, place: str) -> bool:
    """A button for the file of an ended job; False where there is none, or one from other weights of the model."""
    path = Queue().archive(job)
    if job.state != "done" or not path.is_file():
        return False
    st.download_button(
        f"Model ({words.size(path.stat().st_size)} zip)",
        path.read_bytes,
        f"{job.spec.model}-{job.spec.run_id}.zip",
        "application/zip",
        on_click="ignore",
        icon=":material/download:",
        key=f"model-{place}",
        help="Unpack it and give the folder's path as --model.",
    )
    return True


def _stand(spec: RunSpec, place: str) -> None:
    job, was = newest(spec), f"export-{place}"
    if job and job.active:
        st.session_state[was] = job.id
        ahead = Queue().position(job.id)
        waiting = f"waiting for {ahead} job{'s' * (ahead != 1)}" if ahead else "the worker is at it"
        st.button(f"Model file: {waiting}", key=f"making-{place}", disabled=True, icon=":material/hourglass_top:")
        return
    if st.session_state.pop(was, None):
        st.rerun()  # the timer has nothing more to watch
    if job and download(job, place):
        return
    st.button(
        "Make the model file",
        key=f"make-{place}",
        icon=":material/deployed_code:",
        on_click=_submit,
        args=(spec,),
        help="The worker applies the recipe and writes the network into a zip, which can then be downloaded here.",
    )
    if job and job.reason:
        st.caption(f"The last try: {job.reason}")


def _network(spec: RunSpec) -> tuple:
    """What of a spec the network depends on; how it is sampled and judged does not matter."""
    return spec.model, spec.techniques, spec.seed, spec.device


def _submit(spec: RunSpec) -> None:
    try:
        queue = Queue()
        queue.submit(spec, kind="export")
        ensure_worker(queue)
    except (BadRequest, QueueError, OSError) as error:
        st.toast(str(error))
