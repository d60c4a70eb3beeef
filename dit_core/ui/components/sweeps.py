"""Progress of the sweeps in the queue: the one in the page's link as a panel, the others in one line each.

The worker runs the sweeps. The timers here only update the display.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.jobs.queue import Job, Queue, QueueError, Sweep
from dit_core.recipes.registry import registry
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui import data, forecast, format
from dit_core.ui.comparisons import Comparison
from dit_core.ui.components import elements, ignored, owner
from dit_core.ui.server import keep_worker

EVERY_S = 2.0
Show = Callable[[Comparison], None]


def submit(specs: Sequence[RunSpec]) -> None:
    """Queue runs as a sweep and put it into the page's link; skip runs that another sweep has queued meanwhile."""
    queued = waiting()
    remaining = [spec for spec in specs if spec.run_id not in queued]
    try:
        queue = Queue()
        if remaining:
            st.query_params["sweep"] = str(queue.submit_sweep(remaining, owner=owner.browser_id()))
        keep_worker(queue)
    except (BadRequest, QueueError, OSError) as error:
        st.session_state["sweep-error"] = str(error)


def waiting() -> dict[str, int]:
    """Return the sweep of each run that is queued or running in a sweep; empty if the queue cannot be read."""
    try:
        active = Queue().sweeps(active=True)
    except QueueError:
        return {}
    return {job.spec.run_id: sweep.id for sweep in active for job in sweep.jobs if job.active}


def expected(specs: Sequence[RunSpec]) -> str:
    """Return the expected duration of these runs, from earlier runs here or on another machine; empty if unknown."""
    try:
        history = data.history()
    except QueueError:
        return ""
    here = [expected for spec in specs if (expected := forecast.run_forecast(spec, history))]
    if specs and len(here) == len(specs):
        return f"about {format.duration(sum(each.seconds for each in here))}, judging by earlier runs on this machine"
    there = [
        expected for spec in specs if (expected := forecast.run_forecast(spec, history, accept=lambda record: True))
    ]
    if not specs or len(there) < len(specs):
        return ""
    seconds = format.duration(sum(each.seconds for each in there))
    return f"about {seconds}, as on {format.hardware(there[0].record.environment)}"


def follow(on_points: Show | None = None) -> None:
    """Draw the sweep in the page's link as a panel, and every other active sweep in one line.

    `on_points` shows the points of a sweep on a page with plots. Other pages link to the Pareto page.
    """
    if error := st.session_state.pop("sweep-error", ""):
        st.error(format.escaped(error))
    number = st.query_params.get("sweep", "")
    ignored.told("sweep", number)
    try:
        queue = Queue()
        own = queue.sweep(int(number)) if number.isdecimal() and len(number) < 18 else None
        others = [sweep for sweep in queue.sweeps(active=True) if own is None or sweep.id != own.id]
    except QueueError as problem:
        st.error(format.escaped(str(problem)))
        return
    if number and own is None:
        st.warning(format.escaped(f"Sweep {number} is not in this queue."))
    for sweep in [*([own] if own else []), *others]:
        st.session_state[_seen_key(sweep.id)] = _ended(sweep)
        st.fragment(_progress, run_every=EVERY_S if sweep.active else None)(sweep.id, sweep is own, on_points)


def title(sweep: Sweep) -> str:
    """Return the values that a sweep varies, `Quantization: bits 2, 3, 4`, or the number of its recipes."""
    specs = [job.spec for job in sweep.jobs if job.spec.techniques] or [sweep.jobs[0].spec]
    recipes = {format.recipe(spec) for spec in specs}
    if len(specs) == 1:
        return recipes.pop()
    varied = [(knob, texts) for (_, knob), texts in _knob_values(specs).items() if len(texts) > 1]
    if len(recipes) > 1 or len(varied) != 1:
        return f"{len(specs)} recipes of {specs[0].model}"
    ((knob, texts),) = varied
    return f"{recipes.pop()}: {format.knob_label(knob).lower()} {', '.join(texts)}"


def status(queue: Queue, sweep: Sweep) -> str:
    """Return the progress of a sweep: `3 of 5 done (1 already measured), 1 failed, about 4 min left`."""
    skipped = sum(job.skipped for job in sweep.jobs)
    seconds = sweep.seconds_left(time.time(), queue.position(sweep.waiting[-1].id) if sweep.waiting else 0)
    parts = [f"{sweep.count('done')} of {len(sweep.jobs)} done{f' ({skipped} already measured)' if skipped else ''}"]
    parts += [f"{len(sweep.failed)} failed"] if sweep.failed else []
    parts += [f"{count} cancelled"] if (count := sweep.count("cancelled")) else []
    parts += [f"about {format.duration(seconds)} left"] if seconds is not None else []
    return ", ".join(parts)


def cancel_button(queue: Queue, sweep: Sweep) -> None:
    """Draw a button that cancels a sweep: waiting runs at once, the running one at its next step."""
    note = "Cancels the remaining runs of this sweep. Other jobs continue."
    owner.cancel_button(sweep, queue.cancel_sweep, f"cancel-sweep-{sweep.id}", type="tertiary", help=note)


