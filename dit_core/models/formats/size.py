"""What network a state dict belongs to, from the shapes of its weights. Imports no torch."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dit_core.errors import BadRequest
from dit_core.models.formats.normal import PUBLISHED_KEY
from dit_core.models.presets import PIXELS_PER_LATENT, PRESETS, DiTConfig

Shapes = Mapping[str, Sequence[int]]
FREQUENCIES = 256  # of the timestep embedding
USUAL_PIXELS = 256  # resolution that is assumed if no position embedding tells it
USUAL_HEAD = 64  # channels of a head that are assumed at a width of no preset
IMAGENET_CLASSES = 1000
_NAMED = 3  # keys in a message
_EMBEDDERS = ("t_embedder.mlp.0.weight", "t_embedder.mlp.0.bias", "t_embedder.mlp.2.weight", "t_embedder.mlp.2.bias")
_LABELS = "y_embedder.embedding_table.weight"


def size_of(shapes: Shapes, name: str, *, heads: int | None = None, classes: int | None = None) -> DiTConfig:
    """Return the size of the network that weights of these shapes belong to.

    Shapes do not tell the number of heads, nor whether the last label is the null label of guidance. Without `heads`
    they are those of the preset of that width, else one for each 64 channels. Without `classes` there is a null label,
    unless there are exactly 1,000 labels. Without a position embedding the resolution is 256 pixels. Raises BadRequest
    if the shapes are not those of a DiT or do not fit `heads` or `classes`.
    """
    width, channels, patch, _ = _shape(shapes, name, PUBLISHED_KEY, 4)
    outputs = _shape(shapes, name, "final_layer.linear.bias", 1)[0] // patch**2
    labels = _shape(shapes, name, _LABELS, 2)[0]
    ratio = _shape(shapes, name, "blocks.0.mlp.fc1.weight", 2)[0] / width
    tokens = _shape(shapes, name, "pos_embed", 3)[1] if "pos_embed" in shapes else None
    depth = len({key.split(".")[1] for key in shapes if re.match(r"blocks\.\d+\.", key)})
    if outputs not in (channels, 2 * channels):
        raise BadRequest(
            f"{name} has {outputs} output channels for {channels} input channels: a DiT has 1 or 2 times as many."
        )
    return DiTConfig(
        input_size=_input_size(tokens, name, patch),
        patch_size=patch,
        in_channels=channels,
        hidden_size=width,
        depth=depth,
        num_heads=_heads(name, width, depth, heads),
        mlp_ratio=ratio,
        num_classes=labels - (null := _null_label(name, labels, classes)),
        learn_sigma=outputs == 2 * channels,
        null_label=null,
    )


def is_usual_width(size: DiTConfig) -> bool:
    """Return whether a preset has the width, so that the number of heads is most likely that of the preset."""
    return size.hidden_size in {preset.hidden_size for preset in PRESETS.values()}


def expected_shapes(size: DiTConfig) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the state dict of an unchanged DiT of this size."""
    width, neurons, patch = size.hidden_size, int(size.hidden_size * size.mlp_ratio), size.patch_size
    linears: dict[str, tuple[int, int]] = {
        "final_layer.linear": (patch**2 * size.out_channels, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }
    tables = {"y_embedder.embedding_table.weight": (size.labels, width)}
    if size.second_time:
        linears |= {"r_embedder.mlp.0": (width, FREQUENCIES), "r_embedder.mlp.2": (width, width)}
    for prefix in ["", *(f"blocks.{index}." for index in range(size.depth) if size.block_embedders)]:
        linears |= {f"{prefix}t_embedder.mlp.0": (width, FREQUENCIES), f"{prefix}t_embedder.mlp.2": (width, width)}
        tables[f"{prefix}{_LABELS}"] = (size.labels, width)
    for index in range(size.depth):
        linears |= {
            f"blocks.{index}.attn.qkv": (3 * width, width),
            f"blocks.{index}.attn.proj": (width, width),
            f"blocks.{index}.mlp.fc1": (neurons, width),
            f"blocks.{index}.mlp.fc2": (width, neurons),
            f"blocks.{index}.adaLN_modulation.1": (6 * width, width),
        }
    return {
        "pos_embed": (1, size.tokens, width),
        "x_embedder.proj.weight": (width, size.in_channels, patch, patch),
        "x_embedder.proj.bias": (width,),
        **tables,
        **{f"{layer}.weight": shape for layer, shape in linears.items()},
        **{f"{layer}.bias": (shape[0],) for layer, shape in linears.items()},
    }


def parameters(size: DiTConfig) -> int:
    """Return the number of values in the state dict of an unchanged DiT of this size."""
    return sum(map(math.prod, expected_shapes(size).values()))


def check_keys(shapes: Shapes, size: DiTConfig, name: str, *, drop_surplus: bool = False) -> tuple[str, ...]:
    """Return the surplus keys. Raises BadRequest, with the keys, if weights are missing, of another shape or surplus.

    With `drop_surplus`, keys beside the network are accepted. Keys inside one of its modules never are: a network that
    has them computes something else. `pos_embed` may be missing, because it is computed.
    """
    expected = expected_shapes(size)
    missing = [key for key in expected if key not in shapes and key != "pos_embed"]
    surplus = [key for key in shapes if key not in expected]
    inside = [key for key in surplus if key.partition(".")[0] in {own.partition(".")[0] for own in expected}]
    if missing and inside:
        raise BadRequest(f"{name} is another network than a DiT: it has {_first(inside)} and lacks {_first(missing)}.")
    if missing:
        raise BadRequest(f"{name} is not complete: it lacks {_first(missing)}.")
    if inside:
        raise BadRequest(f"{name} is another network than a DiT: it also has {_first(inside)}.")
    if surplus and not drop_surplus:
        raise BadRequest(
            f"{name} has weights that a DiT does not use: {_first(surplus)}. To leave them out, keep the model under a "
            "name with the option drop_surplus (python -m dit_core models add)."
        )
    for key, shape in expected.items():
        if key in shapes and tuple(shapes[key]) != shape:
            raise BadRequest(
                f"{name} does not fit one network: {key} is {_text(shapes[key])}, expected {_text(shape)}."
            )
    return tuple(surplus)


def without_repeats(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes without the embedders of single blocks."""
    return {key: shape for key, shape in shapes.items() if not is_repeat(key)}


def is_repeat(key: str) -> bool:
    """Return whether a key belongs to an embedder of a single block."""
    return re.match(r"blocks\.\d+\.[ty]_embedder\.", key) is not None


def with_resolution(size: DiTConfig, pixels: int, name: str, pixels_per_latent: int = PIXELS_PER_LATENT) -> DiTConfig:
    """Return the size at another resolution. Raises BadRequest if the resolution does not fit the patches."""
    step = pixels_per_latent * size.patch_size
    if pixels % step or pixels < step:
        raise BadRequest(f"{name} cannot have {pixels} pixels: set image_size to a multiple of {step}.")
    return replace(size, input_size=pixels // pixels_per_latent)


def _shape(shapes: Shapes, name: str, key: str, dimensions: int) -> Sequence[int]:
    if key not in shapes:
        raise BadRequest(f"The weights in {name} are not those of a DiT: {key} is missing.")
    if len(shapes[key]) != dimensions or not all(shapes[key]):
        raise BadRequest(f"The weights in {name} are not those of a DiT: {key} has another shape.")
    return shapes[key]


def _input_size(tokens: int | None, name: str, patch: int) -> int:
    if tokens is None:
        return USUAL_PIXELS // PIXELS_PER_LATENT
    if math.isqrt(tokens) ** 2 != tokens:
        raise BadRequest(f"{name} has {tokens} positions, which are no square: only square images are supported.")
    return math.isqrt(tokens) * patch


def _heads(name: str, width: int, depth: int, heads: int | None) -> int:
    if heads is not None:
        if heads < 1 or width % heads:
            raise BadRequest(f"{name} has width {width}, which {heads} heads do not divide: set heads to a divisor.")
        return heads
    presets = {(preset.hidden_size, preset.depth): preset.num_heads for preset in PRESETS.values()}
    widths = {preset.hidden_size: preset.num_heads for preset in PRESETS.values()}
    if known := presets.get((width, depth)) or widths.get(width):
        return known
    if width % USUAL_HEAD:
        raise BadRequest(
            f"{name} has width {width}, and its weights do not tell the number of heads: keep the model under a name "
            "with the option heads (python -m dit_core models add)."
        )
    return width // USUAL_HEAD


def _null_label(name: str, labels: int, classes: int | None) -> bool:
    if classes is None:
        return labels != IMAGENET_CLASSES and labels > 1
    if labels not in (classes, classes + 1):
        raise BadRequest(
            f"{name} has {labels} labels, but {classes} classes are named: name {labels - 1}, or {labels} if none of "
            "them is the null label."
        )
    return labels > classes


def _first(keys: Sequence[str]) -> str:
    more = len(keys) - _NAMED
    return ", ".join(keys[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
