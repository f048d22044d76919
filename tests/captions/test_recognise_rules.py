"""What is made of boxes, letters and probabilities, given by hand: order, spaces, doubts. No model is run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from video_pipeline.captions import recognise
from video_pipeline.captions.recognise import _Box, _decode, _in_picture, _judge, _rows, _without_strays

CHARACTERS = ["", "a", "b", "c", " "]


def columns(*likely: dict[str, float]) -> np.ndarray:
    """(T, 5) probabilities: of each column what is named, the rest for the blank."""
    made = np.zeros((len(likely), len(CHARACTERS)), np.float32)
    for column, chances in enumerate(likely):
        for character, probability in chances.items():
            made[column, CHARACTERS.index(character)] = probability
        made[column, 0] += max(0.0, 1 - made[column].sum())
    return made


def decoded(*likely: dict[str, float]) -> str:
    return "".join(character for character, _ in _decode(columns(*likely), CHARACTERS))


def letters(text: str, probability: float = 0.95) -> list[tuple[str, float]]:
    return [(character, probability) for character in text]


def box(left: float, top: float, right: float, bottom: float) -> _Box:
    return _Box(left, top, right, bottom)


def edges(rows: list[list[_Box]]) -> list[list[tuple[float, float]]]:
    return [[(each.left, each.right) for each in row] for row in rows]


def test_repeated_columns_are_one_letter_and_a_blank_between_makes_two() -> None:
    assert decoded({"a": 0.9}, {"a": 0.8}, {"b": 0.9}) == "ab"
    assert decoded({"a": 0.9}, {}, {"a": 0.9}) == "aa"
    assert decoded({}, {}) == ""


def test_a_letter_has_the_probability_of_its_first_column() -> None:
    assert _decode(columns({"a": 0.75}, {"a": 0.9}), CHARACTERS) == [("a", pytest.approx(0.75))]


def test_a_space_that_was_nearly_swallowed_is_put_back_between_letters() -> None:
    assert decoded({"a": 0.9}, {" ": 0.06}, {"b": 0.9}) == "a b"
    assert decoded({"a": 0.9}, {" ": 0.04}, {"b": 0.9}) == "ab"
    # Not before the first letter, and not beside a space that is there.
    assert decoded({" ": 0.3}, {"a": 0.9}) == "a"
    assert decoded({"a": 0.9}, {" ": 0.3}, {" ": 0.9}, {"b": 0.9}) == "a b"


def test_only_columns_since_the_last_letter_count_for_a_space() -> None:
    assert decoded({"a": 0.9}, {" ": 0.3}, {"b": 0.9}, {"c": 0.9}) == "a bc"


def test_boxes_are_read_from_top_to_bottom_and_in_a_row_from_left_to_right() -> None:
    lower = [box(300, 60, 360, 90), box(10, 62, 80, 92)]
    upper = [box(10, 10, 80, 40), box(400, 12, 460, 42)]
    assert edges(_rows([*lower, *upper])) == [[(10, 80), (400, 460)], [(10, 80), (300, 360)]]


def test_boxes_that_lie_near_on_one_line_are_one() -> None:
    # Of height 30 up to 45 pixels apart.
    assert edges(_rows([box(0, 0, 100, 30), box(144, 0, 200, 30)])) == [[(0, 200)]]
    assert edges(_rows([box(0, 0, 100, 30), box(145, 0, 200, 30)])) == [[(0, 100), (145, 200)]]
    joined = _rows([box(0, 4, 100, 30), box(110, 0, 200, 26)])[0][0]
    assert (joined.top, joined.bottom) == (0, 30)


def test_boxes_share_a_line_where_half_of_the_lower_ones_height_is_shared() -> None:
    assert box(0, 0, 10, 40).beside(box(0, 25, 10, 45)) is True
    assert box(0, 0, 10, 40).beside(box(0, 30, 10, 50)) is False
    assert box(0, 0, 10, 40).beside(box(0, 50, 10, 70)) is False


def test_joining_boxes_leaves_those_that_were_found_as_they_were() -> None:
    found = [box(0, 0, 100, 30), box(110, 0, 200, 30)]
    _rows(found)
    assert [(each.left, each.right) for each in found] == [(0, 100), (110, 200)]


def test_what_was_read_with_doubt_beside_something_sure_is_background() -> None:
    sure, doubtful, middling = letters("caption", 0.9), letters("tree", 0.55), letters("sign", 0.62)
    assert _without_strays([[sure, doubtful], [doubtful]]) == [[sure], []]
    assert _without_strays([[sure, middling]]) == [[sure, middling]]
    # Where nothing is sure nothing is called a stray.
    assert _without_strays([[middling, doubtful]]) == [[middling, doubtful]]


def judged(*rows: list[list[tuple[str, float]]], width: float = 100.0) -> Any:
    found = [box(0, 30 * place, width, 30 * place + 30) for place in range(len(rows))]
    return _judge(list(rows), found, "the boxes")


def test_a_reading_has_its_lines_script_and_the_confidence_of_its_least_certain_line() -> None:
    reading = judged([letters("Good evening.", 0.97)], [letters("It rains.", 0.93)])
    assert reading.lines == ("Good evening.", "It rains.")
    assert (reading.script, reading.unread, reading.boxes) == ("Latn", None, "the boxes")
    assert reading.confidence == pytest.approx(0.93)
    assert reading.text == "Good evening.\nIt rains."


def test_parts_of_a_row_are_joined_by_a_space_and_empty_ones_left_out() -> None:
    reading = judged([letters("Good"), letters("  "), [], letters("evening")], [letters(" ")])
    assert reading.lines == ("Good evening",)


def test_letters_that_fill_little_of_their_boxes_mean_a_writing_that_is_not_known() -> None:
    """Of Arabic or Korean most letters have no reading at all."""
    for count, unread in ((3, "script_not_readable"), (4, None)):
        # A box of five heights: 30 % of it are 1.5 heights, four Latin letters of 0.38.
        assert judged([letters("abcd"[:count])], width=150).unread == unread
    for count, unread in ((1, "script_not_readable"), (2, None)):
        assert judged([letters("自由"[:count])], width=149).unread == unread


def test_a_short_box_may_hold_a_single_mark() -> None:
    assert judged([letters("I")], width=59).text == "I"


@pytest.mark.parametrize(
    ("text", "least"),
    [("dulum", 0.88), ("自由", 0.8), ("すべての", 0.7)],
    ids=["Latin", "Chinese", "Japanese"],
)
def test_letters_that_are_doubtful_for_their_writing_are_look_alikes(text: str, least: float) -> None:
    assert judged([letters(text, least - 0.01)]).unread == "script_not_readable"
    assert judged([letters(text, least + 0.01)]).text == text


def test_marks_alone_must_be_surer_and_nothing_is_nothing() -> None:
    assert judged([letters("!", 0.79)], width=20).unread == "nothing_recognised"
    assert judged([letters("!", 0.81)], width=20).text == "!"
    assert judged([[]], width=20).unread == "nothing_recognised"


def test_spaces_do_not_count_for_certainty() -> None:
    reading = judged([[*letters("Good", 0.95), (" ", 0.06), *letters("day", 0.95)]])
    assert reading.confidence == pytest.approx(0.95)


def test_boxes_are_told_in_pixels_of_the_picture_and_never_outside_it() -> None:
    border = recognise._BORDER
    assert _in_picture(box(border + 3.4, border + 5, border + 50.6, border + 20), (40, 60, 3)) == (
        3,
        5,
        51,
        20,
    )
    assert _in_picture(box(0, 0, 500, 500), (40, 60, 3)) == (0, 0, 60, 40)
