"""The inputs of the workload: model, sampler, images. Baseline and candidate share them."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.models import sources
from dit_core.models.sources import ModelSource
from dit_core.quality.judgement import inception_problem, own_choice, unjudged
from dit_core.records.spec import GUIDED_CHANNELS, SCHEDULERS, RunSpec
from dit_core.system import devices
from dit_core.ui import data, format

NUMBERS = {  # key of a number's widget, in links too -> field of the spec
    "steps": "steps",
    "guidance": "guidance",
    "batch": "batch_size",
    "seed": "seed",
    "judged": "samples",
    "replicates": "replicates",
}
WIDGETS = {  # field of the spec -> key of its widget
    **{field: key for key, field in NUMBERS.items()},
    "scheduler": "sampler",
    "guidance_channels": "channels",
}


def inputs(default: RunSpec, on_change: Callable[[], None]) -> dict[str, Any]:
    """Draw the inputs; return the fields of the spec that they set."""
    shared: dict[str, Any] = {"bind": "query-params", "on_change": on_change}
    model = st.selectbox(
        "Model",
        data.models(),
        key="model",
        accept_new_options=True,
        help="Type the path of a checkpoint or of a model folder, or add it under a name on the page This machine. A "
        "model that starts with random: has a published size and random weights: it shows the cost of that size.",
        **shared,
    )
    scheduler = st.selectbox(
        "Sampler",
        SCHEDULERS,
        SCHEDULERS.index(default.scheduler),
        format_func=format.scheduler,
        key="sampler",
        help="The solver of the denoising steps. A better solver needs fewer steps for the same quality.",
        **shared,
    )
    left, right = st.columns(2)
    steps = left.number_input("Steps", 1, 1000, default.steps, key="steps", help="Denoising steps per image.", **shared)
    guidance = right.number_input(
        "Guidance",
        0.0,
        30.0,
        default.guidance,
        0.5,
        key="guidance",
        help="Scale of classifier-free guidance. 1 turns it off; a larger scale makes images clearer and less varied.",
        **shared,
    )
    batch = left.number_input(
        "Batch", 1, 1024, default.batch_size, key="batch", help="Images per batch during timing.", **shared
    )
    seed = right.number_input(
        "Seed",
        0,
        2**31 - 1,
        default.seed,
        key="seed",
        help="Baseline and candidate start from the same noise, which the seed determines.",
        **shared,
    )
    channels = st.selectbox(
        "Guided channels",
        GUIDED_CHANNELS,
        GUIDED_CHANNELS.index(default.guidance_channels),
        format_func=format.guided_channels,
        key="channels",
        help="Latent channels that guidance changes. The published DiT code guides the first three.",
        **shared,
    )
    images: dict[str, Any] = {"samples": 0}
    if sources.is_cost_only(model):
        st.info("Random weights generate no images: this run measures only cost, not quality.")
    else:
        images = _image_inputs(model, default, shared)
    device, precision = _device_inputs(shared)
    return {
        "model": model,
        "scheduler": scheduler,
        "steps": steps,
        "guidance": guidance,
        "guidance_channels": channels,
        **guidance_steps(model),
        "batch_size": batch,
        "seed": seed,
        "device": device,
        "precision": precision,
        **images,
    }


def guidance_steps(model: str) -> dict[str, Any]:
    """Return the fields of the spec that say in which steps an exported model is guided; empty for other models."""
    source = sources.find_if_known(model)
    return {
        name: value
        for name, value in (source.run_fields if source else {}).items()
        if name not in ("scheduler", "steps")
    }


def _device_inputs(shared: dict[str, Any]) -> tuple[str, str]:
    """Device and precision. The link names the device even where there is no choice."""
    offered = data.devices()
    if "device" not in st.query_params:  # a widget at its default would not be in the link
        st.query_params["device"] = st.session_state.setdefault("device", offered[0]) or offered[0]
    device = st.selectbox(
        "Device",
        offered,
        None,
        key="device",
        accept_new_options=True,
        help="The device of both sides. The best one of this machine comes first; DIT_DEVICE changes that.",
        **shared,
    )
    kind = devices.kind(device or offered[0])
    precisions = [name for name in devices.PRECISIONS if kind == "cuda" or name != "tf32"]
    precision = st.selectbox(
        "Precision",
        precisions,
        precisions.index(devices.default_precision(kind)),
        key="precision",
        help="Precision of both sides: float32; float32 with products in TF32, the default on NVIDIA GPUs; or weights "
        "and products in 16 bits. On most processors 16 bits are slower than float32.",
        **shared,
    )
    return device or offered[0], precision


def unjudged_note(spec: RunSpec) -> str:
    """Return why a run of this model measures no quality, in a sentence for the place next to Run; empty if it can."""
    source = None if sources.is_cost_only(spec.model) else sources.find_if_known(spec.model)
    problem = unjudged(source, spec.reference) if source else ""
    if not problem:
        return ""
    return (
        f"{format.escaped(problem)}: the run measures cost, not quality. Name reference images in the settings below."
    )


def model_caption(name: str) -> None:
    """What is known of a model, what is only assumed, and what it still needs."""
    source = sources.find_if_known(name)
    if source and source.description:
        st.caption(format.escaped(source.description))
    if source and source.needs:
        st.caption(format.escaped(f"Needs {'; '.join(source.needs)}."))


def _image_inputs(model: str, default: RunSpec, shared: dict[str, Any]) -> dict[str, Any]:
    """Classes, the reference of the quality metrics, the number of images judged, repeats, and own metrics."""
    classes = st.multiselect(
        "Classes",
        data.classes(model),
        default.classes,
        key="classes",
        placeholder="All, in rotation",
        help="Generate only images of these classes.",
        **shared,
    )
    source = sources.find_if_known(model)
    path = st.text_input(
        "Reference images",
        key="reference",
        placeholder="Those of the model" if source and not unjudged(source) else "A folder or an npz file",
        help="Real images that quality is judged against: the path of a folder with images of the model's size, or of "
        "an npz file as guided-diffusion's evaluator reads it. The server reads it.",
        **shared,
    )
    reference = (path or "").strip()
    training = st.text_input(
        "Training images",
        key="training",
        placeholder="Those of the model" if source and isinstance(source.training_images, str) else "A folder",
        help="Images for calibration, recovery and distillation: the path of a folder with one folder for each class, "
        "or of the folder that fast-DiT's extract_features.py wrote. The server reads it.",
        **shared,
    )
    problem = _judgement(source, reference)
    samples = st.number_input(
        "Images for quality",
        0,
        100_000,
        default.samples,
        250,
        key="judged",
        disabled=bool(problem),
        help="Number of images that the quality metrics use. With 0 the run is fast but has no place on the quality "
        "plots. With few images the metrics are noisy.",
        **shared,
    )
    replicates = st.number_input(
        "Repeats (independent image sets)",
        1,
        10,
        default.replicates,
        key="replicates",
        help="Every set is judged separately. The result is the mean over the sets; their spread gives its interval.",
        **shared,
    )
    own = st.multiselect(
        "Own metrics",
        data.installed_metrics(),
        key="metrics",
        accept_new_options=True,
        placeholder="Paths of Python files",
        disabled=bool(problem),
        help="Metrics of your own: Python files with a function metric(images), which the server reads and the run "
        "executes. Each becomes an axis of the plots. The README shows one under Extend it.",
        **shared,
    )
    return {
        "classes": tuple(classes),
        "reference": own_choice(source, reference) if source else reference,
        "training_images": (training or "").strip(),
        "samples": 0 if problem else samples,
        "replicates": int(replicates),
        "metrics": () if problem else tuple(own),
    }


def _judgement(source: ModelSource | None, reference: str) -> str:
    """Say before a run whether it has FID, and return why it can have no quality at all; empty if it can."""
    try:
        problem = unjudged(source, reference) if source else ""
    except BadRequest:  # the message is next to Run
        return ""
    if problem:
        st.caption("Name reference images to judge this model.")
    elif fid_problem := inception_problem():
        st.caption(f"Without FID: {fid_problem}. The distance uses other features.")
    else:
        st.caption("FID is computed too, under its own name.")
    return problem
