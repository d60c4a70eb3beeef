"""Pick a technique and its knobs, run it on this machine, watch it form beside the baseline."""

import streamlit as st

from dit_core.ui import form, live

st.title("Run live", anchor=False)
inputs, view = st.columns([3, 8], gap="large")
with inputs:
    spec, problem = form.run_form(on_change=live.forget)
    if problem:
        st.error(problem)
    if st.button("Run", key="run", type="primary", width="stretch", disabled=spec is None) and spec:
        live.submit(spec)
    if spec and (took := live.estimate(spec)):
        st.caption(took)
with view:
    live.show(spec)
