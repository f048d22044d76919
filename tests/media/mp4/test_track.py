"""Which pictures a picture needs, and which one is on screen, on tables made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from video_pipeline.media.mp4.track import Edit, Samples, Target, needed_for, shown_at


def samples(pts: Sequence[int], keys: Sequence[int]) -> Samples:
    """In decode order, ten bytes and one tick each."""
    count = len(pts)
    return Samples(
        offsets=np.arange(count) * 10,
        sizes=np.full(count, 10),
        dts=np.arange(count),
        pts=np.array(pts),
        durations=np.ones(count, np.int64),
        key=np.isin(np.arange(count), keys),
        entry=np.zeros(count, np.uint8),
    )


OPEN_GOP = samples(pts=[0, 3, 1, 2, 6, 4, 5, 9, 7, 8], keys=[0, 4])
"""I P B B, I B B P B B: samples 5 and 6 are shown before the key frame that they follow."""


@pytest.mark.parametrize(
    ("target", "back", "run"),
    [
        (0, 0, (0, 1)),
        (3, 0, (0, 4)),
        (4, 0, (4, 5)),
        (5, 0, (0, 6)),
        (6, 0, (0, 7)),
        (7, 0, (4, 8)),
        (9, 0, (4, 10)),
        (9, 1, (0, 10)),
        (4, 1, (0, 5)),
        (6, 1, None),
        (9, 2, None),
    ],
)
def test_a_run_begins_at_the_key_frame_that_its_references_reach(
    target: int, back: int, run: tuple[int, int] | None
) -> None:
    assert needed_for(OPEN_GOP, target, back) == run


def test_a_key_frame_that_is_decoded_later_is_of_no_use() -> None:
    """Though it is shown earlier. Unless told to, nothing goes back further than the nearest."""
    assert needed_for(samples([0, 3, 1], keys=[0, 2]), 1) == (0, 2)
    assert needed_for(OPEN_GOP, 9) == (4, 10)


def test_without_a_key_frame_before_it_nothing_can_be_decoded() -> None:
    assert needed_for(samples([0, 1, 2], keys=[2]), 1) is None


@pytest.mark.parametrize(
    ("time", "sample", "pts"),
    [(-5, 0, 0), (0, 0, 0), (1, 2, 1), (3, 1, 3), (5, 6, 5), (6, 4, 6), (100, 7, 9)],
)
def test_the_last_picture_not_after_a_time_is_on_screen(time: int, sample: int, pts: int) -> None:
    assert shown_at(OPEN_GOP, [Edit(0, 0, None)], time) == Target(sample, pts, pts)


@pytest.mark.parametrize(
    ("time", "target"),
    [
        (0, Target(3, 20, 2)),
        (20, Target(3, 20, 2)),
        (22, Target(5, 22, 4)),
        (24, Target(5, 22, 4)),
        (29, Target(5, 22, 4)),
        (30, Target(0, 30, 0)),
        (31, Target(2, 31, 1)),
        (90, Target(2, 31, 1)),
    ],
)
def test_of_edits_out_of_order_each_shows_its_own_part(time: int, target: Target) -> None:
    """Media times 2..4 are shown from 20 on, then 0..1 from 30 on."""
    edits = [Edit(20, 2, 5), Edit(30, 0, 2)]
    assert shown_at(OPEN_GOP, edits, time) == target


def test_nothing_is_shown_where_no_sample_lies_in_an_edit() -> None:
    assert shown_at(OPEN_GOP, [Edit(0, 10, None)], 5) is None