def _progress(number: int, own: bool, on_points: Show | None) -> None:
    """Draw one sweep; on a timer while it is active. Reruns the page when one of its runs has ended."""
    try:
        queue = Queue()
        sweep = queue.sweep(number)
        if sweep is None or st.session_state.get(_seen_key(number)) != _ended(sweep):
            st.rerun()
        elif own:
            with st.container(border=True, key=f"sweep-{number}", gap="small"):
                _panel(queue, sweep, on_points)
        else:
            with st.container(horizontal=True, vertical_alignment="center", key=f"sweep-{number}"):
                _line(queue, sweep)
        keep_worker(queue)
    except QueueError as problem:
        st.error(format.escaped(str(problem)))


def _line(queue: Queue, sweep: Sweep) -> None:
    """Draw a sweep that the page's link does not name, in one line."""
    elements.state_badge(sweep)
    owner.badge(sweep)
    st.markdown(f"Sweep in progress: **{title(sweep)}**", width="content")
    st.caption(_current_status(queue, sweep), width="content")
    st.button("Follow", key=f"follow-{sweep.id}", type="tertiary", on_click=_follow, args=(sweep.id,))


def _panel(queue: Queue, sweep: Sweep, on_points: Show | None) -> None:
    """Draw the sweep in the page's link: progress, failures, runs, and the way to its points."""
    with st.container(horizontal=True, vertical_alignment="center"):
        elements.state_badge(sweep)
        owner.badge(sweep)
        st.markdown(f"**Sweep {sweep.id} · {title(sweep)}**", width="content")
        st.space("stretch")
        _link_to_points(sweep, on_points)
        if sweep.active:
            cancel_button(queue, sweep)
        else:
            st.button(
                "Close",
                key="close-sweep",
                type="tertiary",
                icon=":material/close:",
                on_click=_close,
                args=(sweep.id,),
            )
    if sweep.active:
        elements.tab_progress(_ended(sweep) / len(sweep.jobs))
    st.progress(_ended(sweep) / len(sweep.jobs), text=_current_status(queue, sweep))
    if sweep.active:
        st.caption("The sweep continues if you close this page. Single runs go first.")
    titles = format.brief_titles([job.spec for job in sweep.jobs])
    for job, run_title in zip(sweep.jobs, titles, strict=True):
        if job in sweep.failed:
            st.caption(f":material/error: **{run_title}** {job.state}: {job.reason} {job.hint}".strip())
    runs = st.expander("Runs", key=f"runs-{sweep.id}", on_change="rerun")
    if runs.open:
        states = {"Run": titles, "State": [_state_text(job) for job in sweep.jobs]}
        with runs.container(key=f"prose-sweep-{sweep.id}"):
            st.table(states, border="horizontal", hide_index=True, alt=f"Runs of sweep {sweep.id}")


def _current_status(queue: Queue, sweep: Sweep) -> str:
    """Return the progress of a sweep with its running job, or with the number of jobs before its next run."""
    if running := sweep.running:
        titles = format.brief_titles([job.spec for job in sweep.jobs])
        return f"{status(queue, sweep)} · running: {titles[sweep.jobs.index(running)]}"
    if not sweep.waiting:
        return status(queue, sweep)
    ahead = queue.position(sweep.waiting[0].id)
    position = f"{ahead} job{'s' * (ahead != 1)} before its next run" if ahead else "next in the queue"
    return f"{status(queue, sweep)} · {position}"


def _link_to_points(sweep: Sweep, on_points: Show | None) -> None:
    """Draw a button or a link to the plots with the runs of a sweep, if at least one run is done."""
    run_id = next((job.run_id for job in reversed(sweep.jobs) if job.state == "done" and job.run_id), None)
    stored = Store().get(run_id) if run_id else None
    group = next((group for group in data.groups() if stored in group.runs), None) if stored else None
    shared: dict[str, Any] = {"label": "Show in plots", "icon": ":material/show_chart:"}
    if group and on_points:
        st.button(key="points", type="tertiary", on_click=_show, args=(on_points, group, sweep.id), **shared)
    elif group:
        query = {"machine": group.environment, "of": group.workload, "sweep": str(sweep.id)}
        st.page_link("../../pages/pareto.py", query_params=query, **shared)


def _state_text(job: Job) -> str:
    colour = elements.STATE_COLOURS.get(job.state, "red")
    note = "already measured" if job.skipped else job.reason
    return f":{colour}-badge[{job.state}] {note}".strip()


def _knob_values(specs: Sequence[RunSpec]) -> dict[tuple[int, str], dict[str, None]]:
    """Return the texts of all values of each knob, by position of its technique and name, in order, without repeats."""
    values: dict[tuple[int, str], dict[str, None]] = {}
    for position, entry in (item for spec in specs for item in enumerate(spec.techniques)):
        technique = registry().get(entry["name"])
        defaults = {knob.name: knob.default for knob in technique.knobs} if technique else {}
        for knob, value in (defaults | entry).items():
            values.setdefault((position, knob), {})[format.knob_value(value)] = None
    return values


def _ended(sweep: Sweep) -> int:
    """Return the number of runs that are no longer waiting or running."""
    return sum(not job.active for job in sweep.jobs)


def _seen_key(number: int) -> str:
    """Return the session's key for the number of ended runs when the page was last drawn."""
    return f"sweep-seen-{number}"


def _follow(number: int) -> None:
    st.query_params["sweep"] = str(number)
    _rerun_page(number)


def _close(number: int) -> None:
    st.query_params.pop("sweep", None)
    _rerun_page(number)


def _show(on_points: Show, group: Comparison, number: int) -> None:
    on_points(group)
    _rerun_page(number)


def _rerun_page(number: int) -> None:
    """Rerun the whole page after a click inside the fragment of this sweep."""
    st.session_state.pop(_seen_key(number), None)
