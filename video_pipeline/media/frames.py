"""The pictures that leave a decoder: a crop in 8-bit 4:2:0 YUV, in host or device memory.

Belongs here: the frame types every later stage takes, and how a cropped plane is turned upright. Does not
belong here: decoding (`decode*`), colour conversion, anything about captions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.media.geometry import Orientation

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class ColourTags:
    """Colour description as ITU-T H.273 code points (2 = unspecified), and the range as FFmpeg counts it:
    0 unspecified, 1 limited ("MPEG", 16..235), 2 full ("JPEG", 0..255)."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class CroppedFrame:
    """A displayed crop in planar 4:2:0, 8 bits: `y` (H, W), `u` and `v` (H/2, W/2), uint8.

    H and W are even. Nothing writes to the arrays; they are C-contiguous copies, but for those of whole
    pictures (`bt709`). Values are the source's own YUV (no matrix or range conversion unless the source was
    RGB); `tags` say how to read them.
    Two samples of one picture share one object, so `is` tells that features can be reused.
    """

    y: np.ndarray
    u: np.ndarray
    v: np.ndarray
    tags: ColourTags

    @property
    def width(self) -> int:
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        return int(self.y.shape[0])

    @property
    def nbytes(self) -> int:
        return int(self.y.nbytes + self.u.nbytes + self.v.nbytes)

    def to_host(self) -> CroppedFrame:
        """Itself: so that a stage takes host and device frames alike."""
        return self


@dataclass(frozen=True, slots=True, eq=False)
class DeviceFrame:
    """A displayed crop in device memory, NV12: `y` (H, W), `uv` (H/2, W/2, 2), uint8 CUDA tensors.

    Own clones, not the decoder's surfaces.
    """

    y: torch.Tensor
    uv: torch.Tensor
    tags: ColourTags

    @property
    def width(self) -> int:
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        return int(self.y.shape[0])

    @property
    def nbytes(self) -> int:
        return int(self.y.numel() + self.uv.numel())

    def to_host(self) -> CroppedFrame:
        """Copy the crop (not the whole picture) to host memory as planar YUV."""
        uv = self.uv.cpu().numpy()
        return CroppedFrame(
            y=np.ascontiguousarray(self.y.cpu().numpy()),
            u=np.ascontiguousarray(uv[:, :, 0]),
            v=np.ascontiguousarray(uv[:, :, 1]),
            tags=self.tags,
        )


@dataclass(frozen=True, slots=True)
class CroppedPicture:
    """One source picture: its `pts` (stream time base), and the `samples` it shows, which may be none."""

    pts: int
    samples: range
    frame: CroppedFrame | DeviceFrame


@dataclass(frozen=True, slots=True)
class Sample:
    """Sample `index` (k, from 0) shows the picture whose source PTS is `pts` (stream time base)."""

    index: int
    pts: int
    frame: CroppedFrame | DeviceFrame


def samples_of(pictures: Iterator[CroppedPicture]) -> Iterator[Sample]:
    """The samples of a run of pictures, in order. Closing it closes `pictures`."""
    with contextlib.ExitStack() as stack:
        close = getattr(pictures, "close", None)
        if close is not None:
            stack.callback(close)
        for picture in pictures:
            for index in picture.samples:
                yield Sample(index=index, pts=picture.pts, frame=picture.frame)


def turn_plane(plane: np.ndarray, orientation: Orientation) -> np.ndarray:
    """A coded plane (H, W) as displayed: rotated clockwise, then mirrored; a contiguous copy."""
    turned = np.rot90(plane, k=-(orientation.rotation // 90))
    if orientation.mirrored:
        turned = turned[:, ::-1]
    return np.array(turned, order="C", copy=True)
