"""Knowledge distillation: train a smaller student that is initialized from the teacher's weights."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest
from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import recover_knob
from dit_core.recipes.registry import technique

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dit_core.models.presets import DiTConfig


@dataclass(frozen=True)
class Distillation:
    """Train a smaller student to imitate the network (Hinton, arXiv 1503.02531).

    The student starts with evenly spaced blocks and with the strongest channels, heads and neurons of its teacher. It
    learns from the teacher's outputs and hidden features. Weights, operations and time fall together. Without recovery
    training its images are noise.
    """

    depth: float = field(
        default=0.5,
        metadata={"help": "Share of the blocks that the student keeps.", "min": 0.1, "max": 1.0, "step": 0.05},
    )
    width: float = field(
        default=1.0,
        metadata={
            "help": "Share of the width that the student keeps, rounded to whole attention heads.",
            "min": 0.1,
            "max": 1.0,
            "step": 0.05,
        },
    )
    recover: str = recover_knob()


def incompatible(config: Distillation, network: Structure) -> str | None:
    """Return an error message if a technique has changed a block: the student is cut from an unchanged network."""
    if network.cached:
        return "a student keeps no features: put distillation before feature_caching."
    for index, (block, plain) in enumerate(zip(network.blocks, Structure.of(network.size).blocks, strict=True)):
        if block != plain:
            return f"block {index} was changed by another technique: put distillation first."
    return None


def output_structure(config: Distillation, network: Structure) -> Structure:
    """Return the structure of an unchanged network of the student's size."""
    return replace(Structure.of(student_size(config, network.size)), takes_guidance=network.takes_guidance)


