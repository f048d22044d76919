"""YUV to RGB against libswscale and against the standards' own corner values."""

from __future__ import annotations

import av
import numpy as np
import pytest

from video_pipeline.media.colour import effective_matrix, is_full_range, yuv_to_rgb
from video_pipeline.media.frames import ColourTags

Yuv = tuple[int, int, int]


def one(y: int, u: int, v: int, matrix: int, *, full_range: bool = False) -> tuple[int, ...]:
    planes = (np.array([[value]], np.uint8) for value in (y, u, v))
    return tuple(int(value) for value in yuv_to_rgb(*planes, matrix=matrix, full_range=full_range)[0, 0])


@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 9])
def test_black_grey_and_white_have_no_colour_in_any_matrix(matrix: int):
    assert one(16, 128, 128, matrix) == (0, 0, 0)
    assert one(235, 128, 128, matrix) == (255, 255, 255)
    assert one(0, 128, 128, matrix, full_range=True) == (0, 0, 0)
    assert one(255, 128, 128, matrix, full_range=True) == (255, 255, 255)
    assert one(0, 128, 128, matrix) == (0, 0, 0), "below black is black"
    assert one(255, 128, 128, matrix) == (255, 255, 255), "above white is white"


@pytest.mark.parametrize(
    ("matrix", "red", "green", "blue"),
    [
        (6, (81, 90, 240), (145, 54, 34), (41, 240, 110)),  # BT.601 bars at 100 %
        (1, (63, 102, 240), (173, 42, 26), (32, 240, 118)),  # BT.709 bars at 100 %
    ],
)
def test_the_primaries_of_colour_bars_come_back(matrix: int, red: Yuv, green: Yuv, blue: Yuv):
    for yuv, rgb in ((red, (255, 0, 0)), (green, (0, 255, 0)), (blue, (0, 0, 255))):
        assert np.abs(np.array(one(*yuv, matrix)) - rgb).max() <= 2


@pytest.mark.parametrize(("matrix", "name"), [(1, "ITU709"), (6, "ITU601")])
def test_it_agrees_with_libswscale(matrix: int, name: str):
    random = np.random.default_rng(4)
    planes = [random.integers(16, 236, (64, 64), np.uint8) for _ in range(3)]
    picture = av.VideoFrame.from_ndarray(np.stack(planes), format="yuv444p")
    theirs = picture.to_ndarray(format="rgb24", src_colorspace=name, dst_colorspace=name)
    mine = yuv_to_rgb(*planes, matrix=matrix, full_range=False)
    assert np.abs(mine.astype(int) - theirs).max() <= 3


def test_an_untagged_picture_is_read_by_its_width():
    assert effective_matrix(ColourTags(), 1280) == 1
    assert effective_matrix(ColourTags(), 720) == 6
    assert effective_matrix(ColourTags(matrix=8), 1280) == 1, "a rare tag counts as none"
    assert effective_matrix(ColourTags(matrix=9), 64) == 9
    assert [is_full_range(ColourTags(range=value)) for value in (0, 1, 2)] == [False, False, True]
