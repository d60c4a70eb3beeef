"""`pynvml` of a machine with GPUs that are not there."""

# ruff: noqa: N802 (the names are those of pynvml)

from dataclasses import dataclass
from types import SimpleNamespace


@dataclass
class FakeGpu:
    name: str
    lost: bool = False
    parts: int | None = None  # None: not divided by MIG


class FakeDriver:
    """`pynvml` with these GPUs. A handle is a pair of GPU and part."""

    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        pass

    def __init__(self, *gpus):
        self.gpus = gpus

    def nvmlInit(self):
        pass

    def nvmlShutdown(self):
        pass

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, number):
        if self.gpus[number].lost:
            raise self.NVMLError("GPU is lost")
        return number, None

    def nvmlDeviceGetMigMode(self, handle):
        if self.gpus[handle[0]].parts is None:
            raise self.NVMLError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, place):
        if place >= self.gpus[handle[0]].parts:
            raise self.NVMLError("Not Found")
        return handle[0], place

    def nvmlDeviceGetName(self, handle):
        return self.gpus[handle[0]].name.encode()

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle[0]}" if handle[1] is None else f"MIG-{handle[0]}-{handle[1]}"

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(total=80 * 2**30)

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        assert handle[1] is None
        return 9, 0
