"""Mixture of experts: each token runs only some of a feed-forward network's neurons, in groups that a router picks."""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest, Cancelled
from dit_core.models.layers import chosen_blocks, indivisible, layers_knob, unroutable
from dit_core.models.outline import MIXTURE, MLP, Outline
from dit_core.techniques import Context, recover_knob, technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MixtureOfExperts:
    """Run a part of each feed-forward network, another one for every token (MoEfication, arXiv 2110.01786; DiT-MoE).

    The neurons are sorted into experts by which tokens they are active for, and a small router decides which experts a
    token needs. All weights stay, so memory does not shrink; arithmetic and time do, the more so the more tokens there
    are to sort. Experts that a token skips are missed by what they add beyond their mean, for which the others make up
    in part; recovery training does the rest.
    """

    experts: int = field(
        default=8,
        metadata={"help": "Groups of equal size that the neurons of a block are split into.", "min": 2, "max": 16},
    )
    top_k: int = field(
        default=2, metadata={"help": "Experts that the router picks for each token.", "min": 1, "max": 16}
    )
    shared: int = field(
        default=0, metadata={"help": "Of the experts, those that run for every token.", "min": 0, "max": 15}
    )
    layers: str = layers_knob()
    expert_size: int = field(
        default=0,
        metadata={
            "help": "Neurons of an expert; 0 splits all that there are. With fewer, those that matter least leave and "
            "what they added on average stays.",
            "min": 0,
            "max": 8192,
            "later": True,
        },
    )
    balance: float = field(
        default=0.001,
        metadata={
            "help": "In recovery, the weight of the loss that spreads tokens evenly over the experts.",
            "min": 0.0,
            "max": 1.0,
            "step": 0.001,
        },
    )
    calibration: int = field(
        default=512,
        metadata={"help": "Calibration inputs that experts and routers are fitted to.", "min": 1, "max": 1024},
    )
    recover: str = recover_knob()

    def __post_init__(self) -> None:
        if reason := unroutable(self.experts, self.top_k, self.shared):
            raise BadRequest(f"moe: {reason}")


def unfit(config: MixtureOfExperts, network: Outline) -> str | None:
    """Experts are of one size, and made of plain feed-forward networks."""
    for index, block in network.chosen(config.layers).items():
        if block.mlp != MLP:
            return f"block {index} has a {block.mlp} already: name moe once."
        if reason := _unsplittable(config, "neurons of a block", block.neurons):
            return reason
    return None


def _unsplittable(config: MixtureOfExperts, parts: str, neurons: int) -> str | None:
    """One line that says what to choose where the experts cannot be made of so many neurons."""
    if not config.expert_size:
        return indivisible("experts", config.experts, parts, neurons)
    if config.experts * config.expert_size <= neurons:
        return None
    most = neurons // config.experts
    wanted = f"{config.experts} experts of {config.expert_size} need more than the {neurons} {parts}"
    return f"{wanted}: set expert_size to at most {most}." if most else f"{wanted}: use at most {neurons} experts."


def leaves(config: MixtureOfExperts, network: Outline) -> Outline:
    """Mixtures in the chosen blocks."""
    size = config.expert_size or network.blocks[0].neurons // config.experts
    return network.changed(config.layers, mlp=MIXTURE, neurons=config.experts * size, shared=config.shared * size)


@technique(MixtureOfExperts, title="Mixture of experts", family="experts", unfit=unfit, leaves=leaves)
def split_into_experts(model: "nn.Module", config: MixtureOfExperts, context: Context) -> "nn.Module":
    """A copy of the network with mixtures in the chosen blocks; raises BadRequest where a block cannot be split."""
    from dit_core.models.recovered import BUNDLED
    from dit_core.training.calibration import calibration
    from dit_core.training.moefication import layer_inputs, mixture_like, split
    from dit_core.training.recovery import recover

    student: Any = copy.deepcopy(model)
    names = [f"blocks.{index}.mlp" for index in chosen_blocks(config.layers, len(student.blocks))]
    networks = {name: student.get_submodule(name) for name in names}
    for name, dense in networks.items():
        _check(name, dense, config)
    fitted = config.recover != BUNDLED  # whose weights are all in the file
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
        raise BadRequest(f"moe: {name} is not as it was after what another technique made of it: put moe before it.")
    if reason := _unsplittable(config, f"neurons of {name}", dense.fc1.out_features):
        raise BadRequest(f"moe: {reason}")
