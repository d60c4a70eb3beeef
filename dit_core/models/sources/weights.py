"""Models of which others wrote the weights: what their files tell, what options tell, and what is assumed.

Imports torch only to load.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dit_core.errors import BadRequest
from dit_core.models.formats import MADE_FROM, RECORDED, headers, normal
from dit_core.models.formats import size as sizes
from dit_core.models.presets import PRESETS, DiTConfig
from dit_core.models.schedule import VELOCITIES, ScheduleConfig
from dit_core.models.sources import autoencoders, options
from dit_core.models.sources.base import (
    ASSUMED,
    FILE,
    OPTION,
    Fact,
    FileState,
    file_state,
    numbered_classes,
)
from dit_core.models.sources.digests import digest_of
from dit_core.models.sources.exported import Exported
from dit_core.models.sources.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from dit_core.models.model import Model

EMBEDDER_BIASES = ("t_embedder.mlp.0.bias", "t_embedder.mlp.2.bias")


@dataclass(frozen=True)
class Read:
    """What the headers of the weights tell. `stated` are options that the file itself states, and MADE_FROM."""

    size: DiTConfig
    weights: normal.Weights
    stated: dict[str, Any]
    surplus: tuple[str, ...]
    positions_missing: bool


class Weights(Exported):
    """Weights in a file, several files or a folder, with options for what they do not tell."""

    def __init__(self, name: str, path: Path, chosen: Options = Options()) -> None:  # noqa: B008 (frozen)
        super().__init__(name)
        self.path, self.options = path, chosen

    def with_options(self, name: str, chosen: Options) -> Self:
        source = copy.copy(self)
        source.__dict__.pop("_read", None)
        source.name, source.is_kept, source.options = name, True, chosen
        return source

    def verified(self) -> Self:
        names, network = self.class_names or (), self._read.size
        wanted = self.options.null_label
        if len(names) != network.num_classes or wanted not in (None, network.null_label):
            raise BadRequest(
                f"{self.name} has {network.labels} labels, which {len(names)} class names "
                f"{'without' if wanted is False else 'and'} a null label do not fit: change classes or null_label."
            )
        _ = self.schedule  # refuses a prediction that no solver knows
        return self

    def stated_options(self, content: Any) -> dict[str, Any]:
        """Return the options, `num_classes` and MADE_FROM, as the content of the file tells them beside its weights."""
        stated = _of_arguments(content.get("args")) | _of_metadata(content.get(headers.METADATA, {}))
        beside = self.path.parent / stated.get("autoencoder", "")
        return {**stated, "autoencoder": str(beside)} if stated.get("autoencoder") and beside.is_dir() else stated

    @property
    def size(self) -> DiTConfig | None:
        return self._read.size

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self._value("classes", self._usual_classes)[0]

    @property
    def schedule(self) -> ScheduleConfig:
        usual = ScheduleConfig()
        if self._read.size.velocity:
            return usual
        return ScheduleConfig(
            self._value("beta_schedule", usual.beta_schedule)[0], self._value("prediction", usual.prediction)[0]
        )

    @property
    def made_from(self) -> str:
        return self._read.stated.get(MADE_FROM, "")

    @property
    def autoencoder(self) -> str:
        return autoencoders.full_name(self._value("autoencoder", autoencoders.DEFAULT)[0])

    @property
    def digest(self) -> str | None:
        files = [*headers.files_of(self.path), *autoencoders.files_of(self.autoencoder)]
        read, usual = self._read, DiTConfig()
        network = {name: value for name, value in asdict(read.size).items() if value != getattr(usual, name)}
        return digest_of(files, network, asdict(self.schedule), self.class_names, read.weights.place)

    @property
    def facts(self) -> tuple[Fact, ...]:
        read, network, schedule = self._read, self._read.size, self.schedule
        pixels = network.input_size * autoencoders.pixels_per_latent(self.autoencoder)
        stated_size = self.options.image_size or {"image_size", "input_size"} & set(read.stated)
        facts = [
            Fact("weights", _weights_text(read.weights)),
            Fact("size", f"{network.hidden_size} wide, {network.depth} blocks, patch {network.patch_size}"),
            Fact("heads", str(network.num_heads), self._value("heads", None)[1]),
            Fact("resolution", f"{pixels} pixels", ASSUMED if read.positions_missing and not stated_size else FILE),
            Fact("prediction", network.velocity or schedule.prediction, self._value("prediction", None)[1]),
            Fact("noise schedule", *self._schedule_text()),
            Fact("autoencoder", self._autoencoder_text(), self._value("autoencoder", None)[1]),
            Fact("classes", self._classes_text(), self._value("classes", None)[1]),
            Fact("null label", "yes" if network.null_label else "no", self._null_label_origin()),
        ]
        if network.frequency_shift or self.options.frequency_shift is not None:
            facts.append(Fact("frequency shift", str(network.frequency_shift), self._value("frequency_shift", None)[1]))
        if network.second_time:
            facts.append(Fact("second timestep", network.second_time, self._value("second_time", None)[1]))
        if read.surplus:
            facts.append(Fact("left out", f"{len(read.surplus)} weights, {read.surplus[0]} first", OPTION))
        return tuple(facts)

    @property
    def needs(self) -> tuple[str, ...]:
        if autoencoders.files_of(self.autoencoder):
            return super().needs
        return (f"a download of the autoencoder {self.autoencoder}", *super().needs)

    def check(self) -> None:
        autoencoders.check(self.autoencoder, self._read.size.in_channels, self.name)

    def load(self) -> "Model":
        from dit_core.models.model import Model, ModelConfig

        before, read = self.state(), self._read
        vae = autoencoders.load(self.autoencoder, read.size.in_channels, self.name)
        try:
            dit = self._network()
        except BadRequest as error:
            raise self._overwritten() if self.state() != before else error from error
        if self.state() != before:
            raise self._overwritten()
        return Model(dit, vae, ModelConfig(self.portable_name, self.class_names or (), read.size, self.schedule))

    def state(self) -> tuple[FileState | None, ...]:
        """Return a key that changes whenever a file of the weights is rewritten."""
        return tuple(map(file_state, headers.files_of(self.path)))

    @cached_property
    def _read(self) -> Read:
        """Read the headers. Raises BadRequest if the weights are not those of a DiT, or do not fit the options."""
        content = headers.read_headers(self.path)
        label = self.name if self.is_kept else str(self.path)
        weights = normal.find_weights(content, label, self.options.weights)
        shapes, stated = weights.shapes(), self.stated_options(content) if isinstance(content, Mapping) else {}
        own_embedders = any(map(sizes.is_repeat, shapes)) and not _same_embedders(weights.state)
        if not own_embedders:
            shapes = sizes.without_repeats(shapes)
        heads = self.options.heads or stated.get("heads")
        network = sizes.size_of(shapes, label, heads=heads, classes=self._class_count(shapes, stated))
        shifts = self.options.frequency_shift, stated.get("frequency_shift"), int(own_embedders)
        shift = next(value for value in shifts if value is not None)
        prediction = self.options.prediction or stated.get("prediction", "")
        velocity = prediction if prediction in VELOCITIES else ""
        if velocity and self.options.beta_schedule:
            raise BadRequest(f"{label} predicts a velocity, which has no beta_schedule: leave that option out.")
        second = self._second_time(shapes, stated, label)
        network = replace(
            network, block_embedders=own_embedders, frequency_shift=shift, velocity=velocity, second_time=second
        )
        pixels = self.options.image_size
        if "pos_embed" not in shapes and not pixels:
            pixels = stated.get("image_size")
            network = replace(network, input_size=stated.get("input_size", network.input_size))
        if pixels:
            autoencoder = self.options.autoencoder or stated.get("autoencoder") or autoencoders.DEFAULT
            factor = autoencoders.pixels_per_latent(autoencoders.full_name(autoencoder))
            network = sizes.with_resolution(network, pixels, label, factor)
        surplus = sizes.check_keys(shapes, network, label, drop_surplus=bool(self.options.drop_surplus))
        return Read(network, weights, stated, surplus, "pos_embed" not in shapes)

    def _second_time(self, shapes: sizes.Shapes, stated: dict[str, Any], label: str) -> str:
        wanted = self.options.second_time or stated.get("second_time", "")
        has_embedder = any(key.startswith("r_embedder.") for key in shapes)
        if has_embedder and not wanted:
            raise BadRequest(
                f"{label} has a second timestep embedder: keep the model under a name with the options second_time and "
                "prediction (python -m dit_core models add)."
            )
        if wanted and not has_embedder:
            raise BadRequest(f"{label} has no second timestep embedder: leave the option second_time out.")
        return wanted

    def _class_count(self, shapes: sizes.Shapes, stated: dict[str, Any]) -> int | None:
        if self.options.classes:
            return len(self.options.classes)
        null = self.options.null_label if self.options.null_label is not None else stated.get("null_label")
        labels = shapes.get("y_embedder.embedding_table.weight")
        if null is not None and labels:
            return labels[0] - null
        return len(stated["classes"]) if stated.get("classes") else stated.get("num_classes")

    def _network(self) -> "Any":
        from dit_core.models import checkpoints
        from dit_core.models.dit import position_embedding
        from dit_core.models.formats import values

        read = self._read
        weights = normal.find_weights(values.read_values(self.path), self.name, self.options.weights)
        kept = {name: parts for name, parts in weights.state.items() if name not in read.surplus}
        state = values.tensors(replace(weights, state=kept), self.path)
        if not read.size.block_embedders:
            _check_repeats(state, self.name)
            state = {name: value for name, value in state.items() if not sizes.is_repeat(name)}
        if read.positions_missing:
            state["pos_embed"] = position_embedding(read.size.hidden_size, read.size.grid)
        return checkpoints.load_dit(state, read.size)

    def _value(self, name: str, usual: Any) -> tuple[Any, str]:
        """Return an option's value and where it comes from: the option, the file, or `usual`."""
        if (value := getattr(self.options, name)) is not None:
            return value, OPTION
        if (value := self._read.stated.get(name)) is not None:
            return value, FILE
        return usual, ASSUMED

    @property
    def _usual_classes(self) -> tuple[str, ...]:
        count = self._read.size.num_classes
        return options.imagenet_names() if count == sizes.IMAGENET_CLASSES else numbered_classes(count)

    def _classes_text(self) -> str:
        names = list(self.class_names or ())
        return f"{len(names)}, {names[0]} to {names[-1]}"

    def _schedule_text(self) -> tuple[str, str]:
        if self._read.size.velocity:
            return "straight path", self._value("prediction", None)[1]
        return self.schedule.beta_schedule, self._value("beta_schedule", None)[1]

    def _autoencoder_text(self) -> str:
        folder = Path(self.autoencoder)
        return f"in the folder {folder.name}" if folder.is_absolute() else self.autoencoder

    def _null_label_origin(self) -> str:
        if self.options.null_label is not None:
            return OPTION
        stated_classes = self.options.classes or {"null_label", "classes", "num_classes"} & set(self._read.stated)
        return FILE if stated_classes else ASSUMED

    def _overwritten(self) -> BadRequest:
        return BadRequest(f"{self.name} was overwritten while it was read: run this again when it is complete.")


