"""A network in outline: as much of its structure as decides which techniques go with it. Imports no torch.

What a recipe makes of a network is told on the outline before anything is loaded (`dit_core.techniques`), and read off
the network itself once it is there.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dit_core.models.layers import chosen_blocks
from dit_core.models.presets import DiTConfig

ATTENTION, MLP = "Attention", "Mlp"  # the plain kinds, those of `models.dit`
MIXTURE = "Mixture"
PACKING = tuple(f"dit_core.models.{name}" for name in ("packed", "sparse", "int8"))


@dataclass(frozen=True)
class Block:
    """A transformer block: heads of queries, neurons in all, and the classes of its two branches."""

    heads: int
    neurons: int
    attention: str = ATTENTION
    mlp: str = MLP
    shared: int = 0  # of a mixture's neurons, those that run for every token


@dataclass(frozen=True)
class Outline:
    """`size` is the network's configuration; its blocks may have become smaller, or of other kinds."""

    size: DiTConfig
    blocks: tuple[Block, ...]
    takes_guidance: bool = False
    packed: bool = False  # weights are in a form that no technique can change

    @classmethod
    def of(cls, size: DiTConfig) -> "Outline":
        """A plain DiT."""
        return cls(size, (Block(size.num_heads, int(size.hidden_size * size.mlp_ratio)),) * size.depth)

    @classmethod
    def from_dict(cls, size: DiTConfig, data: dict[str, Any]) -> "Outline":
        """What `to_dict` told of a network of this size; raises TypeError or KeyError on anything else."""
        blocks = tuple(Block(**block) for block in data["blocks"])
        return cls(size, blocks, bool(data["takes_guidance"]), bool(data["packed"]))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the size."""
        return {name: value for name, value in asdict(self).items() if name != "size"}

    def chosen(self, layers: str) -> dict[int, Block]:
        """The blocks that a `layers` knob names, by index."""
        return {index: self.blocks[index] for index in chosen_blocks(layers, len(self.blocks))}

    def changed(self, layers: str, **fields: Any) -> "Outline":
        """The same with these fields in the blocks that a `layers` knob names."""
        changed = {index: replace(block, **fields) for index, block in self.chosen(layers).items()}
        return replace(self, blocks=tuple(changed.get(index, block) for index, block in enumerate(self.blocks)))

    def with_blocks(self, blocks: Sequence[Block]) -> "Outline":
        """The same with other blocks, and a depth to match."""
        return replace(self, size=replace(self.size, depth=len(blocks)), blocks=tuple(blocks))

    def linear_inputs(self) -> dict[str, int]:
        """How many inputs the linear layers of the blocks have, by their names; what experts stack is left out."""
        found: dict[str, int] = {}
        head_size = self.size.hidden_size // self.size.num_heads
        for index, block in enumerate(self.blocks):
            found[f"blocks.{index}.adaLN_modulation.1"] = self.size.hidden_size
            found[f"blocks.{index}.attn.proj"] = block.heads * head_size
            if block.mlp == MLP:
                found[f"blocks.{index}.mlp.fc2"] = block.neurons
            elif block.shared:
                found[f"blocks.{index}.mlp.shared.fc2"] = block.shared
        return found


def other_attention(network: Outline, layers: str) -> str | None:
    """One line that says what to change where the attention of a chosen block is no longer a plain one."""
    for index, block in network.chosen(layers).items():
        if block.attention != ATTENTION:
            return f"the attention of block {index} is a {block.attention}: use one attention technique for a block."
    return None


def experts_stay(network: Outline, verb: str) -> str | None:
    """One line where a technique for plain linear layers would leave the experts of a mixture, unsaid, as they are."""
    found = (index for index, block in enumerate(network.blocks) if block.mlp == MIXTURE)
    return next((f"block {index} has experts, which are not {verb}: leave moe out." for index in found), None)


def outline_of(network: Any) -> Outline:
    """What a network is by now."""
    return Outline(
        network.config,
        tuple(_block(block) for block in network.blocks),
        getattr(network, "guidance_embedder", None) is not None,
        any(type(module).__module__ in PACKING for module in network.modules()),
    )


def _block(block: Any) -> Block:
    attention, mlp = type(block.attn).__name__, type(block.mlp).__name__
    if mlp == MLP:
        return Block(block.attn.num_heads, block.mlp.fc1.out_features, attention, mlp)
    shared = block.mlp.shared.fc1.out_features if block.mlp.shared is not None else 0
    return Block(block.attn.num_heads, block.mlp.routed * block.mlp.expert_size + shared, attention, MIXTURE, shared)
