"""A guided tour, to show or to learn from."""

import streamlit as st

from dit_core.ui.tour import tour_page
from dit_core.ui.tour.steps import STEPS

with st.container(key="aloud"):
    number = tour_page.heading()
    tour_page.show(STEPS[number - 1])
