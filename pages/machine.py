"""This machine: what each technique can do here, and the queue that all browsers share."""

import streamlit as st

from dit_core.job import ACTIVE
from dit_core.jobs import Queue, QueueError
from dit_core.techniques import registry
from dit_core.ui import home, machine, reads, words

st.title("This machine", anchor=False)
home.this_machine()
now, queue = st.columns(2, gap="large")
with now:
    st.subheader("Now", anchor=False)
    machine.live_readings()
with queue:
    st.subheader("Queue", anchor=False)
    try:
        st.fragment(machine.queue_table, run_every=2.0 if Queue().count(*ACTIVE) else None)(Queue())
    except QueueError as error:
        st.error(str(error))
st.subheader("Techniques", anchor=False)
devices = reads.devices()
device = (
    st.segmented_control("Device", devices, default=devices[0], required=True, key="on") if len(devices) > 1 else "cpu"
)
st.caption(f"What each technique does. Where nothing else is said, this {machine.DEVICES[device or 'cpu']} runs it.")
for family, members in words.families(registry()).items():
    machine.family(family, members, device or "cpu")
