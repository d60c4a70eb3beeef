"""What the driver of an NVIDIA GPU tells (NVML, through `pynvml`) of the GPU that torch uses."""

from typing import Any

import torch


class NoNvml(RuntimeError):
    """The message is the reason."""


class Gpu:
    """The current CUDA device. Raises NoNvml where the driver does not know it."""

    def __init__(self) -> None:
        import pynvml

        self.nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            # By its own id: CUDA_VISIBLE_DEVICES renumbers torch's devices and not NVML's.
            uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
            self.handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        except pynvml.NVMLError as error:
            raise NoNvml(f"NVML does not know this GPU: {error}") from error

    def joules(self) -> float:
        """Energy of the whole GPU since the driver was loaded; raises NoNvml on a GPU that does not count it."""
        try:
            return self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1000
        except self.nvml.NVMLError as error:
            raise NoNvml(f"NVML does not tell the energy of this GPU: {error}") from error

    def driver(self) -> str | None:
        """Version of the driver; None where it does not tell."""
        told = self._ask(self.nvml.nvmlSystemGetDriverVersion)
        return told.decode() if isinstance(told, bytes) else told

    def process_bytes(self, pid: int) -> int | None:
        """Memory of one process, its CUDA context included; None where the driver does not tell."""
        found = next((one for one in self._processes() if one.pid == pid), None)
        return found.usedGpuMemory if found else None

    def processes(self) -> int | None:
        """How many processes compute on it; None where the driver does not tell."""
        return len(self._processes()) or None

    def state(self) -> dict[str, Any]:
        """Utilization (a share), clock and temperature at this moment; None where the driver does not tell."""
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

    def _ask(self, question: Any, *args: Any) -> Any:
        try:
            return question(*args)
        except self.nvml.NVMLError:
            return None
