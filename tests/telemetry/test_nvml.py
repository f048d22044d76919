"""What the sampler makes of NVML's answers, with a double in NVML's place: no GPU is needed."""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import Iterator
from typing import Any

import pytest

from video_pipeline.telemetry import nvml
from video_pipeline.telemetry.nvml import GpuSampler, GpuUtilisation


class NVMLError(Exception):
    pass


class Double(types.ModuleType):
    """A double of `pynvml`. Answers are (GPU %, NVDEC %, bytes in use), the last of them again and again;
    None stands for an NVML that fails. `asked` counts them, `ended` shut-downs."""

    NVMLError = NVMLError

    def __init__(self, *answers: tuple[int, int, int] | None, starts: bool = True) -> None:
        super().__init__("pynvml")
        self._answers, self._starts = list(answers), starts
        self.asked = self.ended = 0
        self._now = answers[0] if answers else None

    def nvmlInit(self) -> None:
        if not self._starts:
            raise NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        self.ended += 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        assert index == 0
        return "first"

    def nvmlDeviceGetName(self, handle: str) -> str:
        assert handle == "first"
        return "NVIDIA Double"

    def nvmlDeviceGetUtilizationRates(self, _handle: str) -> Any:
        self._now = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        if self._now is None:
            raise NVMLError("GPU is lost")
        return types.SimpleNamespace(gpu=self._now[0], memory=99)

    def nvmlDeviceGetDecoderUtilization(self, _handle: str) -> tuple[int, int]:
        assert self._now is not None
        return self._now[1], 167_000

    def nvmlDeviceGetMemoryInfo(self, _handle: str) -> Any:
        assert self._now is not None
        return types.SimpleNamespace(used=self._now[2], total=1 << 40)


@pytest.fixture(autouse=True)
def _no_sampler_outlives_its_test() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "gpu-sampler"]


def sampled(monkeypatch: pytest.MonkeyPatch, double: Double, *, times: int) -> GpuUtilisation:
    """The answer after so many looks."""
    monkeypatch.setitem(sys.modules, "pynvml", double)
    monkeypatch.setattr(nvml, "SAMPLE_EVERY_S", 0.01 if times else 60.0)
    with GpuSampler() as sampler:
        deadline = time.monotonic() + 30
        while double.asked < times and time.monotonic() < deadline:
            time.sleep(0.005)
    return sampler.result


def test_the_answer_is_the_mean_of_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    double = Double((90, 30, 3 << 20), (30, 0, 1 << 20), None)
    found = sampled(monkeypatch, double, times=3)
    assert found == GpuUtilisation(60.0, 15.0, 2.0, "NVIDIA Double", "")
    assert double.ended == 1


def test_a_gpu_that_never_answers_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    double = Double(None)
    assert sampled(monkeypatch, double, times=1) == GpuUtilisation(
        reason="NVML stopped answering: GPU is lost"
    )
    assert double.ended == 1


def test_a_run_shorter_than_one_look_has_no_figures_and_does_not_wait_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = time.monotonic()
    found = sampled(monkeypatch, Double((90, 30, 3 << 20)), times=0)
    assert found == GpuUtilisation(reason="the run was shorter than 60.0 s")
    assert time.monotonic() - began < 30


def test_where_nvml_is_not_there_the_reason_is_told_and_no_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    double = Double(starts=False)
    assert sampled(monkeypatch, double, times=0) == GpuUtilisation(
        reason="NVML does not answer: Driver Not Loaded"
    )
    assert double.ended == 0
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with GpuSampler() as sampler:
        pass
    assert "not installed" in sampler.result.reason
    assert sampler.result.gpu_percent is None
