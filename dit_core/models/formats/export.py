"""Write an unchanged DiT in the forms that other programs read: a diffusers pipeline, and fast-DiT's checkpoint."""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dit_core.errors import BadRequest
from dit_core.models import checkpoints, serialization
from dit_core.models.dit import DiT
from dit_core.models.formats import MADE_FROM, RECORDED, normal
from dit_core.models.formats.size import is_repeat
from dit_core.models.model import Model
from dit_core.models.presets import PRESETS, DiTConfig
from dit_core.system.files import write_text, write_with

PT_FILE, SAFETENSORS_FILE = "dit.pt", "dit.safetensors"
AUTOENCODER = "./vae"  # beside the file
DIFFUSERS_MLP_RATIO = 4


def write_pt(model: Model, folder: Path, made_from: str) -> None:
    """Write `dit.pt` as fast-DiT's `train.py` names its parts: averaged weights and the arguments of the training.

    `made_from` is the name of the model as loaded.
    """
    size, state = _plain(model)
    arguments = argparse.Namespace(
        model=next((name for name, preset in PRESETS.items() if _same_shape(preset, size)), "DiT"),
        image_size=model.image_size,
        num_classes=size.num_classes,
        **{RECORDED: _recorded(model, size, made_from)},
    )
    write_with(partial(torch.save, {"ema": state, "args": arguments}), folder / PT_FILE)


def write_safetensors(model: Model, folder: Path, made_from: str) -> None:
    """Write `dit.safetensors`: the published state dict in float32, with what it does not tell as metadata."""
    size, state = _plain(model)
    checkpoints.write_safetensors(state, folder / SAFETENSORS_FILE, {RECORDED: _recorded(model, size, made_from)})


def write_pipeline(model: Model, folder: Path, made_from: str) -> None:
    """Write the folder of a `DiTPipeline`. Raises BadRequest if diffusers has no network of this form."""
    from diffusers import DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    size, state = _plain(model, embedders=True)
    if size.velocity:
        raise BadRequest("diffusers' DiTPipeline samples no velocities: export another format.")
    if int(size.hidden_size * size.mlp_ratio) != DIFFUSERS_MLP_RATIO * size.hidden_size:
        raise BadRequest(f"diffusers has no DiT with an mlp_ratio of {size.mlp_ratio:g}: export another format.")
    with torch.random.fork_rng(devices=[]):  # the weights are replaced
        transformer = DiTTransformer2DModel(
            num_attention_heads=size.num_heads,
            attention_head_dim=size.hidden_size // size.num_heads,
            in_channels=size.in_channels,
            out_channels=size.out_channels,
            num_layers=size.depth,
            sample_size=size.input_size,
            patch_size=size.patch_size,
            num_embeds_ada_norm=size.labels - 1,  # diffusers adds a null label
        )
    transformer.load_state_dict(normal.to_diffusers(state, size.depth, lambda tensor: tensor.chunk(3)))
    schedule = model.config.schedule
    scheduler = DDIMScheduler(
        num_train_timesteps=schedule.train_steps,
        beta_schedule=schedule.beta_schedule,
        prediction_type=schedule.prediction,  # type: ignore[arg-type]
        timestep_spacing="trailing",
        clip_sample=False,
    )
    DiTPipeline(transformer, without_path(model.vae), scheduler).save_pretrained(folder)  # type: ignore[arg-type]
    index = folder / "model_index.json"
    names = {str(label): name for label, name in enumerate(model.classes)}
    stated = {"id2label": names, f"_{RECORDED}_{MADE_FROM}": made_from}  # diffusers reads no keys with an underscore
    content = {**json.loads(index.read_text(encoding="utf-8")), **stated}
    write_text(json.dumps(content, indent=2) + "\n", index)


WRITERS: dict[str, Callable[[Model, Path, str], None]] = {
    "diffusers": write_pipeline,
    "pt": write_pt,
    "safetensors": write_safetensors,
}


def without_path(vae: Any) -> Any:
    """Return a copy of an autoencoder without the path that diffusers loaded it from."""
    from diffusers import AutoencoderKL

    copied: Any = AutoencoderKL.from_config({key: v for key, v in dict(vae.config).items() if key != "_name_or_path"})
    copied.load_state_dict(vae.state_dict())
    return copied.eval()


def _plain(model: Model, *, embedders: bool = False) -> tuple[DiTConfig, dict[str, Tensor]]:
    """Return size and state dict of an unchanged DiT. Raises BadRequest for any other network."""
    if not serialization.is_plain(model.dit):
        raise BadRequest("Techniques changed this network, so that only a model folder holds it: set format to folder.")
    assert isinstance(model.dit, DiT)
    size = replace(model.dit.config, input_size=model.config.dit.input_size)
    state = {name: value.detach().cpu().contiguous() for name, value in model.dit.state_dict().items()}
    if any(map(is_repeat, state)) and not embedders:
        raise BadRequest("This network has embedders in every block, as only diffusers reads: set format to diffusers.")
    return size, state


def _same_shape(preset: DiTConfig, size: DiTConfig) -> bool:
    names = ("patch_size", "hidden_size", "depth", "num_heads", "mlp_ratio")
    return all(getattr(preset, name) == getattr(size, name) for name in names)


def _recorded(model: Model, size: DiTConfig, made_from: str) -> str:
    """Return options of a model source (`models.sources.options`) as JSON, so that the file tells them again."""
    schedule = model.config.schedule
    stated: dict[str, Any] = {
        "heads": size.num_heads,
        "null_label": size.null_label,
        "frequency_shift": size.frequency_shift,
        "prediction": size.velocity or schedule.prediction,
        **({"second_time": size.second_time} if size.second_time else {}),
        **({} if size.velocity else {"beta_schedule": schedule.beta_schedule}),
        "classes": list(model.classes),
        "autoencoder": AUTOENCODER,
        MADE_FROM: made_from,
    }
    return json.dumps(stated)
