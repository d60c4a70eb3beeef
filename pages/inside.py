"""What each technique does inside the network, computed from its weights and activations."""

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.inside import files
from dit_core.ui.components import elements, result
from dit_core.ui.inside import inside_page

elements.heading("Inside the network")
st.caption("What each technique does to this model, computed from the model's own weights and activations.")
name = inside_page.choose()
try:
    content = files.read(name)
except BadRequest as error:
    result.nothing_yet(str(error))
    st.stop()
inside_page.show(name, content)
