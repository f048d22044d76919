"""Fitting a picture of any shape into another size: scaled in proportion, black beside it.

Belongs here: that, in YUV, by libswscale. Does not belong here: crops and networks (`reframe.py`).
"""

from __future__ import annotations

import threading

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.planes import frame_of_planes, planes_of_frame

BLACK_Y, NEUTRAL = 16, 128
SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


class Fitter:
    """Fits pictures into `width` x `height` pixels, both even. Safe to use from several threads."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._local = threading.local()

    def apply(self, frame: CroppedFrame) -> CroppedFrame:
        """The picture centred, its sides in proportion to within a pixel; itself where the size is right."""
        if (frame.width, frame.height) == (self.width, self.height):
            return frame
        width, height = fitted_size(frame.width, frame.height, self.width, self.height)
        scaled = self._scaled(frame, width, height)
        if (width, height) == (self.width, self.height):
            return scaled
        left, top = (self.width - width) // 4 * 2, (self.height - height) // 4 * 2
        return CroppedFrame(
            _placed(scaled.y, self.height, self.width, top, left, BLACK_Y),
            _placed(scaled.u, self.height // 2, self.width // 2, top // 2, left // 2, NEUTRAL),
            _placed(scaled.v, self.height // 2, self.width // 2, top // 2, left // 2, NEUTRAL),
            ColourTags(1, 1, 1, 1),
        )

    def _scaled(self, frame: CroppedFrame, width: int, height: int) -> CroppedFrame:
        reformatter = getattr(self._local, "reformatter", None)
        if reformatter is None:
            reformatter = self._local.reformatter = VideoReformatter()
        picture: av.VideoFrame = reformatter.reformat(
            frame_of_planes(frame), width=width, height=height, interpolation=SCALING, threads=1
        )
        return planes_of_frame(picture, frame.tags)


def fitted_size(width: int, height: int, into_width: int, into_height: int) -> tuple[int, int]:
    """The largest even size of the same proportions that fits."""
    if width * into_height >= height * into_width:
        return into_width, max(2, round(height * into_width / width / 2) * 2)
    return max(2, round(width * into_height / height / 2) * 2), into_height


def _placed(plane: np.ndarray, height: int, width: int, top: int, left: int, value: int) -> np.ndarray:
    whole = np.full((height, width), value, np.uint8)
    whole[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
    return whole
