"""How cost grows: with tokens for each kind of attention, and with width, depth and batch."""

import streamlit as st

from dit_core.ui import data
from dit_core.ui.components import elements, result
from dit_core.ui.scale import scale_page
from dit_core.ui.scale.sentences import DIMENSIONS

elements.heading("How cost grows")
tokens = scale_page.scalings("tokens")
others = {title: scales for name, title in DIMENSIONS.items() if (scales := scale_page.scalings(name))}
if not tokens and not others:
    result.nothing_yet(
        "No network with random weights has been measured at two sizes yet. This command measures all of them:",
        ("run_live", "Make a run"),
    )
    st.code(scale_page.COMMAND, language=None)
    elements.skipped_note(data.loaded().skipped)
    st.stop()

if tokens:
    st.subheader("Tokens, by kind of attention", anchor=False)
    scale = scale_page.choose(tokens, "tokens-of")
    scale_page.findings(scale)
    left, right = st.columns(2, gap="medium")
    with left:
        cost = scale_page.choose_cost("cost")
        scale_page.plot(scale, cost, "plot-tokens")
    with right:
        st.markdown("**Share of attention in the time**")
        scale_page.shares(scale, "plot-shares")
    scale_page.table(scale)
    scale_page.caption(scale)
    scale_page.compare_link(scale)

st.subheader("Width, depth and batch", anchor=False)
if others:
    first = next(iter(others))
    with st.container(horizontal=True):
        along = st.segmented_control(
            "Dimension", list(others), default=first, key="along", required=True, bind="query-params"
        )
    scale = scale_page.choose(others[along or first], "others-of")
    cost = scale_page.choose_cost("other-cost")
    scale_page.plot(scale, cost, "plot-others")
    scale_page.growth(scale, cost)
    scale_page.caption(scale)
scale_page.missing([title for title in DIMENSIONS.values() if title not in others])
elements.skipped_note(data.loaded().skipped)
