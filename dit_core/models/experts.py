"""Mixtures of experts, which replace the feed-forward networks of a transformer.

A token runs the shared experts and `top_k` of the others, which a linear router chooses from that token only: the
result does not depend on the rest of the batch, and no token is dropped. Rows are sorted by expert once, so that every
expert is one matrix product over adjacent rows. On CUDA the host never waits for the device: bfloat16 uses grouped
products, other types use products over blocks of rows, of which at most a tenth are padding.

Shapes: R rows (tokens), D width, E routed experts, n neurons of one expert, k chosen experts.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_core.errors import BadRequest
from dit_core.models.dit import Mlp
from dit_core.models.layers import chosen_blocks, indivisible, unroutable

GATES = ("one", "softmax")
PADDING = 0.1  # largest share of padding rows that blocks may add


@dataclass(frozen=True)
class Routes:
    """Assignment of rows to experts: R k pairs of a row and an expert, sorted by expert."""

    experts: Tensor  # (R k,) expert of each pair
    rows: Tensor  # (R k,) row of each pair
    order: Tensor  # (R k,) index of each pair if pairs are sorted by row
    ends: Tensor  # (E,) int32: the pairs of expert e end before ends[e]
    gates: Tensor | None  # (R, k) weights of the outputs of each row, None if all are one

    def sizes(self) -> list[int]:
        """Return the number of pairs of each expert. The host waits for the device."""
        stops = self.ends.tolist()
        return [stop - start for start, stop in zip([0, *stops], stops, strict=False)]


class Router(nn.Linear):
    """Picks the `top_k` experts of highest score for each row; the scores are linear in the row.

    The gates g, from the softmax p of the scores, are

    - `one`: a chosen expert has the weight one (MoEfication, arXiv 2110.01786), so that the sum of all experts of a
      split network equals the original network. In training g = p / stop_gradient(p): the value is still one, and the
      gradient teaches the router which of the chosen experts helped.
    - `softmax`: g = E p, one on average, for training from scratch (DiT-MoE, arXiv 2407.11633, has g = p).

    Scores are computed outside autocast, and the weights keep their precision when the network is cast to a smaller
    type, because rounded scores choose other experts (arXiv 2101.03961, section 2.4).
    """

    exact = ("weight", "bias")  # not rounded to float16 in a file

    def __init__(self, hidden_size: int, experts: int, top_k: int, gate: str, balance: float) -> None:
        super().__init__(hidden_size, experts)
        self.top_k, self.gate, self.balance = top_k, gate, balance
        self.balance_loss: Tensor | None = None

    def forward(self, rows: Tensor) -> Routes:
        with torch.autocast(rows.device.type, enabled=False):
            scores = F.linear(rows.to(self.weight.dtype), self.weight, self.bias)  # (R, E)
        highest, chosen = scores.topk(self.top_k, dim=1, sorted=False)  # (R, k)
        experts, order = chosen.flatten().sort(stable=True)
        every = torch.arange(self.out_features, device=rows.device)
        ends = torch.searchsorted(experts, every, right=True, out_int32=True)
        gates = self._gates(scores, highest, chosen)
        return Routes(experts, order.div(self.top_k, rounding_mode="floor"), order, ends, gates)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Router":
        """Implement `nn.Module.to` and similar methods without a loss of precision."""

        def exactly(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            return changed if changed.dtype.itemsize >= tensor.dtype.itemsize else tensor.to(changed.device)

        return super()._apply(exactly, recurse)

    def _gates(self, scores: Tensor, highest: Tensor, chosen: Tensor) -> Tensor | None:
        """Return the gates (R, k) of `chosen` experts with the scores `highest`; in training store the balance loss."""
        if self.gate == "one" and not self.training:
            return None
        total = scores.logsumexp(dim=1, keepdim=True)
        if self.training:
            self.balance_loss = self.balance * imbalance((scores - total).exp(), chosen)
        logs = highest - total
        return (logs - logs.detach()).exp() if self.gate == "one" else self.out_features * logs.exp()

    def extra_repr(self) -> str:
        return f"{self.top_k} of {self.out_features} experts, gate {self.gate}"


class Mixture(nn.Module):
    """`shared(x) + bias + sum of g_e (W2_e gelu(W1_e x + b1_e) + b2_e)` over the experts that a `Router` picks.

    `experts` counts all of them: `shared` always run, the router picks `top_k` of the rest.
    """

    def __init__(
        self,
        hidden_size: int,
        experts: int,
        top_k: int,
        expert_size: int,
        shared: int = 0,
        gate: str = "one",
        balance: float = 0.01,
    ) -> None:
        super().__init__()
        if reason := unroutable(experts, top_k, shared):
            raise BadRequest(reason)
        if gate not in GATES:
            raise BadRequest(f"gate must be one of {', '.join(GATES)}, got {gate!r}.")
        self.hidden_size, self.expert_size, self.routed, self.top_k = hidden_size, expert_size, experts - shared, top_k
        self.router = Router(hidden_size, self.routed, top_k, gate, balance)
        # Stacked as matrices and flat biases, so that optimizers treat them like those of a dense network.
        self.fc1 = nn.Parameter(torch.empty(self.routed * expert_size, hidden_size))  # (E n, D)
        self.bias1 = nn.Parameter(torch.empty(self.routed * expert_size))
        self.fc2 = nn.Parameter(torch.empty(self.routed * expert_size, hidden_size))  # (E n, D)
        self.bias2 = nn.Parameter(torch.empty(self.routed * hidden_size))
        self.shared = Mlp(hidden_size, shared * expert_size) if shared else None
        self.bias = None if shared else nn.Parameter(torch.empty(hidden_size))  # shared experts have their own
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.hidden_size)  # (R, D)
        routes = self.router(rows)
        always = self.shared(rows) if self.shared is not None else self.bias.expand(len(rows), -1)  # type: ignore
        # Torch's grouped product is one kernel for bfloat16 on CUDA; for anything else it is a loop like `_add_each`.
        on_cuda = self._add_grouped if rows.dtype == torch.bfloat16 else self._add_blocks
        add = on_cuda if rows.is_cuda else self._add_each
        return add(always, rows, routes).view(x.shape)

    def experts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights by expert: W1 (E, n, D), b1 (E, n), transposed W2 (E, n, D) and b2 (E, D); views."""
        shape, (fc1, fc2) = (self.routed, self.expert_size, self.hidden_size), self.matrices()
        return fc1.view(shape), self.bias1.view(shape[:2]), fc2.view(shape), self.bias2.view(shape[::2])

    def matrices(self) -> tuple[Tensor, Tensor]:
        """W1 and transposed W2 of all experts, stacked: (E n, D) each."""
        return self.fc1, self.fc2

    def _add_each(self, always: Tensor, rows: Tensor, routes: Routes) -> Tensor:
        """Add the outputs of the experts to `always` (R, D) with one product each. The host reads their sizes once."""
        (w1, b1, w2, b2), sizes = self.experts(), routes.sizes()
        hidden = one_by_one(rows.index_select(0, routes.rows), sizes, w1.transpose(1, 2), b1)
        return self._add_up(always, one_by_one(F.gelu(hidden, approximate="tanh"), sizes, w2, b2), routes)

    def _add_grouped(self, always: Tensor, rows: Tensor, routes: Routes) -> Tensor:
        """Add the outputs of the experts with grouped products, without waiting for the device."""
        w1, b1, w2, b2 = self.experts()
        hidden = F.grouped_mm(rows[routes.rows], w1.transpose(1, 2), offs=routes.ends) + b1[routes.experts]
        outputs = F.grouped_mm(F.gelu(hidden, approximate="tanh"), w2, offs=routes.ends) + b2[routes.experts]
        return self._add_up(always, outputs, routes)

    def _add_blocks(self, always: Tensor, rows: Tensor, routes: Routes) -> Tensor:
        """Add the outputs of the experts with one batched product over blocks of rows, without waiting for the device.

        All rows of a block belong to one expert; its last block is padded with zeros. Each block copies the matrices of
        its expert, so there are only about E / `PADDING` blocks.
        """
        w1, b1, w2, b2 = self.experts()
        pairs = len(routes.rows)
        size, count = block_shape(pairs, self.routed)
        ends = routes.ends.long()
        loads = ends.diff(prepend=ends.new_zeros(1))  # (E,)
        filled = (loads + size - 1) // size  # (E,) blocks of each
        block_ends = filled.cumsum(0)
        moved = (block_ends - filled) * size - (ends - loads)
        places = torch.arange(pairs, device=rows.device) + moved[routes.experts]  # (R k,) of each pair among the blocks
        blocks = torch.searchsorted(block_ends, torch.arange(count, device=rows.device), right=True)
        blocks = blocks.clamp(max=self.routed - 1)  # (blocks,) expert of each; the last blocks can be padding only
        padded = rows.new_zeros(count * size, self.hidden_size).index_copy(0, places, rows[routes.rows])
        hidden = torch.baddbmm(b1[blocks].unsqueeze(1), padded.view(count, size, -1), w1[blocks].transpose(1, 2))
        outputs = torch.baddbmm(b2[blocks].unsqueeze(1), F.gelu(hidden, approximate="tanh"), w2[blocks])
        return self._add_up(always, outputs.flatten(0, 1)[places], routes)

    def _add_up(self, always: Tensor, outputs: Tensor, routes: Routes) -> Tensor:
        """Add the outputs (R k, D) of sorted pairs to `always` (R, D), weighted by the gates.

        The outputs of a row are added in an order that does not depend on the other rows.
        """
        every = torch.arange(len(routes.order), device=outputs.device)
        places = torch.empty_like(every).scatter_(0, routes.order, every).view(-1, self.top_k)  # (R, k), sorted to row
        if not (outputs.is_cuda or torch.is_grad_enabled()):  # one pass over memory instead of three
            gates = None if routes.gates is None else routes.gates.to(outputs.dtype)
            return always + F.embedding_bag(places, outputs, mode="sum", per_sample_weights=gates)
        chosen = outputs.index_select(0, places.flatten()).unflatten(0, places.shape)  # (R, k, D)
        if routes.gates is not None:
            chosen = chosen * routes.gates.unsqueeze(-1)
        return always + chosen.to(always.dtype).sum(1)

    def reset_parameters(self) -> None:
        """Draw weights within the Xavier bounds of a dense network with the neurons of one token; biases are zero."""
        neurons = self.top_k * self.expert_size + (self.shared.fc1.out_features if self.shared is not None else 0)
        bound = math.sqrt(6 / (self.hidden_size + neurons))
        nn.init.normal_(self.router.weight, std=0.02)
        for name, parameter in self.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
            elif not name.startswith("router"):
                nn.init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.routed} experts of {self.expert_size} neurons"


