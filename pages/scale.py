"""How cost grows: with tokens for each kind of attention, and with width, depth and batch."""

import streamlit as st

from dit_core.ui import components, reads, result, scale, scale_words

st.title("How cost grows", anchor=False)
tokens = scale.scalings("tokens")
others = {title: found for name, title in scale_words.OTHERS.items() if (found := scale.scalings(name))}
if not tokens and not others:
    first = ("run_live", "Make a run")
    result.nothing_yet(
        "No network of random weights has been measured at two sizes yet. This command measures a whole set:", first
    )
    st.code(scale.COMMAND, language=None)
    components.skipped_note(reads.loaded().skipped)
    st.stop()

if tokens:
    st.subheader("Tokens, by kind of attention", anchor=False)
    shown = scale.choose(tokens, "tokens-of")
    scale.findings(shown)
    left, right = st.columns(2, gap="medium")
    with left:
        cost = scale.choose_cost("cost")
        scale.plot(shown, cost, "plot-tokens")
    with right:
        st.markdown("**Share of attention in the time**")
        scale.shares(shown, "plot-shares")
    scale.table(shown)
    scale.caption(shown)
    scale.compare_link(shown)

st.subheader("Width, depth and batch", anchor=False)
if others:
    with st.container(horizontal=True):
        along = st.segmented_control(
            "Grows", list(others), default=next(iter(others)), key="along", required=True, bind="query-params"
        )
    shown = scale.choose(others[along or next(iter(others))], "others-of")
    cost = scale.choose_cost("other-cost")
    scale.plot(shown, cost, "plot-others")
    scale.growth(shown, cost)
    scale.caption(shown)
scale.missing([title for title in scale_words.OTHERS.values() if title not in others])
components.skipped_note(reads.loaded().skipped)
