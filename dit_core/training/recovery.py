"""Recovery: train what a technique left of a network until it does again what its teacher does.

The loss is that of TinyFusion (arXiv 2412.01199): 0.9 times the distance to the teacher's output and 0.1 times the
denoising loss, plus the distance between the outputs of the blocks, which fades out. Mixtures of experts add their
balance loss.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_core.data import load_images
from dit_core.errors import BadRequest, Cancelled
from dit_core.files import write_text
from dit_core.models import catalog, checkpoints, recovered
from dit_core.models.experts import balance_loss
from dit_core.models.model import DIT_FILE, Model
from dit_core.models.presets import HIGHEST_GUIDANCE, LOWEST_GUIDANCE
from dit_core.runtime import bfloat16_is_fast
from dit_core.sampling import takes_guidance
from dit_core.techniques import Context
from dit_core.training.base import Batches, Objective, latents_of
from dit_core.training.loop import Loss, Progress, Settings, fit

BATCH = 64
LEARNING_RATE = 1e-3
WEIGHTS = "weights.safetensors"
Lesson = Callable[[nn.Module, Batches], Loss]  # of a teacher and the examples


@dataclass(frozen=True)
class Goal:
    """Weights of the parts of the loss; `feature` falls to zero over the share `fade` of the training."""

    output: float = 0.9
    denoise: float = 0.1
    feature: float = 0.1
    fade: float = 0.5


def recover(
    student: nn.Module,
    teacher: nn.Module,
    how: str,
    context: Context,
    lessons: Sequence[Lesson] | None = None,
    part: str | None = None,
) -> nn.Module:
    """`student` as it is (`none`), with its bundled weights, or trained for `how` steps against `teacher`.

    Its structure has to follow from the recipe alone: all its weights come from the training, or those of one `part` of
    its blocks (`attn`, `mlp`), to which the training then keeps. One that was cut off goes on where it stopped. Of
    several `lessons` each takes an equal share of the steps and is taught by the student of the one before.

    Raises BadRequest where there is nothing to train on, Cancelled where the context says so.
    """
    if how == recovered.NONE:
        return student
    if context.model is None or not context.recipe:
        raise BadRequest("Recovery needs a model with its data: set recover to none.")
    name = context.model.config.name
    recovered.check(name, context.recipe)
    if how == recovered.BUNDLED:
        return load(student, recovered.path(name, context.recipe), context.model, part)
    folder = folder_of(context)
    if not (folder / WEIGHTS).is_file():
        settings = settings_for(
            int(how), context.learning_rate or LEARNING_RATE, context.batch_size or BATCH, context.device.type
        )
        train(student, teacher, context, settings, folder, lessons or [Distillation], part)
    return load(student, folder / WEIGHTS, context.model, part)


def folder_of(context: Context, what: str = "") -> Path:
    """Where the training that ends a context's canonical recipe, or what else is trained for it, keeps all it writes.

    Named by what the training follows from: recipe, rate, batch, the seed that calibration draws with, and all weights
    that it begins from. Another model has its own, and so has the same model after it, or what was recovered before,
    was trained again.
    """
    assert context.model is not None
    weights = recovered.weights_digest(context.model.config.name, context.recipe[:-1])
    how = f"{what or context.recipe[-1]['recover']}-{context.learning_rate or LEARNING_RATE:g}-{context.seed}"
    if context.batch_size not in (None, BATCH):
        how += f"-{context.batch_size}"
    return context.folder / f"{recovered.key(context.recipe)}-{weights}-{how}"


def settings_for(
    steps: int, learning_rate: float = LEARNING_RATE, batch_size: int = BATCH, device: str = "cpu"
) -> Settings:
    """How recovery trains: short, from weights that nearly fit.

    Muon came to a loss of 0.166 where AdamW came to 0.180 (500 steps, half the blocks). At 3e-3 a student of guidance
    unlearns what it began with: on held-out images it came to 0.336 after 2,500 steps, at 1e-3 to 0.256 after 240.
    Networks that were cut come to the same at both (0.348 and 0.355 under guidance, 300 steps, half the neurons).
    Routers nearly keep still: AdamW's steps are as large for a small gradient, and experts know the choice that a
    router makes. On a GPU bfloat16 would cost time: a network of this size waits for launches, not for products.
    """
    return Settings(
        samples=steps * batch_size,
        batch_size=batch_size,
        optimizer="muon",
        learning_rate=learning_rate,
        router_rate=0.01,
        weight_decay=0.0,
        warmup=min(100, steps // 10) * batch_size,
        decay=0.5,
        ema=max(1, min(200, steps // 20)) * batch_size,
        bfloat16=device == "cpu" and bfloat16_is_fast(),
        checkpoint_every_s=30.0,
        preview_every_s=60.0,
        log_every=min(20, steps),
    )


def train(
    student: nn.Module,
    teacher: nn.Module,
    context: Context,
    settings: Settings,
    folder: Path,
    lessons: Sequence[Lesson],
    part: str | None = None,
) -> None:
    """Train `student` in place and write its averaged weights, with what they came from, into `folder`."""
    assert context.model is not None
    batches = examples(context.model, settings.batch_size, "set recover to none")
    each = replace(settings, samples=math.ceil(settings.samples / len(lessons)))
    student.train()
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(name != "pos_embed" and belongs(name, part))
    for index, lesson in enumerate(lessons):
        here = folder if len(lessons) == 1 else folder / f"lesson-{index + 1}"
        teacher = _teach(student, lesson(teacher, batches), context, each, here, index / len(lessons), len(lessons))
        student.load_state_dict(teacher.state_dict())
    write_weights(teacher, folder, context.recipe, context.model.config.name, settings, part)


def examples(model: Model, batch_size: int, instead: str) -> Batches:
    """The bundled images as `model` sees them; raises BadRequest, with what to do `instead`, where it knows others."""
    assert model.vae is not None
    images = load_images("train")
    if model.classes != images.classes:
        raise BadRequest(f"This trains on the bundled images, whose classes are not this model's: {instead}.")
    return Batches(latents_of(model.vae, images), model.config.schedule, Objective(), batch_size)


def write_weights(
    average: nn.Module,
    folder: Path,
    recipe: Sequence[dict[str, Any]],
    model: str,
    settings: Settings,
    part: str | None = None,
) -> None:
    """Write the averaged weights of a training, or of one part of the blocks, with what they came from."""
    origin = {
        "recipe": json.dumps(recipe),
        "base": base_hash(model),
        "weights": recovered.weights_digest(model, recipe[:-1]) or "",
        "settings": json.dumps(asdict(settings)),
    }
    weights = {name: value for name, value in average.state_dict().items() if belongs(name, part)}
    state = {name: value.detach().half().cpu().contiguous() for name, value in weights.items()}
    checkpoints.write_safetensors(state, folder / WEIGHTS, origin)


def _teach(
    student: nn.Module, loss: Loss, context: Context, settings: Settings, folder: Path, begun: float, lessons: int
) -> nn.Module:
    """The averaged student after one lesson, which begins when the share `begun` of the training lies behind."""

    def progress(report: Progress) -> None:
        of = lessons * report.total // settings.batch_size
        done = round(begun * of) + report.samples // settings.batch_size
        context.progress(f"train (loss {report.loss:.4f})", done, of)

    def preview(average: nn.Module, seen: int) -> None:
        if context.preview:
            context.preview(average)

    average = fit(student, loss, settings, folder, preview=preview, progress=progress, cancelled=context.cancelled)
    if context.cancelled():
        raise Cancelled("The training was stopped: run it again and it goes on from here.")
    return average.requires_grad_(False)


def belongs(name: str, part: str | None) -> bool:
    """Whether a weight is one of this part of a block; of a network as a whole where there is no part."""
    return part is None or (name.startswith("blocks.") and name.split(".")[2] == part)


def publish(folder: Path, place: Path, base: nn.Module) -> None:
    """Write what a training left of `base`, in few bytes, for `recover=bundled`; and its log, all lessons in one."""
    state = checkpoints.compact(checkpoints.read_safetensors(folder / WEIGHTS), base.state_dict())
    checkpoints.write_safetensors(state, place, recovered.header(folder / WEIGHTS))
    logs = [log.read_text().splitlines() for log in sorted(folder.glob("**/log.csv"))]
    rows = [row for log in logs for row in log[1:]]
    log = place.with_name(place.name.removesuffix(recovered.SUFFIX) + ".csv")
    write_text("\n".join([logs[0][0], *rows]) + "\n", log)


def load(student: nn.Module, file: Path, model: Model, part: str | None = None) -> nn.Module:
    """`student` with the weights of `file`; raises BadRequest where they are damaged or began from another `model`."""
    if recovered.header(file).get("base") != base_hash(model.config.name):
        raise BadRequest(f"{file} was trained from other weights than this model's: train it again.")
    state = checkpoints.expand(checkpoints.read_safetensors(file), model.dit.state_dict())
    if bad := next((name for name, value in state.items() if not torch.isfinite(value).all()), None):
        raise BadRequest(f"{file} is damaged ({bad} is not finite): restore it.")
    kept = {name: value for name, value in student.state_dict().items() if not belongs(name, part)}
    try:
        student.load_state_dict(kept | state, strict=True)
    except RuntimeError as error:
        raise BadRequest(f"{file} does not fit what these knobs leave: train it again.") from error
    return student.eval().requires_grad_(False)


def base_hash(model: str) -> str:
    """SHA-256 of the weights that a model folder's network was loaded from."""
    return catalog.find(model).config["files"][DIT_FILE]


