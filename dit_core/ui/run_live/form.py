"""The form of a run: recipe and workload. Every input is in the link."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.experiment.checks import check
from dit_core.models import recovered
from dit_core.recipes.recipe import canonical, recover_by_default
from dit_core.recipes.registry import registry
from dit_core.records.spec import RunSpec
from dit_core.system.devices import missing
from dit_core.ui import data, format
from dit_core.ui.components import ignored
from dit_core.ui.run_live import presets, stack, workload


def presets_row(on_change: Callable[[], None]) -> None:
    """A row of presets that fill in the form."""
    presets.choose(_fill_in, ignored.watched(on_change))


def run_form(on_change: Callable[[], None]) -> tuple[RunSpec | None, str]:
    """Draw the form; return its spec, or None and a message that says what to change."""
    asked, on_change = ignored.link(), ignored.watched(on_change)
    notice, above = st.container(), st.container()
    with st.expander("Settings shared by baseline and candidate", key="workload"):
        settings = workload.inputs(data.default_spec(), on_change)
    with above:
        recipe = stack.inputs(settings["model"], on_change)
    workload.model_caption(settings["model"])
    try:
        spec = RunSpec(techniques=canonical(recipe), **settings)
        with notice:
            ignored.note(asked, address(spec))
        check(spec)
        if reason := missing(spec.device):
            raise BadRequest(reason)
    except BadRequest as error:
        return None, str(error)
    st.caption(f"Workload: {format.workload(spec)}.")
    return spec, ""


def address(spec: RunSpec) -> dict[str, str | list[str]]:
    """Return the query that opens the form with a spec's inputs; empty for a recipe that the form cannot show."""
    names, known = [technique["name"] for technique in spec.techniques], registry()
    if len(set(names)) < len(names) or not set(names) <= set(known):
        return {}
    if replace(spec, **workload.guidance_steps(spec.model)) != spec:
        return {}
    query: dict[str, str | list[str]] = {"technique": names or [stack.NONE]}
    for technique in spec.techniques:
        knobs = {knob.name: knob for knob in known[technique["name"]].knobs}
        for name, value in technique.items():
            if name != "name":
                text = format.knob_value(value) if knobs[name].choices else _plain(value)
                query[f"{technique['name']}_{name}"] = text
    query |= {"model": spec.model, "sampler": format.scheduler(spec.scheduler), "classes": list(spec.classes)}
    query |= {"device": spec.device, "precision": spec.precision}
    query |= {"reference": spec.reference, "training": spec.training_images, "metrics": list(spec.metrics)}
    query["channels"] = format.guided_channels(spec.guidance_channels)
    return query | {key: _plain(getattr(spec, field)) for key, field in workload.NUMBERS.items()}


def technique_address(name: str) -> dict[str, str]:
    """Return the query that opens the form with a technique at its defaults: bundled weights where they exist."""
    (entry,) = recover_by_default(data.models()[0], [{"name": name}])
    recovery = {f"{name}_recover": recovered.BUNDLED} if entry.get("recover") == recovered.BUNDLED else {}
    return {"technique": name, **recovery}


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fill_in(preset: presets.Preset) -> None:
    """Write a preset's recipe and numbers to where the widgets read them; other inputs keep their values."""
    if preset.recipe is not None:
        st.query_params["technique"] = [entry["name"] for entry in preset.recipe] or [stack.NONE]
        stack.recover_by_default(entry["name"] for entry in preset.recipe)
        for entry in recover_by_default(st.session_state.get("model") or data.models()[0], preset.recipe):
            st.session_state.update({f"{entry['name']}_{knob}": v for knob, v in entry.items() if knob != "name"})
    st.session_state.update(preset.numbers)
