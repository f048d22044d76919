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


def gray(pixel_format: str, levels: np.ndarray, colour_range: int, matrix: int) -> av.VideoFrame:
    """A ramp of 8-bit levels (W,), 32 rows high."""
    picture = av.VideoFrame(len(levels), 32, pixel_format)
    deep = "10" in pixel_format
    dtype, scale = (np.uint16, 4) if deep else (np.uint8, 1)
    values = np.zeros((32, picture.planes[0].line_size // np.dtype(dtype).itemsize), dtype)
    values[:, : len(levels)] = levels * scale
    picture.planes[0].update(values.tobytes())
    picture.color_range, picture.colorspace = colour_range, matrix
    return picture


@pytest.mark.parametrize("matrix", [1, 2, 6], ids=["bt709", "untagged", "bt601"])
@pytest.mark.parametrize("colour_range", [0, 1, 2], ids=["untagged", "limited", "full"])
@pytest.mark.parametrize("pixel_format", ["gray", "gray10le"])
def test_gray_has_one_look_in_every_matrix(pixel_format: str, colour_range: int, matrix: int) -> None:
    full = colour_range == 2
    levels = np.linspace(0, 255, 64).astype(int) if full else np.linspace(16, 235, 64).astype(int)
    picture = gray(pixel_format, levels, colour_range, matrix)
    frame = Bt709Converter(Orientation(), 64, 32).convert(picture)
    wanted = 16 + levels * 219 / 255 if full else levels
    # Ten bits are dithered to eight, and full range is rounded.
    exact = pixel_format == "gray" and not full
    assert np.abs(frame.y - wanted).max() <= (0 if exact else 1)
    assert (frame.u == 128).all()
    assert (frame.v == 128).all()
    assert not any("BT.601" in note for note in conversion_notes(picture, None))


@pytest.mark.parametrize("matrix", [1, 6], ids=["kept", "converted"])
@pytest.mark.parametrize(("width", "height"), [(255, 64), (256, 63), (255, 63)])
def test_of_odd_sizes_the_even_part_is_kept(width: int, height: int, matrix: int) -> None:
    picture = av.VideoFrame(width, height, "yuv420p")
    for component, plane in enumerate(picture.planes):
        values = np.full((plane.height, plane.line_size), 128, np.uint8)
        if component == 0:
            values[:, :width] = np.linspace(16, 235, width).astype(np.uint8)
        plane.update(values.tobytes())
    picture.colorspace, picture.color_range = matrix, 1
    made = Bt709Converter(Orientation(), width, height)
    frame = made.convert(picture)
    even = (height // 2 * 2, width // 2 * 2)
    assert (made.height, made.width) == even == frame.y.shape
    assert frame.u.shape == frame.v.shape == (even[0] // 2, even[1] // 2)
    assert np.abs(frame.y - np.linspace(16, 235, width)[None, : even[1]]).max() <= 1


def test_a_palette_is_called_rgb() -> None:
    picture = av.VideoFrame(64, 32, "pal8")
    picture.planes[1].update(bytes(picture.planes[1].buffer_size))
    assert conversion_notes(picture, None) == ("converted from RGB",)


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
