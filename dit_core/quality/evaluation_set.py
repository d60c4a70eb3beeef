"""What a quality metric reads and returns."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from torch import Tensor

from dit_core.quality.features import Features
from dit_core.quality.frechet import Reference, SubsetDistance
from dit_core.quality.intervals import Interval

AnyReference = TypeVar("AnyReference", bound=Reference)


@dataclass(frozen=True)
class Figure:
    """The value of a metric, its 95 % interval if it is known, and the companion fields that a record also has."""

    value: float
    interval: Interval | None = None
    companions: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationSet(Generic[AnyReference]):
    """One set of N generated images: their features by one extractor, the reference, and the requested classes.

    `labels` (N,) is None if the classes are unknown.
    """

    features: Features
    reference: AnyReference
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: slice) -> "EvaluationSet[AnyReference]":
        labels = None if self.labels is None else self.labels[rows]
        return EvaluationSet(self.features[rows], self.reference, labels)

    @cached_property
    def pooled_distance(self) -> SubsetDistance:
        """Frechet distances of subsets of the pooled features."""
        return SubsetDistance(self.features.pooled, self.reference.pooled)
