"""A guided tour, to show or to learn from."""

import streamlit as st

from dit_core.ui.tour import tour_page
from dit_core.ui.tour.steps import STEPS

st.title("Tour", anchor=False)
number = tour_page.current_step()
tour_page.navigation(number)
tour_page.show(STEPS[number - 1])
