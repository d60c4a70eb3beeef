"""Weights to codes of few bits: to the nearest, by half-quadratic optimization, and with errors compensated.

Every method ends in the same form, codes on an evenly spaced grid per group of inputs (`models.packed.dequantize`), so
that what is stored and how it runs do not depend on how it was found.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchao.quantization.quant_primitives import MappingType, choose_qparams_affine

from dit_core.models.packed import dequantize, zero_points
from dit_core.training.calibration import Inputs, batches

SMALLEST_SCALE = 1e-7  # a float16 that is not zero
HQQ_STEPS, HQQ_NORM, HQQ_BETA, HQQ_GROWTH = 20, 0.7, 10.0, 1.01  # as published
DAMPING = 0.05  # of the mean diagonal; 0.01 as published errs more here, where inputs are few
LEAST_DAMPING = 1e-4  # of the mean square: more than rounding leaves of the covariance of inputs that do not vary
CLIPS = 25  # parts of a group's range that are tried, from the whole range down to SMALLEST_CLIP
SMALLEST_CLIP = 0.4
SWEEPS = 2  # of coordinate descent


class Rounded(NamedTuple):
    """A weight (out, in) of a linear layer, rounded."""

    codes: Tensor  # (out, in) uint8, below 2**bits
    scale: Tensor  # (out, groups) float16
    zero: Tensor  # (out, groups) uint8, fixed point: see `dequantize`
    bits: int

    @property
    def weight(self) -> Tensor:
        return dequantize(*self)


class Moments(NamedTuple):
    """Of the inputs of a linear layer, over tokens: what its output error depends on."""

    mean: Tensor  # (in,)
    covariance: Tensor  # (in, in)

    def error(self, difference: Tensor) -> Tensor:
        """Mean square of each output (out,) of a weight `difference` (out, in) whose mean output the bias takes up."""
        return ((difference @ self.covariance) * difference).sum(1)


def nearest(weight: Tensor, bits: int, group_size: int) -> Rounded:
    """Round to the nearest point of a grid from the least to the greatest weight of a group, zero among its points."""
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
    """Move each zero point so that most weights err little and few much (HQQ, Badri and Shaji 2023).

    Minimizes the l_p norm of the error, p < 1, by half-quadratic splitting. torchao's own version is private and leaves
    the range of zero points that fits into a byte.
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
    """Round column by column, and let the columns still to come make up for the error (GPTQ, arXiv 2210.17323).

    Groups are the paper's lazy blocks. The covariance takes the place of the Hessian, since the bias can take up the
    mean; a group's grid is chosen when its turn comes, among clipped ranges; and coordinate descent over the codes
    follows (QuantEase, arXiv 2309.01885). All this is greedy: a row that plain rounding serves better keeps it, so that
    no row errs more on its calibration inputs than the nearest codes.
    """
    inputs = weight.shape[1]
    variance, square = moments.covariance.diagonal(), moments.mean.square()
    damping = torch.maximum(DAMPING * variance.mean(), LEAST_DAMPING * (variance + square).mean())
    damping = damping.clamp(min=torch.finfo(torch.float32).tiny)
    curvature = moments.covariance + damping * torch.eye(inputs, device=weight.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(curvature))
    spread = torch.linalg.cholesky(inverse, upper=True)  # row i spreads the error of column i over those to come
    left, groups = weight.clone(), []
    for start in range(0, inputs, group_size):
        end = start + group_size
        grid = _clipped(left[:, start:end], bits, curvature.diagonal()[start:end])
        columns, errors = [], torch.empty_like(left[:, start:end])
        for i in range(start, end):
            columns.append(_round(left[:, i : i + 1], grid.scale, grid.zero, bits))
            errors[:, i - start] = (left[:, i] - columns[-1].weight[:, 0]) / spread[i, i]
            left[:, i:end] -= torch.outer(errors[:, i - start], spread[i, i:end])
        left[:, end:] -= errors @ spread[start:end, end:]
        groups.append(grid._replace(codes=torch.cat([column.codes for column in columns], dim=1)))
    found = Rounded(*(torch.cat(parts, dim=1) for parts in zip(*(group[:3] for group in groups), strict=True)), bits)
    for _ in range(SWEEPS):
        found = _descend(weight, found, curvature)
    plain = nearest(weight, bits, group_size)
    worse = moments.error(weight - found.weight) > moments.error(weight - plain.weight)
    return _where(worse.unsqueeze(1), plain, found)


@torch.no_grad()
def input_moments(model: nn.Module, layers: Sequence[str], inputs: Inputs) -> dict[str, Moments]:
    """What the named linear layers are given while the network runs on `inputs`."""
    products: dict[str, Any] = dict.fromkeys(layers, 0.0)

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor]) -> None:
            x = F.pad(args[0].flatten(0, -2).float(), (0, 1), value=1.0)  # (tokens, in + 1): sums and count as well
            products[name] = products[name] + x.T @ x

        return model.get_submodule(name).register_forward_pre_hook(hook)

    hooks = [watch(name) for name in layers]
    try:
        for batch in batches(inputs):
            model(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    found = {}
    for name, product in products.items():
        mean = product[-1, :-1] / product[-1, -1]
        found[name] = Moments(mean, product[:-1, :-1] / product[-1, -1] - torch.outer(mean, mean))
    return found


def _clipped(weight: Tensor, bits: int, importance: Tensor) -> Rounded:
    """One group (out, size) on the grid, over a part of its range, that errs least; columns weigh by `importance`."""
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
    """One sweep of coordinate descent: scale and zero point of each group in turn, then the codes of each column."""
    codes, highest, size = start.codes.float(), 2**start.bits - 1, weight.shape[1] // start.scale.shape[1]
    scale, zero = start.scale.clone(), start.zero.clone()
    slope = (start.weight - weight) @ curvature  # (out, in): half the gradient of the error
    for group in range(scale.shape[1]):
        columns = slice(group * size, (group + 1) * size)
        block, old = curvature[columns, columns], scale[:, group].float()
        along = codes[:, columns] - zero_points(
            zero[:, group, None], start.bits
        )  # the weights are this times the scale
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
    """Rows (out, 1) of `one` where the condition holds, else of `other`."""
    chosen = (torch.where(condition, a, b) for a, b in zip(one[:3], other[:3], strict=True))
    return Rounded(*chosen, one.bits)


def _round(weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Rounded:
    """Codes of the grid points nearest to `weight`, with the scales and zero points that are stored."""
    groups = weight.unflatten(1, (scale.shape[1], -1))
    codes = groups / scale.float().unsqueeze(-1) + zero_points(zero, bits).unsqueeze(-1)
    return Rounded(codes.round().clamp(0, 2**bits - 1).to(torch.uint8).flatten(1), scale, zero, bits)


def _fixed_point(zero: Tensor, bits: int) -> Tensor:
    """The nearest zero points that can be stored."""
    return (zero * 2 ** (8 - bits)).round().clamp(0, 255).to(torch.uint8)