def one_by_one(rows: Tensor, sizes: list[int], weights: Tensor, biases: Tensor) -> Tensor:
    """Multiply rows (R k, in), `sizes` of them for each expert, by weights (E, in, out) and add biases (E, out)."""
    parts = zip(rows.split(sizes), weights, biases, strict=True)
    if torch.is_grad_enabled() or torch.is_autocast_enabled(rows.device.type):  # neither takes `out`
        return torch.cat([torch.addmm(bias, x, weight) for x, weight, bias in parts])
    products = rows.new_empty(len(rows), weights.shape[2])
    for (x, weight, bias), place in zip(parts, products.split(sizes), strict=True):
        torch.addmm(bias, x, weight, out=place)
    return products


def block_shape(pairs: int, experts: int) -> tuple[int, int]:
    """Return the rows of a block, and the number of blocks that hold `pairs` rows in any distribution over experts.

    The blocks have at most 1 + `PADDING` times as many rows as there are pairs, and no padding if there are few pairs.
    """
    size = max(1, int(PADDING * pairs / experts))
    return size, (pairs + experts * (size - 1)) // size


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of one token in all mixtures of a network, routers included; also their number of weights.

    `total` counts all experts, `activated` those that the token runs. The executed work, which includes the padding of
    blocks (`PADDING`) on CUDA in float32, must be measured.
    """

    total: int
    activated: int


def work(model: nn.Module) -> Work | None:
    """Return the multiply-accumulates of one token in the mixtures of a network, or None if it has none."""
    modules = list(mixtures(model))
    if not modules:
        return None
    routers = sum(m.hidden_size * m.routed for m in modules)
    shared = sum(2 * m.hidden_size * m.shared.fc1.out_features for m in modules if m.shared is not None)
    expert = [2 * m.hidden_size * m.expert_size for m in modules]
    total = routers + shared + sum(m.routed * macs for m, macs in zip(modules, expert, strict=True))
    activated = routers + shared + sum(m.top_k * macs for m, macs in zip(modules, expert, strict=True))
    return Work(total, activated)


def mixtures(model: nn.Module) -> Iterator[Mixture]:
    """Yield all mixtures of a network, in order."""
    return (module for module in model.modules() if isinstance(module, Mixture))


def imbalance(probabilities: Tensor, chosen: Tensor) -> Tensor:
    """`sum of f_i P_i` (arXiv 2101.03961, equation 4): one for an even load, E / k if k experts take all rows.

    f_i is E times the share of the choices (R, k) that fell on expert i, P_i its mean probability (R, E).
    """
    experts = probabilities.shape[1]
    load = torch.zeros_like(probabilities).scatter_(1, chosen, 1.0).mean(0) * (experts / chosen.shape[1])
    return (load * probabilities.mean(0)).sum()


def balance_loss(model: nn.Module) -> Tensor:
    """Return the sum of the weighted balance losses of the last forward pass in training, and reset them.

    Zero for a network without mixtures.
    """
    losses = []
    for router in (mixture.router for mixture in mixtures(model)):
        if router.balance_loss is not None:
            losses.append(router.balance_loss)
            router.balance_loss = None
    return torch.stack(losses).sum() if losses else torch.zeros((), device=next(model.parameters()).device)


def with_experts(
    dit: nn.Module,
    experts: int,
    top_k: int,
    shared: int = 0,
    expert_size: int = 0,
    layers: str = "all",
    *,
    gate: str = "softmax",
    balance: float = 0.01,
    seed: int = 0,
) -> nn.Module:
    """Return a copy of an untrained DiT in which new mixtures replace the feed-forward networks of selected blocks.

    An `expert_size` of 0 divides the neurons of the block among the experts. Raises BadRequest if they do not divide.
    """
    dit = copy.deepcopy(dit)
    blocks: Any = dit.blocks
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for index in chosen_blocks(layers, len(blocks)):
            dense: Mlp = blocks[index].mlp
            neurons = dense.fc1.out_features
            if not expert_size and (reason := indivisible("experts", experts, f"neurons of block {index}", neurons)):
                raise BadRequest(reason)
            size = expert_size or neurons // experts
            with dense.fc1.weight.device:
                blocks[index].mlp = Mixture(
                    dense.fc1.in_features, experts, top_k, size, shared, gate=gate, balance=balance
                )
    return dit
