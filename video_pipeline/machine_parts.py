"""Asking a machine for its parts: GPU, NVDEC, torch, libav's encoders, fonts, memory.

Belongs here: one function for each part that answers with what is there, or with the reason why it is not.
Does not belong here: what a probe is for, and what it does with the answers (`machine_probe`).
"""

from __future__ import annotations

import ctypes
import platform
import time
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from video_pipeline.errors import BadInput
from video_pipeline.strict import StrictModel

PACKAGES = ("av", "torch", "numpy", "pillow", "boto3", "wandb", "PyNvVideoCodec", "rapidocr", "onnxruntime")

ENCODERS = ("libvpx-vp9", "libx264", "aac")
"""What tasks encode with."""
HARDWARE_ENCODERS = ("h264_nvenc", "h264_videotoolbox")

SCRIPTS = {
    "Latin": "Aé",
    "Greek": "Ω",
    "Cyrillic": "Ж",
    "Arabic": "ش",
    "Hebrew": "ש",
    "Devanagari": "क",
    "Thai": "ก",
    "Chinese": "漢字",
    "Japanese": "かナ",
    "Korean": "한글",
}
"""Characters that a font must have to be named for the script."""

CONTAINER_HINT = "a container needs NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
NVDEC_BIT_DEPTHS = (8, 10)


class Absent(StrictModel):
    """Why something is not there."""

    reason: str


class Gpu(StrictModel):
    """As NVML states it; memory in MiB, CUDA the newest version that the driver takes."""

    name: str
    memory_mib: int
    driver: str
    cuda: str


class NvdecCodec(StrictModel):
    """What PyNvVideoCodec's `GetDecoderCaps` says of a codec at a bit depth, 4:2:0. Sizes in pixels."""

    codec: str
    bit_depth: int
    engines: int
    max_width: int
    max_height: int


class Torch(StrictModel):
    """`cuda` is the CUDA version that torch was built with, None for a CPU build. `no_cuda` says why it
    computes on the CPU here, and is None if a product on the GPU came out right."""

    version: str
    cuda: str | None
    device: str | None = None
    capability: str | None = None
    first_product_s: float | None = None
    """Until the first product on the GPU was there: context and kernels included."""
    no_cuda: str | None = None


class Libav(StrictModel):
    """libav as PyAV brings it. `hardware_encoders` are those that open on this machine."""

    versions: dict[str, str]
    encoders: tuple[str, ...]
    hardware_encoders: tuple[str, ...]


