import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from dit_core.models.dit import PRESETS, DiT, DiTConfig, noise_share, path_time, straight_path
from dit_core.models.model import build_dit
from dit_core.models.schedule import VELOCITIES, ScheduleConfig, alphas_sigmas
from tests.models.published_files import SIZE


def published_forward(state: dict[str, torch.Tensor], x, t, y, patch: int, heads: int):
    """DiT as the paper's appendix writes it: explicit softmax, explicit modulation, one matrix at a time."""
    n, _, side, _ = x.shape
    weight = state["x_embedder.proj.weight"]
    width = weight.shape[0]
    x = F.conv2d(x, weight, state["x_embedder.proj.bias"], stride=patch).flatten(2).transpose(1, 2) + state["pos_embed"]
    rates = torch.exp(-math.log(10000) * torch.arange(128) / 128)
    angles = t[:, None].float() * rates[None]
    t = torch.cat([torch.cos(angles), torch.sin(angles)], -1)
    t = F.silu(t @ state["t_embedder.mlp.0.weight"].T + state["t_embedder.mlp.0.bias"])
    t = t @ state["t_embedder.mlp.2.weight"].T + state["t_embedder.mlp.2.bias"]
    c = F.silu(t + state["y_embedder.embedding_table.weight"][y])

    def norm(x):
        return (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-6)

    for i in range(1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))):
        block = {
            key.removeprefix(f"blocks.{i}."): value for key, value in state.items() if key.startswith(f"blocks.{i}.")
        }
        modulation = c @ block["adaLN_modulation.1.weight"].T + block["adaLN_modulation.1.bias"]
        s1, k1, g1, s2, k2, g2 = (m[:, None] for m in modulation.chunk(6, -1))
        h = norm(x) * (1 + k1) + s1
        q, k, v = (h @ block["attn.qkv.weight"].T + block["attn.qkv.bias"]).chunk(3, -1)
        q, k, v = (z.view(n, -1, heads, width // heads).transpose(1, 2) for z in (q, k, v))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(width // heads)).softmax(-1)
        h = (scores @ v).transpose(1, 2).reshape(n, -1, width)
        x = x + g1 * (h @ block["attn.proj.weight"].T + block["attn.proj.bias"])
        h = norm(x) * (1 + k2) + s2
        h = F.gelu(h @ block["mlp.fc1.weight"].T + block["mlp.fc1.bias"], approximate="tanh")
        x = x + g2 * (h @ block["mlp.fc2.weight"].T + block["mlp.fc2.bias"])
    modulation = c @ state["final_layer.adaLN_modulation.1.weight"].T + state["final_layer.adaLN_modulation.1.bias"]
    shift, scale = (m[:, None] for m in modulation.chunk(2, -1))
    x = (norm(x) * (1 + scale) + shift) @ state["final_layer.linear.weight"].T + state["final_layer.linear.bias"]
    grid = side // patch
    x = x.view(n, grid, grid, patch, patch, -1)
    return torch.einsum("nhwpqc->nchpwq", x).reshape(n, -1, side, side)


@pytest.mark.parametrize("patch", [2, 4])
def test_forward_equals_the_published_equations(patch):
    config = DiTConfig(8, patch, 4, 64, 3, 4, 4.0, 10, learn_sigma=True)
    dit = build_dit(config).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in dit.named_parameters():
        if name != "pos_embed":
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
    x = torch.randn(3, 4, 8, 8, generator=generator)
    t, y = torch.tensor([0, 500, 999]), torch.tensor([0, 9, 10])
    with torch.no_grad():
        expected = published_forward(dit.state_dict(), x, t, y, patch, 4)
        assert expected.abs().max() > 0.01
        torch.testing.assert_close(dit(x, t, y), expected, atol=1e-5, rtol=1e-5)


def test_presets_have_the_published_sizes():
    millions = {"DiT-S/2": 33, "DiT-B/4": 130, "DiT-L/8": 459, "DiT-XL/2": 675}  # table 1 and 4 of arXiv 2212.09748
    for name, expected in millions.items():
        with torch.device("meta"):
            dit = DiT(PRESETS[name])
        assert round(sum(p.numel() for p in dit.parameters() if p.requires_grad) / 1e6) == pytest.approx(
            expected, abs=1
        )
    assert {"DiT-XS/2", "DiT-XS/4", "DiT-S/4", "DiT-XL/8"} <= set(PRESETS)


def test_state_dict_has_the_published_keys():
    keys = set(build_dit(DiTConfig(8, 2, 4, 64, 2, 4)).state_dict())
    assert {
        "pos_embed", "x_embedder.proj.weight", "t_embedder.mlp.0.weight", "t_embedder.mlp.2.bias",
        "y_embedder.embedding_table.weight", "blocks.1.attn.qkv.bias", "blocks.1.attn.proj.weight",
        "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.bias", "blocks.0.adaLN_modulation.1.weight",
        "final_layer.linear.weight", "final_layer.adaLN_modulation.1.bias",
    } <= keys  # fmt: skip
    assert len(keys) == 1 + 2 + 4 + 1 + 2 * 10 + 4


def test_an_untrained_network_predicts_zero():
    dit = build_dit(DiTConfig(8, 2, 4, 64, 2, 4))
    out = dit(torch.randn(2, 4, 8, 8), torch.tensor([1, 2]), torch.tensor([0, 1]))
    assert out.shape == (2, 8, 8, 8)
    assert out.abs().max() == 0


@pytest.mark.parametrize("velocity", VELOCITIES)
def test_a_perfect_velocity_becomes_the_noise_at_every_timestep(velocity):
    """A network that knows the image and the noise, in the time and with the sign of its kind."""
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=generator)
    t = torch.tensor([0, 500, 999])
    alphas, sigmas = alphas_sigmas(ScheduleConfig())
    alpha, sigma = alphas[t].view(-1, 1, 1, 1), sigmas[t].view(-1, 1, 1, 1)
    on_path, shares, epsilon = straight_path(alpha * clean + sigma * noise, t, velocity)
    times = {"flow": 1000 * shares, "sit": 1 - shares, "mean_flow": shares}[velocity]
    torch.testing.assert_close(path_time(shares, velocity), times)
    torch.testing.assert_close(noise_share(t), shares)
    s = shares.view(-1, 1, 1, 1)
    torch.testing.assert_close(on_path, (1 - s) * clean + s * noise)
    output = clean - noise if velocity == "sit" else noise - clean
    torch.testing.assert_close(
        epsilon(torch.cat([output, torch.randn_like(output)], dim=1)), noise, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("velocity", VELOCITIES)
def test_a_network_of_velocities_returns_epsilon_without_variance(velocity):
    network = build_dit(replace(SIZE, velocity=velocity))
    x, t, y = torch.randn(2, 4, 8, 8), torch.tensor([3, 900]), torch.tensor([0, 1])
    assert network(x, t, y).shape == x.shape
    assert not network.config.predicts_variance
