"""Pictures of a clip cut along a moving crop and brought to the output's size.

Belongs here: the way of a batch of pictures through the network and back to 4:2:0, and the plain resize of
crops that have pixels enough. Does not belong here: where the crop lies (`crop`), the network
(`models.upscaler`), the colour conversion (`media.colour_torch`), decoding and encoding.

With a network: the pixels around the crop become RGB on the device, are enlarged there, cut exactly on the
enlarged grid, resized if the size does not fit yet, and become 8-bit 4:2:0 there. Only those planes leave the
device: 1.7 MB for 810x1440, where the network's output for them is 14 MB. Without: the planes are resized as
they are, on the CPU. What fails, fails the clip; nothing is resized in the network's stead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from video_pipeline.clips.crop import Crop, Shape, cut_around, needs_upscaling, place_crop
from video_pipeline.clips.interpolation import Curve
from video_pipeline.errors import BadInput, Internal
from video_pipeline.media import colour_cpu, colour_torch
from video_pipeline.media.colour_torch import BT709_LIMITED, cut_planes, frame_from_planes
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.models.upscaler import Upscaler

PLAIN_GRID = 4
"""Steps of a source pixel that a crop snaps to where no network sets the grid."""


class Reframer:
    """Cuts pictures along `curve` and gives them the output's size.

    `curve` has (left, top, width, height) in source pixels over source seconds. `shape` says the sizes. With
    `upscaler`, crops that have fewer pixels than the output go through it, on its device; with None all
    crops are resized. Crops lie on a grid of 1/`upscaler.scale` source pixel, or of a quarter without it.
    BadInput for an output of odd or no size, and for key frames without a width or height.
    """

    def __init__(self, curve: Curve, shape: Shape, upscaler: Upscaler | None) -> None:
        width, height = shape.output_width, shape.output_height
        if min(width, height) < 2 or width % 2 or height % 2:
            raise BadInput(
                "The size of a clip must be even, and at least 2 pixels a side.",
                input=f"{width}x{height}",
                what_to_do="give an even output_width and output_height",
            )
        self.curve = curve
        self.shape = shape
        self.upscaler = upscaler
        self.grid = PLAIN_GRID if upscaler is None else upscaler.scale
        for values in curve.values:
            self._place(values)

    def crop_at(self, t: Fraction) -> Crop:
        """The crop at `t` source seconds."""
        return self._place(self.curve.at(t))

    def upscales_at(self, t: Fraction) -> bool:
        """True if the picture at `t` source seconds goes through the network."""
        return self.upscaler is not None and needs_upscaling(self.crop_at(t), self.shape)

    def render(self, batch: Sequence[tuple[CroppedFrame, Fraction]]) -> list[CroppedFrame]:
        """The output's picture for each (source picture, source seconds), in order; BT.709, limited range.

        Crops that need cuts of one size go through the network together, as far as its memory limit allows; a
        picture that stands in a batch more than once with the same crop goes through once, and is one object.
        Convolutions round by the number of pictures: a picture in another batch may differ by 1 of 255.
        Errors as `Upscaler.enlarge`; Internal for a frame of another size or other colours.
        """
        results: dict[tuple[int, Crop], CroppedFrame] = {}
        groups: dict[tuple[int, int], dict[tuple[int, Crop], tuple[CroppedFrame, Crop]]] = {}
        keys = []
        for frame, t in batch:
            self._check(frame)
            crop = self.crop_at(t)
            key = (id(frame), crop)
            keys.append(key)
            if self.upscaler is not None and needs_upscaling(crop, self.shape):
                cut = cut_around(crop, self.shape)
                groups.setdefault((cut.width, cut.height), {})[key] = (frame, crop)
            elif key not in results:
                results[key] = resize_frame(frame, crop, self.shape)
        for group in groups.values():
            assert self.upscaler is not None
            enlarged = enlarge_frames(list(group.values()), self.shape, self.upscaler)
            results.update(zip(group, enlarged, strict=True))
        return [results[key] for key in keys]

    def _place(self, values: np.ndarray) -> Crop:
        left, top, width, height = values.tolist()
        return place_crop((left, top, width, height), self.shape, self.grid)

    def _check(self, frame: CroppedFrame) -> None:
        size = (self.shape.source_width, self.shape.source_height)
        if (frame.width, frame.height) != size:
            raise Internal(
                "A picture has another size than its clip.",
                input=f"{frame.width}x{frame.height}, not {size[0]}x{size[1]}",
            )
        if (frame.tags.matrix, frame.tags.range) != (BT709_LIMITED.matrix, BT709_LIMITED.range):
            raise Internal("A picture is not BT.709 in limited range.", input=str(frame.tags))


def enlarge_frames(
    items: Sequence[tuple[CroppedFrame, Crop]], shape: Shape, upscaler: Upscaler
) -> Iterator[CroppedFrame]:
    """Pictures through the network, in order. Their cuts have one size; the crops' grid is its `scale`."""
    cuts = [cut_around(crop, shape) for _, crop in items]
    planes = [
        cut_planes(frame, cut.left, cut.top, cut.width, cut.height)
        for (frame, _), cut in zip(items, cuts, strict=True)
    ]
    on_cpu = upscaler.device.type == "cpu"
    about = f"{len(items)} cuts of {cuts[0].width}x{cuts[0].height} on {upscaler.device}"
    with torch.inference_mode(), upscaler.memory_errors(about):
        rgb = _rgb_on_cpu(planes) if on_cpu else _rgb_on_device(planes, upscaler.device)
    index = 0
    for enlarged in upscaler.enlarge(rgb):
        exact = []
        for picture in enlarged:
            crop, cut = items[index][1], cuts[index]
            left, top = crop.left - cut.left * crop.grid, crop.top - cut.top * crop.grid
            exact.append(picture[:, top : top + crop.height, left : left + crop.width])
            index += 1
        with torch.inference_mode(), upscaler.memory_errors(about):
            finish = _finish_on_cpu if on_cpu else _finish_on_device
            finished = finish(exact, shape.output_height, shape.output_width)
        for row in finished:
            yield frame_from_planes(row, shape.output_height, shape.output_width)