def student_size(config: Distillation, size: "DiTConfig") -> "DiTConfig":
    """Return the size of the student of a teacher of this size."""
    heads, depth = max(1, round(config.width * size.num_heads)), max(1, round(config.depth * size.depth))
    return replace(size, hidden_size=heads * (size.hidden_size // size.num_heads), num_heads=heads, depth=depth)


@technique(
    Distillation,
    title="Distillation",
    family="distillation",
    incompatible=incompatible,
    output_structure=output_structure,
)
def distill(model: "nn.Module", config: Distillation, context: Context) -> "nn.Module":
    """Return a student of the network. Raises BadRequest if a technique has changed the shape of its layers."""
    from dit_core.training import recovery

    teacher: Any = model
    check(teacher)
    size = student_size(config, teacher.config)
    channels = strongest(channel_strength(teacher), size.hidden_size)
    student = cut(teacher, size, channels)
    whole = size.hidden_size == teacher.config.hidden_size
    lesson = partial(recovery.Distillation, channels=None if whole else channels)
    return recovery.recover(student, model, config.recover, context, [lesson])


def check(teacher: Any) -> None:
    """Raise BadRequest if another technique has changed the shape of the layers."""
    from torch import nn

    from dit_core.models.dit import Attention, Mlp

    size = teacher.config
    for index, block in enumerate(teacher.blocks):
        plain = type(block.attn) is Attention and type(block.mlp) is Mlp
        whole = plain and block.attn.num_heads == size.num_heads
        whole = whole and block.mlp.fc1.out_features == int(size.hidden_size * size.mlp_ratio)
        if not whole or type(block.mlp.fc1) is not nn.Linear:
            raise BadRequest(f"distillation: block {index} was changed by another technique: put distillation first.")


def cut(teacher: Any, size: Any, channels: "Tensor") -> Any:
    """Return a network of this size with weights of `teacher`; its width is the teacher's `channels` (D',)."""
    import torch

    from dit_core.models.dit import DiT

    with torch.device("meta"):
        student: Any = DiT(size)
    state: dict[str, Tensor] = dict(teacher.state_dict())
    everything = slice(None)
    cuts: dict[str, tuple[Any, Any]] = {  # layer -> rows and columns to keep
        "x_embedder.proj": (channels, everything),
        "t_embedder.mlp.0": (channels, everything),
        "t_embedder.mlp.2": (channels, channels),
        "r_embedder.mlp.0": (channels, everything),
        "r_embedder.mlp.2": (channels, channels),
        "guidance_embedder.mlp.0": (channels, everything),
        "guidance_embedder.mlp.2": (channels, channels),
        "y_embedder.embedding_table": (everything, channels),
        "final_layer.linear": (everything, channels),
        "final_layer.adaLN_modulation.1": (_chunks(channels, teacher.config.hidden_size, 2), channels),
    }
    last = len(teacher.blocks) - 1
    names = {"pos_embed": teacher.pos_embed[:, :, channels]}
    for new, old in enumerate(round(i * last / max(1, size.depth - 1)) for i in range(size.depth)):
        block = teacher.blocks[old]
        heads = strongest(head_strength(block.attn), size.num_heads)
        rows = torch.arange(block.attn.proj.in_features, device=heads.device).view(block.attn.num_heads, -1)[heads]
        rows = rows.flatten()
        neurons = strongest(neuron_strength(block.mlp), int(size.hidden_size * size.mlp_ratio))
        for layer, kept in {
            "attn.qkv": (_chunks(rows, block.attn.proj.in_features, 3), channels),
            "attn.proj": (channels, rows),
            "mlp.fc1": (neurons, channels),
            "mlp.fc2": (channels, neurons),
            "adaLN_modulation.1": (_chunks(channels, teacher.config.hidden_size, 6), channels),
        }.items():
            names |= _sliced(state, f"blocks.{old}.{layer}", f"blocks.{new}.{layer}", *kept)
    for layer, kept in cuts.items():
        names |= _sliced(state, layer, layer, *kept)
    if teacher.guidance_embedder is not None:
        from dit_core.models.dit import TimestepEmbedder

        with torch.device("meta"):
            student.guidance_embedder = TimestepEmbedder(size.hidden_size)
    student.load_state_dict(names, strict=True, assign=True)
    return student.requires_grad_(False)


def strongest(strength: "Tensor", count: int) -> "Tensor":
    """Return the indices (count,) of the largest values, in ascending order."""
    return strength.topk(count).indices.sort().values


def channel_strength(model: Any) -> "Tensor":
    """Return the norm (D,) of all weights that write to or read from each residual channel."""
    total = model.x_embedder.proj.weight.flatten(1).square().sum(1)
    for block in model.blocks:
        total = total + block.attn.proj.weight.square().sum(1) + block.mlp.fc2.weight.square().sum(1)
        total = total + block.attn.qkv.weight.square().sum(0) + block.mlp.fc1.weight.square().sum(0)
    return total.sqrt()


def head_strength(attention: Any) -> "Tensor":
    """Return the norm (heads,) of the weights of each head."""
    rows = attention.qkv.weight.square().sum(1).view(3, attention.num_heads, -1).sum((0, 2))
    return (rows + attention.proj.weight.square().sum(0).view(attention.num_heads, -1).sum(1)).sqrt()


def neuron_strength(mlp: Any) -> "Tensor":
    """Return the product (neurons,) of the norms of each neuron's input and output weights."""
    return mlp.fc1.weight.norm(dim=1) * mlp.fc2.weight.norm(dim=0)


def _chunks(rows: "Tensor", size: int, count: int) -> "Tensor":
    """Return the same rows in each of `count` stacked parts of `size` rows."""
    import torch

    return torch.cat([rows + size * part for part in range(count)])


def _sliced(state: "dict[str, Tensor]", old: str, new: str, rows: Any, columns: Any) -> "dict[str, Tensor]":
    """Return weight and bias of a layer with only these rows and columns; empty if there is no such layer."""
    weight = state.get(f"{old}.weight")
    if weight is None:
        return {}
    parameters = {f"{new}.weight": weight[rows][:, columns].clone()}
    if f"{old}.bias" in state:
        parameters[f"{new}.bias"] = state[f"{old}.bias"][rows].clone()
    return parameters
