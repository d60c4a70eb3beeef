"""The diffusion transformer (Peebles and Xie, arXiv 2212.09748), with the state dict of the published DiT and fast-DiT.

Shapes: N images, C latent channels, T tokens, D width, nh heads, hs head size.
"""

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_core.models.presets import PRESETS, DiTConfig
from dit_core.models.schedule import END, FLOW, SIT, STEPS, ScheduleConfig, alphas_sigmas
from dit_core.models.state import CLEAN, StatefulModule

__all__ = ["PRESETS", "DiT", "DiTConfig"]


GUIDANCE_UNITS = 100  # a scale of 3 is embedded like timestep 300
FINEST = 7  # a shortcut model is trained with at most 2 ** 7 steps


class PatchEmbed(nn.Module):
    """(N, C, H, W) to (N, T, D)."""

    def __init__(self, patch_size: int, in_channels: int, hidden_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, hidden_size, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class TimestepEmbedder(nn.Module):
    """(N,) timesteps to (N, D): sinusoidal features, then a small MLP.

    `shift` is 1 in diffusers, whose frequencies end at exactly 1 / 10,000.
    """

    shift = 0  # of networks that were saved before this attribute existed

    def __init__(self, hidden_size: int, frequencies: int = 256, shift: int = 0) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.shift = shift
        self.mlp = nn.Sequential(nn.Linear(frequencies, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the first bias, which stays a float if the weights are quantized."""
        return next(p.dtype for name, p in self.named_parameters() if name.endswith("bias"))

    def forward(self, t: Tensor) -> Tensor:
        half = self.frequencies // 2
        exponents = torch.arange(half, dtype=torch.float32, device=t.device) / (half - self.shift)
        rates = torch.exp(-math.log(10_000) * exponents)
        angles = t[:, None].float() * rates  # (N, half)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1).to(self.dtype))


class StepEmbedder(TimestepEmbedder, StatefulModule):
    """Embeds where a step of the sampler ends, for a network that predicts the mean velocity of the whole step.

    `second_time` is what was embedded in training: `end`, the time at which the step ends, or `span`, its length
    (MeanFlow, arXiv 2505.13447); `steps`, log2 of how many steps of this length an image takes (shortcut models, arXiv
    2410.12557). Outside the sampler, and with solvers that do not go straight, a step has no length: the network then
    predicts the velocity at one time.
    """

    def __init__(self, hidden_size: int, second_time: str, velocity: str) -> None:
        super().__init__(hidden_size)
        self.second_time, self.velocity = second_time, velocity

    def reset(self) -> None:
        """Do nothing: only the step that is running counts."""

    def embed(self, s: Tensor) -> Tensor:
        """Return (N, D) for shares of noise `s` (N,) at the start of the step."""
        end = s if self.step is None or self.step.end is None else noise_share(torch.full_like(s, self.step.end))
        if self.second_time == END:
            return self(path_time(end, self.velocity))
        span = s - end
        if self.second_time == STEPS:
            return self(-span.clamp(min=2.0**-FINEST).log2().round())
        return self(span * (1000 if self.velocity == FLOW else 1))


class LabelEmbedder(nn.Module):
    """(N,) class labels to (N, D). Label `num_classes`, if there is one, is the null label of guidance."""

    def __init__(self, num_classes: int, hidden_size: int, null_label: bool = True) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.embedding_table = nn.Embedding(num_classes + null_label, hidden_size)

    def forward(self, y: Tensor) -> Tensor:
        return self.embedding_table(y)


class Attention(nn.Module):
    """Multi-head softmax self-attention."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # each (N, nh, T, hs)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(n, t, -1))


class Mlp(nn.Module):
    """Feed-forward network with tanh-approximated GELU."""

    def __init__(self, hidden_size: int, neurons: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, neurons)
        self.act = nn.GELU(approximate="tanh")
        self.fc2 = nn.Linear(neurons, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """(N, T, D) shifted and scaled per image by (N, D)."""
    return torch.addcmul(shift.unsqueeze(1), x, 1 + scale.unsqueeze(1))


class DiTBlock(nn.Module):
    """Transformer block whose norms are modulated and whose branches are gated by the condition (adaLN-Zero)."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(hidden_size, num_heads)
        self.norm2 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(hidden_size, int(hidden_size * mlp_ratio))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c).chunk(6, dim=1)  # each (N, D)
        x = torch.addcmul(x, gate1.unsqueeze(1), self.attn(modulate(self.norm1(x), shift1, scale1)))
        return torch.addcmul(x, gate2.unsqueeze(1), self.mlp(modulate(self.norm2(x), shift2, scale2)))


class EmbeddingBlock(DiTBlock):
    """Block with its own embedders of timestep and label, as in diffusers' `DiTTransformer2DModel`."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(config.hidden_size, config.num_heads, config.mlp_ratio)
        self.t_embedder = TimestepEmbedder(config.hidden_size, shift=config.frequency_shift)
        self.y_embedder = LabelEmbedder(config.num_classes, config.hidden_size, config.null_label)

    def condition(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the condition (N, D) of this block."""
        return self.t_embedder(t) + self.y_embedder(y)


class FinalLayer(nn.Module):
    """(N, T, D) to (N, T, patch * patch * out_channels)."""

    def __init__(self, hidden_size: int, patch_size: int, out_channels: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(hidden_size, patch_size * patch_size * out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 2 * hidden_size))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=1)
        return self.linear(modulate(self.norm_final(x), shift, scale))


class DiT(nn.Module):
    """Predicts noise or velocity (`ScheduleConfig.prediction`), and with `learn_sigma` also the variance logits."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.x_embedder = PatchEmbed(config.patch_size, config.in_channels, width)
        self.t_embedder = TimestepEmbedder(width, shift=config.frequency_shift)
        self.r_embedder = StepEmbedder(width, config.second_time, config.velocity) if config.second_time else None
        self.y_embedder = LabelEmbedder(config.num_classes, width, config.null_label)
        self.pos_embed = nn.Parameter(position_embedding(width, config.grid), requires_grad=False)  # (1, T, D)
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.depth))
        self.final_layer = FinalLayer(width, config.patch_size, config.out_channels)
        self.guidance_embedder: TimestepEmbedder | None = None  # set by guidance distillation
        self.reset_parameters()

    def forward(self, x: Tensor, t: Tensor, y: Tensor, guidance: Tensor | None = None) -> Tensor:
        """`x` (N, C, H, W), `t` (N,) timesteps, `y` (N,) labels; returns (N, C or 2 C, H, W).

        Weights that predict a velocity give epsilon (N, C, H, W), see `straight_path`. `guidance` (N,) is the scale,
        for a network with a guidance embedder; None means 1, no guidance. The network computes in the type of its
        weights and returns the type of `x`.
        """
        if self.config.velocity:
            x, s, epsilon = straight_path(x, t, self.config.velocity)
            embedder = getattr(self, "r_embedder", None)  # not of networks that were saved before it existed
            step = embedder.embed(s) if embedder is not None else None
            return epsilon(self._predict(x, path_time(s, self.config.velocity), y, guidance, step))
        return self._predict(x, t, y, guidance)

    def _predict(self, x: Tensor, t: Tensor, y: Tensor, guidance: Tensor | None, step: Tensor | None = None) -> Tensor:
        dtype = x.dtype
        x = self.x_embedder(x.to(self.pos_embed.dtype)) + self.pos_embed  # (N, T, D)
        c = self.t_embedder(t) + self.y_embedder(y)  # (N, D)
        if step is not None:
            c = c + step
        if self.guidance_embedder is not None:
            c = c + self.guidance_embedder(GUIDANCE_UNITS * (torch.ones_like(t) if guidance is None else guidance))
        own = self.config.block_embedders
        conditions = [_own_condition(block, t, y) if own else c for block in self.blocks]
        cache = getattr(self, "cache", None)  # set by feature caching
        if cache is not None:
            x = cache(self.blocks, x, conditions)
        else:
            for block, condition in zip(self.blocks, conditions, strict=True):
                x = block(x, condition)
        return self.unpatchify(self.final_layer(x, c)).to(dtype)

    def unpatchify(self, x: Tensor) -> Tensor:
        """(N, T, patch * patch * C) to (N, C, H, W)."""
        n, t, _ = x.shape
        p, c, grid = self.config.patch_size, self.config.out_channels, math.isqrt(t)
        x = x.view(n, grid, grid, p, p, c)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(n, c, grid * p, grid * p)

    def reset_parameters(self) -> None:
        """Initialization of the published code: Xavier for linears, zero for gates and output."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.x_embedder.proj.weight.flatten(1))
        nn.init.zeros_(self.x_embedder.proj.bias)  # type: ignore[arg-type]
        for module in self.modules():
            if isinstance(module, LabelEmbedder):
                nn.init.normal_(module.embedding_table.weight, std=0.02)
        for name, parameter in self.named_parameters():
            if ("t_embedder.mlp" in name or "r_embedder.mlp" in name) and name.endswith("weight"):
                nn.init.normal_(parameter, std=0.02)
            elif "adaLN_modulation" in name:
                nn.init.zeros_(parameter)
        nn.init.zeros_(self.final_layer.linear.weight)
        nn.init.zeros_(self.final_layer.linear.bias)


def straight_path(x: Tensor, t: Tensor, velocity: str) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """Return latents and shares of noise for a network that predicts a velocity, and what turns its output to epsilon.

    Such a network is trained on the straight path (1 - s) x_0 + s eps, with s from 0 to 1 (rectified flow, arXiv
    2209.03003). The latents `x` (N, C, H, W) at timesteps `t` (N,) of DDPM's linear schedule lie on it, divided by
    alpha + sigma, at s = sigma / (alpha + sigma), (N,). The network predicts eps - x_0, or for `sit` x_0 - eps (SiT,
    arXiv 2401.08740). Euler's method from the returned epsilon ends where it ends with the velocity, also if that is
    the mean of a step.
    """
    alpha, sigma = (level.to(x.device)[t.long()].view(-1, 1, 1, 1) for level in alphas_sigmas(ScheduleConfig()))
    s, on_path = sigma / (alpha + sigma), x / (alpha + sigma).to(x)
    sign = -1 if velocity == SIT else 1

    def epsilon(output: Tensor) -> Tensor:
        return on_path + (1 - s).to(x) * sign * output[:, : x.shape[1]]

    return on_path, s.flatten(), epsilon


def noise_share(t: Tensor) -> Tensor:
    """Return the share of noise s (N,) on the straight path at timesteps (N,) of DDPM's linear schedule; 0 at CLEAN."""
    alphas, sigmas = (level.to(t.device) for level in alphas_sigmas(ScheduleConfig()))
    known = t.long().clamp(min=0)
    return torch.where(t == CLEAN, 0.0, sigmas[known] / (alphas[known] + sigmas[known]))


def path_time(s: Tensor, velocity: str) -> Tensor:
    """Return the times (N,) that a network was trained with at shares of noise (N,)."""
    return {FLOW: 1000 * s, SIT: 1 - s}.get(velocity, s)


def _block(config: DiTConfig) -> DiTBlock:
    if config.block_embedders:
        return EmbeddingBlock(config)
    return DiTBlock(config.hidden_size, config.num_heads, config.mlp_ratio)


def _own_condition(block: nn.Module, t: Tensor, y: Tensor) -> Tensor:
    """Return the condition of an `EmbeddingBlock`, which may be inside another module."""
    return next(module for module in block.modules() if isinstance(module, EmbeddingBlock)).condition(t, y)


def with_guidance_embedder(dit: nn.Module, seed: int) -> DiT:
    """Return a copy of a DiT with an embedder of the guidance scale, whose output is zero until it is trained."""
    guided: DiT = copy.deepcopy(dit)  # type: ignore[assignment]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        embedder = TimestepEmbedder(guided.config.hidden_size)
    nn.init.zeros_(embedder.mlp[2].weight)  # type: ignore[arg-type]
    nn.init.zeros_(embedder.mlp[2].bias)  # type: ignore[arg-type]
    guided.guidance_embedder = embedder.to(guided.pos_embed.device).requires_grad_(False)
    return guided


def position_embedding(width: int, grid: int) -> Tensor:
    """Fixed 2D sine-cosine embedding (1, grid * grid, width), as in MAE (arXiv 2111.06377)."""
    rates = 1.0 / 10_000 ** (torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")

    def one(position: Tensor) -> Tensor:
        angles = position.reshape(-1, 1).double() * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    return torch.cat([one(columns), one(rows)], dim=1).float().unsqueeze(0)
