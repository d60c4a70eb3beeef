"""What each technique does within the network, computed from its real weights and activations."""

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.inside import files
from dit_core.ui import inside, result

st.title("Inside the network", anchor=False)
st.caption("What each technique does to this model, computed from its own weights and activations.")
name = inside.choose()
try:
    content = files.read(name)
except BadRequest as error:
    result.nothing_yet(str(error))
    st.stop()
inside.show(name, content)
