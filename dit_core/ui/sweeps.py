"""Sweeps under way, and the one that the link names: how far each is, what failed, how to cancel it.

The worker drives them; what runs on a timer here only looks.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.jobs import Job, Queue, QueueError, Sweep
from dit_core.spec import RunSpec
from dit_core.store import Store
from dit_core.techniques import registry
from dit_core.ui import components, live, reads, words
from dit_core.ui.points import Comparison

EVERY_S = 2.0
Show = Callable[[Comparison], None]


def submit(specs: Sequence[RunSpec]) -> None:
    """Queue runs as a sweep and name it in the link; those that another sweep has meanwhile are left to it."""
    taken = waiting()
    left = [spec for spec in specs if spec.run_id not in taken]
    try:
        queue = Queue()
        if left:
            st.query_params["sweep"] = str(queue.submit_sweep(left))
        live.keep_worker(queue)
    except (BadRequest, QueueError, OSError) as error:
        st.session_state["sweep-error"] = str(error)


def waiting() -> dict[str, int]:
    """The runs that sweeps will measure, or do now, each with its sweep; none where the queue cannot be read."""
    try:
        under_way = Queue().sweeps(active=True)
    except QueueError:
        return {}
    return {job.spec.run_id: sweep.id for sweep in under_way for job in sweep.jobs if job.active}


def expected(specs: Sequence[RunSpec]) -> str:
    """What these runs will take: as long as earlier ones of their size, else at the pace of records; empty without."""
    try:
        history = reads.history()
    except QueueError:
        return ""
    if usual := [took for spec in specs if (took := reads.usual_seconds(spec, history))]:
        return f"about {words.duration(len(specs) * sum(usual) / len(usual))}, by earlier runs here"
    paces = [pace for spec in specs if (pace := reads.usual_pace(spec))]
    if len(paces) < len(specs) or not paces:
        return ""
    seconds = words.duration(sum(seconds for seconds, _ in paces))
    return f"at least {seconds} for their images alone, by records from {words.hardware(paces[0][1].environment)}"


def follow(on_points: Show | None = None) -> None:
    """How far the link's sweep is, and in a line each the others that are under way here, whoever asked for them.

    `on_points` shows a comparison where the page has the fronts; elsewhere a link leads to them.
    """
    if error := st.session_state.pop("sweep-error", ""):
        st.error(error)
    named = st.query_params.get("sweep", "")
    try:
        queue = Queue()
        own = queue.sweep(int(named)) if named.isdecimal() and len(named) < 18 else None
        others = [sweep for sweep in queue.sweeps(active=True) if own is None or sweep.id != own.id]
    except QueueError as problem:
        st.error(str(problem))
        return
    if named and own is None:
        st.warning(f"Sweep {named} is not in this queue.")
    for sweep in [*([own] if own else []), *others]:
        st.session_state[_seen(sweep.id)] = _ended(sweep)
        st.fragment(_watch, run_every=EVERY_S if sweep.active else None)(sweep.id, sweep is own, on_points)


def title(sweep: Sweep) -> str:
    """What a sweep goes through: `Quantization: bits 2, 3, 4`, or how many recipes."""
    changed = [job.spec for job in sweep.jobs if job.spec.techniques] or [sweep.jobs[0].spec]
    recipes = {words.recipe(spec) for spec in changed}
    if len(changed) == 1:
        return recipes.pop()
    ranging = [(knob, found) for (_, knob), found in _values(changed).items() if len(found) > 1]
    if len(recipes) > 1 or len(ranging) != 1:
        return f"{len(changed)} recipes of {changed[0].model}"
    ((knob, found),) = ranging
    return f"{recipes.pop()}: {words.knob_label(knob).lower()} {', '.join(found)}"


def stand(queue: Queue, sweep: Sweep) -> str:
    """How far a sweep is, in a line: `3 of 5 done (1 known already), 1 failed, about 4 min left`."""
    skipped = sum(job.skipped for job in sweep.jobs)
    told = [f"{sweep.count('done')} of {len(sweep.jobs)} done{f' ({skipped} known already)' if skipped else ''}"]
    told += [f"{len(sweep.failed)} failed"] if sweep.failed else []
    told += [f"{count} cancelled"] if (count := sweep.count("cancelled")) else []
    left = sweep.seconds_left(time.time(), queue.position(sweep.waiting[-1].id) if sweep.waiting else 0)
    return ", ".join([*told, *([f"about {words.duration(left)} left"] if left is not None else [])])


def cancel_button(queue: Queue, sweep: Sweep) -> None:
    """What waits of a sweep is cancelled at once, what runs at its next step."""
    stopping = bool(sweep.running and sweep.running.cancelling)
    st.button(
        "Stopping" if stopping else "Cancel",
        key=f"cancel-sweep-{sweep.id}",
        on_click=queue.cancel_sweep,
        args=(sweep.id,),
        disabled=stopping,
        type="tertiary",
        help="Cancels all that is left of this sweep, and nothing else.",
    )


def _watch(number: int, own: bool, on_points: Show | None) -> None:
    """One sweep; runs on a timer while it is active. When one of its runs has ended, the page shows what it made."""
    try:
        queue = Queue()
        sweep = queue.sweep(number)
        if sweep is None or st.session_state.get(_seen(number)) != _ended(sweep):
            st.rerun()
        elif own:
            with st.container(border=True, key=f"sweep-{number}", gap="small"):
                _panel(queue, sweep, on_points)
        else:
            with st.container(horizontal=True, vertical_alignment="center", key=f"sweep-{number}"):
                _line(queue, sweep)
        live.keep_worker(queue)
    except QueueError as problem:
        st.error(str(problem))


def _line(queue: Queue, sweep: Sweep) -> None:
    """Somebody's sweep, in short."""
    components.state_badge(sweep)
    st.markdown(f"A sweep is under way here: **{title(sweep)}**", width="content")
    st.caption(_now(queue, sweep), width="content")
    st.button("Follow it", key=f"follow-{sweep.id}", type="tertiary", on_click=_name, args=(sweep.id, True))


