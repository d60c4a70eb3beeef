"""Write and read networks that techniques have changed: all modules with their weights.

The file has torch's own format. It is read with `weights_only=True` and a list of allowed classes, so that code in a
file from another source never runs. Tensors in float32 are written in float16, except those that a module class lists
in `exact`. The file lists the converted tensors, and reading converts them back to float32.
"""

import copy
import importlib
import inspect
import io
import pkgutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dit_core.errors import BadRequest
from dit_core.models import attention, dit, experts, int8, packed, presets, sparse
from dit_core.models.dit import DiT
from dit_core.system import causes
from dit_core.system.files import write_bytes

PARTS = (dit, attention, experts, int8, packed, sparse)
NETWORK, HALVED = "network", "halved"
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
    """Return whether a network is an unchanged DiT in float32, so that configuration and state dict describe it."""
    config = getattr(network, "config", None)
    if type(network) is not DiT or not isinstance(config, presets.DiTConfig):
        return False
    with torch.device("meta"):
        expected = DiT(config)
    kinds = [[(name, type(module)) for name, module in model.named_modules()] for model in (network, expected)]
    values = [
        [(name, value.shape, value.dtype) for name, value in model.state_dict().items()]
        for model in (network, expected)
    ]
    return kinds[0] == kinds[1] and values[0] == values[1]


def write_network(network: nn.Module, path: Path) -> None:
    """Write a network and read it back as a check. Raises BadRequest if a module or a weight cannot be saved."""
    allowed = _allowed()
    for name, module in network.named_modules():
        if type(module) not in allowed:
            raise BadRequest(f"{name} is a {type(module).__name__}, which cannot be exported: remove its technique.")
    for name, parameter in network.named_parameters():
        if type(parameter.data) is not torch.Tensor:
            raise BadRequest(f"{name} is packed for this machine and cannot be exported: quantize where it will run.")
    buffer = io.BytesIO()
    torch.save(_halved(network), buffer)
    write_bytes(buffer.getvalue(), path)
    read_network(path)


def read_network(path: Path) -> nn.Module:
    """Return the network in a file. Raises BadRequest if the file is damaged or holds anything else."""
    try:
        with torch.serialization.safe_globals(_allowed()):
            network = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadRequest(causes.not_read(path, error)) from error
    except Exception as error:  # a damaged file can make the unpickler raise any
        raise BadRequest(f"{path} is damaged, or holds more than a network: it was not loaded.") from error
    halved: list[str] = []
    if isinstance(network, dict) and set(network) == {NETWORK, HALVED}:
        network, halved = network[NETWORK], network[HALVED]
    if not isinstance(network, nn.Module):
        raise BadRequest(f"{path} holds no network: export it again.")
    for tensor in map(_named_tensors(network).get, halved):
        if tensor is None:
            raise BadRequest(f"{path} is damaged: it lacks weights that it names.")
        tensor.data = tensor.data.float()
    return network.eval().requires_grad_(False)


def _halved(network: nn.Module) -> dict[str, Any]:
    """Return a copy with float32 tensors in float16, and their names. Tensors that float16 cannot hold stay."""
    network = copy.deepcopy(network)
    exact = {f"{name}.{own}" for name, module in network.named_modules() for own in getattr(type(module), "exact", ())}
    halved = []
    for name, tensor in _named_tensors(network).items():
        half = tensor.data.half()
        if tensor.dtype == torch.float32 and name not in exact and half.isfinite().all():
            tensor.data = half
            halved.append(name)
    return {NETWORK: network, HALVED: halved}


def _named_tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _allowed() -> list[Any]:
    """Return the classes that a file may refer to: those of PARTS, and every module class of `dit_core.models`."""
    own = [value for part in PARTS for value in _classes_of(part)]
    folder = Path(__file__).parent
    others = [importlib.import_module(f"{__package__}.{module.name}") for module in pkgutil.iter_modules([str(folder)])]
    modules = [value for other in others for value in _classes_of(other) if issubclass(value, nn.Module)]
    return [*own, *modules, *BUILT_IN]


def _classes_of(part: Any) -> list[type]:
    return [value for value in vars(part).values() if inspect.isclass(value) and value.__module__ == part.__name__]
