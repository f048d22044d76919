"""Windows: they reach around ends, into no other caption, and hold a bounded number of pictures."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np

from video_pipeline.captions.extents import Extent
from video_pipeline.captions.labels import LABELS, Label
from video_pipeline.captions.windows import (
    MAX_PICTURES,
    Span,
    Wanted,
    Window,
    WindowGatherer,
    clear_cuts,
    spans,
)
from video_pipeline.media.frames import ColourTags, CroppedFrame, CroppedPicture

RATE = Fraction(10)
PLANE = np.zeros((2, 2), np.uint8)
FRAME = CroppedFrame(PLANE, PLANE[:1, :1], PLANE[:1, :1], ColourTags())


def extent(first: int, end: int, start: str = "empty", stop: str = "empty") -> Extent:
    return Extent(first, end, 0.9, 0.9, start, stop)  # pyright: ignore[reportArgumentType]


def picture(pts: int, *samples: int) -> CroppedPicture:
    return CroppedPicture(pts, range(samples[0], samples[-1] + 1) if samples else range(0), FRAME)


def reach(*extents: Extent, count: int = 100, rate: Fraction = RATE) -> list[tuple[Any, ...]]:
    found = spans(extents, rate, count, np.zeros(count - 1, bool))
    return [(span.number, span.end, span.label, span.first, span.sample, span.last) for span in found]


def test_windows_reach_six_tenths_of_a_second_to_either_side() -> None:
    assert reach(extent(40, 70)) == [
        (1, "start", "empty_valid", 34, 40, 45),
        (1, "end", "valid_empty", 64, 70, 75),
    ]


def test_windows_stop_at_the_middle_of_their_caption_and_at_the_next_one() -> None:
    found = reach(extent(10, 15), extent(17, 40))
    assert found[:3] == [
        (1, "start", "empty_valid", 4, 10, 12),
        (1, "end", "valid_empty", 12, 15, 16),
        (2, "start", "empty_valid", 15, 17, 22),
    ]


def test_captions_that_touch_have_a_window_each_up_to_the_middle_of_the_other() -> None:
    found = reach(extent(0, 6, "video_edge", "other_caption"), extent(6, 20, "other_caption", "video_edge"))
    assert found == [(1, "end", "different", 2, 6, 11), (2, "start", "different", 2, 6, 11)]


def test_at_a_low_rate_a_window_still_has_the_samples_around_its_boundary() -> None:
    assert reach(extent(3, 4), rate=Fraction(1), count=9) == [
        (1, "start", "empty_valid", 2, 3, 3),
        (1, "end", "valid_empty", 3, 4, 4),
    ]


def test_windows_stay_inside_the_video() -> None:
    assert reach(extent(2, 97)) == [
        (1, "start", "empty_valid", 0, 2, 7),
        (1, "end", "valid_empty", 91, 97, 99),
    ]


def test_windows_come_in_the_order_in_which_they_begin() -> None:
    """A touching caption's start reaches back further than the end of the one before it."""
    found = reach(
        extent(0, 2, "video_edge", "other_caption"),
        extent(2, 30, "other_caption"),
        extent(33, 34),
        extent(60, 90),
    )
    assert [first for _, _, _, first, _, _ in found] == sorted(first for _, _, _, first, _, _ in found)
    assert sorted((number, end) for number, end, *_ in found) == [
        (1, "end"), (2, "end"), (2, "start"), (3, "end"), (3, "start"), (4, "end"), (4, "start"),
    ]  # fmt: skip


def test_the_edges_of_the_video_have_no_window() -> None:
    assert reach(extent(0, 100, "video_edge", "video_edge")) == []


def test_a_window_within_another_does_not_cut_it_short() -> None:
    wanted = Wanted(
        [100 * k for k in range(10)],
        [Span(1, "end", 4, "different", 1, 8), Span(2, "start", 4, "different", 2, 5)],
    )
    assert [pts for pts in range(50, 1000, 100) if wanted.between(pts)] == [150, 250, 350, 450, 550, 650, 750]


def test_pictures_are_wanted_inside_windows_only() -> None:
    wanted = Wanted(
        [100 * k for k in range(10)],
        [
            Span(1, "start", 1, "empty_valid", 0, 2),
            Span(1, "end", 2, "different", 1, 3),
            Span(2, "end", 7, "valid_empty", 6, 8),
        ],
    )
    inside = [pts for pts in range(-50, 1000, 50) if pts % 100 and wanted.between(pts)]
    assert inside == [50, 150, 250, 650, 750]


