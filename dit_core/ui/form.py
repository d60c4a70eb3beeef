"""Widgets made from a technique's dataclass, and the workload around it. Every input lives in the URL."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st

from dit_core.checks import check
from dit_core.errors import BadRequest
from dit_core.models import catalog, recovered
from dit_core.spec import SCHEDULERS, RunSpec
from dit_core.techniques import Knob, Technique, canonical, registry
from dit_core.ui import knobs, presets, reads, recovery, words

NONE = "none"  # in the place of a technique: the baseline
NUMBERS = {  # by a widget's key, the field of a spec
    "steps": "steps",
    "guidance": "guidance",
    "batch": "batch_size",
    "seed": "seed",
    "judged": "samples",
    "replicates": "replicates",
}
RANDOM_MODELS = tuple(f"{catalog.RANDOM}{size}" for size in ("DiT-XS/2@256", "DiT-S/2@256", "DiT-S/2@512"))
SHOWN = 2  # knobs of a technique that are always seen; two or more others are folded away


def run_form(on_change: Callable[[], None]) -> tuple[RunSpec | None, str]:
    """Draw the form; the spec it describes, or None and one line that says what to change."""
    above = st.container()
    with st.expander("Workload, the same for both sides", key="workload"):
        settings = _workload(reads.default_spec(), on_change)
    with above:
        recipe = _stack(settings["model"], on_change)
    try:
        spec = RunSpec(techniques=canonical(recipe), **settings)
        check(spec)
    except BadRequest as error:
        return None, str(error)
    st.caption(f"Workload: {words.workload(spec)}.")
    return spec, ""


def begin(on_change: Callable[[], None]) -> None:
    """A row of presets that fill in the form."""
    presets.choose(_fill_in, on_change)


def address(spec: RunSpec) -> dict[str, str | list[str]]:
    """The query that opens the form with this spec's inputs; nothing for a recipe that the form cannot show."""
    names, known = [technique["name"] for technique in spec.techniques], registry()
    if len(set(names)) < len(names) or not set(names) <= set(known):
        return {}
    query: dict[str, str | list[str]] = {"technique": names or [NONE]}
    for technique in spec.techniques:
        kinds = {knob.name: knob for knob in known[technique["name"]].knobs}
        for name, value in technique.items():
            if name != "name":
                query[f"{technique['name']}_{name}"] = words.knob_value(value) if kinds[name].choices else _plain(value)
    query |= {"model": spec.model, "sampler": words.scheduler(spec.scheduler), "classes": list(spec.classes)}
    return query | {key: _plain(getattr(spec, name)) for key, name in NUMBERS.items()}


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fill_in(preset: presets.Preset) -> None:
    """Put a preset's recipe and numbers where the widgets will find them; other inputs stay as they are."""
    if preset.recipe is not None:
        st.query_params["technique"] = [entry["name"] for entry in preset.recipe] or [NONE]
        for entry in canonical(preset.recipe):
            st.session_state.update({f"{entry['name']}_{knob}": v for knob, v in entry.items() if knob != "name"})
    st.session_state.update(preset.numbers)


def _stack(model: str, on_change: Callable[[], None]) -> list[dict[str, Any]]:
    """One technique or several in order, each with its knobs; their names in order are in the address."""
    known = {found.name: found for members in words.families(registry()).values() for found in members}
    names = _named(known)

    def change(new: list[str]) -> None:
        st.query_params["technique"] = new or [NONE]
        on_change()

    recipe: list[dict[str, Any]] = []
    for place, name in enumerate(names):
        recipe.append({"name": name, **_slot(place, names, known, on_change, change, (model, recipe))})
    if not recipe:
        _choice(0, [NONE], known, change)
    elif free := [name for name in known if name not in names]:
        st.selectbox(
            "Stack another technique",
            free,
            None,
            key=f"add-{'-'.join(names)}",
            format_func=lambda name: _option(known[name]),
            placeholder="Stack another technique",
            label_visibility="collapsed",
            on_change=lambda: change([*names, st.session_state[f"add-{'-'.join(names)}"]]),
        )
    return recipe


def _named(known: dict[str, Technique]) -> list[str]:
    """The techniques that the address names, each once; without any the first of all, and none for the baseline."""
    asked = list(dict.fromkeys(st.query_params.get_all("technique")))
    return [name for name in asked if name in known] or ([] if NONE in asked else list(known)[:1])


