"""Precision and recall of generated images (Kynkaanniemi et al., arXiv 1904.06991).

The manifold of a set of features is the union of balls around them; each ball reaches to the k-th nearest neighbour in
the set. Precision is the share of generated images inside the real images' manifold, recall the share of real images
inside the generated images' manifold.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NEIGHBOURS = 3
_ROWS = 1024  # rows of a distance matrix that are in memory at a time


def precision_recall(generated: Tensor, real: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Precision and recall of (N, D) against (M, D) features. Raises ValueError if N or M is not above k."""
    return share_inside(generated, real, radii(real, k)), share_inside(real, generated, radii(generated, k))


def radii(features: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """(N,) squared distance of each feature to its k-th nearest neighbour. Raises ValueError if N is not above k."""
    if len(features) <= k:
        raise ValueError(f"a manifold of {k} neighbours needs more than {k} images")
    reach = []
    for start in range(0, len(features), _ROWS):
        distances = _squared_distances(features[start : start + _ROWS], features)
        own = torch.arange(len(distances))
        distances[own, own + start] = torch.inf
        reach.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(reach)


def share_inside(points: Tensor, centres: Tensor, squared_radii: Tensor) -> float:
    """Share of the points (N, D) that lie in at least one ball around the centres (M, D)."""
    inside = 0
    for part in points.split(_ROWS):
        inside += int((_squared_distances(part, centres) <= squared_radii).any(1).sum())
    return inside / len(points)


def recall_of(subsets: Sequence[Tensor], generated: Tensor, real: Tensor, k: int = NEIGHBOURS) -> list[float]:
    """Recall of `real` (M, D) for each subset, index tensors of more than k rows of `generated` (N, D).

    Every distance is computed once, however many subsets there are.
    """
    within = torch.empty(len(generated), len(generated), dtype=torch.float64)
    for start in range(0, len(generated), _ROWS):
        within[start : start + _ROWS] = _squared_distances(generated[start : start + _ROWS], generated)
    within.fill_diagonal_(torch.inf)
    reach = [within[rows][:, rows].kthvalue(k, dim=1).values for rows in subsets]
    inside = [0] * len(subsets)
    for part in real.split(_ROWS):
        distances = _squared_distances(part, generated)
        for i, rows in enumerate(subsets):
            inside[i] += int((distances[:, rows] <= reach[i]).any(1).sum())
    return [count / len(real) for count in inside]


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(N, D) and (M, D) to (N, M), in double precision."""
    a, b = a.double(), b.double()
    products = a @ b.T
    return products.mul_(-2).add_(a.square().sum(1, keepdim=True)).add_(b.square().sum(1)).clamp_(min=0)
