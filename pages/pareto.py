"""Every run as a point: plots at the top, the samples of a point next to them, then filters, limits and the table."""

import streamlit as st

from dit_core.ui import data
from dit_core.ui.components import elements, result, sweeps
from dit_core.ui.pareto import budget, choices, cite, front_sweep, pareto_page, published, runs_table, views

elements.heading("Pareto fronts")
sweeps.follow(choices.show_group)
loaded, groups = data.loaded(), data.groups()
if not groups:
    result.nothing_yet(
        "No run has been measured yet. Runs that you measure are shown here.", ("run_live", "Make the first run")
    )
    elements.skipped_note(loaded.skipped)
    st.stop()

chosen = pareto_page.chosen()
machine, workload, metric = st.columns([4, 5, 3])
with machine:
    group = choices.choose_group(groups, chosen, workload)
with metric:
    quality = choices.choose_quality(group.runs)
plots = st.container()  # drawn first and filled last: the plots depend on the filters and the limits below them
if quality is None:
    st.info("None of these runs was judged for quality. Run one with images to judge.")
filters = choices.choose_runs(group.runs)
limits, answer = budget.ask(filters.runs, quality, pareto_page.choose) if quality and filters.runs else ([], None)
fronts: list[runs_table.Front] = []

shown = views.Plots(group, filters, chosen, answer, tuple(limits))
with plots:
    if filters.runs:
        fronts = views.show(shown, quality)
    else:
        st.info("No run is left. Choose a family, a technique or an origin below.")
        if chosen:
            pareto_page.panel(chosen)
    if chosen:
        pareto_page.details(chosen)

if fronts:
    cite.offer(group, filters.runs, fronts)
    with st.expander("About these plots: fronts, machine, workload, error bars", key="about-plots"):
        for (cost, vertical), names in zip(fronts, shown.front_names, strict=True):
            if names:
                st.caption(names)
            pareto_page.hypervolume(group, filters.runs, cost, vertical)
        pareto_page.notes(group, filters.runs, [cost for cost, _ in fronts], fronts[0][1], groups)
    if filters.show_published:
        published.note([cost for cost, _ in fronts], fronts[0][1], group.runs[0].record.environment["device"])
    front_sweep.offer(group, filters.runs, [cost for cost, _ in fronts], fronts[0][1])

if filters.runs:
    runs_table.table(filters.runs, fronts)
    runs_table.download(filters.runs, fronts)
with st.expander("Meaning of the badges", key="badges"):
    elements.badge_legend()
elements.skipped_note(loaded.skipped)
