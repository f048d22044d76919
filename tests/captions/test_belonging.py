"""Which lettering is the caption's: it comes and goes as a whole and stays as it is in between."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from video_pipeline.captions.belonging import Belonging, alike
from video_pipeline.captions.fine_structure import Box, _blurred, found_in

CAPTION: Box = (70, 46, 250, 72)
SECOND: Box = (70, 74, 250, 100)
LOGO: Box = (262, 4, 312, 26)
TICKER: Box = (0, 104, 320, 124)


def strip(
    *,
    caption: str = "",
    second: str = "",
    logo: str = "",
    ticker_at: int | None = None,
    opacity: float = 1.0,
    shade: int = 110,
) -> np.ndarray:
    """A strip of 320x126 over a gradient with some noise, letters 20 pixels high."""
    x = np.linspace(-25, 25, 320)[None, :, None]
    noise = np.random.default_rng(shade).normal(0, 3, (126, 320, 3))
    scene = Image.fromarray(np.clip(shade + x + noise, 0, 255).astype(np.uint8))
    drawn = scene.copy()
    pen = ImageDraw.Draw(drawn)
    face = ImageFont.load_default(20)
    for text, box in ((caption, CAPTION), (second, SECOND)):
        pen.text((box[0] + 4, box[1]), text, "white", face, stroke_width=2, stroke_fill="black")
    drawn = Image.blend(scene, drawn, opacity)
    pen = ImageDraw.Draw(drawn)
    pen.text((LOGO[0] + 2, LOGO[1] - 2), logo, "yellow", face, stroke_width=1, stroke_fill="black")
    if ticker_at is not None:
        line = "stocks rise while rain falls on the plains and trains run late " * 3
        pen.text((-ticker_at, TICKER[1]), line, "white", ImageFont.load_default(15))
    return np.asarray(drawn)


def test_a_caption_alone_is_its_own() -> None:
    belonging = Belonging([strip(caption="Good evening.")] * 9, strip(), strip())
    assert belonging.own([CAPTION]) == [True]


@pytest.mark.parametrize(
    "sides", [(True, True), (True, False), (False, True)], ids=["both", "before", "after"]
)
def test_a_logo_that_is_there_without_the_caption_is_not(sides: tuple[bool, bool]) -> None:
    before, after = (strip(logo="24 h") if side else None for side in sides)
    belonging = Belonging([strip(caption="Good evening.", logo="24 h")] * 9, before, after)
    assert belonging.own([CAPTION, LOGO]) == [True, False]


SMALL: Box = (72, 104, 180, 120)


def filmed(caption: str) -> np.ndarray:
    """A caption over a page that is filmed: letters 12 pixels high below it."""
    drawn = Image.fromarray(strip(caption=caption))
    ImageDraw.Draw(drawn).text((74, 105), "total 4,210 km", "black", ImageFont.load_default(12))
    return np.asarray(drawn)


@pytest.mark.parametrize("sides", [(True, True), (True, False), (False, True)])
def test_of_captions_that_touch_what_stays_in_another_size_is_not_theirs(sides: tuple[bool, bool]) -> None:
    previous, following = (filmed("It rains.") if side else None for side in sides)
    belonging = Belonging([filmed("Good evening.")] * 9, None, None, touching=(previous, following))
    assert belonging.own([CAPTION, SMALL]) == [True, False]


ROW, COVERED = (252, 56, 310, 80), (10, 56, 84, 80)
"""Of a table's row: its end, and what the caption covers some of."""


def over_a_row(caption: str) -> np.ndarray:
    """A caption over a row of numbers as high as it, half a line lower."""
    drawn = Image.fromarray(strip())
    pen, face = ImageDraw.Draw(drawn), ImageFont.load_default(20)
    for left in (14, 64, 114, 164, 214, 264):
        pen.text((left, 56), "4218", "black", face)
    pen.text((CAPTION[0] + 4, CAPTION[1]), caption, "white", face, stroke_width=2, stroke_fill="black")
    return np.asarray(drawn)


