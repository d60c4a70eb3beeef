"""Attention modules that cost less than softmax attention, each built from a trained `Attention`.

Shapes: N images, T tokens on a square grid, D width, nh heads of size hs, G heads of keys and values, each shared by
r = nh / G heads of queries, M mediators. Mediated, focused and window attention never store T x T numbers.
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

EPSILON = 1e-6  # added as in the published code, so that a vector that ReLU sets to zero still has a direction


def swap_attention(model: nn.Module, which: str, make: Callable[[Attention, int], nn.Module]) -> nn.Module:
    """Return a copy of the network in which `make(attention, nth)` replaces the attention of the nth selected block.

    Raises BadRequest if another technique has replaced that attention or packed its weights.
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
    """Base of the kinds of attention: the trained projections, split into heads and joined again.

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
    """Focused linear attention (FLatten, arXiv 2308.00442), with grouped queries if `kv_heads` is given.

    `phi(Q) (phi(K)^T V) / (phi(Q) sum phi(K)) + DWConv(V)`: keys and values are multiplied first, into one hs x hs
    matrix for each group. The depthwise convolution starts at zero; with a `kernel_size` of 0 there is none.
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
        """Return the depthwise convolution of values (N, G, T, hs) over the token grid."""
        assert self.local is not None
        n, groups, tokens, size = v.shape
        grid = math.isqrt(tokens)
        image = v.transpose(1, 2).reshape(n, grid, grid, groups * size).permute(0, 3, 1, 2)  # (N, G hs, rows, columns)
        return self.local(image).permute(0, 2, 3, 1).reshape(n, tokens, groups, size).transpose(1, 2)


class Trajectory:
    """Forward pre-hook of a network that tells its layers which images are in the noisiest part of their trajectory.

    It reads the timesteps once for all layers. `noisy` is True or False if it is the same for all images, as in
    sampling; otherwise it holds the indices of the images inside and outside of that part.
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
    """Attention through a few mediators, pooled from the queries (arXiv 2408.05710).

    Mediators attend to all keys, then queries attend to the mediators: `softmax(Q T^t) softmax(T K^t) V`. With
    `assignment` "nearest", the first factor is a matrix that assigns the mediator of its own cell to every query. With
    as many mediators as tokens this matrix is the identity, and the result is softmax attention. Images outside of the
    noisy part of a `trajectory` use softmax attention.
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
        """Mediated attention; all tensors are (N, nh, T, hs)."""
        grid = math.isqrt(q.shape[2])
        cell = grid // self.side
        mediators = q.unflatten(2, (self.side, cell, self.side, cell)).mean((3, 5)).flatten(2, 3)  # (N, nh, M, hs)
        values = F.scaled_dot_product_attention(mediators, k, v)  # (N, nh, M, hs)
        if not self.nearest:
            return F.scaled_dot_product_attention(q, mediators, values)
        values = values.unflatten(2, (self.side, 1, self.side, 1))
        return values.expand(-1, -1, -1, cell, -1, cell, -1).flatten(2, 5)


