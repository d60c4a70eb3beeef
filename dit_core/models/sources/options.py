"""What a file of weights cannot tell, as plain data. Imports no torch."""

import importlib.util
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.models.formats.normal import EMA, RAW
from dit_core.models.schedule import BETAS, PREDICTIONS, SECOND_TIMES, VELOCITIES
from dit_core.system import causes
from dit_core.system.files import user_path

IMAGENET = "imagenet"


def _option(help: str, *choices: Any) -> Any:
    return field(default=None, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class Options:
    """Facts about a model that its file does not tell; raises BadRequest if a value is not possible.

    None leaves a fact to the file, else to the default of the kind of model.
    """

    weights: str | None = _option("averaged (ema) or other (raw) weights of a training state", EMA, RAW)
    prediction: str | None = _option(
        "what the network predicts; a velocity at times 1000 to 0 (flow), 0 to 1 (sit) or 1 to 0 (mean_flow)",
        *PREDICTIONS,
        *VELOCITIES,
    )
    second_time: str | None = _option(
        "what a second timestep embedder gets: where a step ends, its span, or log2 of the steps", *SECOND_TIMES
    )
    beta_schedule: str | None = _option("noise schedule of the training", *BETAS)
    autoencoder: str | None = _option("ema or mse (of Stable Diffusion), a Hugging Face name, or a folder")
    classes: tuple[str, ...] | None = _option("imagenet, or a text file with one class name a line, or a JSON file")
    heads: int | None = _option("attention heads of a block")
    image_size: int | None = _option("pixels along a side, if the file has no position embedding")
    null_label: bool | None = _option("whether the last label is the null label of guidance", True, False)
    frequency_shift: int | None = _option("1 for a network that diffusers trained, 0 for the others", 0, 1)
    drop_surplus: bool | None = _option("whether weights that a DiT does not use are left out", True, False)

    def __post_init__(self) -> None:
        for each in fields(self):
            value, choices = getattr(self, each.name), each.metadata["choices"]
            if value is not None and choices and (type(value), value) not in {(type(each), each) for each in choices}:
                raise BadRequest(f"{each.name} must be one of {', '.join(map(_text, choices))}, got {value!r}.")
        for name in ("heads", "image_size"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise BadRequest(f"{name} must be a whole number of at least 1, got {value!r}.")
        if self.autoencoder is not None and (not isinstance(self.autoencoder, str) or not self.autoencoder):
            raise BadRequest(f"autoencoder must be a name or a folder, got {self.autoencoder!r}.")
        if self.classes is not None:
            object.__setattr__(self, "classes", checked_names(self.classes, "classes"))

    @classmethod
    def from_dict(cls, data: Any) -> "Options":
        """Return the options of plain data. Raises BadRequest for an unknown option or a value that is not possible."""
        known = [each.name for each in fields(cls)]
        if not isinstance(data, dict):
            raise BadRequest(f"The options of a model must be a JSON object, got {type(data).__name__}.")
        if unknown := sorted(set(map(str, data)) - set(known)):
            raise BadRequest(f"Unknown option {unknown[0]!r} of a model: use one of {', '.join(known)}.")
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Return the options that are set, as plain data."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def described(self) -> str:
        """Return the options that are set on one line."""
        return ", ".join(f"{name} {_text(value)}" for name, value in self.to_dict().items())


def parse_options(texts: dict[str, str]) -> Options:
    """Return the options that a person wrote as text; empty texts are left out. Raises BadRequest."""
    return Options(**{name: _parsed(name, text.strip()) for name, text in texts.items() if text.strip()})


def read_classes(text: str) -> tuple[str, ...]:
    """Return class names: of ImageNet, of a text file (one a line), or of a JSON file (a list, or `id2label`).

    Raises BadRequest if there is no such file, or if it holds no names.
    """
    if text == IMAGENET:
        return imagenet_names()
    path = user_path(text)
    try:
        content = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() != ".json":
            return checked_names([line.strip() for line in content.splitlines() if line.strip()], str(path))
        data = json.loads(content)
    except OSError as error:
        raise BadRequest(f"The class names: {causes.not_read(text, error)} Name a file, or imagenet.") from error
    except ValueError as error:
        raise BadRequest(f"{path} is not a file of class names: write one name a line, or a JSON list.") from error
    return names_of(data.get("id2label", data) if isinstance(data, dict) else data, str(path))


def names_of(labels: Any, where: str) -> tuple[str, ...]:
    """Return the class names of a list, or of a table from label to name. Synonyms after a comma are left out.

    Raises BadRequest if the labels do not go from 0 without a gap.
    """
    if isinstance(labels, dict):
        try:
            table = {int(label): name for label, name in labels.items()}
            labels = [table[label] for label in range(len(table))]
        except (ValueError, KeyError) as error:
            raise BadRequest(f"The labels in {where} do not go from 0 without a gap: complete them.") from error
    if not isinstance(labels, list):
        raise BadRequest(f"{where} has no list of class names: write one, or a table id2label.")
    short = [str(name).partition(",")[0].strip() for name in labels]
    counts = Counter(short)
    return checked_names([f"{name} ({i})" if counts[name] > 1 else name for i, name in enumerate(short)], where)


def checked_names(names: Iterable[Any], where: str) -> tuple[str, ...]:
    """Return class names. Raises BadRequest if there are none, or if one is empty, no text or there twice."""
    names = tuple(names)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise BadRequest(f"{where} must hold class names, each of them text.")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise BadRequest(f"{where} has the class {twice[0]!r} twice: give each class its own name.")
    return names


@cache
def imagenet_names() -> tuple[str, ...]:
    """Return the 1,000 class names of ImageNet in label order, from torchvision's table, without importing torch."""
    package = importlib.util.find_spec("torchvision")
    table = Path(package.origin or "").parent / "models" / "_meta.py" if package else Path()
    spec = importlib.util.spec_from_file_location("imagenet_names", table)
    if not table.is_file() or spec is None or spec.loader is None:
        raise BadRequest("The class names of ImageNet are part of torchvision, which is not installed: install it.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return tuple(module._IMAGENET_CATEGORIES)


def _parsed(name: str, text: str) -> Any:
    if name == "classes":
        return read_classes(text)
    if name in ("null_label", "drop_surplus"):
        return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower(), text)
    if name in ("heads", "image_size", "frequency_shift"):
        return int(text) if text.isdecimal() else text
    return text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{len(value)} names" if isinstance(value, tuple) else str(value)
