"""How long a run takes on this machine, in words: before it begins and while it runs. Knows no Streamlit."""

from collections.abc import Sequence
from typing import NamedTuple

from dit_core.jobs import Job, QueueError
from dit_core.spec import RunSpec
from dit_core.ui import here, reads, words

STEADY = ("train", "baseline", "candidate", "quality")  # stages whose steps take alike; timing ends by the clock
FEWEST = 3  # steps of a stage that tell its pace


class Seen(NamedTuple):
    """When somebody first saw a job in a stage, and at which of its steps."""

    at: float
    step: int


def before(spec: RunSpec) -> str:
    """What a run will take here; where nothing of its size was measured here, that this is not known."""
    try:
        usual = reads.usual_seconds(spec, reads.history())
    except QueueError:
        return ""
    if usual:
        return f"Runs of this size took about {words.duration(usual)} here."
    if pace := reads.usual_pace(spec, here.is_here):
        return f"Its images alone take at least {words.duration(pace[0])} at the pace of earlier runs here."
    unknown = "How long it takes on this machine is not known yet."
    if pace := reads.usual_pace(spec):
        seconds, record = pace
        return f"{unknown} On {here.place(record)} its images alone take at least {words.duration(seconds)}."
    return unknown


def left(job: Job, stage: str, now: float, seen: Seen, usual: float | None) -> str:
    """What a job still takes: from what is `usual` for its size, else from the pace of its stage since it was seen.

    Where even its time limit would pass first, that is told instead: a pace found beside other work proves no more.
    """
    elapsed = now - (job.started_at or now)
    if usual and usual > elapsed:
        return f"about {words.duration(usual - elapsed)} left"
    done = job.step - seen.step
    if stage not in STEADY or done < FEWEST or job.step >= job.of:
        return f"longer than the usual {words.duration(usual)}" if usual else ""
    rest = (now - seen.at) / done * (job.of - job.step)
    if elapsed + rest > job.time_limit_s:
        return f"at this pace it meets its limit of {words.duration(job.time_limit_s)} first"
    return f"about {words.duration(rest)} left in this stage"


def usual(job: Job, jobs: Sequence[Job]) -> float | None:
    """How long jobs like this one took here; None where there was none."""
    return reads.usual_seconds(job.spec, jobs) if job.kind == "run" else None
