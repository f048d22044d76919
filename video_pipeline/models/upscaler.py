"""Upscaling of 8-bit pictures by a super-resolution network, from pictures on a device to pictures on it.

Belongs here: loading the network's weights, batches and tiles within a memory limit, the resize to the wanted
size, and 8-bit output. Does not belong here: the network (`srvgg.py`), how the shipped weights were made
(`scripts/convert_upscaler.py`), decoding, encoding and which part of a picture is wanted.

Only 8-bit pictures at the wanted size ever need to leave the device: 6 MB for 1920x1080, where the network's
own output for such a picture is 398 MB. The shipped network is Real-ESRGAN's animevideov3 x4. It was trained
to please the eye and draws clean edges; pixel by pixel, a bicubic resize is nearer to the true picture.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor
from torch.nn import functional

from video_pipeline.errors import BadInput, Internal, OutOfMemory
from video_pipeline.models.shipped import UPSCALER_WEIGHTS
from video_pipeline.models.srvgg import COLOURS, SRVGGNetCompact, size_of

SHIPPED_UPSCALER_WEIGHTS = UPSCALER_WEIGHTS

ARCHITECTURE = "srvgg_net_compact/1"
"""Stands in the shipped file; a user's own checkpoint is judged by its tensors instead."""

MAX_FILE_BYTES = 256 << 20
"""The largest published network of this kind takes 5 MB; a file beyond this is something else."""

DEFAULT_MEMORY_LIMIT = 2 << 30
"""Bytes for one `upscale` beside its input and output: 1280x720 goes through whole, 1920x1080 in tiles. What
cuDNN takes for itself on a GPU has not been measured."""

WORK_FACTOR = 2
"""Memory inside the network over what its tensors take: convolution libraries copy and pad. On a CPU, a
process grew by 0.45 to 1.15 of what `Upscaler.plan` reckons with (320x180 and 480x360, whole and in tiles).
"""

SMALLEST_TILE = 16
"""Pixels a side of a tile's own part. Below it, nine tenths of the work would be overlap."""


@dataclass(frozen=True)
class Plan:
    """How pictures of one size go through the network."""

    pictures: int
    """How many at once."""

    rows: int
    """Tiles from top to bottom; 1 with `columns` 1 means no tiling."""

    columns: int