class Distillation:
    """The loss of recovery; features are compared where both networks have gone the same share of their depth.

    A student that takes the guidance scale learns what its teacher does under guidance, at scales up to
    `HIGHEST_GUIDANCE` (Meng et al., arXiv 2210.03142); the data do not tell it, so the denoising loss is left out.
    `channels` (D',) are those of the teacher's width that a narrower student began from.
    """

    def __init__(
        self, teacher: nn.Module, batches: Batches, goal: Goal = Goal(), channels: Tensor | None = None
    ) -> None:
        self.teacher, self.batches, self.goal, self.channels = teacher, batches, goal, channels

    def __call__(self, student: nn.Module, generator: torch.Generator, done: float) -> Tensor:
        goal, batch = self.goal, self.batches.draw(generator, next(student.parameters()).device)
        guidance = None
        if takes_guidance(student):
            guidance = random_guidance(len(batch.y), generator).to(batch.noisy)
        fading = goal.feature * max(0.0, 1 - done / goal.fade) if goal.fade else 0.0
        with torch.no_grad(), _features(self.teacher, fading > 0) as expected:
            target = guided(self.teacher, batch.noisy, batch.t, batch.y, guidance, self.batches.null)
        extra = {} if guidance is None else {"guidance": guidance}
        with _features(student, fading > 0) as found:
            output = student(batch.noisy, batch.t, batch.y, **extra)
        loss = goal.output * F.mse_loss(output, target)
        if guidance is None:
            loss = loss + goal.denoise * F.mse_loss(output[:, : batch.target.shape[1]], batch.target)
        if fading:
            loss = loss + fading * feature_distance(found, [self._seen(feature, len(batch.y)) for feature in expected])
        return loss + balance_loss(student)

    def _seen(self, feature: Tensor, count: int) -> Tensor:
        """Of the teacher's features those of the conditional pass, and the channels that the student has."""
        return feature[:count] if self.channels is None else feature[:count, :, self.channels]


