"""Settling: ends move to where a look put them, and captions stay in order and apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from video_pipeline.captions.extents import Extent
from video_pipeline.captions.look import Change
from video_pipeline.captions.settle import settled
from video_pipeline.captions.windows import End


def extent(first: int, end: int, start: str = "empty", stop: str = "empty") -> Extent:
    return Extent(first, end, 0.5, 0.6, start, stop)  # pyright: ignore[reportArgumentType]


def change(number: int, end: End, sample: int, pts: int, confidence: float | None = None) -> Change:
    return Change(number, end, sample, pts, 1, b"before", b"after", confidence)


def by_end(*changes: Change) -> dict[tuple[int, End], Change]:
    return {(each.number, each.end): each for each in changes}


def test_an_end_that_fades_moves_and_takes_the_confidence_of_its_fade() -> None:
    (moved,), _ = settled(
        [extent(10, 30)], by_end(change(1, "start", 12, 121, 0.97), change(1, "end", 30, 300))
    )
    assert moved == Extent(12, 30, 0.97, 0.6, "empty", "empty")


def test_captions_that_fade_apart_have_a_gap_between_them() -> None:
    touching = [extent(0, 10, "video_edge", "other_caption"), extent(10, 20, "other_caption", "video_edge")]
    moved, _ = settled(touching, by_end(change(1, "end", 9, 88, 0.9), change(2, "start", 11, 110, 0.9)))
    assert [(each.first_frame, each.end_frame) for each in moved] == [(0, 9), (11, 20)]
    assert [(each.start_beside, each.end_beside) for each in moved] == [
        ("video_edge", "empty"),
        ("empty", "video_edge"),
    ]


def test_of_captions_that_fade_into_each_other_the_first_ends_where_the_second_starts() -> None:
    extents = [extent(0, 10, "video_edge"), extent(12, 20)]
    moved, held = settled(extents, by_end(change(1, "end", 12, 119, 0.9), change(2, "start", 11, 108, 0.8)))
    assert [(each.first_frame, each.end_frame) for each in moved] == [(0, 11), (11, 20)]
    assert (moved[0].end_beside, moved[1].start_beside) == ("other_caption", "other_caption")
    assert moved[0].end_confidence == 0.8
    assert (held[1, "end"].pts, held[1, "end"].end) == (108, "end")


def test_ends_in_one_sample_interval_do_not_cross_either() -> None:
    extents = [extent(0, 10, "video_edge", "other_caption"), extent(10, 20, "other_caption")]
    _, held = settled(extents, by_end(change(1, "end", 10, 98), change(2, "start", 10, 95)))
    assert held[1, "end"].pts == held[2, "start"].pts == 95


def test_captions_that_change_at_one_picture_keep_what_each_look_said_of_it() -> None:
    extents = [extent(0, 10, "video_edge", "other_caption"), extent(10, 20, "other_caption")]
    looked = by_end(change(1, "end", 10, 98, 0.9), change(2, "start", 10, 98, 0.7))
    moved, held = settled(extents, looked)
    assert held == looked
    assert (moved[0].end_confidence, moved[1].start_confidence) == (0.9, 0.7)


def test_the_looks_that_were_given_are_not_changed() -> None:
    extents = [extent(0, 10, "video_edge"), extent(12, 20)]
    looked = by_end(change(1, "end", 12, 119, 0.9), change(2, "start", 11, 108, 0.8))
    before = dict(looked)
    settled(extents, looked)
    assert looked == before


def test_captions_that_come_together_touch() -> None:
    moved, _ = settled(
        [extent(0, 10, "video_edge"), extent(12, 20)], by_end(change(2, "start", 10, 100, 0.9))
    )
    assert (moved[0].end_beside, moved[1].start_beside) == ("other_caption", "other_caption")


def test_the_videos_edges_stay_what_they_are() -> None:
    (moved,), _ = settled([extent(0, 20, "video_edge", "video_edge")], {})
    assert (moved.start_beside, moved.end_beside) == ("video_edge", "video_edge")


def test_ends_that_were_not_looked_at_stay() -> None:
    assert settled([extent(3, 9)], {}) == ([extent(3, 9)], {})


def test_a_clear_cut_makes_the_word_of_the_pairs_surer_and_none_less_sure() -> None:
    clear, none = (
        replace(change(1, "start", 10, 100), odds=4.0),
        replace(change(1, "end", 30, 300), odds=0.25),
    )
    (moved,), _ = settled([extent(10, 30)], by_end(clear, none))
    assert moved.start_confidence == pytest.approx(0.8)
    assert moved.end_confidence == pytest.approx(0.6 / (0.6 + 0.4 * 4))
