"""GPU and NVDEC utilisation while something runs, where NVML answers.

Belongs here: sampling NVML. Does not belong here: deciding what to run where. Where there is no NVIDIA GPU
the answer is the reason, never a zero.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any

SAMPLE_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class GpuUtilisation:
    """Means over a run, in percent. `reason` says why there are none, and then the others are None."""

    gpu_percent: float | None = None
    nvdec_percent: float | None = None
    memory_used_mib: float | None = None
    name: str | None = None
    reason: str = ""


class GpuSampler:
    """Samples the first GPU in a thread of its own between `with` and its end; then `result` holds means."""

    def __init__(self) -> None:
        self.result = GpuUtilisation(reason="nothing was sampled")
        self._samples: list[tuple[float, float, float]] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._nvml: Any = None
        self._name = ""

    def __enter__(self) -> GpuSampler:
        try:
            import pynvml  # pyright: ignore[reportMissingImports]
        except ImportError:
            self.result = GpuUtilisation(reason="nvidia-ml-py is not installed (extra: gpu)")
            return self
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            self._name = str(pynvml.nvmlDeviceGetName(handle))
        except pynvml.NVMLError as error:
            self.result = GpuUtilisation(reason=f"NVML does not answer: {error}")
            return self
        self._nvml = pynvml
        self.result = GpuUtilisation(reason=f"the run was shorter than {SAMPLE_EVERY_S} s")
        self._thread = threading.Thread(target=self._sample, args=(handle,), name="gpu-sampler", daemon=True)
        self._thread.start()
        return self

    def _sample(self, handle: Any) -> None:
        nvml = self._nvml
        while not self._ended.wait(SAMPLE_EVERY_S):
            try:
                rates = nvml.nvmlDeviceGetUtilizationRates(handle)
                decoder, _period = nvml.nvmlDeviceGetDecoderUtilization(handle)
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            except nvml.NVMLError as error:
                self.result = GpuUtilisation(reason=f"NVML stopped answering: {error}")
                return
            self._samples.append((float(rates.gpu), float(decoder), memory.used / 2**20))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        if self._samples:
            count = len(self._samples)
            gpu, decoder, memory = (sum(column) / count for column in zip(*self._samples, strict=True))
            self.result = GpuUtilisation(gpu, decoder, memory, self._name)
        self._nvml.nvmlShutdown()
