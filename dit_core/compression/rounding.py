"""Round weights to codes of few bits: to the nearest, by half-quadratic optimization (HQQ), or with GPTQ.

All methods return the same format: codes on an evenly spaced grid for each group of inputs
(`models.packed.dequantize`). Storage and speed therefore do not depend on the method.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchao.quantization.quant_primitives import MappingType, choose_qparams_affine

from dit_core.compression.calibration import Inputs, batches
from dit_core.models.hooks import hooked
from dit_core.models.packed import dequantize, rotate, zero_points

SMALLEST_SCALE = 1e-7  # the smallest scale that float16 does not round to zero
HQQ_STEPS, HQQ_NORM, HQQ_BETA, HQQ_GROWTH = 20, 0.7, 10.0, 1.01  # as published
DAMPING = 0.05  # of the mean diagonal; the published 0.01 gives a larger error for few inputs
LEAST_DAMPING = 1e-4  # of the mean square: above the rounding error in the covariance of constant inputs
CLIPS = 25  # tried shares of a group's range, from the whole range down to SMALLEST_CLIP
SMALLEST_CLIP = 0.4
SWEEPS = 2  # of coordinate descent


class Rounded(NamedTuple):
    """A rounded weight (out, in) of a linear layer."""

    codes: Tensor  # (out, in) uint8, below 2**bits
    scale: Tensor  # (out, groups) float16
    zero: Tensor  # (out, groups) uint8, fixed point: see `dequantize`
    bits: int

    @property
    def weight(self) -> Tensor:
        return dequantize(*self)


class Moments(NamedTuple):
    """Moments of the inputs of a linear layer over tokens; they determine its output error."""

    mean: Tensor  # (in,)
    covariance: Tensor  # (in, in)

    def error(self, difference: Tensor) -> Tensor:
        """Return the variance (out,) of the outputs of a weight `difference` (out, in); the bias can hold the mean."""
        return ((difference @ self.covariance) * difference).sum(1)


def nearest(weight: Tensor, bits: int, group_size: int) -> Rounded:
    """Round to the nearest point of a grid from the smallest to the largest weight of a group; zero is a grid point."""
    block: Any = (1, group_size)
    scale, zero = choose_qparams_affine(
        weight,
        MappingType.ASYMMETRIC,
        block,
        torch.uint8,
        0,
        2**bits - 1,
        eps=SMALLEST_SCALE,
        zero_point_dtype=torch.uint8,
    )
    scale, zero = (part.view(len(weight), -1) for part in (scale, zero))
    return _round(weight, scale.half(), zero << (8 - bits), bits)


def hqq(weight: Tensor, bits: int, group_size: int) -> Rounded:
    """Round with zero points that minimize the l_p norm of the error, p < 1 (HQQ, Badri and Shaji 2023).

    The solver is half-quadratic splitting. torchao's implementation is private, and its zero points may exceed the
    range that fits into a byte.
    """
    start = nearest(weight, bits, group_size)
    groups = weight.unflatten(1, (-1, group_size))  # (out, groups, group_size)
    scale, zero = start.scale.float().unsqueeze(-1), zero_points(start.zero, bits).unsqueeze(-1)
    beta, least = HQQ_BETA, float("inf")
    for _ in range(HQQ_STEPS):
        codes = (groups / scale + zero).round().clamp(0, 2**bits - 1)
        error = groups - (codes - zero) * scale
        if (size := error.abs().mean().item()) >= least:
            break
        least = size
        kept = error.sign() * F.relu(error.abs() - error.abs().pow(HQQ_NORM - 1) / beta)
        zero = (codes - (groups - kept) / scale).mean(-1, keepdim=True)
        beta *= HQQ_GROWTH
    return _round(weight, start.scale, _fixed_point(zero.squeeze(-1), bits), bits)


def gptq(weight: Tensor, bits: int, group_size: int, moments: Moments) -> Rounded:
    """Round column by column and correct the remaining columns for the error (GPTQ, arXiv 2210.17323).

    Groups are the lazy blocks of the paper. The covariance replaces the Hessian, because the bias can hold the mean.
    The grid of a group is chosen among clipped ranges when the group is reached. Coordinate descent over the codes
    follows (QuantEase, arXiv 2309.01885). The algorithm is greedy, so a row keeps its nearest codes if their error on
    the calibration inputs is smaller.
    """
    inputs = weight.shape[1]
    variance, square = moments.covariance.diagonal(), moments.mean.square()
    damping = torch.maximum(DAMPING * variance.mean(), LEAST_DAMPING * (variance + square).mean())
    damping = damping.clamp(min=torch.finfo(torch.float32).tiny)
    curvature = moments.covariance + damping * torch.eye(inputs, device=weight.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(curvature))
    spread = torch.linalg.cholesky(inverse, upper=True)  # row i distributes the error of column i to later columns
    remaining, groups = weight.clone(), []
    for start in range(0, inputs, group_size):
        end = start + group_size
        grid = _clipped(remaining[:, start:end], bits, curvature.diagonal()[start:end])
        columns, errors = [], torch.empty_like(remaining[:, start:end])
        for i in range(start, end):
            columns.append(_round(remaining[:, i : i + 1], grid.scale, grid.zero, bits))
            errors[:, i - start] = (remaining[:, i] - columns[-1].weight[:, 0]) / spread[i, i]
            remaining[:, i:end] -= torch.outer(errors[:, i - start], spread[i, i:end])
        remaining[:, end:] -= errors @ spread[start:end, end:]
        groups.append(grid._replace(codes=torch.cat([column.codes for column in columns], dim=1)))
    rounded = Rounded(*(torch.cat(parts, dim=1) for parts in zip(*(group[:3] for group in groups), strict=True)), bits)
    for _ in range(SWEEPS):
        rounded = _descend(weight, rounded, curvature)
    plain = nearest(weight, bits, group_size)
    worse = moments.error(weight - rounded.weight) > moments.error(weight - plain.weight)
    return _where(worse.unsqueeze(1), plain, rounded)


def low_rank(weight: Tensor, bits: int, group_size: int, rank: int, moments: Moments) -> tuple[Rounded, Tensor, Tensor]:
    """Return a rounded residual, and the factors `up` (out, rank) and `down` (rank, in) of the rest of the weight.

    The largest singular values of the weight are taken out before GPTQ rounds the residual (SVDQuant, arXiv
    2411.05007). Then the factors are fitted again, to the error that rounding leaves on the calibration inputs.
    """
    identity = torch.eye(weight.shape[1], device=weight.device)
    up, down = _factors(weight, rank, identity)
    rounded = gptq(weight - up @ down, bits, group_size, moments)
    square = moments.covariance + torch.outer(moments.mean, moments.mean)
    damping = LEAST_DAMPING * square.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
    return rounded, *_factors(weight - rounded.weight, rank, torch.linalg.cholesky(square + damping * identity))


def rotated_moments(moments: Moments) -> Moments:
    """Return the moments of rotated inputs (`models.packed.rotate`)."""
    return Moments(rotate(moments.mean), rotate(rotate(moments.covariance).T))


def _factors(matrix: Tensor, rank: int, root: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors (out, rank) and (rank, in) nearest to a matrix on inputs with the moments `root root^T`."""
    u, s, v = torch.linalg.svd(matrix @ root, full_matrices=False)
    size = s[:rank].sqrt()
    down = torch.linalg.solve_triangular(root, size[:, None] * v[:rank], upper=False, left=False)
    tiny = torch.finfo(torch.float32).tiny  # a matrix of zeros has no singular values to divide by
    balance = (down.norm(dim=1) / size.clamp(min=tiny)).clamp(min=SMALLEST_SCALE)  # both in the range of float16
    balance = balance.sqrt()
    return u[:, :rank] * size * balance, down / balance[:, None]


