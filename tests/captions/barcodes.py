"""Frames that carry their own number as black and white blocks, so that a picture tells which one it is."""

from __future__ import annotations

import numpy as np

from video_pipeline.media.frames import ColourTags, CroppedFrame

BITS = 16
BLOCK = 16
WIDTH = BITS * BLOCK
HEIGHT = 64
BT709 = ColourTags(primaries=1, transfer=1, matrix=1, range=1)

_noise = np.random.default_rng(7).integers(40, 216, size=(HEIGHT // 2, 4 * WIDTH), dtype=np.uint8)


def barcode_frame(number: int, tags: ColourTags = BT709) -> CroppedFrame:
    """256x64: the number's 16 bits in the upper half (most significant first), moving texture below."""
    bits = [number >> shift & 1 for shift in reversed(range(BITS))]
    y = np.empty((HEIGHT, WIDTH), np.uint8)
    y[: HEIGHT // 2] = np.repeat(np.where(bits, 235, 16), BLOCK)
    start = 3 * number % (3 * WIDTH)
    y[HEIGHT // 2 :] = _noise[:, start : start + WIDTH] // 4 + 90
    u = np.full((HEIGHT // 2, WIDTH // 2), 128 - number % 20, np.uint8)
    v = np.full((HEIGHT // 2, WIDTH // 2), 128 + number % 20, np.uint8)
    return CroppedFrame(y, u, v, tags)


def read_barcode(y: np.ndarray) -> int:
    """The number in a decoded luma plane (H, W); fails if a block is neither black nor white."""
    blocks = y[4 : HEIGHT // 2 - 4].reshape(-1, BITS, BLOCK)[:, :, 4:-4].mean(axis=(0, 2))
    assert all(value < 70 or value > 180 for value in blocks), f"not a bar code: {blocks}"
    return int("".join("1" if value > 125 else "0" for value in blocks), 2)
