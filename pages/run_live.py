"""Pick a technique and its knobs, run it on this machine, watch it form beside the baseline."""

import streamlit as st

from dit_core.ui import form, live

st.title("Run live", anchor=False)
form.begin(on_change=live.forget)
bar = st.container()
inputs, view = st.columns([3, 8], gap="large")
with inputs:
    spec, problem = form.run_form(on_change=live.forget)
with bar:
    live.bar(spec, problem)
with view:
    live.show(spec)
