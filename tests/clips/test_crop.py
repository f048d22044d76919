from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_pipeline.clips.crop import (
    Crop,
    Cut,
    Shape,
    cut_around,
    may_need_upscaling,
    needs_upscaling,
    place_crop,
)
from video_pipeline.errors import BadInput

PORTRAIT = Shape(640, 360, 810, 1440)

evens = st.integers(8, 1000).map(lambda half: 2 * half)
shapes = st.builds(Shape, evens, evens, evens, evens)
rectangles = st.tuples(
    st.floats(-2000, 4000), st.floats(-2000, 4000), st.floats(0.5, 4000), st.floats(0.5, 4000)
)
grids = st.sampled_from([1, 2, 4])


def slow_crop(wanted: tuple[float, float, float, float], shape: Shape, grid: int) -> Crop:
    """In exact fractions, from the words of the contract."""
    left, top, width, height = map(Fraction, wanted)
    proportion = Fraction(shape.output_width, shape.output_height)
    tall = height
    if width - 1 > height * proportion:
        tall = height + (width - height * proportion - 1) / proportion
    while tall > shape.source_height or tall * proportion > shape.source_width:
        tall = min(Fraction(shape.source_height), shape.source_width / proportion)
    down = max(1, math.floor(tall * grid + Fraction(1, 2)))
    across = max(1, math.floor(tall * proportion * grid + Fraction(1, 2)))
    x = math.floor((left + width / 2) * grid - Fraction(across, 2) + Fraction(1, 2))
    y = math.floor((top + height / 2) * grid - Fraction(down, 2) + Fraction(1, 2))
    x = 0 if x < 0 else min(x, shape.source_width * grid - across)
    y = 0 if y < 0 else min(y, shape.source_height * grid - down)
    return Crop(x, y, across, down, grid)


def edges(crop: Crop) -> tuple[int, int, int, int]:
    return crop.left, crop.top, crop.left + crop.width, crop.top + crop.height


@settings(deadline=None)
@given(rectangles, shapes, grids)
def test_a_crop_is_that_of_exact_arithmetic(
    wanted: tuple[float, float, float, float], shape: Shape, grid: int
) -> None:
    ours, exact = place_crop(wanted, shape, grid), slow_crop(wanted, shape, grid)
    # Floats may round a tie the other way: one step of the grid.
    assert all(abs(a - b) <= 1 for a, b in zip(edges(ours), edges(exact), strict=True))


def test_a_crop_on_plain_numbers_is_exactly_that_of_exact_arithmetic() -> None:
    for tenths in range(0, 4000, 7):
        wanted = (tenths / 16, tenths / 32, 202.5, 360.0)
        shape = Shape(1920, 1080, 810, 1440)
        assert place_crop(wanted, shape, 4) == slow_crop(wanted, shape, 4)


@settings(deadline=None)
@given(rectangles, shapes, grids)
def test_a_crop_lies_inside_the_picture_and_its_cut_around_it(
    wanted: tuple[float, float, float, float], shape: Shape, grid: int
) -> None:
    crop = place_crop(wanted, shape, grid)
    cut = cut_around(crop, shape)
    assert all(number % 2 == 0 for number in (cut.left, cut.top, cut.width, cut.height))
    left, top, right, bottom = edges(crop)
    assert 0 <= cut.left * grid <= left < right <= (cut.left + cut.width) * grid <= shape.source_width * grid
    assert 0 <= cut.top * grid <= top < bottom <= (cut.top + cut.height) * grid <= shape.source_height * grid
    assert cut.width * grid < crop.width + 4 * grid


@settings(deadline=None)
@given(rectangles, shapes, grids)
def test_proportions_are_the_outputs_to_half_a_step(
    wanted: tuple[float, float, float, float], shape: Shape, grid: int
) -> None:
    crop = place_crop(wanted, shape, grid)
    proportion = shape.output_width / shape.output_height
    if min(crop.width, crop.height) > 1:
        assert abs(crop.width - crop.height * proportion) <= 0.5 + 0.5 * proportion + 1e-6


@settings(deadline=None)
@given(st.floats(0, 400), st.floats(0, 100), st.floats(20, 100), st.floats(20, 100))
def test_what_is_wanted_is_shown_but_for_a_pixel_of_width(
    x: float, y: float, width: float, height: float
) -> None:
    crop = place_crop((x, y, width, height), Shape(640, 360, 360, 360), 4)
    left, top, right, bottom = (value / 4 for value in edges(crop))
    assert left <= x + 0.5 + 0.26
    assert right >= min(640, x + width) - 0.5 - 0.26
    assert top <= y + 0.26
    assert bottom >= min(360, y + height) - 0.26


