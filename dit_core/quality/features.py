"""Features of images, in the form that every quality metric reads."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Features of N images by one extractor, float32 and finite.

    `pooled` (N, D) is the vector before the classifier, `spatial` (N, S) a flattened part of an intermediate map, and
    `logits` (N, C) the classifier's scores. Raises ValueError if a value is not finite.
    """

    pooled: Tensor
    spatial: Tensor
    logits: Tensor

    def __post_init__(self) -> None:
        if not all(torch.isfinite(values).all() for values in (self.pooled, self.spatial, self.logits)):
            raise ValueError("the features are not finite")

    def __len__(self) -> int:
        return len(self.pooled)

    def __getitem__(self, rows: slice) -> "Features":
        return Features(self.pooled[rows], self.spatial[rows], self.logits[rows])