class WindowAttention(HeadAttention):
    """Softmax attention within windows of `window` x `window` tokens (Swin, arXiv 2103.14030).

    If `shifted`, windows are moved by half their side and wrap around the edge; a mask separates tokens that are
    neighbours only by wrapping.
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
        """(windows, 1, window^2, window^2): True for pairs of tokens from the same region of the unshifted image."""
        wrapped = torch.arange(grid) >= grid - self.shift
        piece = 2 * wrapped[:, None] + wrapped  # (rows, columns)
        piece = self._cut(piece[None, :, :, None])[0, :, :, 0]
        return piece[:, None, :, None] == piece[:, None, None, :]


class MergedAttention(HeadAttention):
    """Softmax attention over fewer tokens: the most alike are merged before it and copied back after it (ToMe).

    One token of every 2 x 2 window, drawn with a seed, is a destination, the others are sources (arXiv 2303.17604). Of
    the sources, the `merged` that are most like a destination by the cosine of the attention's inputs are averaged with
    it. Its key counts once for each of them (proportional attention, arXiv 2210.09461), so that merging equal tokens
    changes nothing. Images outside of the noisy part of a `trajectory` use all tokens.
    """

    sources: Tensor
    targets: Tensor

    def __init__(self, trained: Attention, merged: int, grid: int, seed: int, trajectory: Trajectory | None) -> None:
        super().__init__(trained)
        self.merged, self.trajectory = merged, trajectory
        chosen = torch.randint(4, (grid // 2, grid // 2), generator=torch.Generator().manual_seed(seed))
        is_target = F.one_hot(chosen, 4).unflatten(-1, (2, 2)).transpose(1, 2).flatten().bool()  # (T,)
        device = trained.proj.weight.device
        self.register_buffer("sources", (~is_target).nonzero().flatten().to(device), persistent=False)  # (S,)
        self.register_buffer("targets", is_target.nonzero().flatten().to(device), persistent=False)  # (T - S,)

    def forward(self, x: Tensor) -> Tensor:
        noisy = True if self.trajectory is None else self.trajectory.noisy
        if noisy is None:
            raise RuntimeError("The timestep is not known: call the whole network, not its blocks.")
        if isinstance(noisy, bool):
            return self.over_fewer(x) if noisy else self.attend(x)
        early, late = noisy
        return torch.cat([self.over_fewer(x[early]), self.attend(x[late])])[torch.cat(noisy).argsort()]

    def over_fewer(self, x: Tensor) -> Tensor:
        """(N, T, D) to (N, T, D): attention over T - `merged` tokens, with its result copied to the merged tokens."""
        fewer, place = self.merge(x)
        sizes = torch.zeros_like(fewer[..., 0]).scatter_add(1, place, torch.ones_like(x[..., 0]))  # (N, T - merged)
        return _rows(self.attend(fewer, sizes.log()[:, None, None]), place)

    def attend(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Softmax attention over all of the tokens (N, T, D), with a `bias` (N, 1, 1, T) of the keys."""
        return self.join(F.scaled_dot_product_attention(*self.heads(x), attn_mask=bias), x.shape[1])

    def merge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return T - `merged` tokens (N, T - merged, D), and the place of each of the T tokens among them (N, T)."""
        n, kept_count = len(x), len(self.sources) - self.merged
        direction = F.normalize(x, dim=-1)
        alike = direction[:, self.sources] @ direction[:, self.targets].transpose(1, 2)  # (N, S, T - S)
        similarity, nearest = alike.max(-1)  # (N, S)
        merged, kept = similarity.argsort(dim=1, descending=True).split([self.merged, kept_count], dim=1)
        source, into = x[:, self.sources], nearest.gather(1, merged)
        index = into.unsqueeze(-1).expand(-1, -1, x.shape[-1])
        target = x[:, self.targets].scatter_reduce(1, index, _rows(source, merged), "mean")
        first = torch.arange(kept_count, device=x.device).expand(n, -1)
        place = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)
        place[:, self.targets] = kept_count + torch.arange(len(self.targets), device=x.device)
        place[:, self.sources] = torch.empty_like(nearest).scatter(1, kept, first).scatter(1, merged, kept_count + into)
        return torch.cat([_rows(source, kept), target], dim=1), place


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Take the rows (N, R) of (N, T, D)."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


class PooledAttention(nn.Module):
    """Softmax attention to keys and values on a grid `pool` times coarser (arXiv 2102.12122, arXiv 2403.04692).

    Tokens are pooled before the projection: the result equals pooled keys and values, at a lower cost.
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
    """`phi(x) = |u| / |u^p| u^p` with `u = ReLU(x) + 1e-6`: u turned towards its largest features, (..., hs)."""
    length, direction = polar(x, power)
    return length * direction


def polar(x: Tensor, power: int) -> tuple[Tensor, Tensor]:
    """Return length (..., 1) and direction (..., hs) of `phi(x)`. The length of a query cancels in linear attention."""
    u = F.relu(x) + EPSILON
    length = u.norm(dim=-1, keepdim=True)
    return length, F.normalize((u / length) ** power, dim=-1)


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`Q (K^T V) / (Q sum K)` for nonnegative features: q (..., S, hs), k and v (..., T, hs) to (..., S, hs).

    A common factor of all keys cancels. Dividing them by their largest value and their number keeps half precision from
    overflowing.
    """
    k = k / k.amax((-2, -1), keepdim=True) / k.shape[-2]
    return q @ (k.transpose(-2, -1) @ v) / (q @ k.sum(-2).unsqueeze(-1))


def grouped_projection(trained: Attention, kv_heads: int) -> nn.Linear:
    """Return the trained projection to q, k and v, with the heads of keys and values averaged over each group."""

    def averaged(rows: Tensor) -> Tensor:
        q, k, v = rows.unflatten(0, (3, trained.num_heads, -1))  # (nh, hs, D), of a bias (nh, hs)
        k, v = (part.unflatten(0, (kv_heads, -1)).mean(1) for part in (k, v))
        return torch.cat([q, k, v]).flatten(0, 1)

    return linear(averaged(trained.qkv.weight), averaged(trained.qkv.bias))


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a frozen linear layer with copies of `weight` and `bias`."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = (nn.Parameter(part.detach().clone(), requires_grad=False) for part in (weight, bias))
    return layer


def depthwise(channels: int, kernel_size: int, like: Tensor) -> nn.Conv2d:
    """Return a frozen depthwise convolution with an output of zero until it is trained, of the type of `like`."""
    conv = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv.to(like).requires_grad_(False)
