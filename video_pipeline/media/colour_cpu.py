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

    Any order in memory; fastest where the colours of a pixel lie side by side.
    """
    height, width = rgb.shape[1:]
    planes = np.empty(height * width * 3 // 2, np.uint8)
    y, u, v = views(planes, height, width)
    rows = min(STRIP_ROWS, height)
    colours = np.empty((3, rows, width), np.float32)
    luma, term = np.empty((2, rows, width), np.float32)
    luma_pairs, pairs = np.empty((2, rows // 2, width), np.float32)
    chroma = np.empty((rows // 2, width // 2), np.float32)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        count, half = bottom - top, (bottom - top) // 2
        part, light, scaled = colours[:, :count], luma[:count], term[:count]
        if rgb.dtype == np.uint8:
            np.multiply(rgb[:, top:bottom], np.float32(1 / 255), out=part)
        else:
            np.clip(rgb[:, top:bottom], 0, 1, out=part)
        np.multiply(part[0], np.float32(KR), out=light)
        for colour, weight in ((1, KG), (2, KB)):
            np.multiply(part[colour], np.float32(weight), out=scaled)
            light += scaled
        np.multiply(light, np.float32(255 * LUMA), out=scaled)
        scaled += np.float32(16.5)
        np.copyto(y[top:bottom], scaled, casting="unsafe")
        np.add(light[0::2], light[1::2], out=luma_pairs[:half])
        for plane, colour, weight in ((u, 2, KB), (v, 0, KR)):
            both, mean = pairs[:half], chroma[:half]
            np.add(part[colour, 0::2], part[colour, 1::2], out=both)
            both -= luma_pairs[:half]
            even, odd = both[:, 0::2], both[:, 1::2]
            np.add(even, even, out=mean)
            mean += odd
            mean[:, 1:] += odd[:, :-1]
            mean[:, 0] += even[:, 0]
            # The weights 1:2:1 across and 1:1 down sum to eight.
            mean *= np.float32(255 * CHROMA / (8 * 2 * (1 - weight)))
            mean += np.float32(128.5)
            np.copyto(plane[top // 2 : bottom // 2], mean, casting="unsafe")
    return planes


def quantised(rgb: np.ndarray) -> np.ndarray:
    """Floats (H, W, 3) to uint8: 0..1 to 0..255, rounded and clamped."""
    result = np.empty(rgb.shape, np.uint8)
    strip = np.empty((min(STRIP_ROWS, len(rgb)), *rgb.shape[1:]), np.float32)
    for top in range(0, len(rgb), STRIP_ROWS):
        given = rgb[top : top + STRIP_ROWS]
        part = strip[: len(given)]
        np.multiply(given, np.float32(255), out=part)
        part += np.float32(0.5)
        np.clip(part, 0, 255, out=part)
        np.copyto(result[top : top + STRIP_ROWS], part, casting="unsafe")
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