def resize_frame(frame: CroppedFrame, crop: Crop, shape: Shape) -> CroppedFrame:
    """A crop brought to the output's size, plane by plane, on the CPU.

    Antialiased bicubic (Pillow's, a = -0.5) from the crop's exact edges; chroma keeps lying on the even luma
    columns, between the rows (ITU-T H.264, chroma_sample_loc_type 0). Values are rounded once a direction.
    """
    left, top, width, height = (value / crop.grid for value in (crop.left, crop.top, crop.width, crop.height))
    size = (shape.output_width, shape.output_height)
    # Chroma sample k lies at luma 2 k + 1/2 from the left edge, in the source and in the output.
    step = width / shape.output_width
    aside = left / 2 + 0.25 - 0.25 * step
    # The source's first chroma column reaches a quarter before the edge, the output's a quarter of its own.
    margin = 1 + int(step / 4)
    luma = (left, top, left + width, top + height)
    chroma = (aside + margin, top / 2, aside + margin + width / 2, (top + height) / 2)
    u, v = (np.pad(plane, ((0, 0), (margin, margin)), mode="edge") for plane in (frame.u, frame.v))
    return CroppedFrame(
        y=_resize_plane(frame.y, luma, size),
        u=_resize_plane(u, chroma, (size[0] // 2, size[1] // 2)),
        v=_resize_plane(v, chroma, (size[0] // 2, size[1] // 2)),
        tags=frame.tags,
    )


def _resize_plane(
    plane: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int]
) -> np.ndarray:
    return np.array(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC, box=box))


def _rgb_on_cpu(planes: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Tensor:
    return torch.from_numpy(np.stack([colour_cpu.rgb_from_planes(*cut) for cut in planes]))


def _rgb_on_device(
    planes: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], device: torch.device
) -> Tensor:
    y, u, v = (torch.from_numpy(np.stack(each)).to(device) for each in zip(*planes, strict=True))
    return colour_torch.rgb_from_planes(y, u, v)


def _finish_on_cpu(pictures: Sequence[Tensor], height: int, width: int) -> list[np.ndarray]:
    """Floats (3, h, w) to planes. Resized in 8 bits, which took torch 6 ms of a core where float32 took 23
    (812x1444 to 810x1440)."""
    finished = []
    for picture in pictures:
        if tuple(picture.shape[1:]) != (height, width):
            picture = _resize(torch.from_numpy(colour_cpu.quantised(picture.numpy())), height, width)
        finished.append(colour_cpu.planes_from_rgb(picture.numpy()))
    return finished


def _finish_on_device(pictures: Sequence[Tensor], height: int, width: int) -> np.ndarray:
    """Floats (3, h, w) to planes (B, H W 3 / 2), in host memory: the only copy that leaves the device."""
    finished = []
    for picture in pictures:
        if tuple(picture.shape[1:]) != (height, width):
            picture = _resize(picture.float().clamp(0, 1), height, width)
        finished.append(colour_torch.planes_from_rgb(picture))
    return torch.stack(finished).cpu().numpy()


def _resize(rgb: Tensor, height: int, width: int) -> Tensor:
    """One antialiased bicubic resize (torch's, a = -0.5), in the type that is given."""
    return functional.interpolate(rgb[None], size=(height, width), mode="bicubic", antialias=True)[0]
