"""The panel that sweeps a knob: values of one knob of the recipe, their known figures, and a button for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.experiment.checks import check
from dit_core.experiment.known import is_current
from dit_core.models.recovered import BUNDLED, NONE
from dit_core.recipes import values
from dit_core.recipes.knobs import Knob
from dit_core.recipes.recipe import canonical, has_bundled_weights
from dit_core.recipes.registry import Technique, registry
from dit_core.records import metrics
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.sweeps.plan import Plan, plan
from dit_core.ui import data, distance_notes, format, provenance
from dit_core.ui.components import elements, sweeps
from dit_core.ui.components.elements import IN_URL

NUMBERS = (int, float)
METRICS = (metrics.SPEEDUP, metrics.PRIMARY_QUALITY, metrics.WEIGHT_BYTES)  # columns of the table


@dataclass(frozen=True)
class SweepKnob:
    """A knob of a technique in a recipe, with its present value; `position` is the technique's place in the recipe."""

    position: int
    technique: Technique
    knob: Knob
    present: Any

    @property
    def label(self) -> str:
        return format.knob_label(self.knob.name).lower()

    def with_value(self, spec: RunSpec, value: Any) -> RunSpec:
        """Return the run with another value of this knob; raises BadRequest if the technique rejects the value.

        A technique whose bundled weights do not exist for this value is not recovered.
        """
        entry = {**spec.techniques[self.position], self.knob.name: value}
        recipe = [*spec.techniques[: self.position], entry, *spec.techniques[self.position + 1 :]]
        if self.knob.name != "recover":
            for index, each in enumerate(recipe):
                if each.get("recover") == BUNDLED and not has_bundled_weights(spec.model, recipe[: index + 1]):
                    recipe[index] = {**each, "recover": NONE}
        return replace(spec, techniques=canonical(recipe))


def offer(spec: RunSpec | None) -> None:
    """The panel, folded at first; nothing for the baseline."""
    if spec is None or not (knobs := sweep_knobs(spec)):
        return
    title = "Sweep a knob: measure several values of it"
    panel = st.expander(title, key="knob-sweep", icon=":material/tune:", **IN_URL)
    if panel.open:
        with panel:
            _panel(spec, knobs)


def sweep_knobs(spec: RunSpec) -> list[SweepKnob]:
    """Return the knobs of a recipe that have an effect and more than one value."""
    knobs = []
    for position, entry in enumerate(spec.techniques):
        technique = registry()[entry["name"]]
        present = {knob.name: entry.get(knob.name, knob.default) for knob in technique.knobs}
        for knob in technique.knobs:
            if not knob.inactive_reason(present) and len(values.offered(knob, present[knob.name])) > 1:
                knobs.append(SweepKnob(position, technique, knob, present[knob.name]))
    return knobs


def _panel(spec: RunSpec, knobs: Sequence[SweepKnob]) -> None:
    left, right = st.columns([2, 5], gap="medium")
    with left:
        knob = _choose_knob(spec, knobs)
    with right:
        chosen, problems = _choose_values(spec, knob)
    for problem in problems:
        st.error(format.escaped(problem))
    if not chosen:
        if not problems:
            st.info("Choose at least one value.")
        return
    runs, rejected = _runs(spec, knob, chosen)
    waiting = sweeps.waiting()
    sweep = plan([spec.baseline, *runs.values()], data.loaded().records, waiting)
    _table(knob, {"Baseline": spec.baseline, **runs}, rejected, sweep, waiting)
    _submit_button(sweep)


def _choose_knob(spec: RunSpec, knobs: Sequence[SweepKnob]) -> SweepKnob:
    """The chosen knob; by default the first one with numbers."""
    several = len(spec.techniques) > 1
    labels = [
        f"{knob.technique.title}: {knob.label}" if several else format.knob_label(knob.knob.name) for knob in knobs
    ]
    default = next((i for i, k in enumerate(knobs) if k.knob.kind in NUMBERS and not k.knob.choices), 0)
    key = f"sweep-of-{'-'.join(technique['name'] for technique in spec.techniques)}"
    return knobs[labels.index(st.selectbox("Knob", labels, default, key=key, **IN_URL))]


