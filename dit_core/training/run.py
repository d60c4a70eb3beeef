"""`python -m dit_core train --config FILE`: run the training that a TOML file describes; the folder can be resumed."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn

from dit_core.data import ImageSet, load_images
from dit_core.data.images import EMOJI
from dit_core.data.sheets import png, sheet
from dit_core.errors import BadRequest
from dit_core.models import recovered
from dit_core.models.dit import DiTConfig
from dit_core.models.experts import with_experts
from dit_core.models.model import Model, ModelConfig, build_dit
from dit_core.models.schedule import ScheduleConfig
from dit_core.models.sources import autoencoders, load_model
from dit_core.models.sources.folder import save_model
from dit_core.recipes import naming
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe, canonical
from dit_core.records.toml_files import TABLE, TABLES, VALUE, read_toml, table, tables, typed, value_of
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import generate
from dit_core.system import causes, files
from dit_core.training import recovery
from dit_core.training.autoencoder import AutoencoderSize, build_vae, reconstruction_psnr, save_vae, vae_loss
from dit_core.training.base import Batches, Objective, diffusion_loss, latents_of
from dit_core.training.loop import Progress, Settings, fit

Cancel = Callable[[], bool]
RECOVERY_DEFAULTS = {
    "learning_rate": recovery.LEARNING_RATE,
    "batch_size": recovery.BATCH,
}
TAKEN = {  # entries of the file, by kind
    "vae": ("images", "start", "model", "settings"),
    "base": ("name", "images", "vae", "start", "dense", "dit", "moe", "schedule", "objective", "settings"),
    "recovery": ("model", "recoveries"),
}
ENTRIES = ("kind", *dict.fromkeys(name for names in TAKEN.values() for name in names))
SHAPES = {**dict.fromkeys(("dit", "moe", "schedule", "objective", "settings"), TABLE), "recoveries": TABLES}
WORDS = ("name", "images", "vae", "start", "dense")
NEEDED = {"vae": ("model",), "base": ("name", "vae", "dit"), "recovery": ()}  # required entries of the file, by kind


def train(
    config_path: Path,
    out: Path,
    samples: int | None = None,
    device: str = "cpu",
    cancelled: Cancel = lambda: False,
) -> Path:
    """Train and return the folder of the trained weights. `samples` replaces the length in the file.

    Raises BadRequest, before anything is trained, if the file is not a training or if its parts do not fit together,
    and if the folder cannot be written. Raises Cancelled, after it wrote a checkpoint, as soon as `cancelled` says so.
    """
    config = read_toml(config_path, "training", dict.fromkeys(ENTRIES, VALUE) | SHAPES)
    kinds: dict[str, Callable[[dict[str, Any], Path, str, Cancel], Path]] = {
        "vae": _train_vae,
        "base": _train_base,
        "recovery": _train_recoveries,
    }
    kind = config.get("kind")
    if kind not in list(kinds):
        raise BadRequest(f"{config_path}: kind must be one of {', '.join(kinds)}, got {kind!r}.")
    if missing := [name for name in NEEDED[kind] if name not in config]:
        raise BadRequest(f"{config_path}: a training of kind {kind} needs {missing[0]}.")
    if other := [name for name in config if name not in ("kind", *TAKEN[kind])]:
        known = ", ".join(TAKEN[kind])
        raise BadRequest(f"{config_path}: a training of kind {kind} has no {other[0]}: it has {known}.")
    for name in WORDS:
        if not isinstance(config.get(name, ""), str):
            raise BadRequest(f"{config_path}: {name} must be text in quotes, got {config[name]!r}.")
    if samples is not None:
        if kind == "recovery":
            raise BadRequest(f"{config_path}: the length of a recovery is its steps. Remove --samples.")
        config.setdefault("settings", {})["samples"] = samples
    try:
        files.probe(out)
        files.write_bytes(config_path.read_bytes(), out / "config.toml")
    except OSError as error:
        raise BadRequest(causes.not_written(out, error, "name another folder")) from error
    return kinds[kind](config, out, device, cancelled)


def _train_vae(config: dict[str, Any], out: Path, device: str, cancelled: Cancel) -> Path:
    """Train the autoencoder and report its error on held-out images.

    It begins with the weights of the autoencoder `start`, where names and shapes agree, if the file names one.
    """
    settings = typed(Settings, config.get("settings", {}), "settings")
    name = config.get("images", EMOJI)
    images = load_images("train", name)
    model = typed(AutoencoderSize, config["model"], "model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        vae = build_vae(model, images.pixels.shape[1])
    if start := config.get("start"):
        _begin_as(vae, _load_vae(start))
    vae = vae.to(device)  # type: ignore[arg-type]
    vae = fit(
        vae, vae_loss(images, settings.batch_size, model.kl_weight), settings, out, progress=_print, cancelled=cancelled
    )
    save_vae(vae, images, out / "vae")  # type: ignore[arg-type]
    psnr = reconstruction_psnr(vae, load_images("held_out", name))  # type: ignore[arg-type]
    print(f"\nheld-out reconstruction: {psnr:.2f} dB", file=sys.stderr)
    return out / "vae"


def _load_vae(folder: str) -> AutoencoderKL:
    if not autoencoders.files_of(folder):
        raise BadRequest(f"{folder} is no folder with an autoencoder: name one that diffusers or this program wrote.")
    return autoencoders.read(folder)


def _begin_as(module: nn.Module, other: nn.Module) -> None:
    """Copy the weights of another network that have the same name and shape."""
    shapes = {name: weight.shape for name, weight in module.state_dict().items()}
    alike = {name: weight for name, weight in other.state_dict().items() if weight.shape == shapes.get(name)}
    module.load_state_dict(alike, strict=False)


def _train_base(config: dict[str, Any], out: Path, device: str, cancelled: Cancel) -> Path:
    """Train a model. It begins with the weights of the model `start`, if the file names one, where shapes agree.

    A mixture of experts may name the bundled `dense` model of the same training that it is compared with. Its weights
    are then published as recovered weights of that model, for `recover=bundled`.
    """
    settings = typed(Settings, config.get("settings", {}), "settings")
    image_set = config.get("images", EMOJI)
    images = load_images("train", image_set)
    vae = _load_vae(config["vae"]).to(device)  # type: ignore[arg-type]
    model_config = ModelConfig(
        name=config["name"],
        classes=images.classes,
        dit=typed(DiTConfig, {**table(config["dit"], "dit"), "num_classes": len(images.classes)}, "dit"),
        schedule=typed(ScheduleConfig, config.get("schedule", {}), "schedule"),
    )
    _check_fit(config["vae"], vae, model_config.dit, images)
    if dense := config.get("dense"):
        _check_alike(dense, model_config)
    dit = _with_experts(build_dit(model_config.dit, settings.seed), config.get("moe"), settings.seed)
    if start := config.get("start"):
        _begin_as(dit, load_model(start).dit)
    dit = dit.to(device)
    objective = typed(Objective, config.get("objective", {}), "objective")
    loss = diffusion_loss(Batches(latents_of(vae, images), model_config.schedule, objective, settings.batch_size))

    def preview(average: nn.Module, seen: int) -> None:
        labels = [i % len(images.classes) for i in range(6 * len(images.classes))]
        pictures = generate(Model(average, vae, model_config), labels, sampling=SamplingConfig(guidance=3.0))
        with suppress(OSError):  # a full disk costs this picture, not the training
            files.write_bytes(png(sheet(pictures, len(images.classes)), 2), out / f"preview-{seen // 1000:05d}k.png")

    average = fit(dit, loss, settings, out, preview=preview, progress=_print, cancelled=cancelled)
    save_model(Model(average, vae, model_config), out / "model", {"data_sha256": images.sha256, "images": image_set})
    if not dense:
        return out / "model"
    recipe = _mixture_recipe(config["moe"])
    recovery.write_weights(average, out, recipe, dense, settings)
    return _publish(out, load_model(dense), recipe)


def _check_fit(name: str, vae: AutoencoderKL, size: DiTConfig, images: ImageSet) -> None:
    """Raise BadRequest if the latents of the autoencoder do not have the network's channels or its input size."""
    config: Any = vae.config
    side = images.pixels.shape[1] // 2 ** (len(config.block_out_channels) - 1)
    if (config.latent_channels, side) != (size.in_channels, size.input_size):
        raise BadRequest(
            f"dit: latents of {name} have {config.latent_channels} channels and {side} values along a side: set "
            f"in_channels to {config.latent_channels} and input_size to {side}."
        )