@torch.no_grad()
def input_moments(model: nn.Module, layers: Sequence[str], inputs: Inputs) -> dict[str, Moments]:
    """Return the moments of the inputs of the named linear layers while the network runs on `inputs`."""
    products: dict[str, Any] = dict.fromkeys(layers, 0.0)

    def add(name: str, args: tuple[Any, ...]) -> None:
        x = F.pad(args[0].flatten(0, -2).float(), (0, 1), value=1.0)  # (tokens, in + 1): sums and count too
        products[name] = products[name] + x.T @ x

    with hooked({name: model.get_submodule(name) for name in layers}, pre=add):
        for batch in batches(inputs):
            model(*batch)
    moments = {}
    for name, product in products.items():
        mean = product[-1, :-1] / product[-1, -1]
        moments[name] = Moments(mean, product[:-1, :-1] / product[-1, -1] - torch.outer(mean, mean))
    return moments


def _clipped(weight: Tensor, bits: int, importance: Tensor) -> Rounded:
    """Round one group (out, size) over the share of its range with the least error, weighted by `importance`."""
    low, high = weight.amin(1, keepdim=True).clamp(max=0), weight.amax(1, keepdim=True).clamp(min=0)
    zero = _fixed_point(-low / (high - low).clamp(min=SMALLEST_SCALE) * (2**bits - 1), bits)
    best, least = nearest(weight, bits, weight.shape[1]), torch.full_like(low, float("inf"))
    for part in torch.linspace(1.0, SMALLEST_CLIP, CLIPS).tolist():
        scale = ((high - low) * part / (2**bits - 1)).clamp(min=SMALLEST_SCALE).half()
        tried = _round(weight, scale, zero, bits)
        error = ((tried.weight - weight).square() * importance).sum(1, keepdim=True)
        best = _where(error < least, tried, best)
        least = torch.minimum(error, least)
    return best