def test_a_row_of_a_table_across_the_lines_of_captions_that_touch_is_not_theirs() -> None:
    belonging = Belonging([over_a_row("Good evening.")] * 9, None, None, touching=(over_a_row("Sit."), None))
    assert belonging.own([CAPTION, ROW]) == [True, False]
    # What the caption covers some of is in the row, too; alone it could be anything.
    assert belonging.own([CAPTION, COVERED]) == [True, True]
    assert belonging.own([CAPTION, COVERED, ROW]) == [True, False, False]


def test_of_a_box_that_holds_what_is_filmed_beside_a_caption_only_the_caption_is_its_own() -> None:
    """A line of a page runs on behind the caption and is found in one box with it."""

    def page(caption: str) -> np.ndarray:
        drawn = Image.fromarray(strip())
        pen, face = ImageDraw.Draw(drawn), ImageFont.load_default(20)
        pen.text((4, 46), "all the news that is fit to print", "black", face)
        pen.text((124, 46), caption, "white", face, stroke_width=2, stroke_fill="black")
        return np.asarray(drawn)

    box = (0, 44, 306, 72)
    end = round(124 + ImageFont.load_default(20).getlength("Sit down."))
    for sides in ((page(""), None), (None, page("")), (strip(), page(""))):
        ((left, top, right, bottom),) = Belonging([page("Sit down.")] * 9, *sides).parts([box])  # pyright: ignore[reportGeneralTypeIssues]
        assert (top, bottom) == (44, 72)
        assert abs(left - 122) <= 4
        assert abs(right - (end + 2)) <= 4
    assert Belonging([page("Sit down.")] * 9, strip(), strip(shade=60)).parts([box]) == [box]
    assert Belonging([page("Sit down.")] * 9, None, None).parts([box]) == [box]


def plain_page(caption: str, *, filmed: str = "all the news", at: int = 150) -> np.ndarray:
    """Black lettering from column 44 on and a caption at `at`, on a grey without any structure."""
    drawn = Image.new("RGB", (320, 126), (150, 150, 150))
    pen, face = ImageDraw.Draw(drawn), ImageFont.load_default(20)
    pen.text((44, 46), filmed, "black", face)
    pen.text((at, 46), caption, "white", face, stroke_width=2, stroke_fill="black")
    return np.asarray(drawn)


def test_a_box_is_narrowed_only_at_the_end_at_which_something_stands() -> None:
    """At its left end there is nothing, then a page; behind the caption there is nothing to its end."""
    box = (4, 44, 310, 72)
    belonging = Belonging([plain_page("Sit down.")] * 9, plain_page(""), None)
    ((left, _, right, _),) = belonging.parts([box])  # pyright: ignore[reportGeneralTypeIssues]
    assert abs(left - 148) <= 4
    assert right == 310


@pytest.mark.parametrize(
    ("box", "caption", "at"),
    [((40, 44, 200, 72), "i", 176), ((120, 44, 172, 72), "Sit down.", 150)],
    ids=["less is left than a letter", "a short box"],
)
def test_a_box_stays_whole_where_little_of_it_would_be_left(box: Box, caption: str, at: int) -> None:
    shown, beside = (plain_page(text, filmed="all the news fit", at=at) for text in (caption, ""))
    assert Belonging([shown] * 9, beside, None).parts([box]) == [box]


def test_a_caption_beside_nothing_keeps_its_whole_box() -> None:
    belonging = Belonging([strip(caption="Good evening.")] * 9, strip(), strip(shade=60))
    assert belonging.parts([CAPTION]) == [CAPTION]


def test_no_letter_of_a_caption_that_has_half_faded_beside_it_is_cut_off() -> None:
    faded = strip(caption="Good evening.", opacity=0.5)
    (part,) = Belonging([strip(caption="Good evening.")] * 9, faded, faded).parts([CAPTION])
    end = 74 + ImageFont.load_default(20).getlength("Good evening.")
    assert part is not None
    assert (part[0], part[2] >= end) == (70, True)


def test_a_page_is_known_by_one_of_two_captions_that_touch_where_the_shot_changes() -> None:
    touching = (filmed("It rains."), strip(caption="Go.", shade=60))
    belonging = Belonging([filmed("Good evening.")] * 9, None, None, touching=touching)
    assert belonging.own([CAPTION, SMALL]) == [True, False]


