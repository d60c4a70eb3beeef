"""A guided path for a demo: read a step aloud, open its view, come back for the next."""

import streamlit as st

from dit_core.ui import tour

st.title("Tour", anchor=False)
at = tour.place()
tour.moves(at)
tour.show(tour.STEPS[at - 1])
