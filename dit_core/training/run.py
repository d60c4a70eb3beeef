"""`python -m dit_core train --config FILE`: train what a TOML file describes, in a folder that can be resumed."""

import json
import shutil
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL
from torch import nn

from dit_core import techniques
from dit_core.data import load_images
from dit_core.diffusion import ScheduleConfig
from dit_core.errors import BadRequest
from dit_core.models import catalog, recovered
from dit_core.models.dit import DiTConfig
from dit_core.models.experts import with_experts
from dit_core.models.model import Model, ModelConfig, build_dit, load_model, save_model
from dit_core.sampling import Sampling, generate
from dit_core.sheets import png, sheet
from dit_core.training import recovery
from dit_core.training.base import Batches, Objective, diffusion_loss, latents_of
from dit_core.training.loop import Progress, Settings, fit
from dit_core.training.vae import build_vae, reconstruction_psnr, save_vae, vae_loss

Config = TypeVar("Config")
USUAL = {"learning_rate": recovery.LEARNING_RATE, "batch_size": recovery.BATCH}  # what a recovery may set
NEEDED = {"vae": ("model",), "base": ("name", "vae", "dit"), "recovery": ()}  # by kind, what a file has to tell


def train(config_path: Path, out: Path, samples: int | None = None, device: str = "cpu") -> Path:
    """Train and return the folder of the finished weights. `samples` replaces the length given in the file."""
    try:
        config = tomllib.loads(config_path.read_text())
    except (OSError, ValueError) as error:  # no TOML, or no text
        raise BadRequest(f"{config_path} cannot be read as TOML: {error}") from error
    kinds: dict[str, Callable[[dict[str, Any], Path, str], Path]] = {
        "vae": _train_vae,
        "base": _train_base,
        "recovery": _train_recoveries,
    }
    kind = config.get("kind")
    if kind not in list(kinds):
        raise BadRequest(f"{config_path}: kind must be one of {', '.join(kinds)}, got {kind!r}.")
    if lacking := [name for name in NEEDED[kind] if name not in config]:
        raise BadRequest(f"{config_path}: a training of kind {kind} needs {lacking[0]}.")
    if samples is not None:
        if config["kind"] == "recovery":
            raise BadRequest(f"{config_path}: a recovery is as long as its steps say: leave out --samples.")
        config.setdefault("settings", {})["samples"] = samples
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(config_path, out / "config.toml")
    return kinds[config["kind"]](config, out, device)


def _train_vae(config: dict[str, Any], out: Path, device: str) -> Path:
    settings = _read(Settings, config.get("settings", {}))
    images = load_images("train")
    model = dict(config["model"])
    kl_weight = model.pop("kl_weight")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        vae = build_vae(model).to(device)  # type: ignore[arg-type]
    vae = fit(vae, vae_loss(images, settings.batch_size, kl_weight), settings, out, progress=_print)
    save_vae(vae, images, out / "vae")  # type: ignore[arg-type]
    psnr = reconstruction_psnr(vae, load_images("held_out"))  # type: ignore[arg-type]
    print(f"\nheld-out reconstruction: {psnr:.2f} dB", file=sys.stderr)
    return out / "vae"


def _train_base(config: dict[str, Any], out: Path, device: str) -> Path:
    """A model from scratch. A mixture can name the bundled `dense` model that it is to be compared with, which trained
    alike: its weights are then put beside that model's, where `recover=bundled` finds them.
    """
    settings = _read(Settings, config.get("settings", {}))
    images = load_images("train")
    vae = AutoencoderKL.from_pretrained(
        config["vae"], torch_dtype=torch.float32, low_cpu_mem_usage=False, local_files_only=True
    ).to(device)  # type: ignore[arg-type]
    model_config = ModelConfig(
        name=config["name"],
        classes=images.classes,
        dit=_read(DiTConfig, {**config["dit"], "num_classes": len(images.classes)}),
        schedule=_read(ScheduleConfig, config.get("schedule", {})),
    )
    if dense := config.get("dense"):
        _check_alike(dense, model_config)
    dit = _with_experts(build_dit(model_config.dit, settings.seed), config.get("moe"), settings.seed).to(device)
    objective = _read(Objective, config.get("objective", {}))
    loss = diffusion_loss(Batches(latents_of(vae, images), model_config.schedule, objective, settings.batch_size))

    def preview(average: nn.Module, seen: int) -> None:
        labels = [i % len(images.classes) for i in range(6 * len(images.classes))]
        pictures = generate(Model(average, vae, model_config), labels, sampling=Sampling(guidance=3.0))
        (out / f"preview-{seen // 1000:05d}k.png").write_bytes(png(sheet(pictures, len(images.classes)), 2))

    average = fit(dit, loss, settings, out, preview=preview, progress=_print)
    save_model(Model(average, vae, model_config), out / "model", {"data_sha256": images.sha256})
    if not dense:
        return out / "model"
    recipe = _mixture_recipe(config["moe"])
    recovery.write_weights(average, out, recipe, dense, settings)
    return _publish(out, load_model(dense), recipe)