def test_a_line_that_stays_while_another_of_its_size_changes_is_the_captions() -> None:
    previous = strip(caption="Good evening.", second="It rains.")
    belonging = Belonging(
        [strip(caption="Good evening.", second="Snow.")] * 9, None, None, touching=(previous, None)
    )
    assert belonging.own([CAPTION, SECOND]) == [True, True]


def test_where_nothing_changes_from_a_caption_to_the_next_all_of_it_is_theirs() -> None:
    picture = filmed("Good evening.")
    belonging = Belonging([picture] * 9, None, None, touching=(picture, picture))
    assert belonging.own([CAPTION, SMALL]) == [True, True]


def test_a_sign_is_known_on_the_side_where_the_shot_is_the_same() -> None:
    pictures = [strip(caption="Good evening.", logo="EXIT")] * 9
    assert Belonging(pictures, strip(shade=40), strip(logo="EXIT")).own([CAPTION, LOGO]) == [True, False]


def test_without_pictures_beside_it_a_logo_cannot_be_told() -> None:
    belonging = Belonging([strip(caption="Good evening.", logo="24 h")] * 9, None, None)
    assert belonging.own([CAPTION, LOGO]) == [True, True]


@pytest.mark.parametrize("after", [None, strip(logo="24 h")], ids=["one side", "both sides"])
def test_a_logo_alone_is_not_taken_for_the_caption(after: np.ndarray | None) -> None:
    belonging = Belonging([strip(logo="24 h")] * 9, strip(logo="24 h"), after)
    assert belonging.own([LOGO]) == [False]


def test_what_stands_longer_than_captions_do_is_a_logo_where_it_stands_before_it_as_well() -> None:
    before = strip(logo="24", shade=60)
    pictures = [strip(logo="24", shade=shade) for shade in (70, 90, 110)]
    (likeness, slope) = found_in(before, pictures[0], LOGO)
    assert likeness >= 0.7
    assert slope >= 0.6
    assert Belonging(pictures, before, None, stays=True).own([LOGO]) == [False]
    assert Belonging(pictures, None, None, stays=True).own([LOGO]) == [True]
    assert Belonging(pictures, strip(shade=60), None, stays=True).own([LOGO]) == [True]


def test_a_caption_whose_end_was_missed_is_kept() -> None:
    belonging = Belonging([strip(caption="Good evening.")] * 9, strip(), strip(caption="Good evening."))
    assert belonging.own([CAPTION]) == [True]


def test_a_caption_that_has_half_faded_is_not_there_as_well() -> None:
    pictures = [strip(caption="Good evening.", logo="24 h")] * 9
    faded = strip(caption="Good evening.", logo="24 h", opacity=0.3)
    assert Belonging(pictures, faded, faded).own([CAPTION, LOGO]) == [True, False]


def test_a_caption_alone_that_fades_in_and_out_is_kept() -> None:
    faded = strip(caption="Good evening.", opacity=0.75)
    assert Belonging([strip(caption="Good evening.")] * 9, faded, faded).own([CAPTION]) == [True]


def test_a_ticker_is_not_the_captions() -> None:
    pictures = [strip(caption="Good evening.", ticker_at=17 * step) for step in range(9)]
    belonging = Belonging(pictures, strip(ticker_at=0), strip(ticker_at=160))
    assert belonging.own([CAPTION, TICKER]) == [True, False]


def test_where_everything_moves_nothing_is_told_by_that() -> None:
    pictures = [strip(ticker_at=17 * step) for step in range(9)]
    assert Belonging(pictures, None, None).own([TICKER]) == [True]


def test_a_scene_that_changes_behind_a_caption_does_not_make_it_another() -> None:
    pictures = [strip(caption="Good evening.", shade=shade) for shade in range(60, 150, 10)]
    belonging = Belonging(pictures, strip(), strip())
    assert belonging.own([CAPTION]) == [True]
    assert belonging.runs([CAPTION]) == [slice(0, 9)]


