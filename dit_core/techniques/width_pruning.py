"""Width pruning: remove whole attention heads and whole neurons of the feed-forward networks.

Slicing gives a dense network of the same kind with smaller matrices. A head is a set of rows of `qkv` and columns of
`proj`; a neuron is a row of `fc1` and a column of `fc2`. The residual width, with its norms and modulation, does not
change, so each cut affects only one pair of layers. The dependency graph that Torch-Pruning (arXiv 2301.12900) traces
has the same pairs, and pruning along it gives the same weights (`tests/techniques/test_width_pruning_graph.py`).

The mean output of the removed units is added to the bias of the following layer (FLAP, arXiv 2312.11983).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest, Cancelled
from dit_core.models.structure import ATTENTION, MLP, Structure
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import recover_knob
from dit_core.recipes.registry import technique

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dit_core.compression.calibration import Features, Inputs


@dataclass(frozen=True)
class WidthPruning:
    """Remove whole heads and neurons from every block (LLM-Pruner, arXiv 2305.11627; Taylor, arXiv 1906.10771).

    The matrices become smaller, so weights, operations and time fall together on any hardware. Every block loses the
    same share. Without recovery training images degrade quickly.
    """

    heads: float = field(
        default=0.0,
        metadata={
            "help": "Share of the attention heads that is removed; at least one head stays.",
            "min": 0.0,
            "max": 0.9,
            "step": 0.05,
        },
    )
    ffn: float = field(
        default=0.5,
        metadata={"help": "Share of the feed-forward neurons that is removed.", "min": 0.0, "max": 0.9, "step": 0.05},
    )
    importance: str = field(
        default="activation",
        metadata={
            "help": "Importance of a head or neuron. magnitude: norm of its weights. activation: its contribution to "
            "the output of the block. taylor: first-order estimate of the change of the network's output without it.",
            "choices": ("magnitude", "activation", "taylor"),
        },
    )
    multiple: int = field(
        default=16,
        metadata={
            "help": "The number of kept neurons is a multiple of this, which matrix kernels need to be fast.",
            "choices": (1, 8, 16, 32),
        },
    )
    calibration: int = field(
        default=64,
        metadata={
            "help": "Number of calibration inputs for importance and for the mean of removed units.",
            "min": 1,
            "max": 1024,
        },
    )
    recover: str = recover_knob()


def incompatible(config: WidthPruning, network: Structure) -> str | None:
    """Return an error message if the heads or neurons of a block belong to a replaced module."""
    for index, block in enumerate(network.blocks):
        if config.heads and block.attention != ATTENTION:
            return f"the heads of block {index} belong to a {block.attention}: {_first('heads')}"
        if config.ffn and block.mlp != MLP:
            return f"the neurons of block {index} belong to a {block.mlp}: {_first('ffn')}"
    return None


def output_structure(config: WidthPruning, network: Structure) -> Structure:
    """Return the structure with fewer heads and neurons."""
    blocks = network.blocks
    if config.heads:
        blocks = tuple(replace(block, heads=heads_kept(block.heads, config.heads)) for block in blocks)
    if config.ffn:
        blocks = tuple(
            replace(block, neurons=neurons_kept(block.neurons, config.ffn, config.multiple)) for block in blocks
        )
    return replace(network, blocks=blocks)


@technique(
    WidthPruning, title="Width pruning", family="pruning", incompatible=incompatible, output_structure=output_structure
)
def narrow(model: "nn.Module", config: WidthPruning, context: Context) -> "nn.Module":
    """Return a narrower copy of the network. Raises BadRequest if its heads or neurons cannot be removed."""
    from dit_core.compression.calibration import calibration, input_features
    from dit_core.training.recovery import recover

    student: Any = copy.deepcopy(model)
    if cuts := _cuts(student, config):
        inputs = calibration(student, context, config.calibration)
        features = input_features(student, list(cuts), inputs)
        scores = IMPORTANCE[config.importance](student, cuts, features, inputs, context)
        for index, (name, cut) in enumerate(cuts.items(), start=1):
            kept = scores[name].topk(cut.kept).indices.sort().values
            keep_mean(student.get_submodule(name), features[name].mean, kept, cut.units)
            cut.slice(student.get_submodule(name.rpartition(".")[0]), kept)
            context.progress("prune", index, len(cuts))
    return recover(student, model, config.recover, context)


@dataclass(frozen=True)
class Cut:
    """The pruning of one branch of a block: of `units` heads or neurons, the `kept` most important stay."""

    before: str  # the layer whose rows belong to the units
    units: int
    kept: int
    slice: "Callable[[Any, Tensor], None]"


def heads_kept(heads: int, share: float) -> int:
    """Return how many of `heads` are kept: at least one."""
    return max(1, heads - round(share * heads))


def neurons_kept(neurons: int, share: float, multiple: int) -> int:
    """Return how many of `neurons` are kept: the nearest multiple, at least one multiple."""
    return neurons if share == 0 else min(neurons, max(multiple, round((1 - share) * neurons / multiple) * multiple))


def _cuts(model: Any, config: WidthPruning) -> dict[str, Cut]:
    """Return the branches that get narrower, by the name of the layer that combines their units."""
    from dit_core.models.dit import Attention, Mlp

    cuts = {}
    for index, block in enumerate(model.blocks):
        if config.heads:
            _check(block.attn, Attention, ("qkv", "proj"), f"heads of block {index}", "heads")
            heads = block.attn.num_heads
            cuts[f"blocks.{index}.attn.proj"] = Cut("qkv", heads, heads_kept(heads, config.heads), keep_heads)
        if config.ffn:
            _check(block.mlp, Mlp, ("fc1", "fc2"), f"neurons of block {index}", "ffn")
            neurons = block.mlp.fc1.out_features
            kept = neurons_kept(neurons, config.ffn, config.multiple)
            cuts[f"blocks.{index}.mlp.fc2"] = Cut("fc1", neurons, kept, keep_neurons)
    return {name: cut for name, cut in cuts.items() if cut.kept < cut.units}


def _check(module: Any, kind: type, layers: tuple[str, str], what: str, knob: str) -> None:
    from torch import nn

    if type(module) is not kind or any(type(getattr(module, layer)) is not nn.Linear for layer in layers):
        raise BadRequest(f"width_pruning: another technique has changed the {what}: {_first(knob)}")


def _first(knob: str) -> str:
    return f"put width_pruning first or set {knob} to 0."


def keep_heads(attention: Any, kept: "Tensor") -> None:
    """Slice an `Attention` to the heads with these indices (kept,), in place."""
    import torch

    rows = torch.arange(attention.qkv.out_features, device=kept.device).view(3, attention.num_heads, -1)[:, kept]
    attention.proj = sliced(attention.proj, columns=rows[0].flatten())
    attention.qkv = sliced(attention.qkv, rows=rows.flatten())
    attention.num_heads = len(kept)


def keep_neurons(mlp: Any, kept: "Tensor") -> None:
    """Slice an `Mlp` to the neurons with these indices (kept,), in place."""
    mlp.fc1 = sliced(mlp.fc1, rows=kept)
    mlp.fc2 = sliced(mlp.fc2, columns=kept)


def keep_mean(layer: "nn.Linear", mean: "Tensor", kept: "Tensor", units: int) -> None:
    """Add the mean contribution of the removed units, from the `mean` input (in_features,), to the bias in place."""
    removed = mean.view(units, -1).index_fill(0, kept, 0.0).flatten()
    layer.bias.data += layer.weight.detach() @ removed.to(layer.weight.dtype)


def sliced(layer: "nn.Linear", rows: Any = slice(None), columns: Any = slice(None)) -> "nn.Linear":
    """Return a linear layer with only these output rows and input columns of `layer`."""
    from torch import nn

    weight = layer.weight.detach()[rows][:, columns].clone()
    small = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    small.weight = nn.Parameter(weight, requires_grad=layer.weight.requires_grad)
    small.bias = nn.Parameter(layer.bias.detach()[rows].clone(), requires_grad=layer.bias.requires_grad)
    return small


def magnitude(
    model: Any, cuts: dict[str, Cut], features: "dict[str, Features]", inputs: "Inputs", context: Context
) -> "dict[str, Tensor]":
    """Return the L2 norm (units,) of all weights of each unit."""
    scores = {}
    for name, cut in cuts.items():
        after = model.get_submodule(name)
        before = model.get_submodule(f"{name.rpartition('.')[0]}.{cut.before}")
        rows = before.weight.detach().square().sum(1).view(-1, after.in_features).sum(0)  # over q, k and v
        columns = after.weight.detach().square().sum(0)
        scores[name] = (rows + columns).view(cut.units, -1).sum(1).sqrt()
    return scores


def activation(
    model: Any, cuts: dict[str, Cut], features: "dict[str, Features]", inputs: "Inputs", context: Context
) -> "dict[str, Tensor]":
    """Return the root mean square (units,) of each unit's contribution to its branch over the calibration tokens.

    The features of a unit are taken as uncorrelated.
    """
    return {
        name: (features[name].rms * model.get_submodule(name).weight.detach().norm(dim=0))
        .view(cut.units, -1)
        .norm(dim=1)
        for name, cut in cuts.items()
    }


def taylor(
    model: Any, cuts: dict[str, Cut], features: "dict[str, Features]", inputs: "Inputs", context: Context
) -> "dict[str, Tensor]":
    """Return the expected squared change (units,) of the output without each unit, to first order (arXiv 1906.10771).

    The paper uses the change of the loss; this is the change of the output. Removing activations a changes the output f
    by about J a. Its squared norm is the mean of (v . J a)^2 over random v ~ N(0, I), and v . J is the gradient of
    v . f. Each calibration input has its own v.
    """
    import torch

    from dit_core.compression.calibration import batches
    from dit_core.models.hooks import hooked

    scores: dict[str, Any] = dict.fromkeys(cuts, 0.0)
    units: dict[str, Tensor] = {}

    def keep(name: str, args: Any) -> None:
        units[name] = args[0]  # (N, T, features)

    generator = torch.Generator().manual_seed(context.seed)
    with hooked({name: model.get_submodule(name) for name in cuts}, pre=keep):
        for x, t, y in batches(inputs):
            if context.cancelled():
                raise Cancelled("The run was cancelled.")
            with torch.enable_grad():
                output = model(x.detach().requires_grad_(), t, y)
            probe = torch.randn(output.shape, generator=generator).to(output)
            gradients = torch.autograd.grad(output, [units[name] for name in cuts], probe)
            for (name, cut), gradient in zip(cuts.items(), gradients, strict=True):
                change = (units[name].detach() * gradient).sum(1)  # (N, features)
                scores[name] = scores[name] + change.view(len(change), cut.units, -1).sum(2).square().sum(0)
    return scores


IMPORTANCE = {"magnitude": magnitude, "activation": activation, "taylor": taylor}
