"""How the images of several runs form, side by side: one slider goes through the steps of all."""

from collections.abc import Sequence

import streamlit as st

from dit_core import trajectories
from dit_core.store import Stored
from dit_core.trajectories import Trajectory
from dit_core.ui import images
from dit_core.ui.viewer import Picture, viewer

HELP = (
    "After each step the network has a guess of the image without noise. A run of fewer steps is shown after as large "
    "a share of its own."
)


@st.fragment
def show(runs: Sequence[Stored], titles: Sequence[str], labels: Sequence[str], shown: str | None) -> None:
    """What each run takes its images to be after the same share of its steps; only those of the class `shown`.

    `labels` are the classes of the runs' sheets.
    """
    kept = [(title, trajectories.read(one)) for one, title in zip(runs, titles, strict=True)]
    last = max((found.steps for _, found in kept if found), default=0)
    places = [place for place in trajectories.places(len(labels)) if shown in (None, labels[place])]
    if not last:
        st.info("No run here has kept how its images form. Measure one again on the page Run live.")
        return
    if not places:
        there = ", ".join(labels[place] for place in trajectories.places(len(labels)))
        st.info(f"How images form is kept for some classes alone: {there}.")
        return
    step = st.slider("Steps of denoising", 1, last, max(1, last // 2), key="step", help=HELP) if last > 1 else 1
    across = max(1, round(len(places) ** 0.5))
    pictures = []
    for title, found in kept:
        if drawn := found and _after(found, step / last, places, across):
            png, at = drawn
            alt = f"{title} after {at}: {', '.join(labels[place] for place in places)}"
            pictures.append(Picture(f"{title}, {at}", png, alt))
        else:
            st.caption(f"{title}: how its images form was not kept. Measure it again.")
    viewer(pictures, across, [labels[place] for place in places], key="forming")


def _after(found: Trajectory, share: float, places: Sequence[int], across: int) -> tuple[bytes, str] | None:
    """The images at `places` after a share of the steps, as PNG, and which step that is."""
    if not set(places) <= set(found.places):
        return None
    step = max(1, round(share * found.steps))
    cells = tuple(found.places.index(place) * found.steps + step - 1 for place in places)
    png = images.tiles(found.webp, found.tile, found.steps, cells, across)
    return (png, f"step {step} of {found.steps}") if png else None