def test_two_captions_taken_for_one_are_told_apart() -> None:
    pictures = [strip(caption="Good evening.")] * 3 + [strip(caption="Here is the news.")] * 6
    belonging = Belonging(pictures, strip(), strip())
    assert belonging.own([CAPTION]) == [True]
    assert belonging.runs([CAPTION]) == [slice(0, 3), slice(3, 9)]


def test_one_line_that_changes_is_enough_for_another_caption() -> None:
    pictures = [strip(caption="Good evening.", second="It rains.")] * 5
    pictures += [strip(caption="Good evening.", second="Stay inside, all of you.")] * 4
    assert Belonging(pictures, None, None).runs([CAPTION, SECOND]) == [slice(0, 5), slice(5, 9)]


@pytest.mark.parametrize("other", ["Good evenang.", "Goed evening.", "Good evening?"])
def test_a_single_letter_that_changes_makes_another_caption(other: str) -> None:
    shades = range(60, 150, 10)
    texts = ["Good evening."] * 5 + [other] * 4
    pictures = [strip(caption=text, shade=shade) for text, shade in zip(texts, shades, strict=True)]
    assert Belonging(pictures, None, None).runs([CAPTION]) == [slice(0, 5), slice(5, 9)]


def test_a_letter_that_differs_in_one_picture_alone_makes_no_caption() -> None:
    pictures = [strip(caption="Good evening.")] * 8 + [strip(caption="Goed evening.")]
    assert Belonging(pictures, None, None).runs([CAPTION]) == [slice(0, 9)]


def test_a_caption_that_fades_is_one_all_the_while() -> None:
    pictures = [strip(caption="Good evening.", opacity=step / 8) for step in range(2, 9)]
    assert Belonging(pictures, None, None).runs([CAPTION]) == [slice(0, 7)]


def test_pictures_are_alike_where_each_box_shows_the_same() -> None:
    one = strip(caption="Good evening.", second="It rains.")
    assert alike(one, strip(caption="Good evening.", second="It rains.", shade=70), [CAPTION, SECOND])
    other = strip(caption="Good evening.", second="Stay inside, all of you.")
    assert alike(one, other, [CAPTION])
    assert not alike(one, other, [CAPTION, SECOND])


def test_a_ticker_does_not_divide_a_caption() -> None:
    pictures = [strip(caption="Good evening.", ticker_at=17 * step) for step in range(9)]
    assert Belonging(pictures, None, None).runs([CAPTION, TICKER]) == [slice(0, 9)]


def test_one_picture_tells_nothing_by_itself() -> None:
    belonging = Belonging([strip(caption="Good evening.")], None, None)
    assert belonging.own([CAPTION, (3, 3, 3, 9)]) == [True, True]
    assert belonging.runs([CAPTION]) == [slice(0, 1)]


def test_light_and_shade_behind_a_caption_do_not_make_it_part_of_the_scene() -> None:
    def half_in_shade(picture: np.ndarray) -> np.ndarray:
        light = 1 - 0.85 / (1 + np.exp(-(np.arange(320) - 160) / 8))
        return (picture * light[None, :, None]).astype(np.uint8)

    shown = half_in_shade(strip(caption="Good evening.", second="It rains.", shade=200))
    belonging = Belonging([shown] * 9, half_in_shade(strip(second="It rains.", shade=200)), None)
    assert belonging.own([CAPTION, SECOND]) == [True, False]


@pytest.mark.parametrize("sigma", [1.5, 6.0, 8.7, 12.0, 17.0])
@pytest.mark.parametrize("shape", [(126, 320), (125, 319), (20, 320), (126, 7)], ids=str)
def test_a_blur_made_of_a_smaller_picture_is_nearly_the_same(sigma: float, shape: tuple[int, int]) -> None:
    levels = strip(caption="Good evening.", second="Rain later on.")[: shape[0], : shape[1]].astype(
        np.float32
    )
    blurred = _blurred(levels, sigma)
    assert blurred.shape == levels.shape
    expected = cv2.GaussianBlur(levels, (0, 0), sigma)
    assert np.sqrt(((blurred - expected) ** 2).mean()) < 1.5
