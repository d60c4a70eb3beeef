"""Two to four runs with the same seeds: their pictures overlaid, their metrics side by side."""

import streamlit as st

from dit_core.ui import data, format
from dit_core.ui.compare import compare_page
from dit_core.ui.components import elements, result

elements.heading("Compare runs")
if not data.groups():
    first = ("run_live", "Make the first run")
    result.nothing_yet("No run has been measured yet. Measure two runs to compare them here.", first)
    st.stop()

runs, problems = compare_page.runs_of_link()
if not runs and "runs" not in st.query_params:
    runs = compare_page.first_choice()
left, right = st.columns([4, 1])
with left:
    compare_page.choose(runs)
with right:
    class_name = compare_page.choose_class(runs)
for problem in problems:
    st.warning(format.escaped(problem))
if len(runs) < compare_page.FEWEST:
    pareto = ("pareto", "Pareto")
    result.nothing_yet("Choose at least two runs above, or select rows in the table of the Pareto page.", pareto)
    st.stop()
compare_page.pictures(runs, class_name)
compare_page.table(runs)
compare_page.by_class(runs, class_name)
compare_page.caption(runs[0])