def _slot(
    place: int,
    names: list[str],
    known: dict[str, Technique],
    on_change: Callable[[], None],
    change: Callable[[list[str]], None],
    after: tuple[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    """A technique of the stack: what it is, its place, its knobs. Returns the knobs' values.

    `after` is the model and what comes before: which trained weights there are depends on them and on all other knobs.
    """
    technique, (model, before) = known[names[place]], after
    with st.container(border=len(names) > 1):
        _choice(place, names, known, change)
        if len(names) > 1:
            _moves(place, names, change)
        st.caption(technique.summary)
        return _knobs(technique, (model, before), on_change)


def _knobs(technique: Technique, after: tuple[str, list[dict[str, Any]]], on_change: Callable[[], None]) -> dict:
    """The knobs of a technique with their values: the first ones, which training follows, and the others folded away.

    The training is drawn last, for it depends on all others.
    """
    (model, before), values = after, {}
    plain = [knob for knob in technique.knobs if not knob.suggestions]
    first, more = (plain[:SHOWN], plain[SHOWN:]) if len(plain) > SHOWN + 1 else (plain, [])
    for knob in first:
        values[knob.name] = knobs.draw(technique, knob, values, on_change)
    training = st.container()
    if more:
        moved = any(f"{technique.name}_{knob.name}" in st.query_params for knob in more)
        with st.expander("More", moved, key=f"more-{technique.name}"):
            for knob in more:
                values[knob.name] = knobs.draw(technique, knob, values, on_change)
    for knob in technique.knobs:
        if knob.suggestions:
            with training:
                recipe = [*before, {"name": technique.name, **values}]
                values[knob.name] = _recover(technique.name, knob, model, recipe, on_change)
    return values


def _recover(owner: str, knob: Knob, model: str, recipe: list[dict[str, Any]], on_change: Callable[[], None]) -> str:
    """Which training follows: bundled weights are offered only where there are some for just these knobs."""
    there = recovery.is_bundled(model, recipe)
    offered = tuple(value for value in knob.suggestions if value != recovered.BUNDLED or there)
    how = knobs.knob_input(owner, replace(knob, suggestions=offered), on_change)
    st.caption(recovery.told(model, recipe, how))
    return how


def _choice(place: int, names: list[str], known: dict[str, Technique], change: Callable[[list[str]], None]) -> None:
    """Which technique has this place; its key holds the choice, so that it never lags behind the address."""
    key = f"technique-{place}-{names[place]}"
    options = [name for name in known if name == names[place] or name not in names]
    st.selectbox(
        "Technique" if len(names) == 1 else f"Technique {place + 1}",
        [*options, *([NONE] if len(names) == 1 else [])],
        [*options, NONE].index(names[place]),
        key=key,
        format_func=lambda name: _option(known[name]) if name in known else "None (the baseline)",
        on_change=lambda: change([*names[:place], st.session_state[key], *names[place + 1 :]]),
        help=f"What to change in the network. Families: {', '.join(words.families(known))}.",
    )


def _moves(place: int, names: list[str], change: Callable[[list[str]], None]) -> None:
    """Buttons that move a technique in the stack or take it out."""
    name, last = names[place], len(names) - 1
    with st.container(horizontal=True, gap="xsmall"):
        for label, icon, other in (("Up", "arrow_upward", place - 1), ("Down", "arrow_downward", place + 1)):
            within = 0 <= other <= last
            swapped = [names[{place: other, other: place}.get(i, i)] for i in range(len(names))] if within else names
            _button(label, f"{label}-{name}", icon, change, swapped, disabled=not within)
        _button("Remove", f"Remove-{name}", "close", change, [other for other in names if other != name])


def _button(
    label: str, key: str, icon: str, change: Callable[[list[str]], None], new: list[str], **options: Any
) -> None:
    """A small button that makes another stack."""
    st.button(label, key, icon=f":material/{icon}:", type="tertiary", on_click=change, args=(new,), **options)


def _option(technique: Technique) -> str:
    """The title, with the family where it does not name it."""
    named = technique.family in technique.title.lower()
    return technique.title if named else f"{technique.title} ({technique.family})"


def _workload(default: RunSpec, on_change: Callable[[], None]) -> dict[str, Any]:
    shared: dict[str, Any] = {"bind": "query-params", "on_change": on_change}
    model = st.selectbox(
        "Model",
        [*reads.models(), *RANDOM_MODELS],
        key="model",
        accept_new_options=True,
        help="random: is a network of a published size with random weights, at so many pixels: it shows what size "
        "costs, and makes no pictures. Other sizes and resolutions can be typed.",
        **shared,
    )
    scheduler = st.selectbox(
        "Sampler",
        SCHEDULERS,
        SCHEDULERS.index(default.scheduler),
        format_func=words.scheduler,
        key="sampler",
        help="How a step of denoising is made. A better sampler needs fewer steps for the same picture.",
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
        help="How strongly the class is followed; 1 is the plain network, more is clearer and less varied.",
        **shared,
    )
    batch = left.number_input(
        "Batch", 1, 1024, default.batch_size, key="batch", help="Images made at once while timing.", **shared
    )
    seed = right.number_input(
        "Seed", 0, 2**31 - 1, default.seed, key="seed", help="The same seed gives both sides the same noise.", **shared
    )
    chosen, samples, replicates = [], 0, 1
    if catalog.is_random(model):
        st.info("Random weights make no pictures: this run measures cost alone, and judges 0 images.")
    else:
        chosen = st.multiselect(
            "Classes",
            reads.classes(model),
            default.classes,
            key="classes",
            placeholder="All, in rotation",
            help="Restrict the images to these classes.",
            **shared,
        )
        samples = st.number_input(
            "Images judged for quality",
            0,
            100_000,
            default.samples,
            250,
            key="judged",
            help="0 skips it: quick, but without a place on the quality plots. Few images give a noisy distance.",
            **shared,
        )
        replicates = st.number_input(
            "Sets of so many images",
            1,
            10,
            default.replicates,
            key="replicates",
            help="Each set is judged by itself: their mean is the figure, their spread its interval.",
            **shared,
        )
    device = "cpu"
    if len(devices := reads.devices()) > 1:
        device = st.segmented_control("Device", devices, default=devices[0], required=True, key="device", **shared)
    return {
        "model": model,
        "scheduler": scheduler,
        "steps": steps,
        "guidance": guidance,
        "guidance_channels": default.guidance_channels,
        "batch_size": batch,
        "samples": samples,
        "seed": seed,
        "classes": tuple(chosen),
        "device": device,
        "replicates": replicates,
    }
