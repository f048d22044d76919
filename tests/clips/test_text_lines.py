"""Text as lines: where they may end, what fits, which way they run, and where their ink is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, features

from tests.clips.test_annotate import font_with, installed
from video_pipeline.clips.text_lines import (
    ELLIPSIS,
    LONGEST,
    Direction,
    Paragraph,
    base_direction,
    directions_of,
    may_break,
    needs_shaping,
)
from video_pipeline.errors import BadInput

_ = installed  # the fixture

EM = 20
"""Pixels. The fonts made here have square letters: one em wide, their ink from 0.1 to 0.9 across and from the
baseline to 0.8 above it; 0.9 above and 0.2 below are the line's."""


def said(paragraph: Paragraph, width: float, most: int = 100) -> tuple[list[str], int]:
    lines, left_out = paragraph.lines(width, most)
    return ["".join(run.text for run in line.runs) for line in lines], left_out


@pytest.mark.parametrize(
    ("before", "after", "may"),
    [
        (" ", "a", True), ("a", " ", False), ("a", "b", False), ("-", "b", True), ("–", "b", True),
        ("—", "b", True), ("/", "b", True), ("b", "-", False), ("她", "提", True), ("a", "她", True),
        ("她", "a", True), ("她", "，", False), ("」", "她", True), ("「", "她", False), ("她", "「", True),
        ("Ａ", "b", True), ("她", " ", False), (" ", "，", True), ("a", "…", False), ("？", "！", False),
        ("ア", "ー", False),
    ],
)  # fmt: skip
def test_a_line_may_end_after_spaces_and_hyphens_and_around_chinese_but_not_before_its_stops(
    before: str, after: str, may: bool
) -> None:
    assert may_break(before, after) == may


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("Rally 12, 她 – é!", False), ("Ралли", False), ("", False), ("e\u0301", True), ("سلام", True),
        ("שלום", True), ("١٢", True), ("a\u200db", True), ("ก็", True), ("की", True), ("x 12 ש", True),
    ],
)  # fmt: skip
def test_marks_joins_and_right_to_left_letters_need_shaping(text: str, needed: bool) -> None:
    assert needs_shaping(text) == needed


@pytest.mark.parametrize(
    ("text", "direction"),
    [
        ("12 – שם ab", "rtl"),
        ("12 ab שם", "ltr"),
        ("123", "ltr"),
        ("", "ltr"),
        ("سلام ab", "rtl"),
        ("…她", "ltr"),
    ],
)
def test_a_text_runs_as_its_first_letter_does(text: str, direction: str) -> None:
    assert base_direction(text) == direction


# What fits


def test_text_that_fits_has_no_ellipsis_and_no_lines_have_no_text(installed: Path) -> None:
    font_with(installed / "Squares.ttf", "她提")
    text = Paragraph("她提" * 3, EM, input="notes")
    assert said(text, 3 * EM, 2) == (["她提她", "提她提"], 0)
    assert said(text, 6 * EM, 1) == (["她提她提她提"], 0)
    assert said(text, 6 * EM, 0) == ([], 6)
    assert said(Paragraph("", EM, input="notes"), 100, 3) == ([], 0)