def random_guidance(count: int, generator: torch.Generator) -> Tensor:
    """(count,) scales between `LOWEST_GUIDANCE` and `HIGHEST_GUIDANCE`."""
    return LOWEST_GUIDANCE + (HIGHEST_GUIDANCE - LOWEST_GUIDANCE) * torch.rand(count, generator=generator)


def guided(teacher: nn.Module, noisy: Tensor, t: Tensor, y: Tensor, guidance: Tensor | None, null: int) -> Tensor:
    """(B, C, h, w), what a teacher returns under guidance (B,) or without; the conditional of two passes is first."""
    if guidance is None:
        return teacher(noisy, t, y).float()
    if takes_guidance(teacher):
        return teacher(noisy, t, y, guidance=guidance).float()
    both = teacher(torch.cat([noisy] * 2), torch.cat([t] * 2), torch.cat([y, torch.full_like(y, null)]))
    conditional, unconditional = both.float().chunk(2)
    return torch.lerp(unconditional, conditional, guidance.view(-1, 1, 1, 1))


def feature_distance(found: list[Tensor], expected: list[Tensor]) -> Tensor:
    """Mean over the student's blocks of the squared distance to the teacher's features, in units of their variance."""
    pairs = [(feature, expected[matching_block(i, len(found), len(expected))]) for i, feature in enumerate(found)]
    return torch.stack([F.mse_loss(feature, goal) / goal.var() for feature, goal in pairs]).mean()


def matching_block(index: int, blocks: int, of: int) -> int:
    """The block of a network of `of` blocks after which as large a share of its depth lies behind."""
    return round((index + 1) * of / blocks) - 1


@contextmanager
def _features(network: Any, wanted: bool) -> Iterator[list[Tensor]]:
    """The outputs (N, T, D) of the blocks of what runs inside."""
    outputs: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda module, args, output: outputs.append(output))
        for block in (network.blocks if wanted else ())
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
