"""Parts of the Compare page: the choice of runs, which is in the page's link, and their pictures."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import streamlit as st

from dit_core.models import sources
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.ui import data, format, highlights, sample_images
from dit_core.ui.charts import axes
from dit_core.ui.compare import classes, comparison_table, denoising
from dit_core.ui.comparisons import differing, point_id, spec_of
from dit_core.ui.components import ignored
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.components.viewer import Picture, viewer, wide_columns

FEWEST, MOST = 2, 4
PAGE = "../../pages/compare.py"
ALL = "All classes"
FINAL, FORMING = "Final images", "How they form"


def runs_of_link() -> tuple[list[Stored], list[str]]:
    """Return the runs that the page's link names and that can be compared, and why others are skipped."""
    runs, problems = [], []
    named = list(dict.fromkeys(st.query_params.get_all("runs")))
    ignored.told("runs", *named)
    for identifier in named:
        run = data.find(identifier)
        if run is None:
            problems.append(f"There is no run {identifier} in this store.")
        elif runs and (difference := differing(run, runs[0])):
            problems.append(f"{format.title(spec_of(run))}: not comparable: {difference}.")
        elif len(runs) == MOST:
            problems.append(f"At most {MOST} runs can be compared at once.")
        else:
            runs.append(run)
    return runs, problems


def choose(runs: Sequence[Stored]) -> None:
    """Draw the choice of runs. The options have the same seeds and machine as the first run."""
    titles = _titles_by_id(runs)
    chosen = [point_id(run) for run in runs]
    key = f"choice-{'-'.join(chosen)}"
    st.multiselect(
        f"{FEWEST} to {MOST} runs with the same seeds",
        list(titles),
        chosen,
        key=key,
        format_func=titles.__getitem__,
        max_selections=MOST,
        on_change=lambda: _put_in_link(st.session_state[key]),
        placeholder="Choose runs",
    )


def first_choice() -> list[Stored]:
    """Return the runs to show if the link names none: the baseline and the recipes worth a first look."""
    group = data.groups()[0]
    quality = next(iter(axes.quality_axes(group.runs).values()), None)
    baseline = [run for run in group.runs if not spec_of(run).techniques]
    return [*baseline, *(highlights.first_look(group.runs, quality, MOST - len(baseline)) if quality else [])]


def choose_class(runs: Sequence[Stored]) -> str:
    """Draw the choice of a class whose images are compared; `ALL` for random weights, which have no images."""
    if _is_random(runs):
        return ALL
    options = [ALL, *dict.fromkeys(sample_images.labels(runs[0].record) if runs else ())]
    return st.selectbox("Images", options, key="images", **IN_URL)


def pictures(runs: Sequence[Stored], class_name: str) -> None:
    """Draw the images of all runs in the viewer, of all classes or of one: final images, or how they form."""
    if _is_random(runs):
        st.info("Random weights generate no images. These runs measure cost only.")
        return
    labels, kinds = sample_images.labels(runs[0].record), [FINAL, FORMING]
    shared = {"required": True, "label_visibility": "collapsed", **IN_URL}
    if st.segmented_control("Pictures", kinds, default=FINAL, key="pictures", **shared) == FORMING:
        denoising.show(runs, titles_of(runs), labels, None if class_name == ALL else class_name)
    else:
        _final_images(runs, labels, class_name)


def table(runs: Sequence[Stored]) -> None:
    """Draw the metrics of all runs."""
    comparison_table.table(runs, titles_of(runs))


def by_class(runs: Sequence[Stored], class_name: str) -> None:
    """Draw the accuracy of each class, or of one class."""
    classes.table(runs, titles_of(runs), "" if class_name == ALL else class_name)


def caption(run: Stored) -> None:
    """Draw the environment and the workload, which all compared runs share."""
    st.caption(f"Measured on {format.environment(run.record)}. Workload: {format.workload(spec_of(run))}.")


def link(runs: Sequence[Stored], label: str) -> None:
    """Draw a link to the comparison of these runs."""
    st.page_link(PAGE, label=label, icon=":material/compare:", query_params={"runs": [point_id(run) for run in runs]})


def titles_of(runs: Sequence[Stored]) -> list[str]:
    """Return distinct titles of the compared runs."""
    titles = _titles_by_id(runs)
    return [titles[point_id(run)] for run in runs]


def _final_images(runs: Sequence[Stored], labels: Sequence[str], class_name: str) -> None:
    tiles = tuple(i for i, label in enumerate(labels) if class_name in (ALL, label))
    seeds, columns = runs[0].record.samples.get("seeds") or [], max(1, round(len(tiles) ** 0.5))
    shown = []
    for run, title in zip(runs, titles_of(runs), strict=True):
        same = sample_images.labels(run.record) == tuple(labels)
        if same and (png := sample_images.tiles(run, tiles, columns)):
            wide = sample_images.tiles(run, tiles, wide_columns(len(tiles))) or png
            shown.append(Picture(title, f"{title}: {', '.join(labels[i] for i in tiles)}", png, wide))
        else:
            st.caption(f"{title}: the sample sheet is missing or damaged, or has other images.")
    tile_labels = [f"{labels[i]}, seed {seeds[i]}, image {i}" if i < len(seeds) else labels[i] for i in tiles]
    if shown:
        viewer(shown, columns, tile_labels, key="viewer")


def _titles_by_id(runs: Sequence[Stored]) -> dict[str, str]:
    """Return the titles of all runs that can be compared with these, by id."""
    groups = data.groups()
    group = next(group for group in groups if not runs or _workload(group.runs[0]) == _workload(runs[0]))
    newest = set(map(point_id, group.runs))
    earlier = [run for run in runs if point_id(run) not in newest]  # links can name earlier measurements too
    return _distinct_titles(data.Runs.of([*group.runs, *earlier]))


@lru_cache(maxsize=8)
def _distinct_titles(runs: data.Runs) -> dict[str, str]:
    counts: Counter[str] = Counter()
    titles = {}
    for run, title in zip(runs.records, format.brief_titles([spec_of(run) for run in runs.records]), strict=True):
        counts[title] += 1
        titles[point_id(run)] = title if counts[title] == 1 else f"{title} ({counts[title]})"
    return titles


def _workload(run: Stored) -> tuple[str, RunSpec]:
    """Return what runs must have in common to be compared: environment and workload."""
    return run.record.environment["fingerprint"], spec_of(run).baseline


def _is_random(runs: Sequence[Stored]) -> bool:
    return bool(runs) and sources.is_cost_only(spec_of(runs[0]).model)


def _put_in_link(identifiers: Sequence[str]) -> None:
    st.query_params["runs"] = list(identifiers)
