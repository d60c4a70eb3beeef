"""The card of an exported model: its recipe, what was measured, the command that made it, and lines that load it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from dit_core.experiment.known import is_current
from dit_core.models import sources
from dit_core.models.model import Model
from dit_core.records import metrics
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.sampling.config import SamplingConfig

PLACE = "exported"  # the folder in the command and in the lines that load the model
FIGURES = (metrics.LATENCY, metrics.SPEEDUP, metrics.WEIGHT_BYTES, *metrics.FRECHET)


def model_card(spec: RunSpec, model: Model, sampling: SamplingConfig, form: str) -> str:
    """Return the card as Markdown. It names no folder of this machine."""
    source = sources.find(spec.model)
    names = {name: PurePath(getattr(spec, name)).name for name in ("reference", "training_images")}
    own = tuple(PurePath(name).name for name in spec.metrics)
    portable = replace(spec, model=source.portable_name, metrics=own, **names)
    schedule = model.config.schedule
    command = portable.command().replace(" run ", " export ", 1) + f" --format {form} --out {PLACE}"
    facts = [f"- {fact}" for fact in source.facts]
    return "\n".join(
        [
            f"# {source.portable_name}: {spec.label()}",
            "",
            f"{len(model.classes)} classes, {model.image_size} pixels, {schedule.prediction} prediction, "
            f"{schedule.beta_schedule} noise schedule.",
            f"Sampled with {sampling.scheduler} in {sampling.steps} steps at guidance {sampling.guidance:g}"
            f"{_guided_steps(sampling)}.",
            "",
            *(["What is known of the model that it was made from:", "", *facts, ""] if facts else []),
            "## Figures",
            "",
            *_figures(spec),
            "",
            "## Made by",
            "",
            f"    {command}",
            "",
            "## Load it",
            "",
            "```python",
            *LINES[form](model, sampling),
            "```",
            "",
        ]
    )


def _guided_steps(sampling: SamplingConfig) -> str:
    interval = sampling.guidance_interval
    between = " from timestep {} to {}".format(*interval) if interval else ""
    return between + (f", computed in every {sampling.guidance_every}. step" if sampling.guidance_every > 1 else "")


def _guidance_arguments(sampling: SamplingConfig) -> str:
    arguments = [f"guidance={sampling.guidance:g}"]
    if sampling.guidance_interval:
        arguments.append(f"guidance_interval={tuple(sampling.guidance_interval)}")
    if sampling.guidance_every > 1:
        arguments.append(f"guidance_every={sampling.guidance_every}")
    return ", ".join(arguments)


def _figures(spec: RunSpec) -> list[str]:
    stored = Store().get(spec.run_id)
    if stored is None or not is_current(stored.record):
        return ["This recipe was not measured."]
    record = stored.record
    rows = [f"| {metric.title} | {_value(metric, record)} |" for metric in FIGURES if metric.read(record) is not None]
    distances = [metric.explained(record) for metric in metrics.FRECHET if metric.read(record) is not None]
    where = f"Measured on {record.environment['cpu']}, batch of {spec.batch_size}."
    return [" ".join([where, *distances]), "", "| | |", "|---|---|", *rows]


def _value(metric: metrics.Metric, record: RunRecord) -> str:
    interval = metric.scaled_interval(record)
    between = " ({:.4g} to {:.4g})".format(*interval) if interval else ""
    return f"{metric.scaled(record):.4g} {metric.unit}".strip() + between


def _folder_lines(model: Model, sampling: SamplingConfig) -> list[str]:
    return [
        "from dit_core import generate, load_model",
        "from dit_core.sampling.config import SamplingConfig",
        "",
        f'model = load_model("{PLACE}")',
        f'sampling = SamplingConfig("{sampling.scheduler}", steps={sampling.steps}, {_guidance_arguments(sampling)})',
        "images = generate(model, [0, 1, 2, 3], seed=0, sampling=sampling)  # (4, 3, H, W) uint8",
    ]


def _diffusers_lines(model: Model, sampling: SamplingConfig) -> list[str]:
    """Lines for `DiTPipeline`, which shifts the frequencies of timesteps and takes label 1000 as the null label."""
    guided = len(model.classes) == 1000
    shift = model.config.dit.frequency_shift
    scale = f"{sampling.guidance:g}" if guided else "1"
    note = "" if guided else "  # guidance in DiTPipeline needs 1,000 classes"
    return [
        "from diffusers import DiTPipeline",
        "",
        f'pipeline = DiTPipeline.from_pretrained("{PLACE}")',
        "for block in pipeline.transformer.transformer_blocks:",
        f"    block.norm1.emb.time_proj.downscale_freq_shift = {shift}",
        f"images = pipeline([0], guidance_scale={scale}, num_inference_steps={sampling.steps}).images{note}",
    ]


def _published_lines(read: str, file: str) -> Callable[[Model, SamplingConfig], list[str]]:
    def lines(model: Model, sampling: SamplingConfig) -> list[str]:
        size: Any = model.dit.config
        shape = size.input_size, size.patch_size, size.in_channels, size.hidden_size, size.depth, size.num_heads
        rest = size.mlp_ratio, 0.1 if size.null_label else 0.0, size.num_classes, size.learn_sigma
        return [
            *read.splitlines(),
            "from models import DiT  # of fast-DiT or DiT",
            f"network = DiT({', '.join(map(str, (*shape, *rest)))})",
            f"network.load_state_dict({file})",
        ]

    return lines


LINES: dict[str, Callable[[Model, SamplingConfig], list[str]]] = {
    "folder": _folder_lines,
    "diffusers": _diffusers_lines,
    "pt": _published_lines(
        "import argparse\nimport torch\ntorch.serialization.add_safe_globals([argparse.Namespace])",
        f'torch.load("{PLACE}/dit.pt")["ema"]',
    ),
    "safetensors": _published_lines("from safetensors.torch import load_file", f'load_file("{PLACE}/dit.safetensors")'),
}