def gpus() -> tuple[Gpu, ...] | Absent:
    """The NVIDIA GPUs of this machine, or of this container."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]
    except ImportError:
        return Absent(reason="NVML cannot be asked: nvidia-ml-py is not installed (extra: gpu)")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Absent(reason=f"no NVIDIA driver answers: {error}")
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        cuda = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
        found = tuple(
            Gpu(
                name=str(pynvml.nvmlDeviceGetName(handle)),
                memory_mib=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) >> 20,
                driver=driver,
                cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            )
            for handle in handles
        )
    except pynvml.NVMLError as error:
        return Absent(reason=f"NVML stopped answering: {error}")
    finally:
        pynvml.nvmlShutdown()
    return found or Absent(reason="the NVIDIA driver lists no GPU")


def libnvcuvid() -> str | Absent:
    """The library of NVDEC, which belongs to the driver: the name it loads by."""
    name = "libnvcuvid.so.1"
    if platform.system() != "Linux":
        return Absent(reason=f"{name} exists on Linux only; this is {platform.system()}")
    try:
        ctypes.CDLL(name)
    except OSError as error:
        return Absent(reason=f"{error} ({CONTAINER_HINT})")
    return name


def nvdec() -> tuple[NvdecCodec, ...] | Absent:
    """What the first GPU decodes by itself. Takes a second: torch and PyNvVideoCodec start."""
    from video_pipeline.media import decode_nvdec

    reason = decode_nvdec.unavailable()
    if reason is not None:
        return Absent(reason=reason)
    import PyNvVideoCodec as nvc  # pyright: ignore[reportMissingImports]

    chroma = nvc.cudaVideoChromaFormat.__members__["420"]
    found: list[NvdecCodec] = []
    refusals: list[str] = []
    for member in sorted(set(decode_nvdec.CODECS.values())):
        codec = getattr(nvc.cudaVideoCodec, member)
        for depth in NVDEC_BIT_DEPTHS:
            try:
                caps: dict[str, int] = nvc.GetDecoderCaps(
                    gpuid=0, codec=codec, chromaformat=chroma, bitdepth=depth
                )
            except Exception as error:  # The extension raises types of its own.
                refusals.append(f"{member} at {depth} bits: {error}")
                continue
            if caps.get("num_decoder_engines") and caps.get("width_max"):
                found.append(
                    NvdecCodec(
                        codec=member,
                        bit_depth=depth,
                        engines=caps["num_decoder_engines"],
                        max_width=caps["width_max"],
                        max_height=caps.get("height_max", 0),
                    )
                )
    why = "; ".join(refusals) or "it lists no codec"
    return tuple(found) or Absent(reason=f"NVDEC starts, but decodes nothing: {why}")


def torch_here() -> Torch | Absent:
    """torch, and whether it really computes on a GPU here: a small product is made there and checked."""
    try:
        import torch
    except ImportError as error:
        return Absent(reason=f"torch cannot be imported: {error}")
    version = {"version": str(torch.__version__), "cuda": torch.version.cuda}
    if torch.version.cuda is None:
        return Torch(**version, no_cuda="a CPU build of torch")
    if not torch.cuda.is_available():
        return Torch(**version, no_cuda="torch finds no CUDA device (is there an NVIDIA driver?)")
    try:
        started = time.perf_counter()
        ones = torch.ones(64, 64, device="cuda")
        total = float((ones @ ones).sum())
        seconds = time.perf_counter() - started
    except RuntimeError as error:
        return Torch(**version, no_cuda=f"CUDA fails: {str(error).strip().splitlines()[0]}")
    major, minor = torch.cuda.get_device_capability(0)
    return Torch(
        **version,
        device=torch.cuda.get_device_name(0),
        capability=f"{major}.{minor}",
        first_product_s=round(seconds, 3),
        no_cuda=None if total == 64.0**3 else f"a product on the GPU gives {total}, not {64.0**3}",
    )


def libav() -> Libav:
    """The encoders that tasks use, as far as libav has them, and the hardware encoders that open here."""
    import av

    return Libav(
        versions={name: ".".join(map(str, number)) for name, number in av.library_versions.items()},
        encoders=tuple(name for name in ENCODERS if _can_open(name)),
        hardware_encoders=tuple(name for name in HARDWARE_ENCODERS if _can_open(name)),
    )


def _can_open(encoder: str) -> bool:
    """Whether libav has the encoder and it opens: it may be built in where its hardware is not."""
    import av
    from av.audio.codeccontext import AudioCodecContext
    from av.error import FFmpegError
    from av.video.codeccontext import VideoCodecContext

    try:
        context = av.CodecContext.create(encoder, "w")
        if isinstance(context, VideoCodecContext):
            context.width, context.height, context.pix_fmt = 256, 144, "yuv420p"
            context.time_base = Fraction(1, 25)
        elif isinstance(context, AudioCodecContext):
            context.sample_rate, context.format, context.layout = 48_000, "fltp", "stereo"
        context.open()
    except (FFmpegError, ValueError):
        return False
    return True


def fonts() -> dict[str, str | None]:
    """For each script the font file that titles in it are drawn with; None if no font has it."""
    from video_pipeline.clips.font_choice import faces_for

    found: dict[str, str | None] = {}
    for script, characters in SCRIPTS.items():
        try:
            face = next(iter(faces_for(characters, input=script).values()))
        except BadInput:
            found[script] = None
        else:
            found[script] = str(face.path)
    return found


def lays_out_right_to_left() -> bool:
    """Whether Pillow has Raqm and FriBiDi: without them Arabic and Hebrew come out unshaped and reversed."""
    from PIL import features

    return bool(features.check("raqm") and features.check("fribidi"))


def installed(package: str) -> str | None:
    """A package's version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's model as Linux states it; elsewhere its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def memory_limit_mib() -> int | None:
    """The container's limit on memory (cgroup v2 `memory.max`; v1 `memory.limit_in_bytes`), or None."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        # cgroup v1 states "no limit" as the greatest multiple of a page below 2**63.
        if text.isdigit() and int(text) < 1 << 60:
            return int(text) >> 20
    return None
