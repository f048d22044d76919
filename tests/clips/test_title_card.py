"""How the bar at the bottom of a clip looks: its stripe, margins, order, sizes and badge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image, features

from tests.clips.test_annotate import LONG, font_with, installed
from video_pipeline.clips.text_lines import Paragraph
from video_pipeline.clips.title_card import (
    BAR_ALPHA,
    COLOURS,
    GREY,
    LABEL,
    SHARE,
    SKY,
    UNRATED,
    WHITE,
    Annotation,
    Badge,
    Card,
    contrast,
    ink_on,
)
from video_pipeline.errors import BadInput

_ = installed  # the fixture

SIZES = [(640, 360), (1920, 1080), (1080, 1920), (160, 120)]


def card(annotation: Annotation, width: int, height: int) -> np.ndarray:
    """(h, width, 4) int."""
    image = Card(annotation, width, height).image
    assert image is not None
    return np.asarray(image).astype(int)


def box_of(picture: np.ndarray, colour: tuple[int, int, int], below: int = 0) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what has exactly this colour, from row `below` on; half-open."""
    rows, columns = np.nonzero((picture[below:] == (*colour, 255)).all(axis=2))
    return int(columns.min()), int(rows.min()) + below, int(columns.max()) + 1, int(rows.max()) + below + 1


def pad_of(width: int, height: int) -> int:
    return max(4, round(0.022 * min(width, height)))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("rating", [None, *COLOURS])
def test_a_stripe_in_the_ratings_colour_lies_on_top_from_edge_to_edge(
    width: int, height: int, rating: int | None
) -> None:
    found = card(Annotation("Rally", rating=rating), width, height)
    thick = max(2, round(0.005 * min(width, height)))
    assert (found[:thick] == (*(COLOURS[rating] if rating else UNRATED), 255)).all()
    assert (found[thick] == (0, 0, 0, BAR_ALPHA)).all()
    assert found.shape[1] == width
    assert len(found) % 2 == 0


@pytest.mark.parametrize(("width", "height"), SIZES[:3])
def test_name_tags_and_notes_stand_below_each_other_between_equal_margins(width: int, height: int) -> None:
    pad = pad_of(width, height)
    # "H" begins with an upright and has no descender: its ink is where the letter is.
    found = card(Annotation("HH " * 3, "HHHH " * 300, 2, ("HH", "HHH")), width, height)
    stripe = max(2, round(0.005 * min(width, height)))
    badge = Badge(2, max(15, round(0.052 * min(width, height))), pad)
    name, tags, notes = (box_of(found, colour, stripe) for colour in (WHITE, SKY, GREY))
    field = box_of(found, COLOURS[2], stripe)
    assert stripe + pad <= min(name[1], field[1])
    assert name[3] < tags[1]
    assert tags[3] < notes[1]
    assert notes[3] <= len(found) - pad
    assert field[0] == 2 * pad
    assert field[2] == 2 * pad + badge.width
    assert 0 <= name[0] - (field[2] + pad) <= pad
    for left, _, right, _ in (tags, notes):
        assert 2 * pad <= left <= 3 * pad
        assert right <= width - 2 * pad
    assert notes[2] > width * 0.7, "a line is filled"


