"""Readings of the NVIDIA GPU that torch uses, from its driver (NVML, through `pynvml`)."""

from typing import Any

import torch

from dit_core.system import devices


class NoNvml(RuntimeError):
    """NVML cannot answer. The message is the reason."""


class Gpu:
    """A CUDA device, or a part of one (MIG). Raises NoNvml if the driver does not know it."""

    def __init__(self, device: str = "cuda") -> None:
        import pynvml

        self.nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            # By UUID: CUDA_VISIBLE_DEVICES renumbers the devices of torch but not those of NVML.
            uuid = torch.cuda.get_device_properties(devices.index(device)).uuid
            self.handle = self._by_uuid(f"GPU-{uuid}", f"MIG-{uuid}")
        except pynvml.NVMLError as error:
            raise NoNvml(f"NVML does not know this GPU: {error}") from error

    def _by_uuid(self, whole: str, part: str) -> Any:
        try:
            return self.nvml.nvmlDeviceGetHandleByUUID(whole)
        except self.nvml.NVMLError:
            return self.nvml.nvmlDeviceGetHandleByUUID(part)

    def joules(self) -> float:
        """Energy of the whole GPU since the driver was loaded. Raises NoNvml if the GPU does not count it."""
        try:
            return self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1000
        except self.nvml.NVMLError as error:
            raise NoNvml(f"NVML does not report the energy of this GPU: {error}") from error

    def driver(self) -> str | None:
        """Version of the driver; None if it is not reported."""
        version = self._ask(self.nvml.nvmlSystemGetDriverVersion)
        return version.decode() if isinstance(version, bytes) else version

    def process_bytes(self, pid: int) -> int | None:
        """Memory of one process with its CUDA context; None if it is not reported."""
        process = next((process for process in self._processes() if process.pid == pid), None)
        return process.usedGpuMemory if process else None

    def processes(self) -> int | None:
        """Number of processes that compute on the GPU; None if it is not reported."""
        return len(self._processes()) or None

    def state(self) -> dict[str, Any]:
        """Utilization (a share), clock and temperature now; None if not reported."""
        nvml, handle = self.nvml, self.handle
        utilization = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        clock = self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM)
        return {
            "utilization": None if utilization is None else utilization.gpu / 100,
            "clock_hz": None if clock is None else clock * 1_000_000,
            "temperature_celsius": self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        }

    def _processes(self) -> list[Any]:
        return self._ask(self.nvml.nvmlDeviceGetComputeRunningProcesses, self.handle) or []

    def _ask(self, function: Any, *args: Any) -> Any:
        try:
            return function(*args)
        except self.nvml.NVMLError:
            return None
