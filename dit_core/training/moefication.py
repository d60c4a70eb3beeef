"""Split a dense feed-forward network into experts (MoEfication, arXiv 2110.01786).

Neurons that are active for the same tokens become an expert, and a linear router learns to tell from a token how much
each expert would add. Two things go beyond the paper. An expert's mean output is in the bias of the whole, so that an
expert which does not run is missed only by what it adds beyond its mean; and the second matrices are corrected, by
least squares, so that the experts which run make up for those which do not.

Shapes: R rows (tokens), D width, E routed experts, n neurons of one expert.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dit_core.models.dit import Mlp
from dit_core.models.experts import Mixture
from dit_core.training.calibration import Inputs, batches

TOKENS = 8192  # rows of a layer's input that neurons and routers are fitted to
ROUNDS = 20  # of k-means; it settles earlier
ROUTER_RIDGE, OUTPUT_RIDGE = 1e-3, 0.1  # penalties of fitted weights, in mean squares of what they multiply


def mixture_like(dense: Mlp, experts: int, top_k: int, size: int, shared: int, balance: float) -> Mixture:
    """A mixture, not fitted yet, of as many experts of `size` of the neurons of `dense`."""
    with dense.fc1.weight.device:
        mixture = Mixture(dense.fc1.in_features, experts, top_k, size, shared, "one", balance)
    return mixture.requires_grad_(dense.fc1.weight.requires_grad).train(dense.training)


@torch.no_grad()
def split(dense: Mlp, mixture: Mixture, rows: Tensor, seed: int) -> None:
    """Give `mixture` what `dense` has learned, fitted to inputs `rows` (R, D).

    With all its experts, and all the neurons, it is `dense`.
    """
    added = take_neurons(dense, mixture, rows, seed)
    fit_router(mixture.router, rows, added)
    compensate(dense, mixture, rows)


def take_neurons(dense: Mlp, mixture: Mixture, rows: Tensor, seed: int) -> Tensor:
    """Give every expert its neurons; returns (R, E), how far each moves the output of a row from its mean.

    The neurons that vary most in what they add go to the shared experts. Where there is no room for all, those that
    vary least leave, and what they add on average stays in the bias.
    """
    hidden = dense.act(dense.fc1(rows))  # (R, neurons)
    mean = hidden.mean(0)
    hidden -= mean
    activity = hidden.abs() * dense.fc2.weight.norm(dim=0)  # how far a neuron moves the output from its mean
    by_activity = activity.square().sum(0).argsort(descending=True)
    shared = 0 if mixture.shared is None else mixture.shared.fc1.out_features
    always, rest, gone = by_activity.tensor_split([shared, shared + mixture.routed * mixture.expert_size])
    neurons = rest[balanced_clusters(activity[:, rest].T.contiguous(), mixture.routed, seed)]  # (E, n)
    columns = dense.fc2.weight.T  # (neurons, D)
    usual = torch.einsum("en,end->ed", mean[neurons], columns[neurons])  # mean outputs of the experts
    bias = dense.fc2.bias + usual.sum(0) + mean[gone] @ columns[gone]

    mixture.fc1.copy_(dense.fc1.weight[neurons.flatten()])
    mixture.bias1.copy_(dense.fc1.bias[neurons.flatten()])
    mixture.fc2.copy_(columns[neurons.flatten()])
    mixture.bias2.copy_(-usual.flatten())
    if mixture.shared is not None:
        mixture.shared.fc1.weight.copy_(dense.fc1.weight[always])
        mixture.shared.fc1.bias.copy_(dense.fc1.bias[always])
        mixture.shared.fc2.weight.copy_(dense.fc2.weight[:, always])
        mixture.shared.fc2.bias.copy_(bias)
    elif mixture.bias is not None:
        mixture.bias.copy_(bias)
    return torch.stack([(hidden[:, group] @ columns[group]).norm(dim=1) for group in neurons], dim=1)


def fit_router(router: nn.Linear, rows: Tensor, added: Tensor) -> None:
    """Ridge regression from `rows` (R, D) to the norms `added` (R, E), in units of their deviation. In place."""
    scale = added.std().clamp(min=1e-6)
    centre, expected = rows.mean(0), added.mean(0)
    weight = ridge(rows - centre, (added - expected) / scale, ROUTER_RIDGE).T  # (E, D)
    router.weight.copy_(weight)
    router.bias.copy_(expected / scale - weight @ centre)


def compensate(dense: Mlp, mixture: Mixture, rows: Tensor) -> None:
    """Change what the chosen experts give so that the least is missing of `dense` over `rows` (R, D). In place.

    Nothing is missing, and nothing changes, where all experts are chosen and no neuron has left.
    """
    routes = mixture.router(rows)
    chosen = rows.new_zeros(len(rows), mixture.routed)
    chosen[routes.rows, routes.experts] = 1.0
    w1, b1, _, b2 = mixture.experts()
    hidden = dense.act(torch.einsum("rd,end->ren", rows, w1) + b1) * chosen.unsqueeze(2)
    inputs = [hidden.flatten(1), chosen]
    if mixture.shared is not None:
        inputs.append(dense.act(mixture.shared.fc1(rows)))
    change = ridge(torch.cat(inputs, dim=1), dense(rows) - mixture(rows), OUTPUT_RIDGE)
    for_fc2, for_b2, for_shared = change.tensor_split([len(mixture.fc2), len(mixture.fc2) + mixture.routed])
    mixture.fc2.add_(for_fc2)
    b2.add_(for_b2)
    if mixture.shared is not None:
        mixture.shared.fc2.weight.add_(for_shared.T)


def ridge(inputs: Tensor, targets: Tensor, penalty: float) -> Tensor:
    """(inputs, targets) weights of least squared error and size; `penalty` is in mean squares of the inputs."""
    a, b = inputs.double(), targets.double()
    gram = a.T @ a
    gram.diagonal().add_(penalty * gram.diagonal().mean().clamp(min=1e-6))
    return torch.linalg.solve(gram, a.T @ b).to(inputs.dtype)


def balanced_clusters(points: Tensor, clusters: int, seed: int) -> Tensor:
    """(clusters, points / clusters) indices of `points` (points, features), by k-means with clusters of one size.

    Begins with k-means++ (Arthur and Vassilvitskii, 2007); each assignment is the best balanced one (Malinen and
    Fränti, 2014).
    """
    generator = torch.Generator(points.device).manual_seed(seed)
    norms = points.square().sum(1)

    def distances(centres: Tensor) -> Tensor:
        return (norms[:, None] - 2 * points @ centres.T + centres.square().sum(1)).clamp(min=0)

    first = torch.randint(len(points), (1,), generator=generator, device=points.device)
    centres = points[first]
    while len(centres) < clusters:
        nearest = distances(centres).amin(1)
        centres = torch.cat([centres, points[(nearest + 1e-12).multinomial(1, generator=generator)]])
    labels = None
    for _ in range(ROUNDS):
        found = torch.from_numpy(balanced_assignment(distances(centres).double().cpu().numpy())).to(points.device)
        if labels is not None and torch.equal(found, labels):
            break
        labels = found
        centres = torch.stack([points[labels == cluster].mean(0) for cluster in range(clusters)])
    assert labels is not None
    return labels.argsort(stable=True).view(clusters, -1)


def balanced_assignment(cost: np.ndarray) -> np.ndarray:
    """(points,) cluster of each point, as many in each, at the least total of `cost` (points, clusters).

    Successive shortest paths: every point begins in its cheapest cluster; then, one at a time, a point leaves a cluster
    that has too many, and another moves on from where it goes, until the chain of cheapest moves ends in a cluster that
    has too few. Clusters are the nodes, so a path is short however many points there are.
    """
    count = cost.shape[1]
    labels = cost.argmin(1)
    surplus = np.bincount(labels, minlength=count) - len(cost) // count
    price = np.full((count, count), np.inf)  # of the cheapest move from a cluster (row) to another
    mover = np.zeros((count, count), int)  # the point that makes it

    def update(cluster: int) -> None:
        members = np.flatnonzero(labels == cluster)
        if not len(members):
            price[cluster] = np.inf
            return
        moves = cost[members] - cost[members, cluster, None]
        best = moves.argmin(0)
        price[cluster], mover[cluster] = moves[best, np.arange(count)], members[best]

    for cluster in range(count):
        update(cluster)
    slack = 1e-12 * np.ptp(cost)
    while surplus.any():
        path = _cheapest_path(price, surplus, slack)
        for here, there in path:
            labels[mover[here, there]] = there
        surplus[path[-1][0]] -= 1
        surplus[path[0][1]] += 1
        for cluster in {node for edge in path for node in edge}:
            update(cluster)
    return labels


def _cheapest_path(price: np.ndarray, surplus: np.ndarray, slack: float) -> list[tuple[int, int]]:
    """Edges, the last one first, of the cheapest way from a positive to a negative surplus (Bellman-Ford).

    A detour that saves less than `slack` is rounding.
    """
    total = np.where(surplus > 0, 0.0, np.inf)
    before = np.full(len(total), -1)
    for _ in range(len(total) - 1):
        through = total[:, None] + price
        via = through.argmin(0)
        shorter = through.min(0) < total - slack
        if not shorter.any():
            break
        total, before = np.where(shorter, through.min(0), total), np.where(shorter, via, before)
    node = int(np.where(surplus < 0, total, np.inf).argmin())
    path = []
    while before[node] >= 0:
        path.append((int(before[node]), node))
        node = int(before[node])
    return path


@torch.no_grad()
def layer_inputs(model: Any, layers: list[str], inputs: Inputs, seed: int) -> dict[str, Tensor]:
    """By name, about `TOKENS` rows (R, D) of what the layers see over `inputs`, drawn at random, alike for all."""
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[Tensor]] = {name: [] for name in layers}
    kept = torch.empty(0)

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor]) -> None:
            rows[name].append(args[0].flatten(0, -2)[kept.to(args[0].device)])

        return model.get_submodule(name).register_forward_pre_hook(hook)

    hooks = [watch(name) for name in layers]
    tokens = model.config.tokens
    share = min(1.0, TOKENS / (tokens * len(inputs[0])))
    try:
        for batch in batches(inputs):
            every = torch.randperm(tokens * len(batch[0]), generator=generator)
            kept = every[: math.ceil(share * len(every))]
            model(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.cat(parts) for name, parts in rows.items()}