@pytest.mark.parametrize(("width", "height"), SIZES[:3])
@pytest.mark.parametrize(
    ("annotation", "names", "others"),
    [
        (Annotation("HH"), 1, 0),
        (Annotation(rating=2), 1, 0),
        (Annotation("HH", rating=2), 1, 0),
        (Annotation(notes="HH"), 0, 1),
        (Annotation(tags=("HH",)), 0, 1),
        (Annotation(notes="HH", tags=("HH",)), 0, 2),
        (Annotation("HH", "HH"), 1, 1),
        (Annotation("HH", tags=("HH",)), 1, 1),
        (Annotation("HH", "HH", 2, ("HH",)), 1, 2),
    ],
)
def test_a_bar_is_as_high_as_its_lines_with_a_gap_between_two_kinds_and_padding_around(
    width: int, height: int, annotation: Annotation, names: int, others: int
) -> None:
    short, pad = min(width, height), pad_of(width, height)
    (name,), _ = Paragraph("H", max(15, round(0.052 * short)), input="H").lines(1000, 1)
    (other,), _ = Paragraph("H", max(12, round(0.036 * short)), input="H").lines(1000, 1)
    text = names * name.height + others * other.height + (names + others - 1) * (pad // 2)
    wanted = max(2, round(0.005 * short)) + 2 * pad + text
    assert len(card(annotation, width, height)) == wanted + wanted % 2


@pytest.mark.parametrize(("width", "height"), SIZES[:3])
def test_a_long_name_is_wrapped_between_its_badge_and_the_margin(width: int, height: int) -> None:
    pad = pad_of(width, height)
    found = card(Annotation("HHH " * 60, rating=2), width, height)
    stripe = max(2, round(0.005 * min(width, height)))
    name, field = box_of(found, WHITE, stripe), box_of(found, COLOURS[2], stripe)
    assert field[2] + pad <= name[0]
    assert width - 2 * pad - 4 * (field[3] - field[1]) < name[2] <= width - 2 * pad
    assert name[3] - name[1] > 1.3 * (field[3] - field[1]), "two lines"


def test_a_badge_stands_in_the_middle_of_a_name_in_a_taller_font(installed: Path) -> None:
    with TTFont(font_with(installed / "Sans.ttf", "她")) as tall:
        tall["hhea"].ascent = 1800
        tall.save(installed / "Sans.ttf")
    found = card(Annotation("她", rating=2), 1920, 1080)
    field = box_of(found, COLOURS[2], 6)
    # The name's line is (1.8 + 0.2) x 56 pixels high and begins below the stripe and the padding.
    assert (field[1] + field[3]) / 2 == pytest.approx(5 + 24 + 56, abs=1)
    assert len(found) == pytest.approx(5 + 24 + 112 + 24, abs=1)


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow has no RAQM here")
def test_the_badge_of_a_right_to_left_name_stands_at_the_right_margin_and_the_name_before_it() -> None:
    width, height = SIZES[0]
    pad = pad_of(width, height)
    found = card(Annotation("םםם", "H" * 10, 2), width, height)
    name, notes, field = box_of(found, WHITE, 3), box_of(found, GREY, 3), box_of(found, COLOURS[2], 3)
    assert field[2] == width - 2 * pad
    assert 0 <= field[0] - pad - name[2] <= pad
    assert notes[0] <= 3 * pad, "notes of another script stand at their own side"


@pytest.mark.parametrize(
    ("width", "height", "name", "body"),
    [(1920, 1080, 56, 39), (1080, 1920, 56, 39), (640, 360, 19, 13), (200, 160, 15, 12)],
)
def test_letters_are_a_share_of_the_shorter_side_and_never_too_small_to_read(
    width: int, height: int, name: int, body: int
) -> None:
    found = card(Annotation("HHH", "HHH"), width, height)
    rows = (found[6:, :, 3] > (255 + BAR_ALPHA) // 2).any(axis=1).astype(int)
    borders = np.flatnonzero(np.diff(rows))
    heights = (borders[1::2] - borders[::2]).tolist()
    assert heights == pytest.approx([0.72 * name, 0.72 * body], abs=1.5)  # what capitals are high


def test_the_size_that_an_error_recommends_is_large_enough_for_everything() -> None:
    made = Card(Annotation("Rally", LONG, 3, ("volley",)), 160, 120)
    assert made.image is not None
    assert made.image.height <= 40
    assert made.notes


def test_a_bar_that_holds_all_says_of_nothing_that_it_is_left_out() -> None:
    made = Card(Annotation("Rally", LONG, 3, ("volley", "net")), 1920, 1080)
    assert made.notes == []


def test_a_tag_without_letters_leaves_no_separator() -> None:
    plain, tagged = Annotation("Rally"), Annotation("Rally", tags=("volley", "net"))
    blank = Annotation("Rally", tags=("", " \n"))
    between = Annotation("Rally", tags=("", "volley", " ", "net"))
    assert np.array_equal(card(blank, 640, 360), card(plain, 640, 360))
    assert np.array_equal(card(between, 640, 360), card(tagged, 640, 360))


def test_what_is_left_out_is_named_and_counted() -> None:
    made = Card(Annotation("Rally", LONG, 3, tuple(f"tag {n:03d}" for n in range(90))), 640, 360)
    (note,) = made.notes
    assert note.startswith("the tags of 'Rally' cannot be shown whole in a bar of a third of the picture: ")
    assert note.endswith(f" of {90 * 7 + 89 * 3} characters are left out")


@pytest.mark.parametrize("rating", COLOURS)
@pytest.mark.parametrize("size", [20, 100])
def test_a_badge_is_a_soft_cornered_field_with_its_sign_in_the_middle(size: int, rating: int) -> None:
    badge = Badge(rating, size, size // 4)
    image = Image.new("RGBA", (badge.width + 20, badge.height + 10))
    badge.draw(image, 12, 4)
    found = np.asarray(image).astype(int)
    assert badge.width >= round(1.5 * badge.height)
    field, sign = box_of(found, COLOURS[rating]), box_of(found, ink_on(COLOURS[rating]))
    assert field == (12, 4, 12 + badge.width, 4 + badge.height)
    assert (field[0] + field[2]) - (sign[0] + sign[2]) == pytest.approx(0, abs=0.15 * size)
    assert field[0] + size // 5 <= sign[0]
    corner = found[4 : 4 + badge.height // 5, 12 : 12 + badge.height // 5, 3]
    assert corner[0, 0] < 40 < 255 == corner[-1, -1]
    assert len(np.unique(corner)) > 3


@pytest.mark.parametrize(
    ("colour", "ratio"),
    [
        ((255, 255, 255), 1.0),
        ((119, 119, 119), 4.48),
        ((255, 0, 0), 4.0),
        ((0, 0, 255), 8.59),
        ((0, 128, 0), 5.14),
        ((8, 8, 8), 20.0),
    ],
)
def test_contrast_on_white_is_that_of_the_web_guidelines(colour: tuple[int, int, int], ratio: float) -> None:
    assert contrast(WHITE, colour) == pytest.approx(ratio, abs=0.05)
    assert contrast(colour, WHITE) == contrast(WHITE, colour)


def test_ink_is_black_on_light_and_white_on_dark() -> None:
    assert ink_on((240, 240, 240)) != WHITE
    assert ink_on((40, 40, 40)) == WHITE


def test_an_error_names_a_clip_by_the_beginning_of_its_name() -> None:
    assert Annotation("x" * LABEL).label == repr("x" * LABEL)
    assert Annotation("x" * (LABEL + 1)).label == repr("x" * LABEL + "…")
    assert Annotation(" \n", "notes").label == "a clip without a name"


@pytest.mark.parametrize("rating", [None, 3])
def test_a_bar_never_takes_more_than_its_share_of_a_picture_or_is_refused(rating: int | None) -> None:
    """Down to the sizes at which nothing fits; at each, the picture that is too small is named."""
    refused: dict[str, BadInput] = {}
    for width, height in [(w, h) for w in (24, 60, 90, 160, 640) for h in range(40, 400, 24)]:
        said = Annotation("A name of words " * 9, "Notes that go on " * 40, rating, ("tag",) * 30)
        try:
            image = Card(said, width, height).image
        except BadInput as error:
            refused[f"a picture of {width}x{height} is too small for a bar"] = error
            continue
        assert image is not None
        assert image.height * SHARE <= height
    assert len(refused) > 20
    assert all(str(error).startswith(beginning) for beginning, error in refused.items())


def test_a_name_beside_a_badge_needs_room_of_its_own() -> None:
    wide = next(w for w in range(20, 400) if fits(Annotation("A name"), w))
    rated = next(w for w in range(20, 400) if fits(Annotation("A name", rating=3), w))
    assert rated > wide + 30


def fits(said: Annotation, width: int) -> bool:
    try:
        Card(said, width, 360)
    except BadInput:
        return False
    return True
