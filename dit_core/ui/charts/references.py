"""Two references for every technique: fewer steps of the unchanged network, and fast-DiT's published recipe.

Imports no Streamlit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dit_core.records import metrics
from dit_core.records.record import RunRecord
from dit_core.records.store import Stored
from dit_core.ui.charts.axes import Axis
from dit_core.ui.charts.front import front_runs
from dit_core.ui.comparisons import judged_alike, spec_of

PUBLISHED = {"name": "solver", "scheduler": "ddpm", "steps": 250}  # guidance in a doubled batch, as every run here
SAME_ACCURACY = 0.05  # largest loss of class accuracy at equal quality
TIME, QUALITY = Axis(metrics.RELATIVE_TIME), Axis(metrics.PRIMARY_QUALITY)


def fewer_steps(runs: Sequence[Stored], x: Axis, y: Axis) -> list[Stored]:
    """Return the front of the runs that change only solver and steps, the best on x first.

    The published recipe, a reference of its own, is not on it: its many steps would stretch every plot. Empty if the
    axis is not a time, or if there is only one such run.
    """
    published = published_recipe(runs)
    unchanged = [run for run in runs if _only_solver(run.record) and run is not published]
    line = front_runs(unchanged, x, y) if x.metric.axis == "time" else []
    return line if len(line) > 1 else []


def needless(run: Stored, line: Sequence[Stored], x: Axis, y: Axis) -> bool:
    """Return whether a run on the line is at least as good as `run` on both axes: fewer steps would do as well."""
    if _only_solver(run.record):
        return False
    return any(_as_good(step, run, x) and _as_good(step, run, y) for step in line)


def published_recipe(runs: Sequence[Stored]) -> Stored | None:
    """Return the run of fast-DiT's recipe: 250 DDPM steps of the unchanged network; None if it was not measured."""
    return next((run for run in runs if list(spec_of(run).techniques) == [PUBLISHED]), None)


def times_published(record: RunRecord, published: Stored) -> float | None:
    """Return how many times as fast as the published recipe a run is, from the speed-ups of both over one baseline."""
    own, other = metrics.SPEEDUP.read(record), metrics.SPEEDUP.read(published.record)
    return own / other if own and other else None


def best_at_equal_quality(
    runs: Sequence[Stored], published: Stored, *, accuracy_lost: float = SAME_ACCURACY
) -> tuple[Stored, float] | None:
    """Return the fastest other run whose quality equals the published recipe's, and how many times as fast it is.

    Its distance is at most the upper end of the recipe's interval, its class accuracy at most `accuracy_lost` lower.
    """
    interval = metrics.PRIMARY_QUALITY.interval(published.record)
    accuracy = metrics.CLASS_ACCURACY.read(published.record)
    if interval is None or accuracy is None:
        return None
    equal = [
        (run, ratio)
        for run in runs
        if run is not published
        and judged_alike(run.record, published.record)
        and (metrics.PRIMARY_QUALITY.read(run.record) or 0) <= interval[1]
        and (metrics.CLASS_ACCURACY.read(run.record) or 0) >= accuracy - accuracy_lost
        and (ratio := times_published(run.record, published))
    ]
    return max(equal, key=lambda pair: pair[1], default=None)


@dataclass(frozen=True)
class References:
    """Both references among some runs on two axes: the line of fewer steps, and the published recipe if it was run."""

    line: list[Stored]
    published: Stored | None
    x: Axis
    y: Axis

    @classmethod
    def of(cls, runs: Sequence[Stored], x: Axis = TIME, y: Axis = QUALITY) -> "References":
        return cls(fewer_steps(runs, x, y), published_recipe(runs), x, y)

    def notes(self, run: Stored) -> tuple[str, ...]:
        """Return what the references say about a run, in short sentences."""
        ratio = times_published(run.record, self.published) if self.published else None
        times = f"{ratio:.3g} times as fast as fast-DiT's recipe" if ratio and run is not self.published else ""
        would_do = "In the same time, fewer steps would do as well" if needless(run, self.line, self.x, self.y) else ""
        return tuple(filter(None, (times, would_do)))


def _only_solver(record: RunRecord) -> bool:
    return all(technique["name"] == "solver" for technique in record.spec["techniques"])


def _as_good(run: Stored, other: Stored, axis: Axis) -> bool:
    value, other_value = axis.read(run.record), axis.read(other.record)
    return value is not None and other_value is not None and axis.best([value, other_value]) == value
