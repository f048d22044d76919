"""Crop regions: rounding, refusals, and the way through rotation into the coded picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from video_pipeline.errors import BadInput
from video_pipeline.media.frames import turn_plane
from video_pipeline.media.geometry import (
    CropRegion,
    Orientation,
    PixelCrop,
    orientation_from_matrix,
    to_coded_crop,
    to_pixel_crop,
)

ORIENTATIONS = [Orientation(turn, mirror) for turn in (0, 90, 180, 270) for mirror in (False, True)]


def region(left: float, top: float, width: float, height: float) -> CropRegion:
    return CropRegion(left=left, top=top, width=width, height=height)


def test_the_demo_caption_band_is_exact() -> None:
    assert to_pixel_crop(region(0.05, 0.75, 0.9, 0.2), 640, 360) == PixelCrop(32, 270, 576, 72)


def test_a_402x27_region_grows_to_even_sizes_and_loses_no_row() -> None:
    crop = to_pixel_crop(region(101 / 1280, 501 / 720, 402 / 1280, 27 / 720), 1280, 720)
    assert crop == PixelCrop(100, 500, 404, 28)


def test_a_fraction_typed_with_four_digits_rounds_like_the_exact_one() -> None:
    assert to_pixel_crop(region(1 / 3, 0, 1 / 3, 1), 600, 400) == PixelCrop(200, 0, 200, 400)
    assert to_pixel_crop(region(0.333333, 0, 0.333333, 1), 600, 400) == PixelCrop(200, 0, 200, 400)


def test_the_whole_of_an_odd_picture_is_its_even_part() -> None:
    assert to_pixel_crop(region(0, 0, 1, 1), 319, 179) == PixelCrop(0, 0, 318, 178)


@pytest.mark.parametrize(
    "values",
    [
        {"left": 0.5, "top": 0, "width": 0.6, "height": 1},
        {"left": 0, "top": 0.9, "width": 1, "height": 0.2},
        {"left": -0.1, "top": 0, "width": 1, "height": 1},
        {"left": 0, "top": 0, "width": 0, "height": 1},
        {"left": 0, "top": 0, "width": float("nan"), "height": 1},
        {"left": 0, "top": 0, "width": 1, "height": 1, "right": 1},
        {"left": 0, "top": 0, "width": 1},
    ],
)
def test_a_region_outside_the_picture_or_misspelt_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        CropRegion(**values)


def test_fractions_that_add_up_to_one_but_for_rounding_are_taken() -> None:
    assert to_pixel_crop(region(0.7, 0.1, 0.3, 0.9), 1000, 1000).width == 300


def test_a_crop_of_too_few_pixels_names_both_sizes() -> None:
    with pytest.raises(BadInput, match=r"640x12 pixels of a 640x360 picture.*16x16"):
        to_pixel_crop(region(0, 0, 1, 0.03), 640, 360)


fractions = st.floats(0, 0.95, allow_nan=False)


@given(
    left=fractions,
    top=fractions,
    right=fractions,
    bottom=fractions,
    w=st.integers(40, 2000),
    h=st.integers(40, 2000),
)
def test_every_crop_is_even_and_inside_and_covers_its_region(
    left: float, top: float, right: float, bottom: float, w: int, h: int
) -> None:
    width, height = (1 - left) * (1 - right), (1 - top) * (1 - bottom)
    try:
        crop = to_pixel_crop(region(left, top, width, height), w, h)
    except BadInput:
        assert width * w < 16 or height * h < 16 or w < 18 or h < 18
        return
    assert all(value % 2 == 0 for value in (crop.left, crop.top, crop.width, crop.height))
    assert crop.left >= 0
    assert crop.left + crop.width <= w
    assert crop.top + crop.height <= h
    # Nothing of the region is lost but the odd last row or column.
    assert crop.left <= left * w + 1e-2
    assert crop.left + crop.width >= min((left + width) * w, w // 2 * 2) - 1e-2
    assert crop.width <= width * w + 4


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_cutting_in_the_coded_picture_equals_turning_first_and_cutting_then(
    orientation: Orientation, size: tuple[int, int]
) -> None:
    width, height = size
    picture = np.arange(height * width, dtype=np.int32).reshape(height, width)
    even = picture[: height // 2 * 2, : width // 2 * 2]
    upright = turn_plane(even, orientation)
    crop = PixelCrop(left=6, top=10, width=20, height=16)
    coded = to_coded_crop(crop, orientation, width, height)
    assert coded.left % 2 == coded.top % 2 == 0
    cut = picture[coded.top : coded.top + coded.height, coded.left : coded.left + coded.width]
    expected = upright[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    assert np.array_equal(turn_plane(cut, orientation), expected)


def test_a_turned_plane_is_a_contiguous_copy() -> None:
    plane = np.zeros((4, 6), np.uint8)
    for orientation in ORIENTATIONS:
        turned = turn_plane(plane, orientation)
        assert turned.flags.c_contiguous
        assert not np.shares_memory(turned, plane)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_display_matrix_moves_a_pixel_where_the_orientation_moves_it(orientation: Orientation) -> None:
    one = 1 << 16
    by_turn = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
    a, b, c, d = by_turn[orientation.rotation]
    if orientation.mirrored:
        a, c = -a, -c
    assert orientation_from_matrix((a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)) == orientation
    # And the matrix itself: x' = a x + c y, y' = b x + d y, brought back to the origin.
    height, width = 3, 5
    picture = np.arange(15).reshape(height, width)
    turned = turn_plane(picture, orientation)
    corners = [(a * x + c * y, b * x + d * y) for x in (0, width - 1) for y in (0, height - 1)]
    left, top = min(x for x, _ in corners), min(y for _, y in corners)
    for y in range(height):
        for x in range(width):
            assert turned[b * x + d * y - top, a * x + c * y - left] == picture[y, x]


def test_a_slanted_or_empty_matrix_is_no_orientation() -> None:
    assert orientation_from_matrix((52000, 39000, 0, -39000, 52000, 0, 0, 0, 1 << 30)) is None
    assert orientation_from_matrix((0, 0, 0, 0, 0, 0, 0, 0, 0)) is None
