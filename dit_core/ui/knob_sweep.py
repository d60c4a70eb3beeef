"""Sweep a knob: several values of one knob of the form's recipe, what is known of each, and a button for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from dit_core.checks import check
from dit_core.errors import BadRequest
from dit_core.search import values
from dit_core.search.plan import Plan, plan
from dit_core.spec import RunSpec
from dit_core.store import Stored, is_current
from dit_core.techniques import Knob, Technique, canonical, registry
from dit_core.ui import components, here, reads, sweeps, words
from dit_core.ui.axes import COSTS
from dit_core.ui.choices import URL

NUMBERS = (int, float)


@dataclass(frozen=True)
class Place:
    """A knob of a recipe, at the place of its technique, with the value that it has there."""

    at: int
    technique: Technique
    knob: Knob
    present: Any

    def with_value(self, spec: RunSpec, value: Any) -> RunSpec:
        """The run with another value of this knob; raises BadRequest where its technique refuses that."""
        entry = {**spec.techniques[self.at], self.knob.name: value}
        recipe = [*spec.techniques[: self.at], entry, *spec.techniques[self.at + 1 :]]
        return replace(spec, techniques=canonical(recipe))


def offer(spec: RunSpec | None) -> None:
    """The panel, closed at first; nothing for a run without techniques."""
    if spec is None or not (places := knobs_of(spec)):
        return
    told = "Sweep a knob: measure several values of it"
    panel = st.expander(told, key="knob-sweep", icon=":material/tune:", **URL)
    if panel.open:
        with panel:
            _panel(spec, places)


def knobs_of(spec: RunSpec) -> list[Place]:
    """The knobs of a recipe that matter beside the others and have more than one value."""
    found = []
    for at, entry in enumerate(spec.techniques):
        technique = registry()[entry["name"]]
        present = {knob.name: entry.get(knob.name, knob.default) for knob in technique.knobs}
        for knob in technique.knobs:
            place = Place(at, technique, knob, present[knob.name])
            if not knob.idle(present) and len(values.offered(knob, place.present)) > 1:
                found.append(place)
    return found


def _panel(spec: RunSpec, places: Sequence[Place]) -> None:
    left, right = st.columns([2, 5], gap="medium")
    several = len(spec.techniques) > 1
    names = [f"{p.technique.title}: {_label(p)}" if several else words.knob_label(p.knob.name) for p in places]
    number = next((i for i, p in enumerate(places) if p.knob.kind in NUMBERS and not p.knob.choices), 0)
    with left:
        named = st.selectbox(
            "Knob", names, number, key=f"sweep-of-{'-'.join(t['name'] for t in spec.techniques)}", **URL
        )
    place = places[names.index(named)]
    with right:
        chosen, problems = _chosen(spec, place)
    for problem in problems:
        st.error(problem)
    if not chosen:
        if not problems:
            st.info("Choose at least one value.")
        return
    runs, refused = _runs(spec, place, chosen)
    waiting = sweeps.waiting()
    found = plan([spec.baseline, *runs.values()], reads.loaded().records, waiting)
    _table(place, {"Baseline": spec.baseline, **runs}, refused, found, waiting)
    _button(found)


def _chosen(spec: RunSpec, place: Place) -> tuple[list[Any], list[str]]:
    """The values that are chosen, in the order of those that are offered, and what is wrong with typed ones."""
    offered = {words.knob_value(value): value for value in values.offered(place.knob, place.present)}
    possible = [told for told, value in offered.items() if not _refusal(spec, place, value)]
    start = values.first(possible, words.knob_value(place.present))
    picked = st.multiselect(
        f"Values of {_label(place)}",
        list(offered),
        start,
        key=f"values-{place.technique.name}-{place.knob.name}",
        accept_new_options=not place.knob.choices and place.knob.kind is not bool,
        placeholder="Choose values",
        help=f"{place.knob.help} All other knobs stay as they are in the form.",
        **URL,
    )
    chosen, problems = [], []
    for told in picked:
        try:
            chosen.append(offered[told] if told in offered else values.read(place.technique.name, place.knob, told))
        except BadRequest as error:
            problems.append(str(error))
    places = {value: at for at, value in enumerate(offered.values())}
    number = place.knob.kind in NUMBERS
    in_order = sorted(dict.fromkeys(chosen), key=lambda value: value if number else places.get(value, len(places)))
    return in_order, problems


def _runs(spec: RunSpec, place: Place, chosen: Sequence[Any]) -> tuple[dict[str, RunSpec], dict[str, str]]:
    """By value in words, its run, or why its technique refuses it."""
    runs, refused = {}, {}
    for value in chosen:
        told = f"{words.knob_label(place.knob.name)} {words.knob_value(value)}"
        try:
            runs[told] = place.with_value(spec, value)
        except BadRequest as error:
            refused[told] = str(error)
    return runs, refused


def _refusal(spec: RunSpec, place: Place, value: Any) -> str:
    try:
        check(place.with_value(spec, value))
    except BadRequest as error:
        return str(error)
    return ""


def _table(
    place: Place, runs: dict[str, RunSpec], refused: dict[str, str], found: Plan, waiting: dict[str, int]
) -> None:
    """What is known of each value, from this environment first; and what is to become of the others."""
    rows: list[list[str]] = []
    for told, spec in runs.items():
        one = found.known.get(spec.run_id) or _elsewhere(spec)
        state = _origin(one) if one else ":gray[not measured yet]"
        if reason := found.refused.get(spec.run_id):
            state = f":orange[:material/block: {reason}]"
        elif spec.run_id in found.waiting:
            state += f" · in sweep {waiting[spec.run_id]}"
        rows.append([told, *_figures(one), state])
    rows += [[told, *_figures(None), f":orange[:material/block: {reason}]"] for told, reason in refused.items()]
    columns = ("Value", "Speed-up", "Distance", "Weights", "Known from")
    with st.container(key="prose-knob-sweep"):
        st.table(
            dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)),
            border="horizontal",
            hide_index=True,
            alt=f"What is known of each value of {_label(place)}",
        )


def _button(found: Plan) -> None:
    """Queue what is not known here, or say why there is nothing to queue."""
    if not found.todo:
        known_or_in_a_sweep = "in a sweep already" if found.waiting else "known on this machine"
        st.caption(f"Nothing to queue: every value that can run is {known_or_in_a_sweep}.")
        return
    count = len(found.todo)
    with st.container(horizontal=True, vertical_alignment="center"):
        label = f"Measure {count} run{'s' * (count != 1)} here"
        st.button(label, key="sweep-knob", icon=":material/playlist_play:", on_click=sweeps.submit, args=(found.todo,))
        with_it = ", with the baseline" if any(not spec.techniques for spec in found.todo) else ""
        took = sweeps.expected(found.todo)
        told = [f"What is not known on this machine{with_it}, behind everybody's single runs", took]
        st.caption(f"{'; '.join(filter(None, told))}.", width="stretch")


def _elsewhere(spec: RunSpec) -> Stored | None:
    """The newest record of a run from any machine, made with today's weights."""
    same = (one for one in reads.loaded().records if one.record.run_id == spec.run_id)
    return next((one for one in same if is_current(one.record)), None)


def _origin(one: Stored) -> str:
    """The badge of a record, with its machine or its versions where those are not this one's."""
    label, colour, _ = components.BADGES[one.origin]
    return f":{colour}-badge[{label}] {here.place(one.record)}".strip()


def _figures(one: Stored | None) -> list[str]:
    """Speed-up, distance and bytes of a record in words."""
    if one is None:
        return [words.UNKNOWN] * 3
    record = one.record
    ratio, distance = record.speedup["ratio"] if record.spec["techniques"] else None, record.quality["distance"]
    return [
        words.UNKNOWN if ratio is None else f"×{ratio:.2f}",
        words.UNKNOWN if distance is None else words.significant(distance, 4),
        words.UNKNOWN if (weights := COSTS["weights"].read(record)) is None else COSTS["weights"].text(weights),
    ]


def _label(place: Place) -> str:
    return words.knob_label(place.knob.name).lower()
