"""What the paper and its summaries report, beside what was measured here: a verdict for each, never typed."""

import streamlit as st

from dit_core.ui import claims, components, reads, result

st.title("Claims, checked", anchor=False)
st.markdown(
    "What arXiv 2509.17894 and its summaries report, beside what this program measured. Verdicts are computed from the "
    "records, of trained weights alone, whenever this page is opened."
)
loaded, verdicts = reads.loaded(), claims.verdicts()
if not loaded.records:
    first = ("run_live", "Make the first run")
    result.nothing_yet("No run has been measured yet, so nothing can be judged. These are the claims.", first)
claims.tally(verdicts)
for verdict in verdicts:
    claims.card(verdict)
components.skipped_note(loaded.skipped)
