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


def show(runs: Sequence[Stored], titles: Sequence[str], labels: Sequence[str], shown: str | None) -> None:
    """What each run takes its images to be after the same share of its steps; only those of the class `shown`.

    `labels` are the classes of the runs' sheets.
    """
    kept = [(title, trajectories.read(one)) for one, title in zip(runs, titles, strict=True)]
    places = [place for place in trajectories.places(len(labels)) if shown in (None, labels[place])]
    if not any(found for _, found in kept):
        st.info("No run here has kept how its images form. Measure one again on the page Run live.")
        return
    if not places:
        there = ", ".join(labels[place] for place in trajectories.places(len(labels)))
        st.info(f"How images form is kept for some classes alone: {there}.")
        return
    across = max(1, round(len(places) ** 0.5))
    named, pictures = [labels[place] for place in places], []
    for title, found in kept:
        if found and (frames := _frames(found, places, across)):
            pictures.append(Picture(title, ", ".join(named), frames=frames, after=found.after))
        else:
            st.caption(f"{title}: how its images form was not kept. Measure it again.")
    viewer(pictures, across, named, key="forming")
    st.caption(HELP)


def _frames(found: Trajectory, places: Sequence[int], across: int) -> tuple[bytes, ...]:
    """The images at `places` after each step, as PNG; none where one of them was not kept."""
    if not set(places) <= set(found.places):
        return ()
    rows = [found.places.index(place) * found.steps for place in places]
    made = (
        images.tiles(found.webp, found.tile, found.steps, tuple(row + step for row in rows), across)
        for step in range(found.steps)
    )
    return tuple(png for png in made if png)
