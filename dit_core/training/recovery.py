"""Recovery: train the network that a technique returns until it reproduces its teacher.

The loss is that of TinyFusion (arXiv 2412.01199): 0.9 times the squared error to the teacher's output, 0.1 times the
denoising loss, and the squared error between block outputs, whose weight falls to zero. Mixtures of experts add their
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
from dit_core.data.images import EMOJI
from dit_core.data.training_images import TrainingImages, training_images
from dit_core.errors import BadRequest
from dit_core.models import checkpoints, recovered, sources
from dit_core.models.experts import balance_loss
from dit_core.models.hooks import hooked
from dit_core.models.presets import HIGHEST_GUIDANCE, LOWEST_GUIDANCE
from dit_core.recipes.context import Context
from dit_core.sampling.guidance import takes_guidance
from dit_core.sampling.noise import image_seed
from dit_core.system.files import write_text
from dit_core.system.runtime import bfloat16_is_fast
from dit_core.training.base import Batches, Objective, latents_of, own_latents
from dit_core.training.loop import Loss, Progress, Settings, fit

BATCH = 64
LEARNING_RATE = 1e-3
WEIGHTS = "weights.safetensors"
Lesson = Callable[[nn.Module, Batches], Loss]  # called with a teacher and the examples


@dataclass(frozen=True)
class Goal:
    """Weights of the terms of the loss. The weight `feature` falls to zero over the share `fade` of the training."""

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
    """Return `student` unchanged (`how` is none), with bundled weights (bundled), or trained for `how` steps.

    The structure of the student must follow from the recipe. Training changes all its weights, or only one `part` of
    its blocks (`attn`, `mlp`). An interrupted training resumes. Several `lessons` share the steps equally; the student
    of one lesson is the teacher of the next.

    Raises BadRequest if there are no images to train on, Cancelled if the context says so.
    """
    if how == recovered.NONE:
        return student
    if context.model is None or not context.recipe:
        raise BadRequest("Recovery needs a model with its data: set recover to none.")
    recovered.check(context.name, context.recipe, context.images)
    if how == recovered.BUNDLED:
        return load(student, recovered.path(context.name, context.recipe), context, part)
    folder = folder_of(context)
    if not (folder / WEIGHTS).is_file():
        settings = settings_for(
            int(how), context.learning_rate or LEARNING_RATE, context.batch_size or BATCH, context.device.type
        )
        train(student, teacher, context, settings, folder, lessons or [Distillation], part)
    return load(student, folder / WEIGHTS, context, part)


def folder_of(context: Context, what: str = "") -> Path:
    """Return the folder for all files of the training at the end of the context's recipe (or of another one, `what`).

    Its name contains everything that the result depends on: recipe, learning rate, batch size, seed of the calibration,
    digests of the initial weights and of own training images. A model that was trained again therefore gets another
    folder.
    """
    weights = recovered.weights_digest(context.name, context.recipe[:-1])
    how = f"{what or context.recipe[-1]['recover']}-{context.learning_rate or LEARNING_RATE:g}-{context.seed}"
    if context.batch_size not in (None, BATCH):
        how += f"-{context.batch_size}"
    if context.images:
        how += f"-{_own_images(context).digest}"
    return context.folder / f"{recovered.key(context.recipe)}-{weights}-{how}"


def settings_for(
    steps: int, learning_rate: float = LEARNING_RATE, batch_size: int = BATCH, device: str = "cpu"
) -> Settings:
    """Return the training settings of a recovery: short, from weights that nearly fit.

    Measured choices: Muon reached a loss of 0.166 and AdamW 0.180 (500 steps, half the blocks). At a learning rate of
    3e-3 guidance distillation loses its initial weights: 0.336 on held-out images after 2,500 steps, against 0.256
    after 240 steps at 1e-3. Pruned networks reach the same loss at both rates (0.348 and 0.355 with guidance, 300
    steps, half the neurons). Routers train at a hundredth of the rate: AdamW's steps are as large for a small gradient,
    and the experts are fitted to the router's choice. bfloat16 is slower on a GPU, because a network of this size is
    bound by kernel launches.
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
    """Train `student` in place and write its averaged weights into `folder`, with their origin in the header."""
    batches = examples(context, settings.batch_size, "set recover to none")
    each = replace(settings, samples=math.ceil(settings.samples / len(lessons)))
    student.train()
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(name != "pos_embed" and belongs(name, part))
    for index, lesson in enumerate(lessons):
        lesson_folder = folder if len(lessons) == 1 else folder / f"lesson-{index + 1}"
        teacher = _teach(
            student, lesson(teacher, batches), context, each, lesson_folder, index / len(lessons), len(lessons)
        )
        student.load_state_dict(teacher.state_dict())
    write_weights(teacher, folder, context.recipe, context.name, settings, part)


