"""What the paper and its summaries report, next to what was measured here, with a computed verdict for each claim."""

import streamlit as st

from dit_core.ui import data
from dit_core.ui.claims import claims_page
from dit_core.ui.components import elements, result

st.title("Claims, checked", anchor=False)
loaded, verdicts = data.loaded(), claims_page.verdicts()
if not loaded.records:
    result.nothing_yet(
        "No run has been measured yet, so no claim can be checked. The claims are listed below.",
        ("run_live", "Make the first run"),
    )
st.markdown(
    "What arXiv 2509.17894, its summaries and the papers of other techniques report, next to what this program "
    "measured. Verdicts are computed from the records. Click a claim for its source, its runs and the reason.",
    help="Reproduced: every setting is in the reported range. Partly: some are. Of many settings the best is shown, "
    "and all intervals are widened so that they hold together with 95 % (Sidak). Machines are never compared with "
    "each other. Runs with random weights do not count.",
)
claims_page.tally(verdicts)
claims_page.table(st.query_params.get("claim", ""))
elements.skipped_note(loaded.skipped)
