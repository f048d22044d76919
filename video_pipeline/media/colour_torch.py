"""BT.709 limited-range 4:2:0 to 8-bit RGB and back, in torch, for pictures that a network works on.

Belongs here: the two conversions with chroma interpolated where it lies, on any device, and the planes that
go in and come out. Does not belong here: the same done faster on a CPU (`colour_cpu`), other matrices and
ranges (`clip_source` converts to this one; `colour` reads the others for looking), scaling, the network.

Chroma lies as in nearly every H.264 stream (ITU-T H.264 (08/2021), chroma_sample_loc_type 0, the default):
across on the even luma columns, down half-way between two luma rows. Repeating or averaging 2x2 blocks
instead moves colours by a quarter of a chroma sample each way.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from video_pipeline.media.colour import LUMA_WEIGHTS
from video_pipeline.media.frames import ColourTags, CroppedFrame

BT709_LIMITED = ColourTags(primaries=1, transfer=1, matrix=1, range=1)

Planes = TypeVar("Planes", Tensor, np.ndarray)

KR, KB = LUMA_WEIGHTS[1]
KG = 1 - KR - KB
LUMA = 219 / 255
CHROMA = 224 / 255
_TO_LUMA = [LUMA * KR, LUMA * KG, LUMA * KB]
_TO_CHROMA = [
    [-CHROMA * KR / (2 * (1 - KB)), -CHROMA * KG / (2 * (1 - KB)), CHROMA / 2],
    [CHROMA / 2, -CHROMA * KG / (2 * (1 - KR)), -CHROMA * KB / (2 * (1 - KR))],
]
"""Per Cb and Cr, from R, G and B; ITU-T H.273 (07/2021), section 8.3."""


def cut_planes(
    frame: CroppedFrame, left: int, top: int, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A rectangle of even numbers out of a frame, copied, with the chroma that `rgb_from_planes` needs.

    Luma (height, width); chroma (height / 2 + 2, width / 2 + 1): one more row above and below and one more
    column to the right, repeated from the picture's edge where there are none.
    """
    rows = range(top // 2 - 1, (top + height) // 2 + 1)
    columns = range(left // 2, (left + width) // 2 + 1)
    luma = frame.y[top : top + height, left : left + width].copy()
    if rows.start >= 0 and rows.stop <= frame.height // 2 and columns.stop <= frame.width // 2:
        inside = np.s_[rows.start : rows.stop, columns.start : columns.stop]
        return luma, frame.u[inside].copy(), frame.v[inside].copy()
    # Ten times as slow, so only where a row or column is missing.
    at = np.ix_(
        np.clip(rows, 0, frame.height // 2 - 1),
        np.clip(columns, 0, frame.width // 2 - 1),
    )
    return luma, frame.u[at], frame.v[at]


def rgb_from_planes(y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Cuts as `cut_planes` gives them, stacked, to RGB (B, H, W, 3) uint8 on the planes' device.

    `y` (B, H, W), `u` and `v` (B, H/2 + 2, W/2 + 1), uint8. Chroma is interpolated linearly between its
    samples, values are rounded to the nearest of 0..255 once, at the end. ITU-T H.273 (07/2021), section 8.3.
    """
    luma = (y.float() - 16).div_(LUMA)
    cb, cr = (_chroma_of_each_pixel(plane).sub_(128).div_(CHROMA) for plane in (u, v))
    red = luma + 2 * (1 - KR) * cr
    green = luma.sub(cr, alpha=2 * (1 - KR) * KR / KG).sub_(cb, alpha=2 * (1 - KB) * KB / KG)
    blue = luma.add_(cb, alpha=2 * (1 - KB))
    return torch.stack((red, green, blue), dim=-1).round_().clamp_(0, 255).to(torch.uint8)


def planes_from_rgb(rgb: Tensor) -> Tensor:
    """A picture (3, H, W), H and W even, to its planes, uint8, one after the other, on the picture's device.

    Floats are clamped to 0..1; uint8 stands for 0..255. The result is (H * W * 3 / 2,): y (H, W), then u and
    v (H/2, W/2), rounded to nearest. A chroma sample is the mean of the two rows around it, weighted 1:2:1
    over the three columns around it; beyond the left edge stands the column at the edge.
    """
    height, width = rgb.shape[1:]
    planes = torch.empty(height * width * 3 // 2, dtype=torch.uint8, device=rgb.device)
    y, u, v = views(planes, height, width)
    to_luma = torch.tensor([_TO_LUMA], device=rgb.device) * 255
    # The weights 1:2:1 across and 1:1 down sum to eight.
    to_chroma = torch.tensor(_TO_CHROMA, device=rgb.device) * (255 / 8)
    full = rgb.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    full = full.div_(255) if rgb.dtype == torch.uint8 else full.clamp_(0, 1)
    # Conversion to uint8 cuts off what is behind the point, hence the half.
    y.copy_((to_luma @ full.view(3, -1)).add_(16.5).view(height, width))
    pairs = full.view(3, height // 2, 2, width)
    both = pairs[:, :, 0] + pairs[:, :, 1]
    halves = (to_chroma @ both.view(3, -1)).view(2, height // 2, width // 2, 2)
    even, odd = halves[..., 0], halves[..., 1]
    chroma = (2 * even).add_(odd)
    chroma[..., 1:] += odd[..., :-1]
    chroma[..., 0] += even[..., 0]
    chroma += 128.5
    u.copy_(chroma[0])
    v.copy_(chroma[1])
    return planes


def frame_from_planes(planes: np.ndarray, height: int, width: int) -> CroppedFrame:
    """The frame whose planes lie in `planes` as `planes_from_rgb` puts them; views, nothing is copied."""
    y, u, v = views(planes, height, width)
    return CroppedFrame(y=y, u=u, v=v, tags=BT709_LIMITED)


def views(planes: Planes, height: int, width: int) -> tuple[Planes, Planes, Planes]:
    """y, u and v as they lie in one row of bytes."""
    luma, quarter = height * width, height * width // 4
    y = planes[:luma].reshape(height, width)
    u = planes[luma : luma + quarter].reshape(height // 2, width // 2)
    v = planes[luma + quarter :].reshape(height // 2, width // 2)
    return y, u, v


def _chroma_of_each_pixel(plane: Tensor) -> Tensor:
    """(B, h + 2, w + 1) uint8 to (B, 2 h, 2 w) float32, interpolated at every luma sample."""
    here = plane.float()
    count, height, width = len(here), here.shape[1] - 2, here.shape[2] - 1
    middle = 0.75 * here[:, 1:-1]
    tall = torch.stack((middle.add(here[:, :-2], alpha=0.25), middle.add_(here[:, 2:], alpha=0.25)), dim=2)
    tall = tall.view(count, 2 * height, width + 1)
    between = (tall[..., :-1] + tall[..., 1:]).mul_(0.5)
    return torch.stack((tall[..., :-1], between), dim=3).view(count, 2 * height, 2 * width)
