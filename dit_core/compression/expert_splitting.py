"""Split a dense feed-forward network into experts (MoEfication, arXiv 2110.01786).

Neurons that are active for the same tokens form an expert. A linear router predicts from a token how much each expert
would change the output. Two steps go beyond the paper. The mean output of every expert is moved into the bias of the
mixture, so skipping an expert loses only its deviation from the mean. The second matrices are corrected by least
squares, so that the experts that run compensate for those that do not.

Shapes: R rows (tokens), D width, E routed experts, n neurons of one expert.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dit_core.compression.calibration import Inputs, batches
from dit_core.models.dit import Mlp
from dit_core.models.experts import Mixture
from dit_core.models.hooks import hooked

TOKENS = 8192  # rows of a layer's input to which neurons and routers are fitted
ROUNDS = 20  # of k-means, at most; it converges earlier
ROUTER_RIDGE, OUTPUT_RIDGE = 1e-3, 0.1  # ridge penalties, in mean squares of the inputs


def mixture_like(dense: Mlp, experts: int, top_k: int, size: int, shared: int, balance: float) -> Mixture:
    """Return an unfitted mixture of `experts` experts with `size` neurons each, for the inputs of `dense`."""
    with dense.fc1.weight.device:
        mixture = Mixture(dense.fc1.in_features, experts, top_k, size, shared, "one", balance)
    return mixture.requires_grad_(dense.fc1.weight.requires_grad).train(dense.training)


@torch.no_grad()
def split(dense: Mlp, mixture: Mixture, rows: Tensor, seed: int) -> None:
    """Fit `mixture` in place to the dense network, on inputs `rows` (R, D).

    A mixture that runs all experts and has all neurons computes the same as `dense`.
    """
    added = take_neurons(dense, mixture, rows, seed)
    fit_router(mixture.router, rows, added)
    compensate(dense, mixture, rows)


def take_neurons(dense: Mlp, mixture: Mixture, rows: Tensor, seed: int) -> Tensor:
    """Assign neurons to experts in place; return (R, E): how far each expert moves the output of a row from the mean.

    The neurons whose contribution varies most go to the shared experts. If the mixture is smaller than `dense`, the
    neurons that vary least are dropped, and their mean contribution stays in the bias.
    """
    hidden = dense.act(dense.fc1(rows))  # (R, neurons)
    mean = hidden.mean(0)
    hidden -= mean
    activity = hidden.abs() * dense.fc2.weight.norm(dim=0)  # how far a neuron moves the output from its mean
    by_activity = activity.square().sum(0).argsort(descending=True)
    shared = 0 if mixture.shared is None else mixture.shared.fc1.out_features
    always, routed, dropped = by_activity.tensor_split([shared, shared + mixture.routed * mixture.expert_size])
    neurons = routed[balanced_clusters(activity[:, routed].T.contiguous(), mixture.routed, seed)]  # (E, n)
    columns = dense.fc2.weight.T  # (neurons, D)
    usual = torch.einsum("en,end->ed", mean[neurons], columns[neurons])  # mean outputs of the experts
    bias = dense.fc2.bias + usual.sum(0) + mean[dropped] @ columns[dropped]

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
    """Fit the router in place: ridge regression from `rows` (R, D) to the norms `added` (R, E) over their deviation."""
    scale = added.std().clamp(min=1e-6)
    centre, expected = rows.mean(0), added.mean(0)
    weight = ridge(rows - centre, (added - expected) / scale, ROUTER_RIDGE).T  # (E, D)
    router.weight.copy_(weight)
    router.bias.copy_(expected / scale - weight @ centre)


def compensate(dense: Mlp, mixture: Mixture, rows: Tensor) -> None:
    """Correct the outputs of the chosen experts in place, to the least squared error to `dense` over `rows` (R, D).

    If all experts run and no neuron was dropped, the error is zero and nothing changes.
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
    """Return the ridge regression weights (inputs, targets); `penalty` is in mean squares of the inputs."""
    a, b = inputs.double(), targets.double()
    gram = a.T @ a
    gram.diagonal().add_(penalty * gram.diagonal().mean().clamp(min=1e-6))
    return torch.linalg.solve(gram, a.T @ b).to(inputs.dtype)


def balanced_clusters(points: Tensor, clusters: int, seed: int) -> Tensor:
    """Cluster `points` (points, features) into clusters of equal size by k-means; return indices (clusters, size).

    The start is k-means++ (Arthur and Vassilvitskii, 2007). Each assignment is the optimal balanced one (Malinen and
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
        assigned = torch.from_numpy(balanced_assignment(distances(centres).double().cpu().numpy())).to(points.device)
        if labels is not None and torch.equal(assigned, labels):
            break
        labels = assigned
        centres = torch.stack([points[labels == cluster].mean(0) for cluster in range(clusters)])
    assert labels is not None
    return labels.argsort(stable=True).view(clusters, -1)


def balanced_assignment(cost: np.ndarray) -> np.ndarray:
    """Return the cluster of each point (points,): equal sizes at the least total `cost` (points, clusters).

    Successive shortest paths. Every point starts in its cheapest cluster. Each round moves one point out of a cluster
    with too many points along the cheapest chain of moves that ends in a cluster with too few. The nodes of the graph
    are the clusters, so paths are short for any number of points.
    """
    count = cost.shape[1]
    labels = cost.argmin(1)
    surplus = np.bincount(labels, minlength=count) - len(cost) // count
    price = np.full((count, count), np.inf)  # of the cheapest move from one cluster (row) to another (column)
    mover = np.zeros((count, count), int)  # the point of that move

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
        for source, target in path:
            labels[mover[source, target]] = target
        surplus[path[-1][0]] -= 1
        surplus[path[0][1]] += 1
        for cluster in {node for edge in path for node in edge}:
            update(cluster)
    return labels


def _cheapest_path(price: np.ndarray, surplus: np.ndarray, slack: float) -> list[tuple[int, int]]:
    """Return the edges, last edge first, of the cheapest path from a surplus to a deficit (Bellman-Ford).

    A gain below `slack` is rounding and ignored.
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
    """Return about `TOKENS` random rows (R, D) of each layer's inputs over `inputs`, the same rows for all layers."""
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[Tensor]] = {name: [] for name in layers}
    kept = torch.empty(0)

    def keep(name: str, args: tuple[Any, ...]) -> None:
        rows[name].append(args[0].flatten(0, -2)[kept.to(args[0].device)])

    tokens = model.config.tokens
    share = min(1.0, TOKENS / (tokens * len(inputs[0])))
    with hooked({name: model.get_submodule(name) for name in layers}, pre=keep):
        for batch in batches(inputs):
            order = torch.randperm(tokens * len(batch[0]), generator=generator)
            kept = order[: math.ceil(share * len(order))]
            model(*batch)
    return {name: torch.cat(parts) for name, parts in rows.items()}
