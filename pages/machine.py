"""This machine: its load, the job queue of all browsers, the models, and what each technique can do here."""

import streamlit as st

from dit_core.recipes.registry import registry
from dit_core.ui import data, format
from dit_core.ui.machine import machine_page, models, transfer

st.title("This machine", anchor=False)
load, jobs = st.columns(2, gap="large")
with load:
    st.subheader("Load", anchor=False)
    machine_page.live_readings()
with jobs:
    st.subheader("Queue", anchor=False)
    machine_page.queue_list()
st.subheader("Models", anchor=False)
models.model_list()
st.subheader("Records", anchor=False)
transfer.records()
st.subheader("Techniques", anchor=False)
devices = data.devices()
device = devices[0]
if len(devices) > 1:
    device = st.segmented_control("Device", devices, default=device, required=True, key="on") or device
place = "processor" if device == "cpu" else "GPU"
st.caption(f"What each technique does. Settings that this {place} does not support are marked.")
for family, members in format.families(registry()).items():
    machine_page.family(family, members, device)
machine_page.bundled_weights()