def _weights_text(weights: normal.Weights) -> str:
    if weights.averaged:
        return f"averaged ({weights.place})"
    if weights.has_average:
        return f"raw ({weights.place or 'outside the average'})"
    return f"{weights.place}; the file has no averaged ones" if weights.place else "the whole file"


def _same_embedders(state: Mapping[str, Sequence[Any]]) -> bool:
    """Return whether the embedders of all blocks have the biases of the network's, so that they are copies."""
    own = {key: parts for key, parts in state.items() if sizes.is_repeat(key) and key.endswith(EMBEDDER_BIASES)}
    return all(parts[0].content() == state[key.split(".", 2)[2]][0].content() for key, parts in own.items())


def _check_repeats(state: "Mapping[str, Tensor]", name: str) -> None:
    import torch

    for key, value in state.items():
        if sizes.is_repeat(key) and not torch.equal(value, state[key.split(".", 2)[2]]):
            raise BadRequest(f"{name} has embedders that are partly copies: {key} differs from that of block 0.")


def _of_arguments(arguments: Any) -> dict[str, Any]:
    """Return what the arguments of fast-DiT's `train.py` tell (`args` of a training state)."""
    values = vars(arguments) if hasattr(arguments, "__dict__") else arguments if isinstance(arguments, dict) else {}
    preset = PRESETS.get(str(values.get("model")))
    stated = {"num_classes": values.get("num_classes"), "image_size": values.get("image_size")}
    stated = {name: value for name, value in stated.items() if isinstance(value, int) and value > 0}
    if values.get("vae") in autoencoders.SHORT_NAMES:
        stated["autoencoder"] = values["vae"]
    return stated | ({"heads": preset.num_heads} if preset else {}) | _of_metadata(values)


def _of_metadata(metadata: Any) -> dict[str, Any]:
    """Return the options that an export of this program tells, and the model that it was made from."""
    try:
        recorded = json.loads(metadata[RECORDED])
        made_from = {MADE_FROM: str(recorded.pop(MADE_FROM))} if MADE_FROM in recorded else {}
        return {**Options.from_dict(recorded).to_dict(), **made_from}
    except (KeyError, TypeError, ValueError):
        return {}
