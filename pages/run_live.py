"""Pick a technique and its knobs, run it on this machine, watch it form beside the baseline."""

import streamlit as st

from dit_core.ui import form, knob_sweep, live, sweeps

st.title("Run live", anchor=False)
form.begin(on_change=live.forget)
bar, sweep = st.container(), st.container()
inputs, view = st.columns([3, 8], gap="large")
with inputs:
    spec, problem = form.run_form(on_change=live.forget)
with bar:
    live.bar(spec, problem)
with sweep:
    sweeps.follow()
    knob_sweep.offer(spec)
with view:
    live.show(spec)
