"""Every run as a point: quality against time and against memory, the Pareto front, and the samples of a point."""

import streamlit as st

from dit_core.ui import data
from dit_core.ui.components import elements, result, sweeps
from dit_core.ui.pareto import budget, choices, front_sweep, pareto_page, published, runs_table

st.title("Pareto fronts", anchor=False)
sweeps.follow(choices.show_group)
loaded, groups = data.loaded(), data.groups()
if not groups:
    result.nothing_yet(
        "No run has been measured yet. Runs that you measure are shown here.", ("run_live", "Make the first run")
    )
    elements.skipped_note(loaded.skipped)
    st.stop()

chosen = pareto_page.chosen()
left, right = st.columns(2)
workload = st.container()
with left:
    group = choices.choose_group(groups, chosen, workload)
with right:
    quality = choices.choose_quality(group.runs)
filters = choices.choose_runs(group.runs)
fronts: list[runs_table.Front] = []

if quality is None:
    st.info("None of these runs was judged for quality. Run one with images to judge.")
elif not filters.runs:
    st.info("No run is left. Choose a family, a technique or an origin above.")
else:
    limits, answer = budget.ask(filters.runs, quality, pareto_page.choose)
    costs = []
    for column, axis_group in zip(st.columns(2, gap="medium"), ("time", "memory"), strict=True):
        with column:
            cost = choices.choose_cost(axis_group, group.runs)
            if cost:
                pareto_page.plot(
                    filters.runs,
                    cost,
                    quality,
                    chosen=chosen,
                    answer=answer,
                    hide_dominated=filters.hide_dominated,
                    limits=limits,
                    reported=filters.show_published,
                    name_front=True,
                )
                pareto_page.hypervolume(group, filters.runs, cost, quality)
                costs.append(cost)
    if filters.show_published:
        published.note(costs, quality, group.runs[0].record.environment["device"])
    fronts = [(cost, quality) for cost in costs]
    pareto_page.notes(group, filters.runs, costs, quality, groups)
    front_sweep.offer(group, filters.runs, costs, quality)

if chosen:
    pareto_page.panel(chosen)
elif filters.runs:
    st.caption("Click a point to see its samples next to the baseline's.")

if filters.runs:
    runs_table.table(filters.runs, fronts)
    runs_table.download(filters.runs, fronts)
with st.expander("Meaning of the badges", key="badges"):
    elements.badge_legend()
elements.skipped_note(loaded.skipped)
