"""Metrics that read a classifier's scores: inception score, and the share of images of the requested class."""

import statistics
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dit_core.quality.intervals import Interval, mean_interval


class Score(NamedTuple):
    """Mean and standard deviation over splits of the images, and the mean's 95 % interval if there are several."""

    mean: float
    spread: float
    interval: Interval | None


def score_over_splits(logits: Tensor, splits: int = 10) -> Score:
    """exp(E KL(p(y|x) || p(y))) of (N, C) logits, over splits of the images (Salimans et al., arXiv 1606.03498).

    With Inception's logits this is the inception score; with another network's it compares only with itself.
    torchmetrics' InceptionScore shuffles the images first, so that its value changes from call to call; with one split
    both agree.
    """
    logs = logits.double().log_softmax(1)
    scores = []
    for part in logs.tensor_split(min(splits, len(logs))):
        marginal = part.exp().mean(0).clamp(min=torch.finfo(torch.float64).tiny).log()  # (C,)
        scores.append((part.exp() * (part - marginal)).sum(1).mean().exp())
    values = torch.stack(scores)
    return Score(values.mean().item(), values.std(correction=0).item(), mean_interval(values.tolist(), "splits"))


@dataclass(frozen=True)
class LinearClassifier:
    """Linear classifier of features: `weight` (C, D) and `bias` (C,).

    `held_out_accuracy` is its balanced accuracy on `held_out_count` real images that it was not fitted on.
    """

    weight: Tensor
    bias: Tensor
    held_out_accuracy: float
    held_out_count: int

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Balanced accuracy on (N, D) features with labels (N,)."""
        return balanced_accuracy(self.scores(features), labels)

    def scores(self, features: Tensor) -> Tensor:
        """Score (N, D) features for each class: (N, C); the highest score is the predicted class."""
        return features @ self.weight.T + self.bias


def balanced_accuracy(scores: Tensor, labels: Tensor) -> float:
    """Mean over the classes in `labels` (N,) of the accuracy of the scores (N, C)."""
    return statistics.fmean(accuracy_by_class(scores, labels).values())


def accuracy_by_class(scores: Tensor, labels: Tensor) -> dict[int, float]:
    """Accuracy of the scores (N, C) for each class in `labels` (N,), in ascending order of the class."""
    right = (scores.argmax(1) == labels).double()
    return {label: right[labels == label].mean().item() for label in labels.unique().tolist()}


def fit_linear(features: Tensor, labels: Tensor, classes: int, decay: float = 1e-2) -> tuple[Tensor, Tensor]:
    """Fit a multinomial logistic regression in which every class has the same weight: `weight` (C, D), `bias` (C,).

    Uses L-BFGS on standardized features and folds the scaling into the weights. Deterministic.
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
