"""What the paper and its summaries report, next to what was measured here, with a computed verdict for each claim."""

import streamlit as st

from dit_core.ui import claims, data
from dit_core.ui.components import elements, result

st.title("Claims, checked", anchor=False)
st.markdown(
    "What arXiv 2509.17894, its summaries and the papers of other techniques report, next to what this program "
    "measured. The verdicts are computed from the records of trained networks each time this page opens."
)
loaded, verdicts = data.loaded(), claims.verdicts()
if not loaded.records:
    result.nothing_yet(
        "No run has been measured yet, so no claim can be checked. The claims are listed below.",
        ("run_live", "Make the first run"),
    )
claims.tally(verdicts)
st.caption(
    "Reproduced: every setting is in the range. Partly: some are. Of many settings the best is shown, and all "
    "intervals are widened so that they hold together with 95 % (Sidak). Machines are never compared with each other."
)
for verdict in verdicts:
    claims.card(verdict)
elements.skipped_note(loaded.skipped)
