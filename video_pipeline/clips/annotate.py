"""A clip's annotation blended into its pictures.

Belongs here: the planes of the bar, laid over each picture. Does not belong here: what the bar says and how
it looks (`title_card.py`), when it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video_pipeline.clips.title_card import Annotation, Card
from video_pipeline.errors import Internal
from video_pipeline.media.colour import LUMA_WEIGHTS
from video_pipeline.media.frames import CroppedFrame


class Annotator:
    """Lays an annotation out for pictures of one size, once, and blends it into each.

    `notes` says what could not be shown as it was given. BadInput for characters that no font has and for a
    picture too small for a bar that can be read.
    """

    def __init__(self, annotation: Annotation, width: int, height: int) -> None:
        self.width, self.height = width, height
        card = Card(annotation, width, height)
        self.notes: tuple[str, ...] = tuple(card.notes)
        self._top = height - card.image.height if card.image is not None else height
        self._planes = _planes(np.asarray(card.image)) if card.image is not None else None

    def apply(self, frame: CroppedFrame) -> CroppedFrame:
        """The frame (BT.709, limited range) with the bar; what is above it is copied unchanged. The same
        object if there is nothing to say."""
        if (frame.width, frame.height) != (self.width, self.height):
            raise Internal(
                f"a bar for {self.width}x{self.height} was given a picture of {frame.width}x{frame.height}"
            )
        if self._planes is None:
            return frame
        luma, blue, red = self._planes
        return CroppedFrame(
            y=luma.over(frame.y, self._top),
            u=blue.over(frame.u, self._top // 2),
            v=red.over(frame.v, self._top // 2),
            tags=frame.tags,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """A plane to be laid over another: `seen` (h, W) is 255 - alpha, `colour` (h, W) value times alpha,
    both uint16; `colour + seen * 255` stays below 65026."""

    seen: np.ndarray
    colour: np.ndarray

    def over(self, plane: np.ndarray, top: int) -> np.ndarray:
        """A copy of `plane` (H, W) uint8 with this over its rows from `top`, rounded: x / 255 is
        (x + 128 + (x + 128 >> 8)) >> 8 for all products of two bytes."""
        result = plane.copy()
        below = result[top:]
        mixed = below * self.seen
        mixed += self.colour
        mixed += 128
        mixed += mixed >> 8
        mixed >>= 8
        below[:] = mixed
        return result


def _planes(card: np.ndarray) -> tuple[_Layer, _Layer, _Layer]:
    """Y, Cb and Cr layers of a card (h, W, 4) uint8, RGB times alpha: BT.709, limited range (H.273 section
    8.3). Everything is linear in the premultiplied colours, so chroma is the mean of 2x2 of them."""
    kr, kb = LUMA_WEIGHTS[1]
    red, green, blue, alpha = np.moveaxis(card.astype(np.float32), 2, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    planes = (
        (16 * alpha + 219 * luma, alpha),
        (_halved(128 * alpha + 112 / (1 - kb) * (blue - luma)), _halved(alpha)),
        (_halved(128 * alpha + 112 / (1 - kr) * (red - luma)), _halved(alpha)),
    )
    first, second, third = (
        _Layer((255 - np.rint(opacity)).astype(np.uint16), np.rint(colour).astype(np.uint16))
        for colour, opacity in planes
    )
    return first, second, third


def _halved(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    return plane.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
