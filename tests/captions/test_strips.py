"""What a caption is read from: even samples within it, one without any caption on either side, and the
captions that touch it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from video_pipeline.captions.extents import Extent
from video_pipeline.captions.strips import Gatherer, representatives, surroundings
from video_pipeline.media.frames import ColourTags, CroppedFrame, CroppedPicture


def extent(first: int, end: int) -> Extent:
    return Extent(first, end, 0.9, 0.9, "empty", "empty")


def picture(sample: int) -> CroppedPicture:
    plane = np.zeros((2, 2), np.uint8)
    return CroppedPicture(sample, range(sample, sample + 1), CroppedFrame(plane, plane, plane, ColourTags()))


def gathered(extents: list[Extent], frame_count: int) -> list[tuple[int, int, list[int], list[int | None]]]:
    """Of each caption in the order they come: after which sample, number, samples, and those beside it, as in
    `Beside`."""
    gatherer = Gatherer(representatives(extents), surroundings(extents, frame_count))
    return [
        (
            sample,
            strips.number,
            [shown.pts for shown in strips.pictures],
            [
                None if beside is None else beside.pts
                for beside in (strips.before, strips.after, strips.previous, strips.following)
            ],
        )
        for sample in range(frame_count)
        for strips in gatherer.take(sample, picture(sample))
    ]


@pytest.mark.parametrize("length", [1, 2, 8, 9, 10, 1000])
def test_the_strips_of_a_caption_are_even_and_within_it(length: int) -> None:
    wanted = sorted(representatives([extent(5, 5 + length)]))
    assert len(wanted) == min(9, length)
    assert wanted[0] >= 5
    assert wanted[-1] < 5 + length
    gaps = [later - earlier for earlier, later in itertools.pairwise(wanted)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    # As far from its start as from its end: captions fade at both.
    assert abs((wanted[0] - 5) - (4 + length - wanted[-1])) <= 1


def test_a_picture_without_the_caption_stands_clear_of_it_where_there_is_room() -> None:
    assert surroundings([extent(10, 20), extent(40, 50)], 60) == {
        1: (7, 22, None, None),
        2: (37, 52, None, None),
    }


@pytest.mark.parametrize(("gap", "before", "after"), [(1, 10, 10), (2, 11, 10), (3, 11, 11), (4, 12, 11)])
def test_in_a_short_gap_it_stands_in_the_middle(gap: int, before: int, after: int) -> None:
    found = surroundings([extent(0, 10), extent(10 + gap, 30)], 30)
    assert found == {1: (None, after, None, None), 2: (before, None, None, None)}


def test_captions_without_a_gap_share_the_picture_before_the_first_of_them() -> None:
    extents = [extent(5 + 4 * i, 9 + 4 * i) for i in range(5)]
    found = surroundings(extents, 30)
    assert [beside.before for beside in found.values()] == [2] * 5
    assert [beside.after for beside in found.values()] == [None, None, 27, 27, 27]


def test_captions_that_touch_are_beside_each_other_and_others_are_not() -> None:
    found = surroundings([extent(0, 100), extent(100, 102), extent(103, 110)], 120)
    assert [beside.previous for beside in found.values()] == [None, 94, None]
    assert [beside.following for beside in found.values()] == [100, None, None]


def test_each_caption_comes_with_its_own_pictures_and_those_beside_it() -> None:
    assert gathered([extent(4, 6), extent(6, 8), extent(12, 13)], 20) == [
        (9, 1, [4, 5], [2, 9, None, 6]),
        (9, 2, [6, 7], [2, 9, 5, None]),
        (15, 3, [12], [10, 15, None, None]),
    ]


def test_a_caption_that_fills_the_video_is_read_without_pictures_beside_it() -> None:
    assert gathered([extent(0, 3)], 3) == [(2, 1, [0, 1, 2], [None] * 4)]


def test_without_a_gap_captions_do_not_wait_for_one_that_is_far() -> None:
    extents = [extent(2 * i, 2 * i + 2) for i in range(6)]
    assert [(sample, number) for sample, number, *_ in gathered(extents, 14)] == [
        (2, 1),
        (4, 2),
        (6, 3),
        (12, 4),
        (12, 5),
        (12, 6),
    ]
