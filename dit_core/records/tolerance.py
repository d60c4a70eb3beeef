"""By how much a field may differ when its run is measured again. Plain data; `analysis.reproducibility` applies it.

Work and bytes are deterministic. Figures of images depend on the seeds: on one machine they repeat up to rounding, and
between machines they agree within their intervals. Times are comparable on one machine only.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exact:
    """Both values must be equal."""


@dataclass(frozen=True)
class NotCompared:
    """The values are not compared, for this reason."""

    reason: str


@dataclass(frozen=True)
class Relative:
    """Both values must agree within a share of the recorded value, on any machine."""

    share: float


@dataclass(frozen=True)
class Seeded:
    """The same seeds give the same images up to rounding.

    On one machine the values must agree within `absolute`, or within `share` of the recorded value. On different
    machines, half widths of both intervals add in quadrature. An `optional` figure needs weights that not every machine
    has: it is not compared if a record lacks it.
    """

    share: float = 0.01
    absolute: float | None = None
    optional: bool = False


@dataclass(frozen=True)
class Timed:
    """Times of one machine must agree within their spreads and the difference between processes.

    `paired` times were measured in turn with their baseline. Other load on the machine slows both, so a paired figure
    is compared even if something disturbed the timing.
    """

    paired: bool


@dataclass(frozen=True)
class Routed:
    """At most this share of all tokens may go to other experts: rounding moves some."""

    share: float


Tolerance = Exact | NotCompared | Relative | Seeded | Timed | Routed
