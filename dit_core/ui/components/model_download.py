"""Download of a recipe's network as a file. The worker writes the file, because the server does not load torch."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.experiment.checks import export_forms
from dit_core.jobs.job import KINDS
from dit_core.jobs.queue import Job, Queue, QueueError
from dit_core.jobs.worker import ensure_worker
from dit_core.models import sources
from dit_core.models.formats import FOLDER, FORMS
from dit_core.records.spec import RunSpec
from dit_core.ui import data, format
from dit_core.ui.components import owner
from dit_core.ui.components.follow import follow

FORM_TITLES = {
    FOLDER: "Model folder",
    "diffusers": "diffusers pipeline",
    "pt": "fast-DiT .pt",
    "safetensors": "safetensors",
}
WIDTH = 200  # pixels
EVERY_S = 1.0  # seconds between two checks while the file is being written


def offer(spec: RunSpec, place: str) -> None:
    """Draw a button that downloads the model of a recipe, or one that asks the worker to write it.

    `place` distinguishes several buttons on one page. Draws nothing for models that cannot be exported.
    """
    source = sources.find_if_known(spec.model)
    if source is None or source.export_problem:
        return
    try:
        forms = export_forms(spec)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            form = forms[0] if len(forms) == 1 else _choose(forms, place)
            job = newest(spec, form)
            follow(partial(_button, spec, place, form), bool(job and job.active), EVERY_S)
    except (QueueError, BadRequest) as error:
        st.caption(str(error))


def newest(spec: RunSpec, form: str = FOLDER) -> Job | None:
    """Return the latest job that exports this recipe's network in a format; None if there is none."""
    exports = (job for job in data.history() if job.export_form == form)
    return next((job for job in exports if _network(job.spec) == _network(spec)), None)


def download(job: Job, place: str) -> bool:
    """Draw a button that downloads the file of a finished job; False if the file is missing or has outdated weights."""
    path = Queue().archive(job)
    if job.state != "done" or not path.is_file():
        return False
    st.download_button(
        f"Model ({format.size(path.stat().st_size)} zip)",
        path.read_bytes,
        f"{Path(job.spec.model).name}-{job.spec.run_id}.zip",
        "application/zip",
        on_click="ignore",
        icon=":material/download:",
        key=f"model-{place}",
        help="Unpack it. The file README.md says how to load the model.",
    )
    return True


def _choose(forms: Sequence[str], place: str) -> str:
    return st.selectbox(
        "Format",
        forms,
        format_func=FORM_TITLES.__getitem__,
        key=f"form-{place}",
        width=WIDTH,
        help="What the model file is for. A model folder is the smallest and is read by this program.",
    )


def _button(spec: RunSpec, place: str, form: str) -> bool:
    """Draw the state of the export: in progress, ready for download, or not requested yet; return if in progress."""
    job = newest(spec, form)
    if job and job.active:
        ahead = Queue().position(job.id)
        progress = f"waiting for {ahead} job{'s' * (ahead != 1)}" if ahead else "being written…"
        st.button(f"Model file: {progress}", key=f"making-{place}", disabled=True, icon=":material/hourglass_top:")
        return True
    if job and download(job, place):
        return False
    st.button(
        "Create model file",
        key=f"make-{place}",
        icon=":material/deployed_code:",
        on_click=_submit,
        args=(spec, form),
        help="The worker applies the recipe and writes the network into a zip file for download.",
    )
    if job and job.reason:
        st.caption(f"The last attempt failed: {job.reason}")
    return False


def _network(spec: RunSpec) -> tuple:
    """Return the fields of a spec that determine the network. Sampling and evaluation settings do not."""
    return spec.model, spec.techniques, spec.seed, spec.device


def _submit(spec: RunSpec, form: str) -> None:
    try:
        queue = Queue()
        queue.submit(spec, kind=KINDS[1 + FORMS.index(form)], owner=owner.browser_id())
        ensure_worker(queue)
    except (BadRequest, QueueError, OSError) as error:
        st.toast(str(error))
