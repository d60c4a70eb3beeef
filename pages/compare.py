"""Two to four runs from the same seeds: their pictures laid over each other, their figures side by side."""

import streamlit as st

from dit_core.ui import compare, reads, result

st.title("Compare runs", anchor=False)
if not reads.groups():
    first = ("run_live", "Make the first run")
    result.nothing_yet("No run has been measured yet. Make two, then compare them here.", first)
    st.stop()

runs, left_out = compare.named()
if not runs and "runs" not in st.query_params:
    runs = compare.first_choice()
left, right = st.columns([4, 1])
with left:
    compare.choose(runs)
with right:
    shown = compare.choose_class(runs)
for reason in left_out:
    st.warning(reason)
if len(runs) < compare.FEWEST:
    where = ("pareto", "Pareto")
    result.nothing_yet("Choose at least two runs above, or select rows of the table on the Pareto page.", where)
    st.stop()
compare.pictures(runs, shown)
compare.table(runs)
compare.by_class(runs, shown)
compare.caption(runs[0])
