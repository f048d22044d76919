"""The contact sheet: which strips it keeps, what stands where on it, and that memory stays flat."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from video_pipeline.captions.contact_sheet import (
    SHEET_WIDTH,
    ContactSheet,
    columns_for,
    make_contact_sheet,
    make_thumbnail,
    time_label,
)
from video_pipeline.media.frames import ColourTags, CroppedFrame

TEN = Fraction(10)
BT709 = ColourTags(1, 1, 1, 1)


def grey(number: int, width: int = 320, height: int = 40) -> CroppedFrame:
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return CroppedFrame(np.full((height, width), 16 + number % 220, np.uint8), chroma, chroma, BT709)


def opened(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return np.asarray(image)


def sheet_of(count: int, *, expected: int | None, most: int = 48) -> ContactSheet:
    sheet = ContactSheet(expected_frames=expected, rate=TEN, max_pictures=most)
    frame = grey(3, 32, 16)
    for index in range(count):
        sheet.add(index, frame)
        assert sheet.thumbnails_held <= 4 * most
    return sheet


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4000), st.one_of(st.none(), st.integers(0, 8000)), st.integers(1, 12))
def test_the_pictures_are_evenly_spaced_and_never_too_many(count: int, expected: int | None, most: int):
    sheet = sheet_of(count, expected=expected, most=most)
    shown = [thumbnail.index for thumbnail in sheet.chosen()]
    assert shown[0] == 0
    assert len(shown) <= most
    gaps = set(np.diff(shown).tolist())
    assert len(gaps) <= 1, "evenly spaced"
    if len(shown) > 1:
        assert count - shown[-1] <= gaps.pop(), "to the end"
    if not expected or expected <= 2 * count:
        assert len(shown) >= min(count, most) // 2 + 1 or len(shown) == count


@pytest.mark.parametrize(("count", "least"), [(1, 1), (47, 47), (48, 48), (420, 32), (36_000, 32)])
def test_a_sheet_of_a_usual_length_is_well_filled(count: int, least: int):
    assert least <= len(sheet_of(count, expected=count).chosen()) <= 48
    assert min(least, 24) <= len(sheet_of(count, expected=None).chosen()) <= 48, "of unknown length"


def test_the_sheet_shows_the_strips_in_reading_order_with_a_label_under_each():
    sheet = ContactSheet(expected_frames=5, rate=TEN)
    for index in range(5):
        sheet.add(index, grey(40 * index))
    picture = opened(sheet.render())
    assert picture.shape[1] <= SHEET_WIDTH
    thumbnail = make_thumbnail(0, grey(0)).rgb
    height, width, _ = thumbnail.shape
    for index in range(5):
        left, top = 10 + index % 3 * (width + 10), 10 + index // 3 * (height + 32)
        strip = picture[top : top + height, left : left + width]
        assert np.all(strip == round(40 * index * 255 / 219)), f"strip {index} stands at {left}, {top}"
        label = picture[top + height : top + height + 22, left : left + 130]
        assert label.max() > 200, "a light label under the strip"
        assert label.min() < 30, "on a dark ground"


def test_labels_of_different_frames_differ_and_of_equal_frames_are_equal():
    def label(index: int) -> bytes:
        thumbnail = make_thumbnail(index, grey(0))
        return make_contact_sheet([thumbnail], rate=TEN, columns=3)

    assert label(120) != label(121)
    assert label(120) == label(120), "the same sheet gives the same bytes"


@pytest.mark.parametrize(
    ("index", "rate", "text"),
    [
        (0, TEN, "#0  0:00.00"),
        (120, TEN, "#120  0:12.00"),
        (601, TEN, "#601  1:00.10"),
        (36_001, TEN, "#36001  1:00:00.10"),
        (1, Fraction(25, 3), "#1  0:00.12"),
        (3, Fraction(30_000, 1001), "#3  0:00.10"),
    ],
)
def test_a_label_gives_the_frames_number_and_its_time(index: int, rate: Fraction, text: str):
    assert time_label(index, rate) == text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height"),
    [(16, 16), (16, 1080), (1280, 160), (1920, 40), (3840, 2160), (402, 26), (640, 360), (100, 120)],
)
def test_crops_of_any_shape_make_a_sheet_that_a_person_can_open(width: int, height: int):
    sheet = ContactSheet(expected_frames=None, rate=TEN)
    for index in range(50):
        sheet.add(index, grey(index, width, height))
    picture = opened(sheet.render())
    assert picture.shape[1] <= SHEET_WIDTH + 10
    assert picture.shape[0] < 6000
    assert columns_for(width, height) in (3, 4, 6, 8)


@pytest.mark.parametrize(
    ("tags", "width", "expected"),
    [
        (ColourTags(1, 1, 1, 1), 64, (255, 24, 0)),
        (ColourTags(6, 6, 6, 1), 64, (254, 0, 0)),
        (ColourTags(), 64, (254, 0, 0)),
        (ColourTags(), 1280, (255, 24, 0)),
    ],
    ids=["BT.709", "BT.601", "untagged narrow", "untagged wide"],
)
def test_colours_are_read_by_the_frames_own_tags(
    tags: ColourTags, width: int, expected: tuple[int, int, int]
):
    def plane(value: int, by: int) -> np.ndarray:
        return np.full((64 // by, width // by), value, np.uint8)

    red_in_bt601 = CroppedFrame(plane(81, 1), plane(90, 2), plane(240, 2), tags)
    pixels = make_thumbnail(0, red_in_bt601).rgb.reshape(-1, 3)
    assert np.abs(pixels - np.array(expected)).max() <= 2


def test_a_sheet_without_frames_and_a_sheet_of_unlike_frames_are_refused():
    with pytest.raises(ValueError, match="one or more pictures"):
        ContactSheet(expected_frames=10, rate=TEN).render()
    unlike = [make_thumbnail(0, grey(0)), make_thumbnail(1, grey(0, 300, 60))]
    with pytest.raises(ValueError, match="one size"):
        make_contact_sheet(unlike, rate=TEN, columns=3)
    with pytest.raises(ValueError, match="at least one"):
        ContactSheet(expected_frames=None, rate=TEN, max_pictures=0)
