"""The task `probe`: through the local backend as users run it, and part by part where hardware is missing."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch

from tests.doubles import nvdec as nvdec_double
from video_pipeline import machine_parts as parts
from video_pipeline.compute.follow import CallFailed, run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.machine_parts import Absent, Gpu, NvdecCodec, Torch
from video_pipeline.machine_probe import ProbeRequest, ProbeResult, describe
from video_pipeline.media import decode_nvdec
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.tasks import find_task

NO_GPU = torch.version.cuda is None or not torch.cuda.is_available()
without_gpu = pytest.mark.skipif(not NO_GPU, reason="this machine has a GPU")


class NvmlDouble(types.ModuleType):
    """A double of pynvml: one GPU, or a driver that does not answer."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, answers: bool = True, count: int = 1) -> None:
        super().__init__("pynvml")
        self._answers, self._count = answers, count
        self.shut_down = False

    def nvmlInit(self) -> None:
        if not self._answers:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        self.shut_down = True

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.95.05"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 13_010

    def nvmlDeviceGetCount(self) -> int:
        return self._count

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        return number

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA A10"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(total=23_028 << 20)


@pytest.fixture
def probed(settings: Settings) -> tuple[ProbeResult, str]:
    """A probe of this machine through the local backend: its result and its page."""
    store = open_store(settings)
    _, record = run_call(LocalCompute(settings, store), "probe", ProbeRequest())
    result = ProbeResult.model_validate(record.result)
    page = store.get(record.report_keys["probe.txt"]).decode()
    assert not [item for item in store.list("") if item.key.endswith("round_trip")]
    return result, page


def test_a_probe_tells_what_this_machine_is(probed: tuple[ProbeResult, str]) -> None:
    import av

    result, page = probed
    assert result.cores >= 1
    assert 256 < result.memory_mib < 1 << 24
    assert result.python == ".".join(map(str, sys.version_info[:3]))
    assert result.libav.versions["libavcodec"] == ".".join(map(str, av.library_versions["libavcodec"]))
    assert result.libav.encoders == ("libvpx-vp9", "libx264", "aac")
    assert result.packages["av"] == av.__version__
    assert result.conditional_writes
    assert 0 < result.store_round_trip_s < 10
    assert isinstance(result.torch, Torch)
    assert result.torch.version == torch.__version__
    assert (result.fonts["Latin"] or "").endswith("DejaVuSans.ttf")
    assert page == describe(result)


@without_gpu
def test_a_machine_without_a_gpu_says_so_in_words(probed: tuple[ProbeResult, str]) -> None:
    result, page = probed
    assert isinstance(result.gpus, Absent)
    assert isinstance(result.nvdec, Absent)
    assert isinstance(result.libnvcuvid, Absent)
    assert isinstance(result.torch, Torch)
    assert result.torch.no_cuda
    assert {line.split(":")[0] for line in result.missing} >= {"gpu", "nvdec", "torch_cuda"}
    assert "GPU: none. " in page
    assert "NVDEC: none. torch finds no CUDA device" in page
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video" in page


@pytest.mark.slow
@without_gpu
def test_a_probe_that_needs_a_gpu_fails_and_names_what_is_missing(settings: Settings) -> None:
    store = open_store(settings)
    with pytest.raises(CallFailed, match=r"lacks what was needed: nvdec: .*; gpu: ") as caught:
        run_call(LocalCompute(settings, store), "probe", ProbeRequest(needs=("nvdec", "gpu")))
    assert caught.value.error.kind == "internal"
    assert "needs nvdec, gpu" in (caught.value.error.input or "")
    assert "probe.txt" in caught.value.record.report_keys, "what was found is kept"


def test_every_probe_is_a_call_of_its_own(settings: Settings) -> None:
    from video_pipeline.tasks import call_key_of

    task, store = find_task("probe"), open_store(settings)
    keys = {call_key_of(task, task.parse_request({}), store) for _ in range(2)}
    assert len(keys) == 2


def test_the_gpu_is_told_as_nvml_states_it(monkeypatch: pytest.MonkeyPatch) -> None:
    double = NvmlDouble()
    monkeypatch.setitem(sys.modules, "pynvml", double)
    assert parts.gpus() == (Gpu(name="NVIDIA A10", memory_mib=23_028, driver="580.95.05", cuda="13.1"),)
    assert double.shut_down


def test_a_driver_that_does_not_answer_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", NvmlDouble(answers=False))
    assert parts.gpus() == Absent(reason="no NVIDIA driver answers: Driver Not Loaded")
    monkeypatch.setitem(sys.modules, "pynvml", NvmlDouble(count=0))
    assert parts.gpus() == Absent(reason="the NVIDIA driver lists no GPU")


def capabilities(**engines: int) -> types.ModuleType:
    """PyNvVideoCodec's double with engines for the codecs named; others are refused as by an old GPU."""
    double = types.ModuleType("PyNvVideoCodec")
    for name in ("cudaVideoCodec", "cudaVideoChromaFormat"):
        setattr(double, name, getattr(nvdec_double.module(), name))

    def caps(*, gpuid: int, codec: object, chromaformat: object, bitdepth: int) -> dict[str, int]:
        name = str(codec).rpartition(".")[2]
        if bitdepth == 10:
            raise RuntimeError("not at 10 bits")
        # AV1 stands for a codec that is listed with engines and takes no picture of any size.
        width = 0 if name == "AV1" else 4096
        return {"num_decoder_engines": engines.get(name, 0), "width_max": width, "height_max": 2304}

    double.__dict__["GetDecoderCaps"] = caps
    return double


def test_nvdec_lists_the_codecs_that_have_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_nvdec, "unavailable", lambda: None)
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", capabilities(H264=2, HEVC=1, AV1=1))
    assert parts.nvdec() == (
        NvdecCodec(codec="H264", bit_depth=8, engines=2, max_width=4096, max_height=2304),
        NvdecCodec(codec="HEVC", bit_depth=8, engines=1, max_width=4096, max_height=2304),
    )


def test_an_nvdec_that_decodes_nothing_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_nvdec, "unavailable", lambda: None)
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", capabilities())
    found = parts.nvdec()
    assert isinstance(found, Absent)
    assert "decodes nothing" in found.reason
    assert "not at 10 bits" in found.reason


def test_a_script_that_no_font_has_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SCRIPTS", {"Latin": "A", "none": "\U000f0000"})
    fonts = parts.fonts()
    assert fonts["none"] is None
    assert fonts["Latin"]


def test_an_encoder_that_is_built_in_but_does_not_open_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "HARDWARE_ENCODERS", ("h264_v4l2m2m", "no_such_encoder"))
    assert parts.libav().hardware_encoders == ()


@pytest.mark.parametrize(
    ("text", "limit"), [("max\n", None), ("8589934592\n", 8192), ("9223372036854771712\n", None)]
)
def test_the_containers_memory_limit_is_read_as_linux_writes_it(
    text: str, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert parts.memory_limit_mib() == limit


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU, reason="this machine has no GPU that torch can use")
def test_a_machine_with_a_gpu_has_everything_that_tasks_need(settings: Settings) -> None:
    _, record = run_call(
        LocalCompute(settings, open_store(settings)),
        "probe",
        ProbeRequest(needs=("gpu", "nvdec", "torch_cuda", "encoders")),
    )
    result = ProbeResult.model_validate(record.result)
    assert isinstance(result.torch, Torch)
    assert result.torch.device
    assert not isinstance(result.nvdec, Absent)
    assert {"H264", "HEVC"} <= {row.codec for row in result.nvdec}