def test_a_crop_of_whole_pixels_fits_the_enlarged_grid_exactly() -> None:
    crop = place_crop((100, 0, 203, 360), PORTRAIT, 4)
    assert crop == Crop(left=401, top=0, width=810, height=1440, grid=4)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((-50, 0, 202.5, 360), (0, 0)),
        ((600, 0, 202.5, 360), (640 - 202.5, 0)),
        ((100, -80, 101.25, 180), (100, 0)),
        ((100, 300, 101.25, 180), (100, 180)),
    ],
)
def test_a_crop_partly_outside_is_pushed_inside(
    wanted: tuple[float, float, float, float], expected: tuple[float, float]
) -> None:
    crop = place_crop(wanted, PORTRAIT, 4)
    assert (crop.width / 4, crop.height / 4) == wanted[2:]
    assert abs(crop.left / 4 - expected[0]) <= 0.125
    assert crop.top / 4 == expected[1]


def test_a_crop_larger_than_the_picture_becomes_the_largest_that_fits() -> None:
    assert place_crop((-100, -100, 4000, 3000), PORTRAIT, 4) == Crop(1750, 0, 810, 1440, 4)
    wide = Shape(200, 400, 400, 200)
    assert place_crop((0, 0, 900, 900), wide, 4) == Crop(0, 1200, 800, 400, 4)


@settings(deadline=None)
@given(rectangles, st.floats(-0.1, 0.1), st.integers(0, 3))
def test_a_little_change_of_what_is_wanted_changes_the_crop_a_little(
    wanted: tuple[float, float, float, float], change: float, which: int
) -> None:
    shape = Shape(1920, 1080, 1080, 1080)
    other = list(wanted)
    other[which] = max(0.25, other[which] + change) if which > 1 else other[which] + change
    one = edges(place_crop(wanted, shape, 4))
    two = edges(place_crop((other[0], other[1], other[2], other[3]), shape, 4))
    assert all(abs(a - b) <= 2 for a, b in zip(one, two, strict=True))


def test_the_crops_of_a_pan_have_cuts_of_one_size() -> None:
    shape = Shape(1920, 1080, 810, 1440)
    crops = [place_crop((step / 7, step / 11, 203, 360), shape, 4) for step in range(3000)]
    assert len({(crop.width, crop.height) for crop in crops}) == 1
    assert {(cut_around(crop, shape).width, cut_around(crop, shape).height) for crop in crops} == {(206, 362)}


def test_a_crop_and_its_cut_are_never_nothing_and_no_larger_than_they_must_be() -> None:
    crop = place_crop((5, 5, 0.01, 0.01), PORTRAIT, 4)
    assert (crop.width, crop.height) == (1, 1)
    across = cut_around(Crop(left=7, top=0, width=1, height=9, grid=4), PORTRAIT)
    assert (across.left, across.width, across.height) == (0, 2, 4)


def test_a_crop_of_the_whole_picture_is_cut_whole() -> None:
    shape = Shape(202, 360, 404, 720)
    assert cut_around(place_crop((0, 0, 202, 360), shape, 4), shape) == Cut(0, 0, 202, 360)


@pytest.mark.parametrize(
    ("size", "needed"),
    [
        ((202.5, 360), True),
        ((809.5, 1439), True),
        ((809.9, 1439.8), True),
        ((810, 1440), False),
        ((811, 1442), False),
    ],
)
def test_the_network_is_needed_where_pixels_are_missing(size: tuple[float, float], needed: bool) -> None:
    shape = Shape(3840, 2160, 810, 1440)
    assert needs_upscaling(place_crop((10, 10, *size), shape, 4), shape) is needed


def test_a_crop_that_is_smallest_between_two_key_frames_is_not_overlooked() -> None:
    shape = Shape(3840, 2160, 400, 400)
    ends = np.array([(0, 0, 600, 100), (0, 0, 100, 600)])
    at_ends = [place_crop(tuple(values.tolist()), shape, 4) for values in ends]
    assert not any(needs_upscaling(crop, shape) for crop in at_ends)
    assert needs_upscaling(place_crop((0, 0, 350, 350), shape, 4), shape)
    assert may_need_upscaling(ends, shape, 4)
    wide = (0, 0, 600, 600)
    assert all(may_need_upscaling(np.array(frames), shape, 4) for frames in ([wide, *ends], [*ends, wide]))
    assert not may_need_upscaling(np.array([(0, 0, 500, 500), (0, 0, 400, 400)]), shape, 4)


@pytest.mark.parametrize("wrong", [(0, 0, 0, 10), (0, 0, 10, -1), (math.nan, 0, 9, 9), (0, 0, math.inf, 9)])
def test_a_crop_without_a_size_is_refused_by_its_numbers(wrong: tuple[float, float, float, float]) -> None:
    with pytest.raises(BadInput, match="above 0") as caught:
        place_crop(wrong, PORTRAIT, 4)
    assert f"{wrong[2]:g}x{wrong[3]:g}" in str(caught.value)
