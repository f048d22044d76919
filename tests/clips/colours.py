"""BT.709 limited-range 4:2:0 to RGB and back, and a resize, in float64, written to be read: what the fast
ones are held against. Chroma lies on the even luma columns, half-way between the rows."""

from __future__ import annotations

import numpy as np

from video_pipeline.media.frames import ColourTags, CroppedFrame

TAGS = ColourTags(1, 1, 1, 1)
KR, KB = 0.2126, 0.0722
KG = 1 - KR - KB


def chroma_at_every_pixel(plane: np.ndarray) -> np.ndarray:
    """(h, w) to (2 h, 2 w): linear between samples, constant beyond the outer ones."""
    height, width = plane.shape
    across = np.stack([np.interp(np.arange(2 * width) / 2, np.arange(width), row) for row in plane])
    down = (np.arange(2 * height) - 0.5) / 2
    return np.stack([np.interp(down, np.arange(height), column) for column in across.T], axis=1)


def rgb_of(frame: CroppedFrame) -> np.ndarray:
    """(H, W, 3) float64, 0..255, neither rounded nor clipped."""
    luma = (frame.y.astype(float) - 16) / 219
    cb, cr = ((chroma_at_every_pixel(plane.astype(float)) - 128) / 224 for plane in (frame.u, frame.v))
    red = luma + 2 * (1 - KR) * cr
    blue = luma + 2 * (1 - KB) * cb
    green = (luma - KR * red - KB * blue) / KG
    return np.stack((red, green, blue), axis=2) * 255


def frame_of(rgb: np.ndarray) -> CroppedFrame:
    """The frame of (H, W, 3), 0..255; values rounded to nearest."""
    scaled = np.clip(rgb.astype(float), 0, 255) / 255
    luma = scaled @ np.array([KR, KG, KB])
    planes = []
    for colour, weight in ((2, KB), (0, KR)):
        full = (scaled[..., colour] - luma) / (2 * (1 - weight))
        rows = (full[0::2] + full[1::2]) / 2
        before = np.concatenate((rows[:, :1], rows[:, 1:-1:2]), axis=1)
        planes.append(128 + 224 * (before + 2 * rows[:, 0::2] + rows[:, 1::2]) / 4)
    y, u, v = (
        np.floor(np.clip(plane, 0, 255) + 0.5).astype(np.uint8) for plane in (16 + 219 * luma, *planes)
    )
    return CroppedFrame(y=y, u=u, v=v, tags=TAGS)


def to_8_bits(rgb: np.ndarray) -> np.ndarray:
    return np.clip(np.round(rgb), 0, 255).astype(np.uint8)


def steps_apart(one: CroppedFrame, other: CroppedFrame) -> int:
    """The largest difference between two frames, over all planes."""
    pairs = ((one.y, other.y), (one.u, other.u), (one.v, other.v))
    assert all(a.shape == b.shape for a, b in pairs)
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in pairs)


def bicubic_weights(length: int, start: float, stop: float, count: int) -> np.ndarray:
    """(count, length): how much each of `length` samples counts in a sample of [start, stop) cut into
    `count`. Keys' cubic with a = -0.5, widened by the reduction, normalised where the picture ends."""
    step = (stop - start) / count
    wide = max(1.0, step)
    centres = start + (np.arange(count) + 0.5) * step
    x = np.abs((np.arange(length) + 0.5)[None] - centres[:, None]) / wide
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return weights / weights.sum(axis=1, keepdims=True)


def resized(
    plane: np.ndarray, rows: tuple[float, float], columns: tuple[float, float], height: int, width: int
) -> np.ndarray:
    """A part of a plane (H, W) to (height, width) in float64."""
    down = bicubic_weights(plane.shape[0], *rows, height)
    across = bicubic_weights(plane.shape[1], *columns, width)
    return down @ plane.astype(float) @ across.T
