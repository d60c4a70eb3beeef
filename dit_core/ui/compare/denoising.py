"""How the images of several runs form, side by side, with one slider for the denoising steps of all runs."""

from collections.abc import Sequence

import streamlit as st

from dit_core.experiment import trajectories
from dit_core.experiment.trajectories import Trajectory
from dit_core.records.store import Stored
from dit_core.ui import format, images
from dit_core.ui.components.viewer import Picture, viewer, wide_columns

HELP = (
    "After each step, the network predicts the image without noise. Runs with fewer steps are shown at the same "
    "fraction of their steps."
)


def show(runs: Sequence[Stored], titles: Sequence[str], labels: Sequence[str], class_name: str | None) -> None:
    """Draw the predicted images of each run after each step, of all classes or of one.

    `labels` are the classes of the images in the sheets of these runs.
    """
    by_title = [(title, trajectories.read(run)) for run, title in zip(runs, titles, strict=True)]
    stored = trajectories.places(len(labels))
    tiles = [tile for tile in stored if class_name in (None, labels[tile])]
    if not any(trajectory for _, trajectory in by_title):
        st.info("These runs have no intermediate images. Measure one again on the Run live page.")
        return
    if not tiles:
        names = format.escaped(", ".join(labels[tile] for tile in stored))
        st.info(f"Intermediate images exist only for these classes: {names}.")
        return
    columns = max(1, round(len(tiles) ** 0.5))
    tile_labels, pictures = [labels[tile] for tile in tiles], []
    for title, trajectory in by_title:
        if trajectory and (frames := _frames(trajectory, tiles, columns)):
            wide = _frames(trajectory, tiles, wide_columns(len(tiles)))
            alt = ", ".join(tile_labels)
            pictures.append(Picture(title, alt, frames=frames, wide_frames=wide, after=trajectory.after))
        else:
            st.caption(f"{title}: no intermediate images. Measure this run again.")
    viewer(pictures, columns, tile_labels, key="forming")
    st.caption(HELP)


def _frames(trajectory: Trajectory, tiles: Sequence[int], columns: int) -> tuple[bytes, ...]:
    """Return the images of these tiles after each step as PNG; empty if one of them was not stored."""
    if not set(tiles) <= set(trajectory.places):
        return ()
    rows = [trajectory.places.index(tile) * trajectory.steps for tile in tiles]
    pngs = (
        images.tiles(trajectory.webp, trajectory.tile, trajectory.steps, tuple(row + step for row in rows), columns)
        for step in range(trajectory.steps)
    )
    return tuple(png for png in pngs if png)
