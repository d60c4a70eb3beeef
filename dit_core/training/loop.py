"""The training loop: seeded, resumable with the same result, with averaged weights, a CSV log and progress.

A caller passes a module and `loss(module, generator, done) -> scalar`; `done` is the completed share of the training.
All randomness of step k comes from a generator seeded by (seed, k), so a resumed training draws the same batches as one
that was never interrupted.
"""

import copy
import csv
import io
import math
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dit_core.errors import BadRequest, Cancelled
from dit_core.system.files import write_text, write_with

_FUSED: list[SDPBackend] = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
Loss = Callable[[nn.Module, torch.Generator, float], Tensor]
FREE = ("samples", "checkpoint_every_s", "preview_every_s", "log_every")  # may change when a training resumes


@dataclass(frozen=True)
class Settings:
    """How to train. Lengths are in samples, so they do not depend on the batch size."""

    samples: int = 2_000_000
    batch_size: int = 64
    optimizer: str = "adamw"  # or "muon": Muon for the matrices of the blocks, AdamW for the rest
    bfloat16: bool = False  # autocast; weights, gradients and averages stay in float32
    learning_rate: float = 1e-3
    router_rate: float = 1.0  # learning rate of the routers of mixtures, as a share of `learning_rate`
    warmup: int = 10_000
    decay: float = 0.3  # the last share of the training, in which the learning rate falls to zero (trapezoid schedule)
    weight_decay: float = 0.01
    beta2: float = 0.99
    clip: float = 1.0
    ema: int = 30_000  # half-life of the averaged weights
    seed: int = 0
    checkpoint_every_s: float = 180.0
    preview_every_s: float = 600.0
    log_every: int = 50  # steps

    def __post_init__(self) -> None:
        for name in ("samples", "batch_size", "learning_rate", "ema", "log_every"):
            if getattr(self, name) <= 0:
                raise BadRequest(f"{name} must be positive, got {getattr(self, name)}.")
        if self.optimizer not in ("adamw", "muon"):
            raise BadRequest(f"optimizer must be adamw or muon, got {self.optimizer!r}.")
        if not 0 <= self.decay <= 1:
            raise BadRequest(f"decay must be between 0 and 1, got {self.decay}.")

    @property
    def steps(self) -> int:
        return math.ceil(self.samples / self.batch_size)

    def learning_rate_at(self, step: int) -> float:
        """Return the rate: linear warm-up, constant, then 1 - sqrt decay (Haegele et al., arXiv 2405.18392)."""
        seen, tail = step * self.batch_size, max(1.0, self.decay * self.samples)
        warm = min(1.0, (seen + self.batch_size) / self.warmup) if self.warmup else 1.0
        late = (seen - (self.samples - tail)) / tail
        return self.learning_rate * warm * (1 - math.sqrt(min(1.0, max(0.0, late))))


@dataclass(frozen=True)
class Progress:
    """Progress of a training; `samples_per_s` is the rate since the last report."""

    samples: int
    total: int
    loss: float
    samples_per_s: float
    seconds_left: float


