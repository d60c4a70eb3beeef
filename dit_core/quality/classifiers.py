"""What classifiers see in generated images: an inception score without Inception, and the share of right classes."""

import statistics
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dit_core.quality.intervals import Interval, of_mean


class Score(NamedTuple):
    """Mean and standard deviation over splits of the images, and the mean's 95 % interval where there are several."""

    mean: float
    spread: float
    interval: Interval | None


def classifier_score(logits: Tensor, splits: int = 10) -> Score:
    """Mean and spread over splits of exp(E KL(p(y|x) || p(y))) of (N, C) logits (Salimans et al., arXiv 1606.03498).

    With Inception's logits this is the inception score; with another network's it compares only with itself.
    """
    logs = logits.double().log_softmax(1)
    scores = []
    for part in logs.tensor_split(min(splits, len(logs))):
        marginal = part.exp().mean(0).clamp(min=torch.finfo(torch.float64).tiny).log()
        scores.append((part.exp() * (part - marginal)).sum(1).mean().exp())
    values = torch.stack(scores)
    return Score(values.mean().item(), values.std(correction=0).item(), of_mean(values.tolist(), "splits"))


@dataclass(frozen=True)
class LinearClassifier:
    """`weight` (C, D) and `bias` (C,) on features; `held_out_accuracy` is its own on real images it never saw."""

    weight: Tensor
    bias: Tensor
    held_out_accuracy: float
    held_out_count: int

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Share of (N, D) features whose class is the label (N,), each class with the same weight."""
        return balanced_accuracy(self.scores(features), labels)

    def scores(self, features: Tensor) -> Tensor:
        """(N, C) of (N, D) features; the highest is the class named."""
        return features @ self.weight.T + self.bias


def balanced_accuracy(scores: Tensor, labels: Tensor) -> float:
    """Mean over the classes in `labels` (N,) of the share that the scores (N, C) get right."""
    return statistics.fmean(accuracy_by_class(scores, labels).values())


def accuracy_by_class(scores: Tensor, labels: Tensor) -> dict[int, float]:
    """The share that the scores (N, C) get right of each class in `labels` (N,)."""
    right = (scores.argmax(1) == labels).double()
    return {label: right[labels == label].mean().item() for label in labels.unique().tolist()}


def fit_linear(features: Tensor, labels: Tensor, classes: int, decay: float = 1e-2) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression, every class with the same weight: `weight` (C, D) and `bias` (C,).

    L-BFGS on standardized features; the scaling is folded into the weights. Deterministic.
    """
    mean, spread = features.mean(0), features.std(0).clamp(min=1e-6)
    x = (features - mean) / spread
    balance = len(labels) / (classes * torch.bincount(labels, minlength=classes).clamp(min=1).float())
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, labels, balance) + decay * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    scaled = (weight / spread).detach()
    return scaled, bias.detach() - scaled @ mean
