"""What the decoder must equal: every picture decoded and kept whole, then sampled by the list, then cropped.

Belongs here: the slow and obvious way, written without the code it checks (only the reference function of the
sampling rule and the geometry's rounding are shared). Does not belong here: anything fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from video_pipeline.media.geometry import PixelCrop
from video_pipeline.media.timeline import sample_indices


@dataclass(frozen=True)
class Reference:
    """Every shown picture: PTS, libav frame; and the end of the last one."""

    pts: list[int]
    frames: list[av.VideoFrame]
    end: int
    time_base: Fraction

    def sampled(self, rate: Fraction) -> list[int]:
        """For each sample the position of its picture."""
        return sample_indices(self.pts, self.end, self.time_base, rate).tolist()


def decode_everything(path: Path) -> Reference:
    """libav's own view of the file: all packets to the decoder, all pictures out, in its order."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"strict": "1"}
        durations: dict[int, int] = {}
        frames: list[av.VideoFrame] = []
        for packet in container.demux(stream):
            if packet.pts is not None:
                durations[packet.pts] = packet.duration or 0
            frames += packet.decode()
        pts = [int(cast(int, frame.pts)) for frame in frames]
        assert pts == sorted(pts)
        return Reference(
            pts, frames, pts[-1] + durations[pts[-1]], Fraction(cast(Fraction, stream.time_base))
        )


def planes(frame: av.VideoFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole Y, U, V of a yuv420p picture, cut to the even part of its size."""
    width, height = frame.width // 2 * 2, frame.height // 2 * 2
    whole = []
    for index, (w, h) in enumerate(((width, height), (width // 2, height // 2), (width // 2, height // 2))):
        plane = frame.planes[index]
        rows = np.frombuffer(memoryview(cast(Any, plane)), np.uint8).reshape(-1, plane.line_size)
        whole.append(rows[:h, :w])
    return whole[0], whole[1], whole[2]


def displayed_crop(
    frame: av.VideoFrame, crop: PixelCrop, rotation: int = 0, mirrored: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn the whole picture upright, then cut."""
    cut = []
    for plane, half in zip(planes(frame), (1, 2, 2), strict=True):
        upright = np.rot90(plane, -rotation // 90)
        if mirrored:
            upright = np.fliplr(upright)
        left, top = crop.left // half, crop.top // half
        cut.append(upright[top : top + crop.height // half, left : left + crop.width // half])
    return cut[0], cut[1], cut[2]
