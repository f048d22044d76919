from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_pipeline.clips.fit import Fitter, fitted_size
from video_pipeline.media.frames import ColourTags, CroppedFrame

TAGS = ColourTags(1, 1, 1, 1)


def patterned(width: int, height: int) -> CroppedFrame:
    """Luma rises to the right, U downwards, V to the left; nothing in it is black or neutral."""
    across, down = np.linspace(40, 220, width), np.linspace(150, 230, height // 2)
    return CroppedFrame(
        np.broadcast_to(across, (height, width)).round().astype(np.uint8),
        np.broadcast_to(down[:, None], (height // 2, width // 2)).round().astype(np.uint8),
        np.broadcast_to(np.linspace(110, 30, width // 2), (height // 2, width // 2)).round().astype(np.uint8),
        TAGS,
    )


@pytest.mark.parametrize(
    ("size", "into", "left", "top", "width", "height"),
    [
        ((160, 96), (320, 240), 0, 24, 320, 192),
        ((96, 160), (320, 240), 88, 0, 144, 240),
        ((640, 384), (160, 160), 0, 32, 160, 96),
    ],
    ids=["black above and below", "black on both sides", "smaller"],
)
def test_a_picture_lies_in_the_middle_with_exact_black_beside_it_in_every_plane(
    size: tuple[int, int], into: tuple[int, int], left: int, top: int, width: int, height: int
) -> None:
    frame = patterned(*size)
    fitted = Fitter(*into).apply(frame)
    assert (fitted.width, fitted.height, fitted.tags) == (*into, TAGS)
    inside = patterned(width, height)
    for plane, wanted, black, by in (
        (fitted.y, inside.y, 16, 1),
        (fitted.u, inside.u, 128, 2),
        (fitted.v, inside.v, 128, 2),
    ):
        rows, columns = (
            slice(start // by, (start + length) // by) for start, length in ((top, height), (left, width))
        )
        assert plane.shape == (into[1] // by, into[0] // by)
        assert np.abs(plane[rows, columns].astype(int) - wanted).max() <= 2
        beside = np.ones(plane.shape, bool)
        beside[rows, columns] = False
        assert (plane[beside] == black).all()


def test_a_picture_of_the_same_shape_fills_the_whole_and_one_of_the_same_size_is_left_alone() -> None:
    frame = patterned(160, 96)
    assert Fitter(160, 96).apply(frame) is frame
    larger = Fitter(320, 192).apply(frame)
    assert np.abs(larger.y.astype(int) - patterned(320, 192).y).max() <= 2


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(4, 1000), st.integers(4, 1000))
def test_a_fitted_size_is_the_largest_even_one_of_the_same_proportions(
    w: int, h: int, a: int, b: int
) -> None:
    source, into = (2 * w, 2 * h), (2 * a, 2 * b)
    width, height = fitted_size(*source, *into)
    assert width % 2 == height % 2 == 0
    assert 2 <= width <= into[0]
    assert 2 <= height <= into[1]
    scale = min(Fraction(into[0], source[0]), Fraction(into[1], source[1]))
    assert abs(width - max(2, source[0] * scale)) <= 1
    assert abs(height - max(2, source[1] * scale)) <= 1
