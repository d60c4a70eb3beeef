"""The devices of this machine: which there are, which is used by default, and why one cannot be used.

`found` and `default` need no torch: NVIDIA GPUs come from the driver (NVML), all others from the last `report`, which
the worker writes. Only the last functions of this module import torch.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest
from dit_core.system import hardware
from dit_core.system.cache import cache_folder, keep

if TYPE_CHECKING:
    import torch

KINDS = ("cpu", "cuda", "mps", "xpu")
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
DEFAULT_PRECISION = {"cuda": "tf32"}  # as in fast-DiT's sampling script; float32 elsewhere
VARIABLE = "DIT_DEVICE"
_ID = re.compile(r"cpu|mps|(cuda|xpu)(:\d{1,3})?")
_NOT_FOR_TORCH = "torch cannot use it: install a build of torch that fits this GPU and its driver"
_FRESH_S = 10.0
_REPORT_S = 120.0  # to import torch

# CUDA numbers GPUs by speed unless told to use the order of the driver
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


@dataclass(frozen=True)
class Device:
    """A device as torch names it. `reason` says why it cannot be used; empty if it can.

    `capability` is the compute capability of an NVIDIA GPU.
    """

    id: str
    name: str
    memory_bytes: int | None = None
    reason: str = ""
    capability: tuple[int, int] | None = None


def kind(device: str) -> str:
    """Return the kind of a device, one of KINDS: `cuda` for `cuda:1`."""
    return device.partition(":")[0]


def index(device: str) -> int:
    """Return the number of a device among those of its kind: 1 for `cuda:1`, 0 without a number."""
    return int(device.partition(":")[2] or 0)


def parse(device: str) -> str:
    """Return the name of a device in its one form, `cuda` for `cuda:0`. Raises BadRequest if it is no such name."""
    if not isinstance(device, str) or not _ID.fullmatch(device):
        raise BadRequest(f"Unknown device {device!r}: use one of {', '.join(KINDS)}, or for example cuda:1.")
    return f"{kind(device)}:{index(device)}" if index(device) else kind(device)


def default_precision(device: str) -> str:
    """Return the precision in which people run a model on a device."""
    return DEFAULT_PRECISION.get(kind(device), PRECISIONS[0])


def found() -> list[Device]:
    """Return the devices of this machine, usable ones first, the CPU last."""
    visible, report_time = os.environ.get("CUDA_VISIBLE_DEVICES"), _time(_report_path())
    return list(_found(visible, report_time, int(time.monotonic() / _FRESH_S)))


def usable() -> list[Device]:
    """Return the devices that a run can use."""
    return [device for device in found() if not device.reason]


def find(device: str) -> Device | None:
    """Return the device with this name; None if this machine does not have it."""
    return next((each for each in found() if each.id == device), None)


def default() -> str:
    """Return the device of DIT_DEVICE, else the best that can be used. Raises BadRequest if the variable names none."""
    if chosen := os.environ.get(VARIABLE):
        return parse(chosen)
    return usable()[0].id


def missing(device: str) -> str:
    """Return why this machine cannot use a device, as a sentence that says what to use instead; empty if it can."""
    there = find(device)
    if there and not there.reason:
        return ""
    what = (
        f"{there.name} ({device}) cannot be used: {there.reason}" if there else f"This machine has no {device} device"
    )
    return f"{what}. Use {' or '.join(each.id for each in usable())}."


@lru_cache(maxsize=1)
def _found(visible: str | None, report_time: int, age: int) -> tuple[Device, ...]:
    devices = {device.id: device for device in _visible(list(_nvidia()), visible)}
    reported = _last_report()
    if reported is not None:
        for device in devices.values():
            if not device.reason and device.id not in reported:
                devices[device.id] = replace(device, reason=_NOT_FOR_TORCH)
        devices |= {name: device for name, device in reported.items() if name not in devices}
    cpu = Device("cpu", hardware.processor_name(), hardware.memory_bytes())
    return (*sorted(devices.values(), key=lambda device: bool(device.reason)), cpu)


def _nvidia() -> Iterator[tuple[str, str, Device]]:
    """Yield number, UUID and device of each NVIDIA GPU, or of the parts (MIG) of a GPU that is divided."""
    try:
        import pynvml
    except ImportError:
        return
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return
    try:
        for number in range(count):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(number)
                parts = list(_parts(pynvml, handle))
                for place, part in enumerate(parts or [handle]):
                    uuid, device = _described(pynvml, part, handle)
                    if place:  # CUDA shows only the first part of a GPU unless it is told another
                        hidden = f"set CUDA_VISIBLE_DEVICES={uuid} to use this part of the GPU"
                        device = replace(device, id=uuid, reason=hidden)
                    yield str(number) if not place else "", uuid, device
            except pynvml.NVMLError as error:
                yield str(number), "", Device("", f"GPU {number}", reason=f"the driver lost contact with it ({error})")
    finally:
        pynvml.nvmlShutdown()


def _parts(nvml: Any, handle: Any) -> Iterator[Any]:
    """Yield the instances of a GPU that is divided by MIG; nothing if it is whole."""
    try:
        divided = nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE
        most = nvml.nvmlDeviceGetMaxMigDeviceCount(handle) if divided else 0
    except nvml.NVMLError:  # most GPUs cannot be divided
        return
    for place in range(most):
        try:
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
        except nvml.NVMLError:  # no instance in this place
            continue


def _described(nvml: Any, part: Any, whole: Any) -> tuple[str, Device]:
    name, uuid = (_text(read(part)) for read in (nvml.nvmlDeviceGetName, nvml.nvmlDeviceGetUUID))
    memory = nvml.nvmlDeviceGetMemoryInfo(part).total
    capability = tuple(nvml.nvmlDeviceGetCudaComputeCapability(whole))
    local = _torch_version().partition("+")[2]
    return uuid, Device("", name, memory, _NOT_FOR_TORCH if local == "cpu" else "", capability)


def _visible(gpus: list[tuple[str, str, Device]], visible: str | None) -> Iterator[Device]:
    """Yield the GPUs that CUDA_VISIBLE_DEVICES leaves visible, with the names that torch gives them."""
    chosen = [gpu for _, _, gpu in gpus]
    if visible is not None:
        chosen = []
        for word in map(str.strip, visible.split(",")):
            match = [gpu for number, uuid, gpu in gpus if word and (number == word or uuid.startswith(word))]
            if not match:
                break  # CUDA ignores all that follow the first entry that it does not know
            chosen.append(replace(match[0], id="", reason="") if match[0].id else match[0])
    numbered = 0
    for gpu in chosen:
        if gpu.id:
            yield gpu
        else:
            yield replace(gpu, id=f"cuda:{numbered}" if numbered else "cuda")
            numbered += 1


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _torch_version() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:  # the pages need none
        return ""


def _report_path() -> Path:
    return cache_folder() / "devices.json"


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _last_report() -> dict[str, Device] | None:
    """Return the devices of the last report of the installed torch; None if there is none."""
    try:
        content = json.loads(_report_path().read_text())
        if content["torch"] != _torch_version() or content["visible"] != os.environ.get("CUDA_VISIBLE_DEVICES"):
            return None
        return {entry["id"]: Device(**entry) for entry in content["devices"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def learn(*, again: bool = False) -> None:
    """Let another process write the `report` where the driver does not tell all: on a Mac, and with ROCm or XPU.

    Returns at once elsewhere and if there is a report; with `again`, a new report is written wherever there is a GPU.
    """
    silent = sys.platform == "darwin" or any(word in _torch_version() for word in ("rocm", "xpu"))
    if (again and len(found()) > 1) or (silent and (again or _last_report() is None)):
        command = [sys.executable, "-c", f"from {__name__} import report; report()"]
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, cwd=Path(__file__).parents[2], timeout=_REPORT_S, capture_output=True, check=False)


def report() -> list[Device]:
    """Ask torch for its devices besides the CPU, and keep the answer for `found`. Call it in a process of its own."""
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    devices = []
    if accelerator is not None and accelerator.type in KINDS:
        for number in range(torch.accelerator.device_count()):
            name = f"{accelerator.type}:{number}" if number else accelerator.type
            try:
                devices.append(of_torch(name))
            except RuntimeError as error:
                devices.append(Device(name, name, reason=str(error).strip().splitlines()[0]))
    content = {"torch": _torch_version(), "visible": os.environ.get("CUDA_VISIBLE_DEVICES")}
    keep(_report_path(), json.dumps({**content, "devices": [asdict(device) for device in devices]}).encode())
    return devices


def of_torch(device: str) -> Device:
    """Return what torch knows of a device other than the CPU."""
    import torch

    if kind(device) == "mps":
        return Device(device, f"{hardware.processor_name()} GPU", torch.mps.recommended_max_memory())
    properties = torch.get_device_module(kind(device)).get_device_properties(index(device))
    return Device(device, properties.name, properties.total_memory)


def select(device: str) -> "torch.device":
    """Make a device the current one of this process and return it. Raises BadRequest if torch cannot use it."""
    import torch

    if kind(device) != "cpu":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None or accelerator.type != kind(device) or index(device) >= torch.accelerator.device_count():
            raise BadRequest(missing(device) or f"torch cannot use {device}: use --device cpu.")
        torch.accelerator.set_device_index(index(device))
    return torch.device(device)


def synchronizer(device: str) -> Callable[[], None]:
    """Return a function that waits until the device has done its work; on a CPU it returns at once."""
    if kind(device) == "cpu":
        return lambda: None
    import torch

    return torch.accelerator.synchronize


def set_precision(precision: str) -> "torch.dtype":
    """Allow or forbid TF32 in this process, and return the type of the network's weights."""
    import torch

    tf32 = precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    return torch.float32 if precision in ("float32", "tf32") else getattr(torch, precision)