@pytest.mark.parametrize("columns", [3, 4, 7])
def test_a_cut_line_holds_as_much_as_fits_beside_the_ellipsis(installed: Path, columns: int) -> None:
    font_with(installed / "Squares.ttf", "她")
    ellipsis = Paragraph(ELLIPSIS, EM, input="notes").lines(1000, 1)[0][0].width
    kept = int((columns * EM - ellipsis) // EM)
    lines, left_out = said(Paragraph("她" * 30, EM, input="notes"), columns * EM, 2)
    assert lines == ["她" * columns, "她" * kept + ELLIPSIS]
    assert left_out == 30 - columns - kept


def test_what_is_left_out_counts_marks_too_and_one_letter_is_always_shown() -> None:
    lines, left_out = said(Paragraph("a" + "ë\u0323" * 4, EM, input="notes"), 1, 1)
    assert lines == ["a" + ELLIPSIS]
    assert left_out == 8, "four letters with a mark each"


def test_a_word_too_wide_is_cut_where_the_next_letter_would_not_fit() -> None:
    width, word = 90.0, "abcdefghijklmnopqrstuvwxyz" * 2
    lines, left_out = said(Paragraph(word + " end", EM, input="notes"), width)
    assert "".join(lines).replace(" ", "") == word + "end"
    assert left_out == 0
    assert len(lines) > 4
    at = 0
    for line in lines[:-2]:
        (more,), _ = Paragraph(word[at : at + len(line) + 1], EM, input="notes").lines(1000, 1)
        assert more.width > width
        at += len(line)


@pytest.mark.parametrize("letters", [LONGEST - 1, LONGEST, LONGEST + 1])
def test_a_line_that_holds_all_that_is_looked_at_leaves_no_empty_one_behind(letters: int) -> None:
    lines, left_out = said(Paragraph("i" * letters + " end here", EM, input="notes"), 1e6)
    assert left_out == 0
    assert [len(line) for line in lines] in ([letters, 8], [letters + 9], [LONGEST, 10])
    assert all(line.strip() for line in lines)


# Where it is drawn


def ink(image: Image.Image) -> tuple[list[int], list[int]]:
    """First and last row with ink, and the borders of each run of columns with ink."""
    dark = np.asarray(image) > 128
    rows = np.flatnonzero(dark.any(axis=1))
    columns = np.flatnonzero(np.diff(dark.any(axis=0).astype(int)))
    return [int(rows[0]), int(rows[-1])], columns.tolist()


def test_runs_of_a_line_stand_beside_each_other_on_one_baseline(installed: Path) -> None:
    font_with(installed / "SansOne.ttf", "她 ")
    font_with(installed / "SansTwo.ttf", "提")
    paragraph = Paragraph("她提她", EM, input="name")
    (line,), _ = paragraph.lines(1000, 1)
    assert [run.text for run in line.runs] == ["她", "提", "她"]
    assert [run.width for run in line.runs] == [EM] * 3
    assert (line.width, line.ascent, line.descent, line.height) == (3 * EM, 18, 4, 22)
    image = Image.new("L", (100, 40))
    line.draw(ImageDraw.Draw(image), 10, 5, (255,))
    rows, columns = ink(image)
    # Ink from 0.1 to 0.9 of each square, above a baseline 18 pixels below the top.
    assert rows == [5 + 18 - 16, 5 + 18 - 1]
    assert columns == [11, 27, 31, 47, 51, 67]


def test_a_line_is_as_high_as_the_highest_and_as_deep_as_the_deepest_of_its_fonts(installed: Path) -> None:
    font_with(installed / "SansOne.ttf", "她")
    with TTFont(font_with(installed / "SansTwo.ttf", "提")) as other:
        other["hhea"].ascent, other["hhea"].descent = 700, -600
        other.save(installed / "SansTwo.ttf")
    (line,), _ = Paragraph("她提", EM, input="name").lines(1000, 1)
    assert (line.ascent, line.descent) == (18, 12)


def test_a_space_is_set_in_the_font_of_the_word_before_it(installed: Path) -> None:
    font_with(installed / "SansOne.ttf", "她 ")
    font_with(installed / "SansTwo.ttf", "提")
    (line,), _ = Paragraph("她 提 ab", EM, input="name").lines(1000, 1)
    assert [run.text for run in line.runs] == ["她 ", "提", " ab"]


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow has no RAQM here")
def test_runs_against_the_line_are_turned_around_together(installed: Path) -> None:
    font_with(installed / "Sans.ttf", "她")
    font_with(installed / "SansMandaic.ttf", "ࡀ")
    (line,), _ = Paragraph("שלום ab 她 cd עולם", EM, input="name").lines(1000, 1)
    assert line.direction == "rtl"
    assert [run.text.strip() for run in line.runs] == ["עולם", "ab", "她", "cd", "שלום"]


@pytest.mark.parametrize(
    ("pieces", "base", "found"),
    [
        ("א1", "ltr", "rr"), ("a1", "rtl", "ll"), ("1", "rtl", "r"), ("א a", "ltr", "rll"),
        ("a א", "rtl", "lrr"), ("א ב", "ltr", "rrr"), (" a", "rtl", "rl"), ("a ", "rtl", "lr"),
        ("א1 ב", "ltr", "rrrr"),
    ],
)  # fmt: skip
def test_digits_run_as_the_letter_before_and_what_stands_between_as_both_sides_do(
    pieces: str, base: Direction, found: str
) -> None:
    assert "".join(direction[0] for direction in directions_of(list(pieces), base)) == found


def test_a_letter_and_its_accent_are_one_character() -> None:
    assert Paragraph("e\u0301", EM, input="the name").text == "é"


def test_a_script_that_cannot_be_shaped_here_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda _name: False)
    assert Paragraph("plain", EM, input="the name").text == "plain"
    with pytest.raises(BadInput, match="no RAQM") as raised:
        Paragraph("שלום", EM, input="the name")
    assert raised.value.input == "the name"


def test_lines_are_as_long_as_they_may_be_and_no_pixel_longer() -> None:
    paragraph = Paragraph("one two three four", EM, input="the name")
    (whole,), _ = Paragraph("one two", EM, input="the name").lines(1e6, 1)
    assert said(paragraph, whole.width, 1) != said(paragraph, whole.width - 1, 1)
    assert said(paragraph, whole.width)[0][0] == "one two"
    assert said(paragraph, whole.width - 1)[0][0] == "one"


def test_no_space_stands_before_an_ellipsis() -> None:
    paragraph = Paragraph("one two three", EM, input="the name")
    widths = range(3 * EM, 8 * EM)
    assert all(f" {ELLIPSIS}" not in text for width in widths for text in said(paragraph, width, 1)[0])
