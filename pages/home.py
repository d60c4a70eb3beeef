"""What this is, in one screen: the question, the front of the bundled results, the ways in, this machine."""

import streamlit as st

from dit_core.ui import home

left, right = st.columns([5, 7], gap="large")
with left:
    st.title("What does each optimization of a diffusion transformer cost, and what does it buy?", anchor=False)
    st.markdown(
        "Pick a technique and its knobs, run the network here, and see its samples beside the baseline's from the same "
        "seeds. Every figure was measured by this program on a named machine."
    )
    shown = home.samples()
    home.this_machine()
with right:
    home.front(shown)
home.ways_in()
