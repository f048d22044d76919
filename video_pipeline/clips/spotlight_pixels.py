"""The arithmetic of spotlights on 8-bit 4:2:0 planes, in limited range.

Belongs here: boxes of a plane, weights, mixing by them. Does not belong here: where the light is
(`spotlight.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BLACK, _WHITE = 16, 235  # luma, limited range (BT.709-6, digital representation with 8 bits)
NEUTRAL, _LEAST_CHROMA, _MOST_CHROMA = 128, 16, 240
# Weights are parts of 256 in uint16: 255 x 256 + 128 still fits, and numpy does such products 16 at a time.
_ONE, _HALF, _SHIFT = 256, 128, 8


@dataclass(frozen=True, slots=True)
class Box:
    """Luma pixels [left, right) x [top, bottom), all even."""

    left: int
    top: int
    right: int
    bottom: int

    def rows(self, top: int, bottom: int) -> Box:
        """The part of it in [top, bottom), which may be none."""
        return Box(self.left, max(self.top, top), self.right, min(self.bottom, bottom))

    @property
    def empty(self) -> bool:
        return self.left >= self.right or self.top >= self.bottom


def even_below(value: float, limit: int) -> int:
    """The largest even number within 0..limit (even) that is not above `value`, or 0."""
    return math.floor(min(max(value, 0.0), float(limit))) // 2 * 2


def weights_of(parts: float | np.ndarray) -> np.ndarray:
    """Parts of one, 0..1, as whole 256ths in uint16, rounded half up."""
    return np.floor(np.asarray(parts) * _ONE + 0.5).astype(np.uint16)


def cut(plane: np.ndarray, box: Box, by: int = 1) -> np.ndarray:
    return plane[box.top // by : box.bottom // by, box.left // by : box.right // by]


def mix(source: np.ndarray, weights: np.ndarray, towards: int, out: np.ndarray) -> None:
    """`weights` of `source` and the rest of `towards`, rounded half up, into `out` (uint8). Weights (h, w),
    or () for all: both make the same sums, so that parts done in either way meet exactly."""
    mixed = source * weights
    mixed += (_ONE - weights) * np.uint16(towards) + np.uint16(_HALF)
    mixed >>= _SHIFT
    out[:] = mixed


def lighten_luma(plane: np.ndarray, weights: np.ndarray) -> None:
    """Add `weights` of what is above black, in place, up to white."""
    lighter = (np.maximum(plane, BLACK) - np.uint8(BLACK)) * weights
    lighter += _HALF
    lighter >>= _SHIFT
    lighter += plane
    np.minimum(lighter, _WHITE, out=lighter)
    plane[:] = np.maximum(lighter, plane)


def lighten_chroma(plane: np.ndarray, weights: np.ndarray) -> None:
    """Move away from neutral by `weights` of the distance, in place, within chroma's range. The products lie
    within -128 x 256 and 127 x 256 + 128, which int16 holds."""
    away = plane.astype(np.int16)
    away -= NEUTRAL
    away *= weights.astype(np.int16)
    away += _HALF
    away >>= _SHIFT
    away += plane
    plane[:] = np.clip(away, np.minimum(plane, _LEAST_CHROMA), np.maximum(plane, _MOST_CHROMA))