def _choose_values(spec: RunSpec, knob: SweepKnob) -> tuple[list[Any], list[str]]:
    """The chosen values in the order in which they are offered, and what is wrong with typed ones."""
    offered = {format.knob_value(value): value for value in values.offered(knob.knob, knob.present)}
    valid = [text for text, value in offered.items() if not _problem(spec, knob, value)]
    texts = st.multiselect(
        f"Values of {knob.label}",
        list(offered),
        values.first(valid, format.knob_value(knob.present)),
        key=f"values-{knob.technique.name}-{knob.knob.name}",
        accept_new_options=not knob.knob.choices and knob.knob.kind is not bool,
        placeholder="Choose values",
        help=f"{knob.knob.help} All other knobs keep their values from the form.",
        **IN_URL,
    )
    chosen, problems = [], []
    for text in texts:
        try:
            value = offered[text] if text in offered else values.read(knob.technique.name, knob.knob, text)
            chosen.append(value)
        except BadRequest as error:
            problems.append(str(error))
    order = {value: i for i, value in enumerate(offered.values())}
    is_number = knob.knob.kind in NUMBERS
    ordered = sorted(dict.fromkeys(chosen), key=lambda value: value if is_number else order.get(value, len(order)))
    return ordered, problems


def _runs(spec: RunSpec, knob: SweepKnob, chosen: Sequence[Any]) -> tuple[dict[str, RunSpec], dict[str, str]]:
    """The runs of the chosen values, and the reasons for values that the technique rejects, both by title."""
    runs, rejected = {}, {}
    for value in chosen:
        title = f"{format.knob_label(knob.knob.name)} {format.knob_value(value)}"
        try:
            runs[title] = knob.with_value(spec, value)
        except BadRequest as error:
            rejected[title] = str(error)
    return runs, rejected


def _problem(spec: RunSpec, knob: SweepKnob, value: Any) -> str:
    """Why a run with this value cannot be made; empty if it can."""
    try:
        check(knob.with_value(spec, value))
    except BadRequest as error:
        return str(error)
    return ""


def _table(
    knob: SweepKnob, runs: dict[str, RunSpec], rejected: dict[str, str], sweep: Plan, waiting: dict[str, int]
) -> None:
    """The known figures of each value, preferably of this environment, and the state of the others."""
    rows: list[list[str]] = []
    for title, spec in runs.items():
        stored = sweep.known.get(spec.run_id) or _elsewhere(spec)
        state = _origin(stored) if stored else ":gray[not measured yet]"
        if reason := sweep.refused.get(spec.run_id):
            state = f":orange[:material/block: {reason}]"
        elif spec.run_id in sweep.waiting:
            state += f" · in sweep {waiting[spec.run_id]}"
        if format.training(spec) == format.NOT_RETRAINED:
            state += f" :{elements.NOT_RETRAINED[1]}-badge[{format.NOT_RETRAINED}]"
        rows.append([title, *_figures(stored), state])
    rows += [[title, *_figures(None), f":orange[:material/block: {reason}]"] for title, reason in rejected.items()]
    columns = ("Value", *(metric.tile_title for metric in METRICS), "Known from")
    with st.container(key="prose-knob-sweep"):
        st.table(
            dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)),
            border="horizontal",
            hide_index=True,
            alt=f"Known figures of each value of {knob.label}",
        )
    shown = [sweep.known.get(spec.run_id) or _elsewhere(spec) for spec in runs.values()]
    if note := distance_notes.distances([stored.record for stored in shown if stored]):
        st.caption(note)


def _submit_button(sweep: Plan) -> None:
    """A button that queues what is not known on this machine, or the reason why there is nothing to queue."""
    if not sweep.todo:
        state = "in a sweep already" if sweep.waiting else "known on this machine"
        st.caption(f"Nothing to queue: every value that can run is {state}.")
        return
    count = len(sweep.todo)
    with st.container(horizontal=True, vertical_alignment="center"):
        label = f"Measure {count} run{'s' * (count != 1)} here"
        st.button(label, key="sweep-knob", icon=":material/playlist_play:", on_click=sweeps.submit, args=(sweep.todo,))
        baseline = " and the baseline" if any(not spec.techniques for spec in sweep.todo) else ""
        duration = sweeps.expected(sweep.todo)
        note = f"Measures the missing values{baseline}, after single runs."
        st.caption(f"{note} Expected time: {duration}." if duration else note, width="stretch")


def _elsewhere(spec: RunSpec) -> Stored | None:
    """The newest record of a run from any machine, with the model's current weights."""
    records = (stored for stored in data.loaded().records if stored.record.run_id == spec.run_id)
    return next((stored for stored in records if is_current(stored.record)), None)


def _origin(stored: Stored) -> str:
    """The badge of a record, with its machine or its versions if they differ from this environment."""
    label, colour, _ = elements.BADGES[stored.origin]
    return f":{colour}-badge[{label}] {provenance.difference(stored.record)}".strip()


def _figures(stored: Stored | None) -> list[str]:
    """Return the values of a record for the table, with their units."""
    values = [metric.scaled(stored.record) if stored else None for metric in METRICS]
    return [
        format.UNKNOWN if value is None else format.quantity(value, metric.unit)
        for metric, value in zip(METRICS, values, strict=True)
    ]