def _check_alike(dense: str, config: ModelConfig) -> None:
    """Raise BadRequest if a mixture and the dense model that it is compared with differ in shape or schedule."""
    dense_config = load_model(dense).config
    if (dense_config.dit, dense_config.schedule) != (config.dit, config.schedule):
        raise BadRequest(f"dense: {dense} has another shape or schedule than this mixture. Use the same for both.")


def _mixture_recipe(moe: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the recipe that turns the dense model into a mixture of this shape."""
    knobs = {name: moe[name] for name in ("experts", "top_k", "shared", "layers", "expert_size") if name in moe}
    return canonical([{"name": "moe", **knobs, "recover": recovered.BUNDLED}])


def _publish(folder: Path, model: Model, recipe: Sequence[dict[str, Any]]) -> Path:
    """Publish the result of the training in `folder` as bundled recovered weights; return their file."""
    place = recovered.path(model.config.name, recipe, naming.file_name(recipe, leave_out=("recover",)))
    place.parent.mkdir(exist_ok=True)
    recovery.publish(folder, place, model.dit)
    return place


def _with_experts(dit: nn.Module, moe: dict[str, Any] | None, seed: int) -> nn.Module:
    """Return the network, with untrained mixtures of experts if there is a table `moe`."""
    if moe is None:
        return dit
    try:
        return with_experts(dit, **moe, seed=seed)
    except TypeError as error:
        raise BadRequest("The table moe takes experts, top_k, shared, expert_size, layers, gate, balance.") from error


def _train_recoveries(config: dict[str, Any], out: Path, device: str, cancelled: Cancel) -> Path:
    """Run the recoveries one after the other and publish the weights of each as bundled recovered weights.

    A recovery is skipped if its weights exist and were trained with the same steps, rate and batch from the same
    weights.
    """
    name, entries = config.get("model", "emoji"), config.get("recoveries", [])
    if not isinstance(name, str):
        raise BadRequest(f"model of a recovery must be the name of a model, got {name!r}.")
    if not entries:
        raise BadRequest("There are no recoveries to train: add [[recoveries]] with techniques and steps.")
    for entry in entries:
        if not {"techniques", "steps"} <= set(entry) <= {"techniques", "steps", *RECOVERY_DEFAULTS}:
            raise BadRequest(
                f"A recovery has techniques, steps and may have {' and '.join(RECOVERY_DEFAULTS)}: {entry}."
            )
        for key in RECOVERY_DEFAULTS:
            kind = type(RECOVERY_DEFAULTS[key])
            if key in entry and not value_of(entry[key], kind, f"{key} of a recovery") > 0:
                raise BadRequest(f"{key} of a recovery must be positive, got {entry[key]}.")
        if type(entry["steps"]) is not int or entry["steps"] < 1:
            raise BadRequest(f"steps of a recovery must be a whole number of at least 1, got {entry['steps']!r}.")
        if not tables(entry["techniques"], "techniques of a recovery"):
            raise BadRequest("A recovery needs a technique at the end of its recipe. Name one in techniques.")
    recipes = [canonical(_ending(entry["techniques"], entry["steps"])) for entry in entries]
    model = load_model(name, device)
    for number, (entry, recipe) in enumerate(zip(entries, recipes, strict=True), start=1):
        line = (
            f"{number} of {len(recipes)}: {recovered.words(recipe, recipe[-1]['name'])}, {recipe[-1]['recover']} steps"
        )
        settings = {name: entry.get(name, default) for name, default in RECOVERY_DEFAULTS.items()}
        if _is_bundled(name, recipe, settings):
            print(f"{line}: skipped, its weights exist", file=sys.stderr)
            continue
        print(line, file=sys.stderr)
        context = Context(
            torch.device(device), model=model, folder=out, progress=_print_step, cancelled=cancelled, **settings
        )
        apply_recipe(model.dit, recipe, context)
        _publish(recovery.folder_of(replace(context, recipe=recipe)), model, recipe)
    return recovered.folder(name)


def _is_bundled(model: str, recipe: Sequence[dict[str, Any]], settings: dict[str, Any]) -> bool:
    """Return whether a recipe has bundled weights with these settings, trained from the current initial weights."""
    try:
        header = recovered.header(recovered.path(model, recipe))
    except BadRequest:  # missing or damaged
        return False
    initial = header.get("weights", recovered.weights_digest(model, ()))  # older files: the weights of the model
    saved = json.loads(header["settings"])
    return (header["base"], initial, recovered.steps(header), {name: saved[name] for name in settings}) == (
        recovery.base_hash(model),
        recovered.weights_digest(model, recipe[:-1]),
        int(recipe[-1]["recover"]),
        settings,
    )


def _ending(recipe: list[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    """Return the recipe with a recovery of so many steps at its end."""
    return [*recipe[:-1], {**recipe[-1], "recover": str(steps)}]


def _print_step(stage: str, step: int, of: int) -> None:
    if stage.startswith("train"):
        print(f"{stage}: step {step:,} of {of:,}", file=sys.stderr, end="\r" if sys.stderr.isatty() else "\n")


def _print(progress: Progress) -> None:
    minutes, seconds = divmod(int(progress.seconds_left), 60)
    share = progress.samples / progress.total
    bar = "#" * int(30 * share)
    line = f"[{bar:30}] {progress.samples:,} of {progress.total:,} samples, loss {progress.loss:.4f}, "
    line += f"{progress.samples_per_s:.0f}/s, {minutes} min {seconds:02} s left"
    print(line, file=sys.stderr, end="\r" if sys.stderr.isatty() else "\n", flush=True)