def fit(
    module: nn.Module,
    loss: Loss,
    settings: Settings,
    folder: Path,
    *,
    preview: Callable[[nn.Module, int], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> nn.Module:
    """Train `module` in place and return its averaged copy, in evaluation mode.

    `folder` receives `log.csv` and `checkpoint.pt`. If it holds a checkpoint, the training resumes from it. Raises
    BadRequest if the checkpoint was made with other settings, because the result would be that of neither. As soon as
    `cancelled` says so, a checkpoint is written, and Cancelled is raised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    average = copy.deepcopy(module).eval().requires_grad_(False)
    optimizers = _optimizers(module, settings)
    step = _resume(folder, module, average, optimizers, settings)
    log = _Log(folder / "log.csv", step * settings.batch_size)
    saved = previewed = time.monotonic()
    module.train()
    parameters: list[Tensor] = list(module.parameters())
    device = parameters[0].device.type
    averages: list[Tensor] = list(average.parameters())
    while step < settings.steps:
        if cancelled():
            _save(folder, step, module, average, optimizers, settings)
            raise Cancelled("The training was stopped. Run it again to resume it.")
        generator = torch.Generator().manual_seed(_mix(settings.seed, step))
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group["pace"] * settings.learning_rate_at(step)
        with _precision(device, settings):
            value = loss(module, generator, step / settings.steps)
        value.backward()
        norm = nn.utils.clip_grad_norm_(parameters, settings.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"The gradient is not finite at step {step}: lower the learning rate.")
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        decay = min(0.5 ** (settings.batch_size / settings.ema), step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1 - decay)
        log.add(value.item())
        if step % settings.log_every == 0 or step == settings.steps:
            report = log.flush(step, settings)
            if progress:
                progress(report)
        now = time.monotonic()
        if now - saved > settings.checkpoint_every_s or step == settings.steps:
            _save(folder, step, module, average, optimizers, settings)
            saved = now
        if preview and (now - previewed > settings.preview_every_s or step == settings.steps):
            preview(average, step * settings.batch_size)
            previewed = now
    return average


@contextmanager
def _precision(device: str, settings: Settings) -> Iterator[None]:
    """Autocast if the settings ask for it.

    On a CPU attention in bfloat16 runs unfused: for few tokens, the backward pass of torch's fused kernel takes longer
    than the rest of a training step. In float32 it is the faster one.
    """
    backends = [SDPBackend.MATH] if device == "cpu" and settings.bfloat16 else _FUSED
    with torch.autocast(device, torch.bfloat16, enabled=settings.bfloat16), sdpa_kernel(backends):
        yield


def _mix(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF


def _optimizers(module: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """Build the optimizers. Matrices have weight decay; vectors (biases, norms) and routers have none.

    Muon (Jordan et al., 2024) uses the step size of Liu et al. (arXiv 2502.16982), which fits AdamW's learning rate.
    """
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    routers = [p for name, p in named if ".router." in name]
    others = [(name, p) for name, p in named if ".router." not in name]
    hidden = [p for name, p in others if settings.optimizer == "muon" and "blocks." in name and p.ndim == 2]
    taken = {id(p) for p in hidden}
    rest = [p for _, p in others if id(p) not in taken]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": settings.weight_decay, "pace": 1.0},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0, "pace": 1.0},
        {"params": routers, "weight_decay": 0.0, "pace": settings.router_rate},
    ]
    groups = [group for group in groups if group["params"]]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, betas=(0.9, settings.beta2), fused=True)]
    if hidden:
        muon = torch.optim.Muon(
            [{"params": hidden, "pace": 1.0}], weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        optimizers.append(muon)
    return optimizers


def _resume(
    folder: Path,
    module: nn.Module,
    average: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    settings: Settings,
) -> int:
    """Load the checkpoint of `folder`, if there is one, and return the number of completed steps."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise BadRequest(f"{path} is damaged. Delete it to start again.") from error
    current = _decisive(settings)
    for name, saved_value in state.get("settings", current).items():
        if saved_value != current.get(name):
            difference = f"{name} {saved_value}, not {current.get(name)}"
            raise BadRequest(f"{folder} holds a training with {difference}. Choose another folder.")
    module.load_state_dict(state["module"])
    average.load_state_dict(state.get("average", state["module"]))  # a packed training has no average
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"]


def _decisive(settings: Settings) -> dict[str, Any]:
    """Return the settings that decide the result: all but the length and how often files are written."""
    return {name: value for name, value in asdict(settings).items() if name not in FREE}


def _save(
    folder: Path,
    step: int,
    module: nn.Module,
    average: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    settings: Settings,
) -> None:
    state = {
        "step": step,
        "settings": _decisive(settings),
        "module": module.state_dict(),
        "average": average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    write_with(partial(torch.save, state), folder / "checkpoint.pt")


class _Log:
    """Appends means over `log_every` steps to a CSV file. Rows after the resumed sample are dropped."""

    columns = ("samples", "loss", "learning_rate", "samples_per_s", "unix_time")

    def __init__(self, path: Path, resumed_at: int) -> None:
        self._path, self._losses, self._since = path, [], time.monotonic()
        rows: list[list[str]] = []
        if path.exists() and resumed_at:
            with path.open(newline="") as file:
                rows = [row for row in csv.reader(file) if len(row) == len(self.columns)][1:]
            rows = [row for row in rows if int(row[0]) <= resumed_at]
        text = io.StringIO(newline="")
        csv.writer(text).writerows([self.columns, *rows])
        write_text(text.getvalue(), path)

    def add(self, loss: float) -> None:
        self._losses.append(loss)

    def flush(self, step: int, settings: Settings) -> Progress:
        elapsed = time.monotonic() - self._since
        rate = len(self._losses) * settings.batch_size / elapsed
        loss = sum(self._losses) / len(self._losses)
        row = [step * settings.batch_size, f"{loss:.5f}", f"{settings.learning_rate_at(step - 1):.2e}", f"{rate:.1f}"]
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow([*row, int(time.time())])
        self._losses, self._since = [], time.monotonic()
        left = (settings.steps - step) * settings.batch_size / rate
        return Progress(step * settings.batch_size, settings.steps * settings.batch_size, loss, rate, left)
