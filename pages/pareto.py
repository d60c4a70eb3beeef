"""Every run as a point: quality against time and against memory, the true front, and the samples behind a point."""

import streamlit as st

from dit_core.ui import budget, choices, components, front_sweep, pareto, published, reads, result, sweeps
from dit_core.ui.axes import MEMORY_AXES, TIME_AXES

st.title("Pareto fronts", anchor=False)
sweeps.follow(choices.show_group)
loaded, groups = reads.loaded(), reads.groups()
if not groups:
    result.nothing_yet(
        "No run has been measured yet. The first one that you run live will be here.",
        ("run_live", "Make the first run"),
    )
    components.skipped_note(loaded.skipped)
    st.stop()

chosen = pareto.chosen()
left, right = st.columns(2)
workload = st.container()
with left:
    group = choices.choose_group(groups, chosen, workload)
with right:
    quality = choices.choose_quality(group.runs)
runs, hide, reported = choices.choose_runs(group.runs)

if quality is None:
    st.info("None of these runs was judged for quality: run one with images to judge.")
elif not runs:
    st.info("No run is left: choose a family, a technique or a place of measurement above.")
else:
    limits, answer = budget.ask(runs, quality, pareto.choose)
    shown = []
    for side, keys, name in zip(st.columns(2, gap="medium"), (TIME_AXES, MEMORY_AXES), ("time", "memory"), strict=True):
        with side:
            cost = choices.choose_cost(keys, group.runs, name)
            if cost:
                marks = {"chosen": chosen, "answer": answer, "limits": limits}
                pareto.plot(runs, cost, quality, hide_dominated=hide, reported=reported, name_front=True, **marks)
                pareto.hypervolume(group, runs, cost, quality)
                shown.append(cost)
    if reported:
        published.note(shown, quality, group.runs[0].record.environment["device"])
    pareto.notes(group, runs, shown, quality, groups)
    front_sweep.offer(group, runs, shown, quality)

if chosen:
    pareto.panel(chosen)
elif runs:
    st.caption("Click a point to see its samples beside the baseline's.")

if runs:
    pareto.table(runs)
    pareto.take_table(runs)
with st.expander("What the badges say", key="badges"):
    components.badge_legend()
components.skipped_note(loaded.skipped)
