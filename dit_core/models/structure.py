"""The structure of a network, as far as techniques depend on it. Imports no torch.

The effect of a recipe is computed on a `Structure` before any weights are loaded (`dit_core.recipes`). `structure_of`
reads the structure of a loaded network.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dit_core.models.layers import chosen_blocks
from dit_core.models.presets import DiTConfig

ATTENTION, MLP = "Attention", "Mlp"  # class names in an unchanged block (`models.dit`)
MIXTURE = "Mixture"
PACKED_MODULES = tuple(f"dit_core.models.{name}" for name in ("packed", "sparse", "int8"))


@dataclass(frozen=True)
class Block:
    """A transformer block: query heads, neurons of its MLP or of all its experts, and the classes of both branches."""

    heads: int
    neurons: int
    attention: str = ATTENTION
    mlp: str = MLP
    shared: int = 0  # neurons of a mixture that run for every token


@dataclass(frozen=True)
class Structure:
    """A network as techniques see it. `size` is its configuration; single blocks may be smaller or of other kinds."""

    size: DiTConfig
    blocks: tuple[Block, ...]
    takes_guidance: bool = False
    packed: bool = False  # weights are stored in a form that no technique can change
    cached: bool = field(default=False, compare=False)  # blocks are reused between steps; packed blocks can be too

    @classmethod
    def of(cls, size: DiTConfig) -> "Structure":
        """Return the structure of an unchanged DiT of this size."""
        return cls(size, (Block(size.num_heads, int(size.hidden_size * size.mlp_ratio)),) * size.depth)

    @classmethod
    def from_dict(cls, size: DiTConfig, data: dict[str, Any]) -> "Structure":
        """Return the structure that `to_dict` wrote. Raises TypeError or KeyError if the data are malformed."""
        blocks = tuple(Block(**block) for block in data["blocks"])
        return cls(size, blocks, bool(data["takes_guidance"]), bool(data["packed"]), bool(data.get("cached", False)))

    def to_dict(self) -> dict[str, Any]:
        """Return the structure as plain data, without the size, and with `cached` only if it is true."""
        left_out = {"size"} if self.cached else {"size", "cached"}
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def chosen(self, layers: str) -> dict[int, Block]:
        """Return the blocks that a `layers` knob selects, by index."""
        return {index: self.blocks[index] for index in chosen_blocks(layers, len(self.blocks))}

    def changed(self, layers: str, **fields: Any) -> "Structure":
        """Return a copy with new values of `fields` in the blocks that a `layers` knob selects."""
        changed = {index: replace(block, **fields) for index, block in self.chosen(layers).items()}
        return replace(self, blocks=tuple(changed.get(index, block) for index, block in enumerate(self.blocks)))

    def with_blocks(self, blocks: Sequence[Block]) -> "Structure":
        """Return a copy with other blocks and the depth that they give."""
        return replace(self, size=replace(self.size, depth=len(blocks)), blocks=tuple(blocks))

    def linear_inputs(self) -> dict[str, int]:
        """Return the number of inputs of each linear layer in the blocks, by name, without stacked expert matrices."""
        inputs: dict[str, int] = {}
        head_size = self.size.hidden_size // self.size.num_heads
        for index, block in enumerate(self.blocks):
            inputs[f"blocks.{index}.adaLN_modulation.1"] = self.size.hidden_size
            inputs[f"blocks.{index}.attn.proj"] = block.heads * head_size
            if block.mlp == MLP:
                inputs[f"blocks.{index}.mlp.fc2"] = block.neurons
            elif block.shared:
                inputs[f"blocks.{index}.mlp.shared.fc2"] = block.shared
        return inputs


def attention_conflict(network: Structure, layers: str) -> str | None:
    """Return an error message if a selected block has an attention that was already replaced, else None."""
    for index, block in network.chosen(layers).items():
        if block.attention != ATTENTION:
            return f"the attention of block {index} is a {block.attention}: use one attention technique for a block."
    return None


def experts_conflict(network: Structure, verb: str) -> str | None:
    """Return an error message if a block has experts, which a technique for linear layers cannot change, else None."""
    mixtures = (index for index, block in enumerate(network.blocks) if block.mlp == MIXTURE)
    return next((f"block {index} has experts, which are not {verb}: leave moe out." for index in mixtures), None)


def structure_of(network: Any) -> Structure:
    """Return the structure of a loaded network, as techniques have changed it."""
    return Structure(
        network.config,
        tuple(_block(block) for block in network.blocks),
        getattr(network, "guidance_embedder", None) is not None,
        any(type(module).__module__ in PACKED_MODULES for module in network.modules()),
        getattr(network, "cache", None) is not None,
    )


def _block(block: Any) -> Block:
    attention, mlp = type(block.attn).__name__, type(block.mlp).__name__
    if mlp == MLP:
        return Block(block.attn.num_heads, block.mlp.fc1.out_features, attention, mlp)
    shared = block.mlp.shared.fc1.out_features if block.mlp.shared is not None else 0
    return Block(block.attn.num_heads, block.mlp.routed * block.mlp.expert_size + shared, attention, MIXTURE, shared)
