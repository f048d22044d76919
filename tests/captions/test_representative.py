"""Which picture is read: the median clears the background; doubt reads on and votes, thrice at most."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from video_pipeline.captions.fine_structure import Box
from video_pipeline.captions.medians import lower_median
from video_pipeline.captions.recognise import Reading
from video_pipeline.captions.representative import read_caption


class ScriptedRecogniser:
    """A test double: gives prepared readings in turn and keeps what it was shown."""

    def __init__(self, *readings: Reading) -> None:
        self.readings = list(readings)
        self.shown: list[np.ndarray] = []

    def read(self, rgb: np.ndarray, own: Any = None) -> Reading:
        self.shown.append(rgb)
        return self.readings[len(self.shown) - 1]


def reading(text: str | None, confidence: float = 0.99, unread: Any = None) -> Reading:
    return Reading(tuple(text.split("\n")) if text else (), confidence, "Latn", (), unread)


def pictures(count: int) -> list[np.ndarray]:
    return [np.full((8, 16, 3), 10 * index, np.uint8) for index in range(count)]


def test_the_median_keeps_letters_and_clears_what_passes_behind_them() -> None:
    rng = np.random.default_rng(0)
    strips = []
    for index in range(9):
        strip = np.full((8, 90, 3), 100, np.uint8)
        strip[:, index * 10 : index * 10 + 10] = rng.integers(0, 255, (8, 10, 3))
        strip[2:4] = 255
        strips.append(strip)
    median = lower_median(strips)
    assert (median[2:4] == 255).all()
    assert (median[5:] == 100).all()


def test_the_median_of_an_even_number_is_a_colour_that_was_there() -> None:
    assert set(np.unique(lower_median(pictures(4)))) == {10}


def test_a_caption_without_pictures_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        lower_median([])


def test_a_sure_reading_is_the_only_one() -> None:
    recogniser = ScriptedRecogniser(reading("Hello"))
    (said,) = read_caption(recogniser, pictures(9))  # pyright: ignore[reportArgumentType]
    assert (said.text.text, said.text.ocr_calls) == ("Hello", 1)


def test_a_doubtful_reading_is_outvoted_by_two_others() -> None:
    recogniser = ScriptedRecogniser(
        reading("He11o w0rld", 0.6), reading("Hello world", 0.8), reading("Hello world", 0.7)
    )
    (said,) = read_caption(recogniser, pictures(9))  # pyright: ignore[reportArgumentType]
    assert (said.text.text, said.text.ocr_calls) == ("Hello world", 3)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_reading_that_two_agree_on_is_taken_wherever_the_third_stands(place: int) -> None:
    readings = [reading("Hello world", 0.7), reading("Hello world", 0.6)]
    readings.insert(place, reading("He11o vv0rld", 0.85))
    recogniser = ScriptedRecogniser(*readings)
    (said,) = read_caption(recogniser, pictures(9))  # pyright: ignore[reportArgumentType]
    assert (said.text.text, said.text.ocr_calls) == ("Hello world", 3)
    assert said.text.confidence == 0.7


def test_of_readings_that_all_differ_the_surest_is_taken() -> None:
    recogniser = ScriptedRecogniser(reading("abc", 0.5), reading("xyz", 0.8), reading("mno", 0.6))
    (said,) = read_caption(recogniser, pictures(9))  # pyright: ignore[reportArgumentType]
    assert (said.text.text, said.text.confidence) == ("xyz", 0.8)


def test_nothing_recognised_anywhere_is_said_after_three_looks() -> None:
    nothing = reading(None, 0, "nothing_recognised")
    recogniser = ScriptedRecogniser(nothing, nothing, nothing)
    (said,) = read_caption(recogniser, pictures(9))  # pyright: ignore[reportArgumentType]
    assert (said.text.text, said.text.unread, said.text.ocr_calls) == (None, "nothing_recognised", 3)


def test_single_pictures_are_asked_for_the_captions_own_lettering_too() -> None:
    asked: list[Any] = []

    class Asked(ScriptedRecogniser):
        def read(self, rgb: np.ndarray, own: Any = None) -> Reading:
            asked.append(own)
            return super().read(rgb)

    recogniser = Asked(*[reading("x", 0.1)] * 3)
    read_caption(recogniser, pictures(9))  # pyright: ignore[reportArgumentType]
    assert len(asked) == 3
    assert all(own([(0, 0, 4, 4)]) == [(0, 0, 4, 4)] for own in asked)


def test_single_pictures_are_taken_from_within_the_caption() -> None:
    recogniser = ScriptedRecogniser(reading("x", 0.1), reading("x", 0.1), reading("x", 0.1))
    read_caption(recogniser, pictures(9))  # pyright: ignore[reportArgumentType]
    assert [int(shown[0, 0, 0]) for shown in recogniser.shown[1:]] == [30, 50]


def test_a_script_that_cannot_be_read_is_not_tried_again() -> None:
    recogniser = ScriptedRecogniser(reading(None, 0, "script_not_readable"))
    (said,) = read_caption(recogniser, pictures(9))  # pyright: ignore[reportArgumentType]
    assert (said.text.text, said.text.unread, said.text.ocr_calls) == (None, "script_not_readable", 1)


def test_nothing_recognised_in_the_median_is_looked_for_in_single_pictures() -> None:
    nothing = reading(None, 0, "nothing_recognised")
    recogniser = ScriptedRecogniser(nothing, nothing, reading("Oh"))
    (said,) = read_caption(recogniser, pictures(9))  # pyright: ignore[reportArgumentType]
    assert (said.text.text, said.text.ocr_calls) == ("Oh", 3)


def test_a_caption_of_one_picture_is_read_once() -> None:
    recogniser = ScriptedRecogniser(reading("x", 0.2))
    (said,) = read_caption(recogniser, pictures(1))  # pyright: ignore[reportArgumentType]
    assert (said.text.text, said.text.ocr_calls) == ("x", 1)


class FindsOneBox(ScriptedRecogniser):
    """A test double that finds the whole picture to be lettering."""

    def read(self, rgb: np.ndarray, own: Any = None) -> Reading:
        found = super().read(rgb)
        return replace(found, boxes=((0, 0, rgb.shape[1], rgb.shape[0]),))


class FindsTwoLines(ScriptedRecogniser):
    """A test double that finds lettering in the upper and in the lower half, where it is clear."""

    def read(self, rgb: np.ndarray, own: Any = None) -> Reading:
        height, width = rgb.shape[:2]
        halves = ((0, 0, width, height // 2), (0, height // 2, width, height))
        there = tuple(box for box in halves if rgb[box[1] : box[3]].std() > 40)
        return replace(super().read(rgb), boxes=there)


def noise(seed: int) -> np.ndarray:
    """(20, 60, 3) of lettering like nothing else."""
    return np.random.default_rng(seed).integers(0, 255, (20, 60, 3)).astype(np.uint8)


ONE, OTHER, THIRD = noise(0), noise(1), noise(2)
UNREADABLE = reading(None, 0, "script_not_readable")
NOTHING = reading(None, 0, "nothing_recognised")


def test_two_captions_taken_for_one_both_say_what_they_say() -> None:
    recogniser = FindsOneBox(reading("Hxllo"), reading("Goodbye"), reading("Hello"))
    said = read_caption(recogniser, [ONE] * 3 + [OTHER] * 6)  # pyright: ignore[reportArgumentType]
    assert [(each.pictures, each.text.text, each.text.ocr_calls) for each in said] == [
        (slice(0, 3), "Goodbye", 2),
        (slice(3, 9), "Hello", 1),
    ]
    assert (recogniser.shown[1] == ONE).all()
    assert (recogniser.shown[2] == OTHER).all()


def test_three_captions_are_told_apart_and_so_is_a_gap_between_them() -> None:
    recogniser = FindsOneBox(NOTHING, UNREADABLE, NOTHING, UNREADABLE, UNREADABLE)
    pictures = [ONE] * 3 + [noise(7)] + [OTHER] * 3 + [THIRD] * 2
    said = read_caption(recogniser, pictures)  # pyright: ignore[reportArgumentType]
    assert [each.pictures for each in said] == [slice(0, 3), slice(4, 7), slice(7, 9)]
    assert sum(each.text.ocr_calls for each in said) == len(recogniser.shown) == 5


@pytest.mark.parametrize(
    ("first", "second"),
    [("Hello", "Hello"), ("Hello", "hello!"), ("Hëllo", "Hello"), ("Hello", "a shop\nHello")],
)
def test_what_says_the_same_on_both_sides_of_a_change_is_one_caption(first: str, second: str) -> None:
    recogniser = FindsOneBox(reading("Hxllo"), reading(first), reading(second))
    (said,) = read_caption(recogniser, [ONE] * 3 + [OTHER] * 6)  # pyright: ignore[reportArgumentType]
    assert (said.pictures, said.text.text, said.text.ocr_calls) == (slice(0, 9), second, 3)


def test_a_single_picture_that_is_read_with_doubt_is_no_caption() -> None:
    recogniser = FindsOneBox(reading("Hello"), reading("Hello"), reading("Xy", 0.5))
    (said,) = read_caption(recogniser, [ONE] * 8 + [OTHER])  # pyright: ignore[reportArgumentType]
    assert (said.pictures, said.text.text) == (slice(0, 9), "Hello")


def test_a_single_picture_is_no_caption_beside_what_cannot_be_read() -> None:
    recogniser = FindsOneBox(UNREADABLE, UNREADABLE, reading("24"))
    (said,) = read_caption(recogniser, [ONE] * 8 + [OTHER])  # pyright: ignore[reportArgumentType]
    assert (said.pictures, said.text.unread) == (slice(0, 9), "script_not_readable")


def test_a_part_that_cannot_be_read_does_not_undo_the_reading_of_the_whole() -> None:
    recogniser = FindsOneBox(reading("Hello"), NOTHING, UNREADABLE)
    (said,) = read_caption(recogniser, [ONE] * 3 + [OTHER] * 6)  # pyright: ignore[reportArgumentType]
    assert (said.text.text, said.text.ocr_calls) == ("Hello", 3)


@pytest.mark.parametrize("readable_first", [True, False])
def test_a_caption_that_only_one_part_of_its_pictures_lets_be_read_is_one_caption(
    readable_first: bool,
) -> None:
    """A page comes into sight, or goes, beside a caption that stays, and most pictures show it."""
    parts = [np.concatenate([ONE, THIRD // 4])] * 4, [np.concatenate([ONE, OTHER])] * 5
    readings = reading("Hello"), UNREADABLE
    if not readable_first:
        parts, readings = parts[::-1], readings[::-1]
    recogniser = FindsTwoLines(UNREADABLE, *readings)
    (said,) = read_caption(recogniser, [*parts[0], *parts[1]])  # pyright: ignore[reportArgumentType]
    assert (said.pictures, said.text.text) == (slice(0, 9), "Hello")


def test_of_two_captions_the_one_that_only_its_beginning_lets_be_read_is_read_there() -> None:
    pictures = [
        np.concatenate(halves) for halves in ((ONE, THIRD // 4), (ONE, OTHER), (noise(7), THIRD // 4))
    ]
    shown = [pictures[0]] * 2 + [pictures[1]] * 5 + [pictures[2]] * 2
    recogniser = FindsTwoLines(UNREADABLE, reading("Hello"), UNREADABLE, reading("Goodbye"))
    said = read_caption(recogniser, shown)  # pyright: ignore[reportArgumentType]
    assert [(each.pictures, each.text.text) for each in said] == [
        (slice(0, 7), "Hello"),
        (slice(7, 9), "Goodbye"),
    ]


def test_lettering_that_is_there_without_the_caption_is_not_read() -> None:
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 255, (20, 60, 3)).astype(np.uint8)
    box = (0, 0, 60, 20)
    recogniser = ScriptedRecogniser(reading("Hello"))
    kept: list[list[Box | None]] = []

    def read(rgb: np.ndarray, own: Any = None) -> Reading:
        kept.append(own([box, (0, 0, 30, 10)]))
        return ScriptedRecogniser.read(recogniser, rgb)

    recogniser.read = read  # pyright: ignore[reportAttributeAccessIssue]
    before = shown.copy()
    before[10:] = 90
    before[:, 30:] = 90
    read_caption(recogniser, [shown] * 3, before, None)  # pyright: ignore[reportArgumentType]
    assert kept == [[box, None]]