def _panel(queue: Queue, sweep: Sweep, on_points: Show | None) -> None:
    """The link's sweep: its stand, its failures, its runs, and where its points are."""
    with st.container(horizontal=True, vertical_alignment="center"):
        components.state_badge(sweep)
        st.markdown(f"**Sweep {sweep.id} · {title(sweep)}**", width="content")
        st.space("stretch")
        _points(sweep, on_points)
        if sweep.active:
            cancel_button(queue, sweep)
        else:
            st.button(
                "Close",
                key="close-sweep",
                type="tertiary",
                icon=":material/close:",
                on_click=_name,
                args=(sweep.id, False),
            )
    st.progress(_ended(sweep) / len(sweep.jobs), text=_now(queue, sweep))
    if sweep.active:
        st.caption("It goes on when this page is closed. Its runs stand behind everybody's single runs.")
    titles = words.brief_titles([job.spec for job in sweep.jobs])
    for job, name in zip(sweep.jobs, titles, strict=True):
        if job in sweep.failed:
            st.caption(f":material/error: **{name}** {job.state}: {job.reason} {job.hint}".strip())
    runs = st.expander("Its runs", key=f"runs-{sweep.id}", on_change="rerun")
    if runs.open:
        states = {"Run": titles, "State": [_state(job) for job in sweep.jobs]}
        with runs.container(key=f"prose-sweep-{sweep.id}"):
            st.table(states, border="horizontal", hide_index=True, alt=f"Runs of sweep {sweep.id}")


def _now(queue: Queue, sweep: Sweep) -> str:
    """Its stand, with what runs now or what comes before its next run."""
    if running := sweep.running:
        titles = words.brief_titles([job.spec for job in sweep.jobs])
        return f"{stand(queue, sweep)} · now {titles[sweep.jobs.index(running)]}"
    if not sweep.waiting:
        return stand(queue, sweep)
    ahead = queue.position(sweep.waiting[0].id)
    place = f"{ahead} job{'s' * (ahead != 1)} before its next run" if ahead else "next in the queue"
    return f"{stand(queue, sweep)} · {place}"


def _points(sweep: Sweep, on_points: Show | None) -> None:
    """The way to the fronts that its runs are points of, as soon as there is one."""
    made = next((job.run_id for job in reversed(sweep.jobs) if job.state == "done" and job.run_id), None)
    stored = Store().get(made) if made else None
    group = next((group for group in reads.groups() if stored in group.runs), None) if stored else None
    shared: dict[str, Any] = {"label": "See its points", "icon": ":material/show_chart:"}
    if group and on_points:
        st.button(key="points", type="tertiary", on_click=_show, args=(on_points, group, sweep.id), **shared)
    elif group:
        where = {"machine": group.environment, "of": group.workload, "sweep": str(sweep.id)}
        st.page_link("../../pages/pareto.py", query_params=where, **shared)


def _state(job: Job) -> str:
    colour = components.STATE_COLOURS.get(job.state, "red")
    told = "known already" if job.skipped else job.reason
    return f":{colour}-badge[{job.state}] {told}".strip()


def _values(specs: Sequence[RunSpec]) -> dict[tuple[int, str], dict[str, None]]:
    """By place of a technique and knob, its values in words; one that is left unwritten is the default."""
    values: dict[tuple[int, str], dict[str, None]] = {}
    for place, technique in (found for spec in specs for found in enumerate(spec.techniques)):
        known = registry().get(technique["name"])
        unwritten = {knob.name: knob.default for knob in known.knobs} if known else {}
        for knob, value in (unwritten | technique).items():
            values.setdefault((place, knob), {})[words.knob_value(value)] = None
    return values


def _ended(sweep: Sweep) -> int:
    return sum(not job.active for job in sweep.jobs)


def _seen(number: int) -> str:
    """Where a browser keeps how many runs of a sweep had ended when the page was drawn."""
    return f"sweep-seen-{number}"


def _name(number: int, named: bool) -> None:
    """Name a sweep in the link, or none."""
    if named:
        st.query_params["sweep"] = str(number)
    else:
        st.query_params.pop("sweep", None)
    _anew(number)


def _show(on_points: Show, group: Comparison, number: int) -> None:
    on_points(group)
    _anew(number)


def _anew(number: int) -> None:
    """Draw the whole page after a click within what only looks at this sweep."""
    st.session_state.pop(_seen(number), None)