def examples(context: Context, batch_size: int, instead: str, most: int | None = None) -> Batches:
    """Return own training images, `most` at most, or else the bundled ones, as training examples of the model.

    Raises BadRequest for own images that do not fit, or, with the advice `instead`, if the model has other classes than
    the bundled images.
    """
    model = context.model
    assert model is not None
    schedule, null = model.config.schedule, len(model.classes)
    objective = Objective() if model.config.dit.null_label else Objective(label_dropout=0)
    if context.images:
        return Batches(own_latents(model, _own_images(context, most)), schedule, objective, batch_size, null)
    assert model.vae is not None
    source = sources.find_if_known(context.name)
    known = source.training_images if source else sources.Missing("")
    images = load_images("train", known if isinstance(known, str) else EMOJI)
    if model.classes != images.classes:
        raise BadRequest(f"This trains on the bundled images, and this model has other classes: {instead}.")
    return Batches(latents_of(model.vae, images), schedule, objective, batch_size, null)


def calibration_inputs(context: Context, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return `count` inputs x_t, t, y of the network on its device: own training images with noise of every timestep.

    Raises BadRequest for images that do not fit.
    """
    batches = examples(context, count, "leave out training_images", most=count)
    batch = batches.draw(torch.Generator().manual_seed(image_seed(context.seed, -1)), context.device)
    return batch.noisy, batch.t, batch.y


def _own_images(context: Context, most: int | None = None) -> TrainingImages:
    assert context.model is not None
    return training_images(context.images, context.model.classes, context.model.latent_shape, most)


def write_weights(
    average: nn.Module,
    folder: Path,
    recipe: Sequence[dict[str, Any]],
    model: str,
    settings: Settings,
    part: str | None = None,
) -> None:
    """Write the averaged weights of a training, or of one part of the blocks, with their origin in the header."""
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
    """Run one lesson and return the averaged student. The share `begun` of the training is complete when it starts."""

    def progress(report: Progress) -> None:
        of = lessons * report.total // settings.batch_size
        done = round(begun * of) + report.samples // settings.batch_size
        context.progress(f"train (loss {report.loss:.4f})", done, of)

    def preview(average: nn.Module, seen: int) -> None:
        if context.preview:
            context.preview(average)

    average = fit(student, loss, settings, folder, preview=preview, progress=progress, cancelled=context.cancelled)
    return average.requires_grad_(False)


def belongs(name: str, part: str | None) -> bool:
    """Return whether a weight belongs to this part of a block; without a part, every weight does."""
    return part is None or (name.startswith("blocks.") and name.split(".")[2] == part)


def publish(folder: Path, place: Path, base: nn.Module) -> None:
    """Write the result of a training in compact form to `place`, for `recover=bundled`, with the log of all lessons."""
    state = checkpoints.compact(checkpoints.read_safetensors(folder / WEIGHTS), base.state_dict())
    checkpoints.write_safetensors(state, place, recovered.header(folder / WEIGHTS))
    logs = [log.read_text().splitlines() for log in sorted(folder.glob("**/log.csv"))]
    rows = [row for log in logs for row in log[1:]]
    log = place.with_name(place.name.removesuffix(recovered.SUFFIX) + ".csv")
    write_text("\n".join([logs[0][0], *rows]) + "\n", log)


def load(student: nn.Module, file: Path, context: Context, part: str | None = None) -> nn.Module:
    """Load the weights of `file` into `student`. Raises BadRequest if they are damaged or of another model."""
    assert context.model is not None
    if recovered.header(file).get("base") != base_hash(context.name):
        raise BadRequest(f"{file} was trained from other weights than this model's: train it again.")
    state = checkpoints.expand(checkpoints.read_safetensors(file), context.model.dit.state_dict())
    if bad := next((name for name, value in state.items() if not torch.isfinite(value).all()), None):
        raise BadRequest(f"{file} is damaged ({bad} is not finite): restore it.")
    kept = {name: value for name, value in student.state_dict().items() if not belongs(name, part)}
    try:
        student.load_state_dict(kept | state, strict=True)
    except RuntimeError as error:
        raise BadRequest(f"{file} does not fit what these knobs leave: train it again.") from error
    return student.eval().requires_grad_(False)


def base_hash(model: str) -> str:
    """Return the SHA-256 of the file that a model's network is loaded from; empty if the model does not state it."""
    return sources.find(model).network_sha256 or ""


class Distillation:
    """The loss of recovery. Features are compared after the same share of the depth of both networks.

    A student that takes the guidance scale learns the guided output of its teacher at scales up to `HIGHEST_GUIDANCE`
    (Meng et al., arXiv 2210.03142). The denoising loss has no guided target and is omitted. `channels` (D',) are the
    channels of the teacher that a narrower student was cut from.
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
        """Select the conditional pass and the student's channels from a feature of the teacher."""
        return feature[:count] if self.channels is None else feature[:count, :, self.channels]


def random_guidance(count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` guidance scales, uniform between `LOWEST_GUIDANCE` and `HIGHEST_GUIDANCE`."""
    return LOWEST_GUIDANCE + (HIGHEST_GUIDANCE - LOWEST_GUIDANCE) * torch.rand(count, generator=generator)


def guided(teacher: nn.Module, noisy: Tensor, t: Tensor, y: Tensor, guidance: Tensor | None, null: int) -> Tensor:
    """Return the teacher's prediction (B, C, h, w), with guidance (B,) or without.

    In a doubled batch the conditional half comes first.
    """
    if guidance is None:
        return teacher(noisy, t, y).float()
    if takes_guidance(teacher):
        return teacher(noisy, t, y, guidance=guidance).float()
    both = teacher(torch.cat([noisy] * 2), torch.cat([t] * 2), torch.cat([y, torch.full_like(y, null)]))
    conditional, unconditional = both.float().chunk(2)
    return torch.lerp(unconditional, conditional, guidance.view(-1, 1, 1, 1))


def feature_distance(found: list[Tensor], expected: list[Tensor]) -> Tensor:
    """Return the mean over the student's blocks of the squared error to the teacher's features over their variance."""
    pairs = [(feature, expected[matching_block(i, len(found), len(expected))]) for i, feature in enumerate(found)]
    return torch.stack([F.mse_loss(feature, goal) / goal.var() for feature, goal in pairs]).mean()


def matching_block(index: int, blocks: int, of: int) -> int:
    """Return the block, in a network of `of` blocks, that ends at the same share of the depth."""
    return round((index + 1) * of / blocks) - 1


@contextmanager
def _features(network: Any, wanted: bool) -> Iterator[list[Tensor]]:
    """The outputs (N, T, D) of the blocks of what runs inside."""
    outputs: list[Tensor] = []
    with hooked(network.blocks if wanted else (), post=lambda index, args, output: outputs.append(output)):
        yield outputs
