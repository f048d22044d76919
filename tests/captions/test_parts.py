"""Captions that were taken for one: where they are divided, how sure that is, and what keeps its number."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.captions.test_settle import by_end, change
from video_pipeline.captions.extents import Extent
from video_pipeline.captions.labels import LABELS, REVERSED
from video_pipeline.captions.parts import LEAST, Divided, Part
from video_pipeline.captions.parts import divided as divide
from video_pipeline.captions.representative import CaptionText

LONGEST = Fraction(200)
LOGO = 0.9
"""How sure the network is of `same` where it is wrong."""


def said(first: int, last: int, text: str | None = None) -> Part:
    unread = None if text else "script_not_readable"
    return Part(first, last, CaptionText(text, 0.99, None, unread, 1))


def divided(extents: list[Extent], changes: Any, parts: Any, probabilities: np.ndarray) -> Divided:
    return divide(extents, changes, parts, probabilities, LONGEST)


def extent(first: int, end: int) -> Extent:
    return Extent(first, end, 0.9, 0.8, "empty", "video_edge")


def pairs(count: int, **likelier: float) -> np.ndarray:
    """(count, 2, 5) of pairs that look the same, but for hints such as different_12=0.05."""
    forward = np.full((count, 5), (1 - LOGO) / 40)
    forward[:, 0] = LOGO
    for name, value in likelier.items():
        label, _, at = name.rpartition("_")
        forward[int(at), LABELS.index(label)] = value
    forward /= forward.sum(axis=1, keepdims=True)
    return np.stack([forward, forward[:, REVERSED]], axis=1)


def spans(extents: list[Extent]) -> list[tuple[int, int]]:
    return [(each.first_frame, each.end_frame) for each in extents]


def test_a_caption_of_one_part_stays_as_it_is() -> None:
    found, moved, texts, _ = divided([extent(3, 20)], {}, {1: [said(4, 18, "Hello")]}, pairs(30))
    assert (found, moved) == ([extent(3, 20)], {})
    assert texts[1].text == "Hello"


def test_captions_without_text_stay_as_they_are() -> None:
    assert divided([extent(3, 20)], {}, {}, pairs(30)) == ([extent(3, 20)], {}, {}, [])


def test_the_change_is_put_where_the_pairs_hint_at_it() -> None:
    parts = [said(4, 10, "Hello"), said(16, 18, "Goodbye")]
    found, _, texts, _ = divided([extent(3, 20)], {}, {1: parts}, pairs(30, different_12=0.05))
    assert spans(found) == [(3, 13), (13, 20)]
    assert (found[0].end_beside, found[1].start_beside) == ("other_caption", "other_caption")
    assert (found[0].start_beside, found[1].end_beside) == ("empty", "video_edge")
    assert (found[0].start_confidence, found[1].end_confidence) == (0.9, 0.8)
    assert [texts[number].text for number in (1, 2)] == ["Hello", "Goodbye"]


def test_a_change_is_never_put_where_either_caption_was_seen() -> None:
    parts = [said(4, 10, "Hello"), said(16, 18, "Goodbye")]
    hints = pairs(30, different_9=0.4, different_16=0.4)
    (one, two), _, _, _ = divided([extent(3, 20)], {}, {1: parts}, hints)
    assert 10 < one.end_frame == two.first_frame <= 16


def test_pictures_beside_each_other_leave_a_single_place() -> None:
    parts = [said(4, 10, "Hello"), said(11, 18, "Goodbye")]
    (one, two), _, _, _ = divided([extent(3, 20)], {}, {1: parts}, pairs(30))
    assert (one.end_frame, two.first_frame) == (11, 11)
    assert (one.end_confidence, two.start_confidence) == pytest.approx((1.0, 1.0))


def test_a_gap_between_them_is_kept_free() -> None:
    hints = {f"empty_empty_{pair}": 0.5 for pair in (12, 13)}
    hints |= {"valid_empty_11": 0.3, "empty_valid_14": 0.3}
    parts = [said(4, 10, "Hello"), said(17, 18, "Goodbye")]
    found, _, _, _ = divided([extent(3, 20)], {}, {1: parts}, pairs(30, **hints))
    assert spans(found) == [(3, 12), (15, 20)]
    assert (found[0].end_beside, found[1].start_beside) == ("empty", "empty")


def test_a_place_is_the_surer_the_more_the_pairs_say_of_it() -> None:
    parts = [said(4, 10, "Hello"), said(16, 18, "Goodbye")]
    sure = [
        divided([extent(3, 20)], {}, {1: parts}, pairs(30, different_12=hint))[0][0].end_confidence
        for hint in (0.01, 0.1, 0.5)
    ]
    assert sure == sorted(sure)
    assert 0 < sure[0] < 0.6 < sure[-1] < 1


def test_numbers_after_a_divided_caption_move_up() -> None:
    changes = by_end(*(change(number, end, 1, 100) for number in (1, 2) for end in ("start", "end")))
    parts = {1: [said(4, 10, "One"), said(12, 18, "Two")], 2: [said(22, 26, "Three")]}
    found, moved, texts, _ = divided([extent(3, 20), extent(21, 28)], changes, parts, pairs(30))
    assert len(found) == 3
    assert {key: each.number for key, each in moved.items()} == {
        (1, "start"): 1,
        (2, "end"): 2,
        (3, "start"): 3,
        (3, "end"): 3,
    }
    assert {number: text.text for number, text in texts.items()} == {1: "One", 2: "Two", 3: "Three"}


def test_parts_that_lie_outside_after_its_ends_were_moved_are_none_of_it() -> None:
    parts = [said(4, 6, "Hello"), said(9, 18, "Goodbye")]
    found, _, texts, _ = divided([extent(8, 20)], {}, {1: parts}, pairs(30))
    assert spans(found) == [(8, 20)]
    assert texts[1].text == "Goodbye"


@pytest.mark.parametrize(("last", "divides"), [(4 + LEAST, True), (3 + LEAST, False)])
def test_what_cannot_be_read_must_stand_for_a_while(last: int, divides: bool) -> None:
    parts = [said(4, last), said(12, 18)]
    found, _, _, _ = divided([extent(3, 20)], {}, {1: parts}, pairs(30))
    assert len(found) == 1 + divides


def test_lettering_in_a_few_pictures_of_what_cannot_be_read_is_none_of_it() -> None:
    found, _, texts, _ = divided([extent(3, 20)], {}, {1: [said(4, 6, "Xy"), said(9, 18)]}, pairs(30))
    assert spans(found) == [(3, 20)]
    assert texts[1].unread == "script_not_readable"


def test_a_caption_that_cannot_be_read_at_all_keeps_its_longest_part() -> None:
    parts = [said(4, 5), said(7, 10)]
    found, _, texts, _ = divided([extent(3, 12)], {}, {1: parts}, pairs(30))
    assert spans(found) == [(3, 12)]
    assert texts[1].unread == "script_not_readable"


def nothing(first: int, last: int) -> Part:
    return Part(first, last, CaptionText(None, 0.0, None, "nothing_recognised", 3))


def test_what_stands_for_long_without_lettering_of_its_own_is_left_out() -> None:
    extents = [extent(2, 10), replace(extent(10, 211), start_beside="other_caption"), extent(220, 230)]
    extents[0] = replace(extents[0], end_beside="other_caption")
    changes = by_end(change(2, "start", 10, 100), change(3, "end", 230, 2300))
    parts = {1: [said(2, 9, "One")], 2: [nothing(20, 200)], 3: [said(222, 229, "Two")]}
    found, moved, texts, left_out = divided(extents, changes, parts, pairs(240))
    assert (spans(found), spans(left_out)) == ([(2, 10), (220, 230)], [(10, 211)])
    assert found[0].end_beside == "empty"
    assert {key: each.number for key, each in moved.items()} == {(2, "end"): 2}
    assert {number: text.text for number, text in texts.items()} == {1: "One", 2: "Two"}


@pytest.mark.parametrize(("end", "part"), [(210, nothing(20, 200)), (211, said(20, 200)), (211, None)])
def test_what_is_shorter_or_might_be_lettering_stays(end: int, part: Part | None) -> None:
    found, _, _, left_out = divided([extent(10, end)], {}, {1: [part]} if part else {}, pairs(240))
    assert (spans(found), left_out) == ([(10, end)], [])