def _check_alike(dense: str, config: ModelConfig) -> None:
    """Raise BadRequest where a mixture and the dense model that it is compared with are not of one shape."""
    beside = load_model(dense).config
    if (beside.dit, beside.schedule) != (config.dit, config.schedule):
        raise BadRequest(f"dense: {dense} has another shape or schedule than this mixture: give both the same.")


def _mixture_recipe(moe: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The technique that makes a mixture of this table's shape out of the dense model."""
    knobs = {name: moe[name] for name in ("experts", "top_k", "shared", "layers", "expert_size") if name in moe}
    return techniques.canonical([{"name": "moe", **knobs, "recover": recovered.BUNDLED}])


def _publish(folder: Path, model: Model, recipe: Sequence[dict[str, Any]]) -> Path:
    """Put what a training left in `folder` where `recover=bundled` finds it."""
    place = recovered.path(model.config.name, recipe)
    place.parent.mkdir(exist_ok=True)
    recovery.publish(folder, place, model.dit)
    return place


def _with_experts(dit: nn.Module, moe: dict[str, Any] | None, seed: int) -> nn.Module:
    """The network, with mixtures of experts from scratch where the table `moe` asks for them."""
    if moe is None:
        return dit
    try:
        return with_experts(dit, **moe, seed=seed)
    except TypeError as error:
        raise BadRequest("The table moe takes experts, top_k, shared, expert_size, layers, gate, balance.") from error


def _train_recoveries(config: dict[str, Any], out: Path, device: str) -> Path:
    """One training after the other; the weights of each are put where `recover=bundled` finds them.

    Those that are there already, trained for as many steps at the same rate and batch from the same weights, are
    skipped.
    """
    name, entries = config.get("model", "emoji"), config.get("recoveries", [])
    for entry in entries:
        if not {"techniques", "steps"} <= set(entry) <= {"techniques", "steps", *USUAL}:
            raise BadRequest(f"A recovery has techniques, steps and maybe {' and '.join(USUAL)}, no more: {entry}.")
        if not entry["techniques"]:
            raise BadRequest("A recovery needs a technique that ends its recipe: name one in techniques.")
    recipes = [techniques.canonical(_ending(entry["techniques"], entry["steps"])) for entry in entries]
    model = load_model(name, device)
    for number, (entry, recipe) in enumerate(zip(entries, recipes, strict=True), start=1):
        line = (
            f"{number} of {len(recipes)}: {recovered.words(recipe, recipe[-1]['name'])}, {recipe[-1]['recover']} steps"
        )
        how = {**USUAL, **{setting: entry[setting] for setting in USUAL if setting in entry}}
        if _is_bundled(name, recipe, how):
            print(f"{line}: skipped, as its weights are there", file=sys.stderr)
            continue
        print(line, file=sys.stderr)
        context = techniques.Context(torch.device(device), model=model, folder=out, progress=_print_step, **how)
        techniques.apply_recipe(model.dit, recipe, context)
        _publish(recovery.folder_of(replace(context, recipe=recipe)), model, recipe)
    return catalog.find(name).folder / recovered.FOLDER


def _is_bundled(model: str, recipe: Sequence[dict[str, Any]], how: dict[str, Any]) -> bool:
    """Whether there are bundled weights of a recipe that were trained alike, from what it begins from now."""
    try:
        header = recovered.header(recovered.path(model, recipe))
    except BadRequest:  # not there, or damaged
        return False
    began = header.get("weights", recovered.weights_digest(model, ()))  # in an older file: from the model's alone
    settings = json.loads(header["settings"])
    return (header["base"], began, recovered.steps(header), {name: settings[name] for name in how}) == (
        recovery.base_hash(model),
        recovered.weights_digest(model, recipe[:-1]),
        int(recipe[-1]["recover"]),
        how,
    )


def _ending(recipe: list[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    """The recipe whose last technique recovers in so many steps."""
    return [*recipe[:-1], {**recipe[-1], "recover": str(steps)}]


def _read(kind: type[Config], data: dict[str, Any]) -> Config:
    """A dataclass from a table of the file; an unknown name is refused."""
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(data) - set(known)):
        raise BadRequest(f"Unknown setting {unknown[0]!r}: use one of {', '.join(known)}.")
    return kind(**data)


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
