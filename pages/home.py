"""Home: the question, images of a recipe next to the baseline's, the front of the bundled results, links, machine."""

import streamlit as st

from dit_core.ui import home

left, right = st.columns([5, 7], gap="large")
with left:
    st.title("What does each optimization of a diffusion transformer cost, and what does it save?", anchor=False)
    st.markdown(
        "Choose a technique and its knobs, run the network on this machine, and compare its images with the baseline's "
        "from the same seeds. This program measured every figure, on the machine that is named next to it."
    )
    recipe = home.gain_and_price()
    home.this_machine()
with right:
    home.front(recipe)
home.cards()
