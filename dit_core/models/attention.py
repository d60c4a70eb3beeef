"""Attention that costs less than softmax attention, each kind made from a trained `Attention`.

Shapes: N images, T tokens on a square grid, D width, nh heads of size hs, G heads of keys and values, each shared by
r = nh / G heads of queries, M mediators. Mediated, focused and window attention never hold T x T numbers.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_core.errors import BadRequest
from dit_core.models.dit import Attention
from dit_core.models.layers import chosen_blocks, indivisible

EPSILON = 1e-6  # gives a feature vector that ReLU emptied a direction, as the published code does


def swap_attention(model: nn.Module, which: str, make: Callable[[Attention, int], nn.Module]) -> nn.Module:
    """A copy of the network in which `make(attention, nth)` stands for the attention of the nth of the chosen blocks.

    Raises BadRequest where another technique replaced that attention or packed its weights.
    """
    student: Any = copy.deepcopy(model)
    for nth, index in enumerate(chosen_blocks(which, len(student.blocks))):
        block = student.blocks[index]
        if type(block.attn) is not Attention or type(block.attn.qkv) is not nn.Linear:
            raise BadRequest(
                f"The attention of block {index} is no longer a plain one: use one attention technique for a block, "
                "before techniques that pack weights."
            )
        block.attn = make(block.attn, nth)
    return student


class HeadAttention(nn.Module):
    """What the kinds share: the trained projections, split into heads and joined again.

    With fewer heads of keys and values than of queries, each is the mean of the trained heads of its group.
    """

    def __init__(self, trained: Attention, kv_heads: int | None = None) -> None:
        super().__init__()
        self.num_heads, self.kv_heads = trained.num_heads, kv_heads or trained.num_heads
        if reason := indivisible("kv_heads", self.kv_heads, "heads that are left", self.num_heads):
            raise BadRequest(reason)
        self.head_size = trained.qkv.out_features // (3 * trained.num_heads)
        grouped = self.kv_heads < self.num_heads
        self.qkv = grouped_projection(trained, self.kv_heads) if grouped else trained.qkv
        self.proj = trained.proj

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, T, D) to queries (N, G, r T, hs), head after head of a group, and keys and values (N, G, T, hs)."""
        rows = [self.num_heads, self.kv_heads, self.kv_heads]
        q, k, v = self.qkv(x).unflatten(-1, (-1, self.head_size)).split(rows, dim=2)  # (N, T, nh or G, hs)
        q = q.unflatten(2, (self.kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
        return q, k.transpose(1, 2), v.transpose(1, 2)

    def join(self, out: Tensor, tokens: int) -> Tensor:
        """(N, G, r T, hs) to (N, T, D), projected."""
        return self.proj(out.unflatten(2, (-1, tokens)).permute(0, 3, 1, 2, 4).flatten(2))


class GroupedQueryAttention(HeadAttention):
    """Softmax attention in which groups of query heads share keys and values (arXiv 2305.13245)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.join(F.scaled_dot_product_attention(*self.heads(x)), x.shape[1])


class FocusedLinearAttention(HeadAttention):
    """Focused linear attention (FLatten, arXiv 2308.00442), of grouped queries where `kv_heads` is given.

    `phi(Q) (phi(K)^T V) / (phi(Q) sum phi(K)) + DWConv(V)`: keys and values are multiplied first, into one hs x hs
    matrix a group. The depthwise convolution starts at zero; a `kernel_size` of 0 leaves it out.
    """

    def __init__(self, trained: Attention, power: int, kernel_size: int, kv_heads: int | None = None) -> None:
        super().__init__(trained, kv_heads)
        self.power = power
        self.local = (
            depthwise(self.kv_heads * self.head_size, kernel_size, trained.proj.weight) if kernel_size else None
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        out = linear_attention(polar(q, self.power)[1], focused(k, self.power), v)  # (N, G, r T, hs)
        if self.local is not None:
            out = out.unflatten(2, (-1, x.shape[1])).add(self.nearby(v).unsqueeze(2)).flatten(2, 3)
        return self.join(out, x.shape[1])

    def nearby(self, v: Tensor) -> Tensor:
        """The depthwise convolution of values (N, G, T, hs) over their places on the grid."""
        assert self.local is not None
        n, groups, tokens, size = v.shape
        grid = math.isqrt(tokens)
        image = v.transpose(1, 2).reshape(n, grid, grid, groups * size).permute(0, 3, 1, 2)  # (N, G hs, rows, columns)
        return self.local(image).permute(0, 2, 3, 1).reshape(n, tokens, groups, size).transpose(1, 2)


class Trajectory:
    """Which images of a call are in the noisiest part of their trajectory, told by a network to its layers.

    A forward pre-hook of the network: it looks at the timesteps once for all layers. `noisy` is True or False where all
    images of the call agree, as they do in sampling, else the indices of either kind.
    """

    def __init__(self, share: float, train_steps: int) -> None:
        self.first = (1 - share) * train_steps
        self.noisy: bool | tuple[Tensor, Tensor] | None = None

    def __call__(self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        t: Tensor = kwargs["t"] if "t" in kwargs else args[1]  # (N,)
        noisy = [timestep >= self.first for timestep in t.tolist()]
        if all(noisy) or not any(noisy):
            self.noisy = noisy[0]
        else:
            sides = torch.tensor(noisy, device=t.device)
            self.noisy = sides.nonzero().flatten(), (~sides).nonzero().flatten()


class MediatedAttention(HeadAttention):
    """Attention by way of a few mediators, pooled from the queries (arXiv 2408.05710).

    Mediators attend to all keys, then queries attend to the mediators: `softmax(Q T^t) softmax(T K^t) V`. With
    `assignment` "nearest" the first factor is the matrix that gives every query the mediator of its own cell; it is the
    identity, and this softmax attention, where there are as many mediators as tokens. Images outside the noisy part of
    a `trajectory` keep softmax attention.
    """

    def __init__(self, trained: Attention, mediators: int, assignment: str, trajectory: Trajectory | None) -> None:
        super().__init__(trained)
        self.side, self.nearest, self.trajectory = math.isqrt(mediators), assignment == "nearest", trajectory

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(x)
        noisy = True if self.trajectory is None else self.trajectory.noisy
        if noisy is None:
            raise RuntimeError("The timestep is not known: call the whole network, not its blocks.")
        if isinstance(noisy, bool):
            out = self.mediated(q, k, v) if noisy else F.scaled_dot_product_attention(q, k, v)
        else:
            early, late = noisy
            parts = [self.mediated(q[early], k[early], v[early])]
            parts += [F.scaled_dot_product_attention(q[late], k[late], v[late])]
            out = torch.cat(parts)[torch.cat(noisy).argsort()]
        return self.join(out, x.shape[1])

    def mediated(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """All (N, nh, T, hs)."""
        grid = math.isqrt(q.shape[2])
        cell = grid // self.side
        mediators = q.unflatten(2, (self.side, cell, self.side, cell)).mean((3, 5)).flatten(2, 3)  # (N, nh, M, hs)
        found = F.scaled_dot_product_attention(mediators, k, v)
        if not self.nearest:
            return F.scaled_dot_product_attention(q, mediators, found)
        found = found.unflatten(2, (self.side, 1, self.side, 1))
        return found.expand(-1, -1, -1, cell, -1, cell, -1).flatten(2, 5)


class WindowAttention(HeadAttention):
    """Softmax attention within windows of `window` x `window` tokens (Swin, arXiv 2103.14030).

    Where `shifted`, windows are moved by half their side, around the edge; tokens that only meet there are masked.
    """

    def __init__(self, trained: Attention, window: int, shifted: bool, grid: int) -> None:
        super().__init__(trained)
        self.window, self.shift = window, window // 2 if shifted and window < grid else 0
        mask = self._mask(grid) if self.shift else None
        self.register_buffer("mask", mask if mask is None else mask.to(trained.proj.weight.device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        grid = math.isqrt(tokens)
        qkv = self.qkv(x).unflatten(1, (grid, grid))
        if self.shift:
            qkv = qkv.roll((-self.shift, -self.shift), (1, 2))
        windows = self._cut(qkv).unflatten(-1, (3, self.num_heads, -1))  # (N, windows, window^2, 3, nh, hs)
        q, k, v = windows.flatten(0, 1).permute(2, 0, 3, 1, 4)  # each (N windows, nh, window^2, hs)
        mask = None if self.mask is None else self.mask.repeat(n, 1, 1, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        across = grid // self.window
        out = out.transpose(1, 2).reshape(n, across, across, self.window, self.window, -1)
        out = out.transpose(2, 3).reshape(n, grid, grid, -1)
        if self.shift:
            out = out.roll((self.shift, self.shift), (1, 2))
        return self.proj(out.flatten(1, 2))

    def _cut(self, image: Tensor) -> Tensor:
        """(N, rows, columns, C) to (N, windows, window^2, C)."""
        w = self.window
        return image.unflatten(2, (-1, w)).unflatten(1, (-1, w)).transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def _mask(self, grid: int) -> Tensor:
        """(windows, 1, window^2, window^2): True for pairs of tokens that are in one piece of the unshifted image."""
        wrapped = torch.arange(grid) >= grid - self.shift
        piece = 2 * wrapped[:, None] + wrapped  # (rows, columns)
        piece = self._cut(piece[None, :, :, None])[0, :, :, 0]
        return piece[:, None, :, None] == piece[:, None, None, :]


class PooledAttention(nn.Module):
    """Softmax attention to keys and values on a grid `pool` times coarser (arXiv 2102.12122, arXiv 2403.04692).

    Tokens are pooled before they are projected, which gives the same as pooling keys and values, for less.
    """

    def __init__(self, trained: Attention, pool: int) -> None:
        super().__init__()
        self.num_heads, self.pool = trained.num_heads, pool
        width = trained.qkv.out_features // 3
        self.q = linear(trained.qkv.weight[:width], trained.qkv.bias[:width])
        self.kv = linear(trained.qkv.weight[width:], trained.qkv.bias[width:])
        self.proj = trained.proj

    def forward(self, x: Tensor) -> Tensor:
        grid = math.isqrt(x.shape[1])
        coarse = x.unflatten(1, (grid // self.pool, self.pool, grid // self.pool, self.pool)).mean((2, 4)).flatten(1, 2)
        q = self.q(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (N, nh, T, hs)
        k, v = self.kv(coarse).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (N, nh, T / pool^2, hs)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def focused(x: Tensor, power: int) -> Tensor:
    """`phi(x) = |u| / |u^p| u^p` with `u = ReLU(x) + 1e-6`: u turned to its largest features, (..., hs)."""
    length, direction = polar(x, power)
    return length * direction


def polar(x: Tensor, power: int) -> tuple[Tensor, Tensor]:
    """Length (..., 1) and direction (..., hs) of `phi(x)`. Of a query only the direction counts: its length cancels."""
    u = F.relu(x) + EPSILON
    length = u.norm(dim=-1, keepdim=True)
    return length, F.normalize((u / length) ** power, dim=-1)


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`Q (K^T V) / (Q sum K)` for nonnegative features: q (..., S, hs), k and v (..., T, hs) to (..., S, hs).

    What all keys are multiplied by cancels: by their largest number and how many they are, half precision never
    overflows.
    """
    k = k / k.amax((-2, -1), keepdim=True) / k.shape[-2]
    return q @ (k.transpose(-2, -1) @ v) / (q @ k.sum(-2).unsqueeze(-1))


def grouped_projection(trained: Attention, kv_heads: int) -> nn.Linear:
    """The trained projection to q, k and v with the heads of keys and of values averaged over each of the groups."""

    def averaged(rows: Tensor) -> Tensor:
        q, k, v = rows.unflatten(0, (3, trained.num_heads, -1))  # (nh, hs, D), of a bias (nh, hs)
        k, v = (part.unflatten(0, (kv_heads, -1)).mean(1) for part in (k, v))
        return torch.cat([q, k, v]).flatten(0, 1)

    return linear(averaged(trained.qkv.weight), averaged(trained.qkv.bias))


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A frozen linear layer that owns copies of these."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = (nn.Parameter(part.detach().clone(), requires_grad=False) for part in (weight, bias))
    return layer


def depthwise(channels: int, kernel_size: int, like: Tensor) -> nn.Conv2d:
    """A frozen depthwise convolution that gives zero until it is trained."""
    conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv.to(like).requires_grad_(False)
