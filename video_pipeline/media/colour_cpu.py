"""BT.709 limited-range 4:2:0 to 8-bit RGB and back, in numpy, for a network that runs on a CPU.

Belongs here: the two conversions of `colour_torch`, equal to them within 1 of 255, for pictures in host
memory. Does not belong here: the same on other devices, scaling, the network.

Not torch, because torch spreads each small step over its threads and waits for all of them: beside an encoder
on two busy cores, that took 55 ms of processor time for an 810x1440 picture, and 4.7 ms on one thread. This
takes 3.8 ms whatever torch's threads are.
"""

from __future__ import annotations

import numpy as np

from video_pipeline.media.colour_torch import CHROMA, KB, KG, KR, LUMA, views

STRIP_ROWS = 64
"""Rows converted at once: 0.6 MB of 810 columns in float32, which stays in the caches (16 rows at once took
5.3 ms instead of 3.8)."""

_TO_LUMA = np.array([[[KR]], [[KG]], [[KB]]], np.float32) * np.float32(255 * LUMA)
_FROM_LUMA = np.array([[[1 / KR]], [[1 / KB]]], np.float32)
_TO_CHROMA = np.array([[[1 / (1 - KR)]], [[1 / (1 - KB)]]], np.float32) * np.float32(CHROMA / (16 * LUMA))
"""R, G and B to their shares of luma, and from those of R and B to Cr and Cb. A difference's scale is
2 (1 - K); the weights 1:2:1 across and 1:1 down sum to eight."""


def rgb_from_planes(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One cut as `cut_planes` gives it to RGB (H, W, 3) uint8; as `colour_torch.rgb_from_planes`."""
    height, width = y.shape
    result = np.empty((height, width, 3), np.uint8)
    # Conversion to uint8 cuts off what is behind the point, hence the half.
    luma = np.multiply(y, np.float32(1 / LUMA))
    luma += np.float32(0.5 - 16 / LUMA)
    cb, cr = _chroma_of_each_pixel(u), _chroma_of_each_pixel(v)
    shades = (
        luma + np.float32(2 * (1 - KR)) * cr,
        luma - np.float32(2 * (1 - KR) * KR / KG) * cr - np.float32(2 * (1 - KB) * KB / KG) * cb,
        luma + np.float32(2 * (1 - KB)) * cb,
    )
    for colour, shade in enumerate(shades):
        np.clip(shade, 0, 255, out=shade)
        np.copyto(result[..., colour], shade, casting="unsafe")
    return result


def planes_from_rgb(rgb: np.ndarray) -> np.ndarray:
    """A picture (3, H, W) to its planes, one after the other; as `colour_torch.planes_from_rgb`.

    Any order in memory; fastest where a picture's colours lie one after the other.
    """
    height, width = rgb.shape[1:]
    planes = np.empty(height * width * 3 // 2, np.uint8)
    y, u, v = views(planes, height, width)
    rows = min(STRIP_ROWS, height)
    colours = np.empty((3, rows, width), np.float32)
    luma = np.empty((rows, width), np.float32)
    luma_pairs = np.empty((rows // 2, width), np.float32)
    pairs, triples = np.empty((2, 2, rows // 2, width), np.float32)
    chroma = np.empty((2, rows // 2, width // 2), np.float32)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        count, half = bottom - top, (bottom - top) // 2
        part, light = colours[:, :count], luma[:count]
        if rgb.dtype == np.uint8:
            np.multiply(rgb[:, top:bottom], np.float32(1 / 255), out=part)
        else:
            np.clip(rgb[:, top:bottom], 0, 1, out=part)
        part *= _TO_LUMA
        np.add(part[0], part[1], out=light)
        light += part[2]
        # R - Y and B - Y, side by side: of two rows, then of two neighbouring columns, then of 1:2:1.
        both, near, mean = pairs[:, :half], triples[:, :half], chroma[:, :half]
        np.add(part[::2, 0::2], part[::2, 1::2], out=both)
        both *= _FROM_LUMA
        both -= np.add(light[0::2], light[1::2], out=luma_pairs[:half])
        np.add(both[..., 0], both[..., 0], out=near[..., 0])
        np.add(both[..., :-1], both[..., 1:], out=near[..., 1:])
        np.add(near[..., 0::2], near[..., 1::2], out=mean)
        mean *= _TO_CHROMA
        mean += np.float32(128.5)
        np.copyto(v[top // 2 : bottom // 2], mean[0], casting="unsafe")
        np.copyto(u[top // 2 : bottom // 2], mean[1], casting="unsafe")
        light += np.float32(16.5)
        np.copyto(y[top:bottom], light, casting="unsafe")
    return planes


def quantised(rgb: np.ndarray) -> np.ndarray:
    """Floats (3, H, W) to uint8: 0..1 to 0..255, rounded and clamped."""
    result = np.empty(rgb.shape, np.uint8)
    strip = np.empty((len(rgb), min(STRIP_ROWS, rgb.shape[1]), rgb.shape[2]), np.float32)
    for top in range(0, rgb.shape[1], STRIP_ROWS):
        given = rgb[:, top : top + STRIP_ROWS]
        part = strip[:, : given.shape[1]]
        np.multiply(given, np.float32(255), out=part)
        part += np.float32(0.5)
        np.clip(part, 0, 255, out=part)
        np.copyto(result[:, top : top + STRIP_ROWS], part, casting="unsafe")
    return result


def _chroma_of_each_pixel(plane: np.ndarray) -> np.ndarray:
    """(h + 2, w + 1) uint8 to (2 h, 2 w) float32 around 0, in steps of full range."""
    here = np.multiply(plane, np.float32(1 / CHROMA))
    here -= np.float32(128 / CHROMA)
    height, width = plane.shape[0] - 2, plane.shape[1] - 1
    quarter, middle = np.float32(0.25) * here, np.float32(0.75) * here[1:-1]
    tall = np.empty((2 * height, width + 1), np.float32)
    np.add(middle, quarter[:-2], out=tall[0::2])
    np.add(middle, quarter[2:], out=tall[1::2])
    result = np.empty((2 * height, 2 * width), np.float32)
    result[:, 0::2] = tall[:, :-1]
    between = tall[:, :-1] + tall[:, 1:]
    np.multiply(between, np.float32(0.5), out=result[:, 1::2])
    return result