class Upscaler:
    """A loaded network on a device, in evaluation mode. `scale` is how many times larger its output is."""

    def __init__(
        self,
        net: SRVGGNetCompact,
        *,
        device: torch.device,
        sha256: str,
        half: bool = False,
        memory_limit: int = DEFAULT_MEMORY_LIMIT,
    ) -> None:
        self.device = device
        self.dtype = torch.float16 if half else torch.float32
        # numpy's small steps stay on the thread that asks; torch's are spread, and beside an encoder on every
        # core each waits for all threads: 1.8 ms of processor time instead of 0.1 to divide 204x362 by 255.
        self._by_numpy = device.type == "cpu" and not half
        self.scale = net.size.scale
        self.sha256 = sha256
        self.memory_limit = memory_limit
        self.net = net.to(device, self.dtype).eval()
        # torch's own signature leaves this argument out.
        self.net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.net.requires_grad_(False)

    def upscale(self, rgb: Tensor, out_size: tuple[int, int] | None = None) -> Tensor:
        """Pictures (B, H, W, 3) uint8, full-range RGB in any memory, to (B, h, w, 3) uint8 on the device.

        `out_size` is (h, w); None means `scale` times the input. Another size is reached from the network's
        output by one antialiased bicubic resize (torch's), so a smaller one than the network's averages, and
        proportions are the caller's business. Values are rounded to the nearest of 0..255 once, at the end.

        Pictures that do not fit `memory_limit` go through in tiles that overlap by the network's reach, so
        every output pixel has seen the same input as without tiles. BadInput for another shape or type, an
        empty size, or a picture that does not fit even in the smallest tiles; OutOfMemory if the device has
        less than the limit; Internal if the network gives values that are not numbers.
        """
        _check_pictures(rgb)
        count, height, width = rgb.shape[:3]
        wanted = out_size or (height * self.scale, width * self.scale)
        if min(wanted) < 1:
            raise BadInput(
                "An upscaled picture needs at least one pixel a side.",
                input=f"{wanted[1]}x{wanted[0]}",
                what_to_do="give out_size as (height, width) in pixels",
            )
        plan = self.plan(height, width, wanted)
        about = f"{count} pictures of {width}x{height} to {wanted[1]}x{wanted[0]} on {self.device}"
        with torch.inference_mode(), self.memory_errors(about):
            result = torch.empty((count, *wanted, COLOURS), dtype=torch.uint8, device=self.device)
            for start in range(0, count, plan.pictures):
                batch = slice(start, start + plan.pictures)
                result[batch] = self._upscale_some(rgb[batch], plan, wanted)
            return result

    def enlarge(self, rgb: Tensor) -> Iterator[Tensor]:
        """Pictures (B, H, W, 3) uint8, full-range RGB in any memory, to the network's own output.

        Gives (b, 3, scale H, scale W) floats on the device, about 0..1 and not clamped, float16 with `half`:
        one tensor where all pictures fit `memory_limit` at once, several otherwise, B pictures in all and in
        order. For callers that cut, resize and convert before they quantise. Errors as `upscale`.
        """
        _check_pictures(rgb)
        count, height, width = rgb.shape[:3]
        plan = self.plan(height, width, (height * self.scale, width * self.scale))
        about = f"{count} pictures of {width}x{height} on {self.device}"
        for start in range(0, count, plan.pictures):
            with torch.inference_mode(), self.memory_errors(about):
                pictures = rgb[start : start + plan.pictures].to(self.device).permute(0, 3, 1, 2)
                enlarged = self._enlarge(pictures, plan)
            yield enlarged

    @contextmanager
    def memory_errors(self, about: str) -> Iterator[None]:
        """Says in one error that the device's memory ran out, and over what."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"The device ran out of memory within the upscaler's limit of {self.memory_limit >> 20} MiB.",
                input=about,
                what_to_do="load the upscaler with a smaller memory_limit, or free memory on the device",
            ) from error

    def plan(self, height: int, width: int, wanted: tuple[int, int]) -> Plan:
        """How many pictures of this size go at once, and in how many tiles, within `memory_limit`.

        BadInput if not even the smallest tiles fit.
        """
        canvas = self._canvas_bytes(height, width, wanted)
        whole = canvas + height * width * self._work_bytes()
        if whole <= self.memory_limit:
            return Plan(self.memory_limit // whole, 1, 1)
        rows = columns = 1
        while canvas + self._tile_area(height, width, rows, columns) * self._work_bytes() > self.memory_limit:
            own_height, own_width = -(-height // rows), -(-width // columns)
            if max(own_height, own_width) <= SMALLEST_TILE:
                least = canvas + self._tile_area(height, width, rows, columns) * self._work_bytes()
                raise BadInput(
                    f"Upscaling this picture takes {-(-least >> 20)} MiB even in the smallest tiles, "
                    f"more than the limit of {self.memory_limit >> 20} MiB.",
                    input=f"{width}x{height} to {wanted[1]}x{wanted[0]}",
                    what_to_do="load the upscaler with a larger memory_limit, or give a smaller picture",
                )
            if own_height >= own_width:
                rows += 1
            else:
                columns += 1
        return Plan(1, rows, columns)

    def _work_bytes(self) -> int:
        """Bytes per input pixel inside the network: WORK_FACTOR times its two widest neighbouring layers."""
        widest = max(2 * self.net.size.features, 2 * COLOURS * self.scale**2)
        return WORK_FACTOR * widest * self.dtype.itemsize

    def _canvas_bytes(self, height: int, width: int, wanted: tuple[int, int]) -> int:
        """Bytes for one picture's output of the network and for resizing it, in float32."""
        enlarged = COLOURS * self.scale**2 * height * width
        if wanted == (self.scale * height, self.scale * width):
            return enlarged * (self.dtype.itemsize + 1)
        half_way = COLOURS * self.scale * height * wanted[1]
        return enlarged * (self.dtype.itemsize + 4) + 4 * (half_way + 2 * COLOURS * wanted[0] * wanted[1])

    def _tile_area(self, height: int, width: int, rows: int, columns: int) -> int:
        """Pixels of the largest tile with its overlap."""
        tall = min(height, -(-height // rows) + 2 * self.net.reach)
        return tall * min(width, -(-width // columns) + 2 * self.net.reach)

    def _upscale_some(self, rgb: Tensor, plan: Plan, wanted: tuple[int, int]) -> Tensor:
        """Pictures (B, H, W, 3) uint8 to (B, h, w, 3) uint8: all of it on the device, in one batch."""
        pictures = rgb.to(self.device).permute(0, 3, 1, 2)
        enlarged = self._enlarge(pictures, plan).clamp_(0, 1)
        if tuple(enlarged.shape[2:]) != wanted:
            enlarged = functional.interpolate(enlarged.float(), size=wanted, mode="bicubic", antialias=True)
        return enlarged.mul_(255).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)

    def _enlarge(self, pictures: Tensor, plan: Plan) -> Tensor:
        """Pictures (B, 3, H, W) uint8 to the network's output (B, 3, scale H, scale W), tile by tile.

        Internal if any of it is not a number: 8 bits would hide that.
        """
        canvas = self._run_net(pictures, plan)
        total = canvas.numpy().sum() if self._by_numpy else canvas.sum(dtype=torch.float32)
        if not math.isfinite(total):
            height, width = pictures.shape[2:]
            raise Internal(
                "The upscaling network gave values that are not numbers.",
                input=f"{len(pictures)} pictures of {width}x{height} in {self.dtype} on {self.device}",
                what_to_do="with `half`, load the upscaler without it; otherwise check the device",
            )
        return canvas

    def _run_net(self, pictures: Tensor, plan: Plan) -> Tensor:
        if plan.rows == plan.columns == 1:
            return self.net(self._as_input(pictures))
        height, width = pictures.shape[2:]
        scale, reach = self.scale, self.net.reach
        shape = (len(pictures), COLOURS, scale * height, scale * width)
        canvas = torch.empty(shape, dtype=self.dtype, device=self.device)
        for top, bottom in spans(height, plan.rows):
            for left, right in spans(width, plan.columns):
                above, before = max(0, top - reach), max(0, left - reach)
                tile = pictures[:, :, above : bottom + reach, before : right + reach]
                own = self.net(self._as_input(tile))[
                    :,
                    :,
                    scale * (top - above) : scale * (bottom - above),
                    scale * (left - before) : scale * (right - before),
                ]
                canvas[:, :, scale * top : scale * bottom, scale * left : scale * right] = own
        return canvas

    def _as_input(self, pictures: Tensor) -> Tensor:
        """0..255 to 0..1, a pixel's colours side by side, as the convolutions want them."""
        if self._by_numpy:
            pixels = np.divide(pictures.permute(0, 2, 3, 1).numpy(), np.float32(255), dtype=np.float32)
            return torch.from_numpy(pixels).permute(0, 3, 1, 2)
        return pictures.to(self.dtype, memory_format=torch.channels_last).div_(255)


def _check_pictures(rgb: Tensor) -> None:
    if rgb.dtype != torch.uint8 or rgb.ndim != 4 or rgb.shape[3] != COLOURS or 0 in rgb.shape[1:3]:
        raise BadInput(
            "The upscaler takes 8-bit RGB pictures of shape (batch, height, width, 3).",
            input=f"{rgb.dtype} of shape {tuple(rgb.shape)}",
            what_to_do="give a uint8 tensor with the colours last",
        )


def spans(length: int, parts: int) -> Iterator[tuple[int, int]]:
    """`length` cut into `parts` half-open ranges whose lengths differ by at most one."""
    for part in range(parts):
        yield part * length // parts, (part + 1) * length // parts


def load_upscaler(
    device: torch.device | str,
    weights: Path | None = None,
    *,
    half: bool = False,
    memory_limit: int = DEFAULT_MEMORY_LIMIT,
) -> Upscaler:
    """The upscaler with the shipped weights, or with those at `weights`, ready on a device.

    `weights` is a `.safetensors` file or a `.pth` checkpoint as Real-ESRGAN publishes them (the tensors
    themselves, or under `params_ema` or `params`), of any SRVGGNetCompact with 3 channels and PReLU; size and
    scale are read off the tensors. Pickled code in a `.pth` is never run. `half` computes in float16, on CUDA
    only. `memory_limit` is in bytes and per `upscale`, beside input and output. BadInput when the file is
    missing, damaged, no such network or holds values that are not numbers, and for `half` elsewhere.
    """
    device = torch.device(device)
    if half and device.type != "cuda":
        raise BadInput(
            "Half precision is for CUDA devices.",
            input=str(device),
            what_to_do="leave `half` out on this device",
        )
    path = weights or SHIPPED_UPSCALER_WEIGHTS
    data = _read(path)
    tensors = _tensors(data, path)
    try:
        size = size_of(tensors)
    except ValueError as error:
        raise _bad(path, str(error)) from error
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise _bad(path, f"{key} holds values that are not numbers")
    net = SRVGGNetCompact(size)
    net.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    return Upscaler(net, device=device, sha256=digest, half=half, memory_limit=memory_limit)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _bad(path, f"the file is larger than {MAX_FILE_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise _bad(path, f"the file cannot be read ({error.strerror or error})") from error


def _tensors(data: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` or `.pth` file, whatever they are."""
    if path.suffix != ".pth":
        try:
            return load(data)
        except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise _bad(path, f"the file is damaged or not a safetensors file ({error})") from error
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise _bad(path, "the checkpoint is damaged or holds more than tensors") from error
    if isinstance(found, dict):
        found = found.get("params_ema", found.get("params", found))
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise _bad(path, "the checkpoint holds no tensors under `params_ema`, `params` or by themselves")
    return {str(key): value for key, value in found.items()}


def _bad(path: Path, reason: str) -> BadInput:
    return BadInput(
        f"These are not usable upscaler weights: {reason}.",
        input=str(path),
        what_to_do="give a .safetensors or .pth file of an SRVGGNetCompact network, or leave it out",
    )