def test_windows_that_overlap_share_their_pictures() -> None:
    first = Span(1, "end", 2, "valid_empty", 0, 3)
    second = Span(2, "start", 3, "empty_valid", 2, 4)
    gatherer = WindowGatherer([first, second])
    pictures = [picture(pts, *([pts // 2] if pts % 2 == 0 else [])) for pts in range(12)]
    done = [(window, at) for at in range(12) for window in gatherer.take(pictures[at])]
    assert [(window.span, at) for window, at in done] == [(first, 6), (second, 8)]
    assert [[kept.pts for kept in window.pictures] for window, _ in done] == [
        [0, 1, 2, 3, 4, 5, 6],
        [4, 5, 6, 7, 8],
    ]
    window = done[0][0]
    assert window.pictures[window.change].pts == 4
    assert [kept.pts for kept in window.bracket] == [2, 3, 4]


def test_one_picture_for_both_samples_of_a_boundary_leaves_nothing_between() -> None:
    gatherer = WindowGatherer([Span(1, "start", 1, "empty_valid", 0, 1)])
    (window,) = gatherer.take(picture(7, 0, 1, 2))
    assert [kept.pts for kept in window.bracket] == [7, 7]


def test_a_long_window_is_thinned_out_but_keeps_its_samples() -> None:
    window = Window(Span(1, "start", 3, "empty_valid", 0, 4))
    for pts in range(1001):
        window.add(picture(pts, *([pts // 250] if pts % 250 == 0 else [])))
        assert len(window.pictures) <= MAX_PICTURES
    stamps = [kept.pts for kept in window.pictures]
    assert {0, 250, 500, 750, 1000} < set(stamps)
    between = [stamp for stamp in stamps if stamp % 250]
    assert len(between) > MAX_PICTURES // 3
    assert max(later - earlier for earlier, later in itertools.pairwise(between)) <= 33
    assert stamps == sorted(stamps)


def said(changes: dict[int, tuple[Label, float]], count: int = 20) -> np.ndarray:
    """(count, 2, 5): of each pair named the probability of its label, of all others that nothing changes."""
    pairs = np.zeros((count, 2, 5))
    pairs[:, :, LABELS.index("same")] = 1.0
    for at, (label, chance) in changes.items():
        backward: Label = {"empty_valid": "valid_empty", "valid_empty": "empty_valid"}.get(label, label)  # pyright: ignore[reportAssignmentType]
        pairs[at, 0, LABELS.index(label)] = pairs[at, 1, LABELS.index(backward)] = chance
        pairs[at, :, LABELS.index("same")] = 1 - chance
    return pairs


def test_a_cut_is_clear_where_one_pair_alone_tells_of_a_change() -> None:
    assert np.flatnonzero(clear_cuts(said({5: ("empty_valid", 0.9), 12: ("different", 0.97)}))).tolist() == [
        5,
        12,
    ]
    assert np.flatnonzero(
        clear_cuts(said({0: ("valid_empty", 0.95), 19: ("valid_empty", 0.95)}))
    ).tolist() == [0, 19]
    assert not clear_cuts(said({5: ("empty_valid", 0.85)})).any()
    assert clear_cuts(np.zeros((0, 2, 5))).tolist() == []


def test_a_cut_is_not_clear_where_a_pair_beside_tells_of_one_too() -> None:
    for beside in (-2, -1, 1, 2):
        assert not clear_cuts(said({8: ("empty_valid", 0.95), 8 + beside: ("different", 0.06)}))[8]
        assert clear_cuts(said({8: ("empty_valid", 0.95), 8 + beside: ("different", 0.05)}))[8]
    assert clear_cuts(said({8: ("empty_valid", 0.95), 11: ("different", 0.5)}))[8]


def test_each_end_is_clear_where_its_own_pair_is() -> None:
    clear = np.zeros(99, bool)
    clear[39] = True
    assert [span.clear for span in spans([extent(40, 70)], RATE, 100, clear)] == [True, False]
    clear[39], clear[69] = False, True
    assert [span.clear for span in spans([extent(40, 70)], RATE, 100, clear)] == [False, True]


def test_of_a_clear_cut_only_pictures_of_samples_and_of_the_step_itself_are_looked_at() -> None:
    span = Span(1, "start", 4, "empty_valid", 1, 7, clear=True)
    wanted = Wanted([100 * k for k in range(10)], [span])
    assert [pts for pts in range(50, 1000, 100) if wanted.between(pts)] == [350]
    window = Window(span)
    for pts in range(100, 750, 50):  # another end's window has its pictures decoded as well
        window.add(picture(pts, *([pts // 100] if pts % 100 == 0 else [])))
    assert [kept.pts for kept in window.pictures] == [100, 200, 300, 350, 400, 500, 600, 700]
    assert [kept.pts for kept in window.bracket] == [300, 350, 400]


def test_a_clear_cut_inside_the_window_of_an_end_that_is_not_leaves_that_whole() -> None:
    wanted = Wanted(
        [100 * k for k in range(10)],
        [Span(1, "start", 2, "empty_valid", 1, 6), Span(1, "end", 8, "valid_empty", 0, 9, clear=True)],
    )
    assert [pts for pts in range(50, 1000, 100) if wanted.between(pts)] == [150, 250, 350, 450, 550, 750]
