"""The task `experiment_network`: the product's upscaling network on real crops, with software switches.

Belongs here: setting the switches, and timing the network. Does not belong here: which switches are worth
asking about (`e6_gpu_comparison.py`), the product's own way through the network (`models.upscaler`).

The time of a batch is from 8-bit pictures on the host to 8-bit pictures on the host, with the device
synchronised; the resize that follows in the product is left out, for no switch touches it.
"""

from __future__ import annotations

import hashlib
import os
import time
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from video_pipeline.errors import BadInput
from video_pipeline.strict import StrictModel
from video_pipeline.telemetry.timing import timed_operation

if TYPE_CHECKING:
    import torch

    from video_pipeline.models.upscaler import Upscaler
    from video_pipeline.worker import TaskContext

Compile = Literal["no", "default", "reduce-overhead", "max-autotune"]
Precision = Literal["float32", "bfloat16", "float16"]


class NetworkRequest(StrictModel):
    """`pictures` crops of `width` x `height`, from a film, in batches of `batch`."""

    tenant_id: str
    name: str
    source_key: str
    width: int = Field(ge=16)
    height: int = Field(ge=16)
    pictures: int = Field(ge=1)
    batch: int = Field(default=1, ge=1)
    channels_last: bool = True
    precision: Precision = "float32"
    compile: Compile = "no"
    cudnn_benchmark: bool = False
    tf32: bool | None = None
    """None leaves torch's own choice, which is TF32 for convolutions where a GPU has it."""

    def input_keys(self) -> dict[str, str]:
        return {"source": self.source_key}


class NetworkResult(StrictModel):
    """`first_s` is the first batch, with whatever a switch does once; `steady_ms` are milliseconds of a
    picture over the batches after it. The difference from the product's own float32 output on the same
    device is in steps of 255: the largest, and the share of values that differ at all."""

    device: str
    frames: int
    load_s: float
    first_s: float
    steady_ms: float
    steady_ms_least: float
    steady_ms_most: float
    output_sha256: str
    largest_step: int
    differing_share: float


def run(request: NetworkRequest, context: TaskContext) -> NetworkResult:
    """BadInput for fewer than two batches, and for a switch that this device does not have."""
    import torch

    from video_pipeline.models.upscaler import load_upscaler

    on_gpu = torch.cuda.is_available()
    _check(request, on_gpu)
    # What compiling costs is part of the question: no run may find another's code.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(context.scratch / "inductor")
    began = time.perf_counter()
    with timed_operation("model_load"):
        upscaler = load_upscaler("cuda:0" if on_gpu else "cpu")
    load_s = time.perf_counter() - began
    crops = _crops(request, context)
    # Without any switch, and before them: it also takes the device through its own first steps.
    few = crops[: min(len(crops), 4)]
    plain = torch.cat([upscaler.upscale(crop[None]).cpu() for crop in few])
    torch.backends.cudnn.benchmark = request.cudnn_benchmark
    if request.tf32 is not None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = request.tf32
    with timed_operation("inference"):
        times, made = _timed(request, upscaler, crops)
    differences = (made[: len(few)].int() - plain.int()).abs()
    context.usage.frames = len(crops)
    steady = [1000 * seconds / request.batch for seconds in times[1:]]
    return NetworkResult(
        device=torch.cuda.get_device_name(0) if on_gpu else "cpu",
        frames=len(crops),
        load_s=round(load_s, 4),
        first_s=round(times[0], 4),
        steady_ms=round(sum(steady) / len(steady), 4),
        steady_ms_least=round(min(steady), 4),
        steady_ms_most=round(max(steady), 4),
        output_sha256=hashlib.sha256(made.numpy().tobytes()).hexdigest(),
        largest_step=int(differences.max()),
        differing_share=round(float((differences > 0).float().mean()), 6),
    )


def _check(request: NetworkRequest, on_gpu: bool) -> None:
    if request.pictures < 2 * request.batch:
        raise BadInput(
            f"{request.pictures} pictures are fewer than two batches of {request.batch}",
            input="pictures",
            what_to_do="ask for more: the first batch is told apart from the others",
        )
    gpu_only = [name for name in ("cudnn_benchmark", "tf32") if getattr(request, name) not in (None, False)]
    if request.precision == "float16":
        gpu_only.append("float16")
    if gpu_only and not on_gpu:
        raise BadInput(f"{', '.join(gpu_only)} need a GPU", input=request.name, what_to_do="run it on one")


def _crops(request: NetworkRequest, context: TaskContext) -> list[torch.Tensor]:
    """The middle of the film's pictures, (height, width, 3) uint8 RGB each; a short film repeats."""
    import itertools

    import av
    import torch

    from video_pipeline.media.clip_source import ClipSource
    from video_pipeline.media.planes import frame_of_planes

    path = context.scratch / "film.mp4"
    path.write_bytes(context.store.get(request.source_key))
    crops: list[torch.Tensor] = []
    with ClipSource(path, name=request.source_key) as film:
        for picture in itertools.islice(film.pictures(Fraction(0), None), request.pictures):
            frame: av.VideoFrame = frame_of_planes(picture.frame)
            rgb = torch.from_numpy(frame.to_ndarray(format="rgb24"))
            top, left = (rgb.shape[0] - request.height) // 2, (rgb.shape[1] - request.width) // 2
            crops.append(rgb[top : top + request.height, left : left + request.width].contiguous())
    return [crops[number % len(crops)] for number in range(request.pictures)]


def _timed(
    request: NetworkRequest, upscaler: Upscaler, crops: list[torch.Tensor]
) -> tuple[list[float], torch.Tensor]:
    """Seconds of each whole batch, and its pictures (B, 4 height, 4 width, 3) uint8 on the host."""
    import torch

    dtype = getattr(torch, request.precision)
    layout = torch.channels_last if request.channels_last else torch.contiguous_format
    net = upscaler.net.to(dtype)
    net.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    if request.compile != "no":
        net = torch.compile(net, mode=request.compile)
    times: list[float] = []
    made: list[torch.Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(crops) - request.batch + 1, request.batch):
            began = time.perf_counter()
            pictures = torch.stack(crops[start : start + request.batch]).to(upscaler.device)
            given = pictures.permute(0, 3, 1, 2).to(dtype).div_(255).contiguous(memory_format=layout)
            enlarged = net(given).clamp_(0, 1).mul_(255).round_()
            made.append(enlarged.to(torch.uint8).permute(0, 2, 3, 1).cpu())  # waits for the device
            times.append(time.perf_counter() - began)
    return times, torch.cat(made)
