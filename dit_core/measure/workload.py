"""What is measured: a pair of calls, and an object from which another process can load the same pair."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from dit_core.records.spec import RunSpec


class Calls(NamedTuple):
    """One batch of images by each side of a run; `candidate` is None if the run is the baseline itself."""

    baseline: Callable[[], None]
    candidate: Callable[[], None] | None = None


class Workload(Protocol):
    """A picklable object that loads the models of a run in any process."""

    @property
    def spec(self) -> RunSpec: ...

    def load(self) -> Calls:
        """Both sides of the run."""
        ...

    def load_candidate(self) -> Callable[[], None]:
        """The call of the candidate only, without keeping the baseline in memory."""
        ...
