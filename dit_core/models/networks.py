"""Networks that techniques have changed, as files: the modules with their weights, whatever they have become.

The file is torch's own format. It is read with `weights_only=True` and a list of the classes that a network of this
project can be made of, so code in a file from elsewhere never runs.
"""

import inspect
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dit_core.errors import BadRequest
from dit_core.files import write_bytes
from dit_core.models import attention, dit, experts, packed, presets, sparse
from dit_core.models.dit import DiT

PARTS = (dit, attention, experts, packed, sparse)
BUILT_IN = (
    nn.Conv2d,
    nn.Embedding,
    nn.GELU,
    nn.LayerNorm,
    nn.Linear,
    nn.ModuleList,
    nn.Sequential,
    nn.SiLU,
    presets.DiTConfig,
    set,
)


def is_plain(network: nn.Module) -> bool:
    """Whether a network is a DiT as its configuration describes it, so that a state dict says all of it."""
    config = getattr(network, "config", None)
    if type(network) is not DiT or not isinstance(config, presets.DiTConfig):
        return False
    with torch.device("meta"):
        expected = DiT(config)
    kinds = [[(name, type(module)) for name, module in model.named_modules()] for model in (network, expected)]
    shapes = [[(name, value.shape) for name, value in model.state_dict().items()] for model in (network, expected)]
    return kinds[0] == kinds[1] and shapes[0] == shapes[1]


def write_network(network: nn.Module, path: Path) -> None:
    """Write a network with all that it is made of, and read it back; raises BadRequest where no file can hold it."""
    allowed = _allowed()
    for name, module in network.named_modules():
        if type(module) not in allowed:
            raise BadRequest(f"{name} is a {type(module).__name__}, which cannot be exported: leave its technique out.")
    for name, parameter in network.named_parameters():
        if type(parameter.data) is not torch.Tensor:
            raise BadRequest(f"{name} is packed for this machine and cannot be exported: quantize where it will run.")
    buffer = io.BytesIO()
    torch.save(network, buffer)
    write_bytes(buffer.getvalue(), path)
    read_network(path)


def read_network(path: Path) -> nn.Module:
    """The network of a file; raises BadRequest where the file is damaged or holds anything else."""
    try:
        with torch.serialization.safe_globals(_allowed()):
            network = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, AttributeError) as error:
        raise BadRequest(f"{path} is damaged, or holds more than a network: it was not loaded.") from error
    if not isinstance(network, nn.Module):
        raise BadRequest(f"{path} holds no network: export it again.")
    return network.eval().requires_grad_(False)


def _allowed() -> list[Any]:
    own = [
        value
        for part in PARTS
        for value in vars(part).values()
        if inspect.isclass(value) and value.__module__ == part.__name__
    ]
    return [*own, *BUILT_IN]
