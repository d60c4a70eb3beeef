"""Choose a technique and its knobs, run it on this machine, and watch its images form next to the baseline's."""

import streamlit as st

from dit_core.ui.components import elements, sweeps
from dit_core.ui.run_live import form, job_panel, knob_sweep

elements.heading("Run live")
form.presets_row(on_change=job_panel.forget)
bar, sweep = st.container(), st.container()  # drawn above the form, filled after it
with st.container(key="pictures-first"):  # on a phone, where columns are stacked, the second one comes first
    inputs, view = st.columns([3, 8], gap="large")
with inputs:
    spec, problem = form.run_form(on_change=job_panel.forget)
with bar:
    job_panel.bar(spec, problem)
with sweep:
    sweeps.follow()
    knob_sweep.offer(spec)
with view:
    job_panel.show(spec)
