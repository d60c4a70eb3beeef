"""Mixture of experts: a router selects for each token the groups of feed-forward neurons that run."""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest, Cancelled
from dit_core.models.layers import chosen_blocks, indivisible, unroutable
from dit_core.models.structure import MIXTURE, MLP, Structure
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import layers_knob, recover_knob
from dit_core.recipes.registry import technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MixtureOfExperts:
    """Run only a few experts per token (MoEfication, arXiv 2110.01786; DiT-MoE, arXiv 2407.11633).

    The neurons of a feed-forward network are grouped into experts by the tokens for which they are active, and a small
    router selects the experts of each token. All weights stay, so memory does not shrink. Operations fall, and so does
    time if there are enough tokens. The mean output of a skipped expert is added, and recovery training restores most
    of the rest.
    """

    experts: int = field(
        default=8,
        metadata={"help": "Number of experts of equal size in a block.", "min": 2, "max": 16},
    )
    top_k: int = field(
        default=2, metadata={"help": "Number of experts that the router selects for each token.", "min": 1, "max": 16}
    )
    shared: int = field(
        default=0, metadata={"help": "Number of experts that run for every token.", "min": 0, "max": 15}
    )
    layers: str = layers_knob()
    expert_size: int = field(
        default=0,
        metadata={
            "help": "Neurons per expert; 0 splits all neurons of the block. With fewer, the least important neurons "
            "are removed and their mean output is kept.",
            "min": 0,
            "max": 8192,
            "omit_default": True,
        },
    )
    balance: float = field(
        default=0.001,
        metadata={
            "help": "Weight of the load-balancing loss in recovery training, which distributes tokens over the "
            "experts.",
            "min": 0.0,
            "max": 1.0,
            "step": 0.001,
        },
    )
    calibration: int = field(
        default=512,
        metadata={
            "help": "Number of calibration inputs for grouping neurons and fitting routers.",
            "min": 1,
            "max": 1024,
        },
    )
    recover: str = recover_knob()

    def __post_init__(self) -> None:
        if reason := unroutable(self.experts, self.top_k, self.shared):
            raise BadRequest(f"moe: {reason}")


def incompatible(config: MixtureOfExperts, network: Structure) -> str | None:
    """Return an error message if a selected block has experts already or its neurons cannot be split."""
    for index, block in network.chosen(config.layers).items():
        if block.mlp != MLP:
            return f"block {index} has a {block.mlp} already: use moe once."
        if reason := _unsplittable(config, "neurons of a block", block.neurons):
            return reason
    return None


def _unsplittable(config: MixtureOfExperts, parts: str, neurons: int) -> str | None:
    """Return an error message if the experts cannot be made of this number of neurons, else None."""
    if not config.expert_size:
        return indivisible("experts", config.experts, parts, neurons)
    if config.experts * config.expert_size <= neurons:
        return None
    most = neurons // config.experts
    problem = f"{config.experts} experts of {config.expert_size} need more than the {neurons} {parts}"
    return f"{problem}: set expert_size to at most {most}." if most else f"{problem}: use at most {neurons} experts."


def output_structure(config: MixtureOfExperts, network: Structure) -> Structure:
    """Return the structure with mixtures in the selected blocks."""
    size = config.expert_size or network.blocks[0].neurons // config.experts
    return network.changed(config.layers, mlp=MIXTURE, neurons=config.experts * size, shared=config.shared * size)


@technique(
    MixtureOfExperts,
    title="Mixture of experts",
    family="experts",
    incompatible=incompatible,
    output_structure=output_structure,
)
def split_into_experts(model: "nn.Module", config: MixtureOfExperts, context: Context) -> "nn.Module":
    """Return a copy of the network with mixtures of experts. Raises BadRequest if a block cannot be split."""
    from dit_core.compression.calibration import calibration
    from dit_core.compression.expert_splitting import layer_inputs, mixture_like, split
    from dit_core.models.recovered import BUNDLED
    from dit_core.training.recovery import recover

    student: Any = copy.deepcopy(model)
    names = [f"blocks.{index}.mlp" for index in chosen_blocks(config.layers, len(student.blocks))]
    networks = {name: student.get_submodule(name) for name in names}
    for name, dense in networks.items():
        _check(name, dense, config)
    fitted = config.recover != BUNDLED  # bundled weights replace everything that calibration would fit
    rows = (
        layer_inputs(student, names, calibration(student, context, config.calibration), context.seed) if fitted else {}
    )
    for done, (name, dense) in enumerate(networks.items(), start=1):
        if context.cancelled():
            raise Cancelled("The run was cancelled.")
        size = config.expert_size or dense.fc1.out_features // config.experts
        mixture = mixture_like(dense, config.experts, config.top_k, size, config.shared, config.balance)
        if rows:
            split(dense, mixture, rows.pop(name), context.seed)
        student.set_submodule(name, mixture)
        context.progress("split", done, len(names))
    return recover(student, model, config.recover, context, part="mlp")


def _check(name: str, dense: Any, config: MixtureOfExperts) -> None:
    from torch import nn

    from dit_core.models.dit import Mlp

    if type(dense) is not Mlp or any(type(layer) is not nn.Linear for layer in (dense.fc1, dense.fc2)):
        raise BadRequest(f"moe: {name} was changed by another technique: put moe before it.")
    if reason := _unsplittable(config, f"neurons of {name}", dense.fc1.out_features):
        raise BadRequest(f"moe: {reason}")
