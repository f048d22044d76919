"""Conversion to BT.709 against the formulas of H.273, on colour bars in every matrix and range."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from tests.media.reference import planes
from video_pipeline.media.bt709 import BT709, Bt709Converter, conversion_notes
from video_pipeline.media.colour import LUMA_WEIGHTS, frame_to_rgb, yuv_to_rgb
from video_pipeline.media.geometry import Orientation

BARS = [
    (191, 191, 191),
    (191, 191, 0),
    (0, 191, 191),
    (0, 191, 0),
    (191, 0, 191),
    (191, 0, 0),
    (0, 0, 191),
    (16, 16, 16),
]
WIDTH, HEIGHT = 256, 64


def yuv_of(rgb: tuple[int, int, int], matrix: int, full_range: bool) -> tuple[float, float, float]:
    """ITU-T H.273 8.3, forwards, in 8 bits, not rounded."""
    kr, kb = LUMA_WEIGHTS[matrix]
    red, green, blue = (value / 255 for value in rgb)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    if full_range:
        return 255 * luma, 255 * cb + 128, 255 * cr + 128
    return 16 + 219 * luma, 128 + 224 * cb, 128 + 224 * cr


def bars(pixel_format: str, matrix: int, full_range: bool, *, tagged: bool = True) -> av.VideoFrame:
    picture = av.VideoFrame(WIDTH, HEIGHT, pixel_format)
    deep = "10" in pixel_format
    dtype, scale = (np.uint16, 4) if deep else (np.uint8, 1)
    for component, plane in enumerate(picture.planes):
        values = np.zeros((plane.height, plane.line_size // np.dtype(dtype).itemsize), dtype)
        for bar, rgb in enumerate(BARS):
            columns = slice(bar * plane.width // 8, (bar + 1) * plane.width // 8)
            values[:, columns] = round(yuv_of(rgb, matrix, full_range)[component] * scale)
        plane.update(values.tobytes())
    picture.colorspace = matrix if tagged else 2
    picture.color_range = 2 if full_range else 1
    return picture


def converter() -> Bt709Converter:
    return Bt709Converter(Orientation(), WIDTH, HEIGHT)


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", LUMA_WEIGHTS)
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv422p", "yuv444p"])
def test_bars_keep_their_colours(pixel_format: str, matrix: int, full_range: bool) -> None:
    frame = converter().convert(bars(pixel_format, matrix, full_range))
    assert frame.tags == BT709
    for bar, rgb in enumerate(BARS):
        x = bar * WIDTH // 8 + WIDTH // 16
        ours = (frame.y[HEIGHT // 2, x], frame.u[HEIGHT // 4, x // 2], frame.v[HEIGHT // 4, x // 2])
        exact = yuv_of(rgb, 1, False)
        # 8 bits on both sides: half a step in each of three components, and swscale's own rounding.
        assert max(abs(float(a) - b) for a, b in zip(ours, exact, strict=True)) < 1.5


@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
def test_people_see_the_same_picture_as_before(full_range: bool) -> None:
    picture = bars("yuv420p", 6, full_range)
    y, u, v = planes(picture)
    wide = [plane.repeat(2, 0).repeat(2, 1) for plane in (u, v)]
    before = yuv_to_rgb(y, *wide, matrix=6, full_range=full_range)
    after = frame_to_rgb(converter().convert(picture))
    inside = np.arange(WIDTH) % 32
    away_from_edges = (inside > 4) & (inside < 28)
    assert np.abs(before.astype(int) - after)[:, away_from_edges].max() <= 5
    assert np.abs(before.astype(int) - after)[:, away_from_edges].mean() < 1.5


def test_bt709_keeps_its_values() -> None:
    picture = bars("yuv420p", 1, False)
    frame = converter().convert(picture)
    for theirs, ours in zip(planes(picture), (frame.y, frame.u, frame.v), strict=True):
        assert np.array_equal(ours, theirs)


def test_untagged_small_pictures_are_read_as_bt601() -> None:
    untagged = converter().convert(bars("yuv420p", 6, False, tagged=False))
    tagged = converter().convert(bars("yuv420p", 6, False))
    assert np.array_equal(untagged.y, tagged.y)
    assert np.array_equal(untagged.u, tagged.u)


def test_notes_say_what_is_not_converted() -> None:
    picture = bars("yuv420p10le", 9, False)
    picture.color_primaries, picture.color_trc = 9, 18
    assert conversion_notes(picture, Fraction(4, 3)) == (
        "converted from BT.2020",
        "reduced from 10 to 8 bits",
        "HLG is not tone-mapped",
        "BT.2020 primaries are not converted",
        "pixels of shape 4:3 are taken as square",
    )
    assert conversion_notes(bars("yuv420p", 1, False), Fraction(1)) == ()
