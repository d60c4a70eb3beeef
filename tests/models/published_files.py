"""Files of weights as fast-DiT, DiT and diffusers write them, with hardly any weights."""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from dit_core.models.dit import DiTConfig
from dit_core.models.model import build_dit

SIZE = DiTConfig(8, 2, 4, 384, 2, 6, 1.0, 10, learn_sigma=True)  # the width of DiT-S
ARGS = {"model": "DiT-S/2", "image_size": 64, "num_classes": 10, "vae": "mse", "global_seed": 0, "epochs": 1400}
CHANNELS = (8, 8, 8, 8)  # of an autoencoder with 8 pixels for a latent


def state_dict(size: DiTConfig = SIZE, seed: int = 0) -> dict[str, Tensor]:
    """The state dict of a DiT whose gates and output are not zero, so that all weights matter."""
    dit = build_dit(size, seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in dit.named_parameters():
        if name != "pos_embed" and not parameter.any():
            parameter.data.normal_(std=0.05, generator=generator)
    return {name: value.detach().clone() for name, value in dit.state_dict().items()}


def training_state(raw: dict[str, Tensor], averaged: dict[str, Tensor]) -> dict:
    """What fast-DiT's `train.py` saves."""
    return {"model": raw, "ema": averaged, "opt": {"state": {}, "param_groups": []}, "args": argparse.Namespace(**ARGS)}


def autoencoder(latent_channels: int = 4, seed: int = 0):
    from diffusers import AutoencoderKL

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoencoderKL(
            latent_channels=latent_channels,
            block_out_channels=CHANNELS,
            down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
            up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
            layers_per_block=1,
            norm_num_groups=4,
            mid_block_add_attention=False,
            scaling_factor=0.18215,
        ).eval()


def in_hub_cache(hf_home: Path, name: str, write) -> Path:
    """Write a snapshot of a Hugging Face repository into the cache folder, as a download leaves it."""
    root = hf_home / "hub" / f"models--{name.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("a" * 40)
    write(root / "snapshots" / ("a" * 40))
    return root


def transformer(size: DiTConfig = SIZE):
    """diffusers' network of this size, with an mlp_ratio of 4. Its blocks have embedders of their own."""
    from diffusers import DiTTransformer2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DiTTransformer2DModel(
            num_attention_heads=size.num_heads,
            attention_head_dim=size.hidden_size // size.num_heads,
            in_channels=size.in_channels,
            out_channels=size.out_channels,
            num_layers=size.depth,
            sample_size=size.input_size,
            patch_size=size.patch_size,
            num_embeds_ada_norm=size.num_classes,
        ).eval()


def save_pipeline(folder: Path) -> None:
    """Write a `DiTPipeline` with a cosine schedule of velocities, and class names as on the hub."""
    from diffusers import DDIMScheduler, DiTPipeline

    scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    DiTPipeline(transformer(), autoencoder(), scheduler).save_pretrained(folder)
    index = folder / "model_index.json"
    names = {str(label): f"name {label}, other {label}" for label in range(SIZE.num_classes)}
    index.write_text(json.dumps({**json.loads(index.read_text()), "id2label": names}))