def _descend(weight: Tensor, start: Rounded, curvature: Tensor) -> Rounded:
    """Run one sweep of coordinate descent: for each group its scale, its zero points, then the codes of its columns."""
    codes, highest, size = start.codes.float(), 2**start.bits - 1, weight.shape[1] // start.scale.shape[1]
    scale, zero = start.scale.clone(), start.zero.clone()
    slope = (start.weight - weight) @ curvature  # (out, in): half the gradient of the error
    for group in range(scale.shape[1]):
        columns = slice(group * size, (group + 1) * size)
        block, old = curvature[columns, columns], scale[:, group].float()
        along = codes[:, columns] - zero_points(zero[:, group, None], start.bits)  # the weights divided by the scale
        bend = ((along @ block) * along).sum(1).clamp(min=torch.finfo(torch.float32).tiny)
        scale[:, group] = (old - (slope[:, columns] * along).sum(1) / bend).clamp(min=SMALLEST_SCALE).half()
        step = scale[:, group].float()
        slope += ((step - old).unsqueeze(1) * along) @ curvature[columns]
        old = zero_points(zero[:, group], start.bits)
        zero[:, group] = _fixed_point(old + slope[:, columns].sum(1) / (step * block.sum()), start.bits)
        slope -= torch.outer((zero_points(zero[:, group], start.bits) - old) * step, curvature[columns].sum(0))
        for i in range(columns.start, columns.stop):
            better = (codes[:, i] - slope[:, i] / (curvature[i, i] * step)).round().clamp(0, highest)
            slope += torch.outer((better - codes[:, i]) * step, curvature[i])
            codes[:, i] = better
    return Rounded(codes.to(torch.uint8), scale, zero, start.bits)


def _where(condition: Tensor, one: Rounded, other: Rounded) -> Rounded:
    """Select rows of `one` where the condition (out, 1) holds, otherwise rows of `other`."""
    chosen = (torch.where(condition, a, b) for a, b in zip(one[:3], other[:3], strict=True))
    return Rounded(*chosen, one.bits)


def _round(weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Rounded:
    """Round `weight` to the nearest grid points of the stored scales and zero points."""
    groups = weight.unflatten(1, (scale.shape[1], -1))
    codes = groups / scale.float().unsqueeze(-1) + zero_points(zero, bits).unsqueeze(-1)
    return Rounded(codes.round().clamp(0, 2**bits - 1).to(torch.uint8).flatten(1), scale, zero, bits)


def _fixed_point(zero: Tensor, bits: int) -> Tensor:
    """Convert zero points to the nearest ones that fit into a byte."""
    return (zero * 2 ** (8 - bits)).round().clamp(0, 255).to(torch.uint8)
