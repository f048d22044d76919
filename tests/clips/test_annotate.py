from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont
from PIL import Image, features

from video_pipeline.clips import font_choice, text_lines
from video_pipeline.clips.annotate import Annotator
from video_pipeline.clips.font_choice import BUNDLED, Face, clusters, faces_for, needed_glyphs
from video_pipeline.clips.text_lines import ELLIPSIS, Paragraph, directions_of
from video_pipeline.clips.title_card import (
    BAR_ALPHA,
    COLOURS,
    GREY,
    NOTATION,
    SKY,
    WHITE,
    Annotation,
    Badge,
    Card,
    contrast,
    ink_on,
)
from video_pipeline.errors import BadInput, Internal
from video_pipeline.media.colour import frame_to_rgb
from video_pipeline.media.frames import ColourTags, CroppedFrame

BT709 = ColourTags(1, 1, 1, 1)

LONG = "She moves in early and takes the ball on the rise. "

CHINESE = "她提前上網，在球上升時擊球。「很好」！"


def noise(width: int, height: int) -> CroppedFrame:
    made = np.random.default_rng(7)
    y, u, v = (made.integers(16, 236, (height // part, width // part), dtype=np.uint8) for part in (1, 2, 2))
    return CroppedFrame(y=y, u=u, v=v, tags=BT709)


def flat(width: int, height: int, luma: int) -> CroppedFrame:
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return CroppedFrame(y=np.full((height, width), luma, np.uint8), u=chroma, v=chroma.copy(), tags=BT709)


def font_with(path: Path, characters: str) -> Path:
    """A font in which each of the characters is a square of one em's width."""
    names = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
    pen = TTGlyphPen(None)
    corners = [(100, 0), (100, 800), (900, 800), (900, 0)]
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
    glyph = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(c): name for c, name in zip(characters, names[1:], strict=True)})
    builder.setupGlyf(dict.fromkeys(names, glyph))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    builder.setupHorizontalHeader(ascent=900, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without fontconfig whose only fonts are those put into this folder."""
    monkeypatch.setattr(font_choice.shutil, "which", lambda _name: None)
    monkeypatch.setattr(font_choice, "FONT_DIRECTORIES", (tmp_path,))
    return tmp_path


@pytest.mark.parametrize(
    ("width", "height"), [(640, 360), (202, 360), (1920, 1080), (810, 1440), (3840, 2160), (1216, 2160)]
)
def test_the_bar_takes_a_third_at_most_and_leaves_the_picture_above_it(width: int, height: int) -> None:
    annotator = Annotator(
        Annotation("Rally on court two " * 9, LONG * 40, 2, ("volley",) * 30), width, height
    )
    before = noise(width, height)
    kept = before.y.copy()
    after = annotator.apply(before)
    changed = np.flatnonzero((after.y != before.y).any(axis=1))
    assert height - changed[0] <= height // 3
    assert height - changed[0] >= height // 4  # so much text fills the third
    assert np.array_equal(before.y, kept)
    top = changed[0] // 2
    assert np.array_equal(after.u[:top], before.u[:top])
    assert np.array_equal(after.v[:top], before.v[:top])
    assert after.tags == BT709
    assert [note.split(" of ")[0] for note in annotator.notes] == ["the name", "the tags", "the notes"]


def test_a_bar_is_only_as_high_as_its_text() -> None:
    short = Annotator(Annotation("Rally"), 640, 360)
    longer = Annotator(Annotation("Rally", LONG, 5, ("volley",)), 640, 360)
    heights = [
        360 - np.flatnonzero((a.apply(flat(640, 360, 200)).y != 200).any(axis=1))[0] for a in (short, longer)
    ]
    assert heights[0] < 50 < heights[1] < 120
    assert short.notes == longer.notes == ()


def test_blending_in_integers_is_the_exact_blend_within_half_a_step() -> None:
    annotation = Annotation("Rally", LONG, 1, ("volley",))
    frame = noise(640, 360)
    card = np.asarray(Card(annotation, 640, 360).image).astype(np.float64)
    after, top = Annotator(annotation, 640, 360).apply(frame), 360 - len(card)
    red, green, blue, alpha = np.moveaxis(card / 255, 2, 0)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    seen = 1 - alpha
    exact = frame.y[top:] * seen + 16 * alpha + 219 * luma
    assert np.abs(after.y[top:] - exact).max() <= 0.5 + 1 / 255
    for plane, old, part, scale in ((after.u, frame.u, blue, 1.8556), (after.v, frame.v, red, 1.5748)):
        full = 128 * alpha + 224 * (part - luma) / scale
        half, open_ = (p.reshape(len(p) // 2, 2, -1, 2).mean(axis=(1, 3)) for p in (full, seen))
        # Alpha, too, is rounded to a step of 255 where chroma is halved.
        assert np.abs(plane[top // 2 :] - (old[top // 2 :] * open_ + half)).max() <= 1.01


@pytest.mark.parametrize("rating", sorted(COLOURS))
def test_a_badge_has_its_ratings_colour_after_the_conversion(rating: int) -> None:
    frame = Annotator(Annotation("Rally", rating=rating), 1920, 1080).apply(flat(1920, 1080, 90))
    rgb = frame_to_rgb(frame).reshape(-1, 3).astype(int)
    near = (np.abs(rgb - COLOURS[rating]).max(axis=1) <= 3).sum()
    others = [(np.abs(rgb - COLOURS[other]).max(axis=1) <= 3).sum() for other in COLOURS if other != rating]
    assert near > 5000
    assert max(others) < 50


def test_ratings_are_told_apart_by_sign_and_by_colour_and_can_be_read() -> None:
    assert list(NOTATION.items()) == [(1, "??"), (2, "?"), (3, "!?"), (4, "!"), (5, "!!")]
    for one, other in itertools.combinations(COLOURS.values(), 2):
        assert np.abs(np.subtract(one, other)).sum() > 100
    for colour in COLOURS.values():
        assert contrast(ink_on(colour), colour) >= 4.5  # WCAG 2.1, 1.4.3


def test_text_can_be_read_on_a_white_picture() -> None:
    behind = round(255 * (255 - BAR_ALPHA) / 255)
    for ink in (WHITE, GREY, SKY):
        assert contrast(ink, (behind, behind, behind)) >= 4.5
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)


def ink_of(rating: int) -> float:
    """Pixels of ink on a badge, by how far each is from the badge's colour to the ink's."""
    badge = Badge(rating, 100, 20)
    card = Image.new("RGBA", (badge.width, badge.height))
    badge.draw(card, 0, 0)
    colour, ink = np.array(COLOURS[rating]), np.array(ink_on(COLOURS[rating]))
    inside = np.asarray(card)[
        badge.height // 8 : -badge.height // 8, badge.width // 8 : -badge.width // 8, :3
    ]
    return float(((inside - colour) @ (ink - colour) / ((ink - colour) @ (ink - colour))).sum())


def test_format_characters_and_variation_selectors_need_no_glyph() -> None:
    unseen = "\ufe00\ufe0f\U000e0100\U000e01ef\N{ZERO WIDTH JOINER}\N{SOFT HYPHEN}"
    assert needed_glyphs(f"a{unseen}b") == {ord("a"), ord("b")}
    assert clusters("a\U0001f3fa\U0001f3fb\U0001f3ff") == ["a", "\U0001f3fa\U0001f3fb\U0001f3ff"]
    assert needed_glyphs("\ufdff\ufe10\U000e01f0") == {0xFDFF, 0xFE10, 0xE01F0}


def test_the_notation_is_drawn_on_the_badge() -> None:
    ink = {rating: ink_of(rating) for rating in NOTATION}
    assert ink[4] > 500
    assert ink[5] == pytest.approx(2 * ink[4], rel=0.02)
    assert ink[1] == pytest.approx(2 * ink[2], rel=0.02)
    assert ink[3] == pytest.approx(ink[4] + ink[2], rel=0.02)


def columns_with_ink(annotation: Annotation, width: int, height: int) -> np.ndarray:
    card = np.asarray(Card(annotation, width, height).image)
    return np.flatnonzero((card[8:, :, 3] > BAR_ALPHA + 40).any(axis=0))


def test_right_to_left_text_stands_at_the_right_with_its_badge_before_it() -> None:
    left = columns_with_ink(Annotation("Rally", "short", 4), 1280, 720)
    right = columns_with_ink(Annotation("ضربة", "قصيرة", 4), 1280, 720)
    assert left[0] < 60
    assert left[-1] < 400
    assert right[-1] > 1220
    assert right[0] > 880


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow has no RAQM here")
def test_arabic_letters_join_and_run_from_right_to_left() -> None:
    (joined,), _ = Paragraph("سلام", 40, input="name").lines(1000, 1)
    (apart,), _ = Paragraph("س ل ا م", 40, input="name").lines(1000, 1)
    letters = sum(Paragraph(letter, 40, input="name").lines(1000, 1)[0][0].width for letter in "سلام")
    assert joined.direction == "rtl"
    assert joined.width < 0.8 * letters
    assert joined.width < apart.width


def texts(paragraph: Paragraph, width: float, most: int) -> tuple[list[str], int]:
    lines, left_out = paragraph.lines(width, most)
    assert all(line.width <= width for line in lines)
    return ["".join(run.text for run in line.runs) for line in lines], left_out


def test_lines_break_at_words_and_lose_nothing() -> None:
    lines, left_out = texts(Paragraph("  " + LONG * 3 + "\n\tEnd ", 20, input="notes"), 300, 100)
    assert " ".join(lines) == (LONG * 3).strip() + " End"
    assert left_out == 0
    assert len(lines) > 5


def test_a_word_wider_than_a_line_breaks_inside() -> None:
    lines, left_out = texts(Paragraph("x" * 90, 20, input="notes"), 200, 100)
    assert "".join(lines) == "x" * 90
    assert left_out == 0
    assert min(map(len, lines[:-1])) >= 15


@pytest.mark.slow
def test_a_word_of_a_million_letters_is_cut_in_time() -> None:
    lines, left_out = texts(Paragraph("x" * 1_000_000, 20, input="notes"), 400, 3)
    assert len(lines) == 3
    assert left_out > 999_000


def test_cut_text_ends_in_an_ellipsis_and_says_how_much_is_missing() -> None:
    whole = LONG.strip() + " " + LONG.strip()
    lines, left_out = texts(Paragraph(whole, 20, input="notes"), 300, 2)
    assert len(lines) == 2
    assert lines[-1].endswith(ELLIPSIS)
    shown = " ".join(lines).removesuffix(ELLIPSIS)
    assert whole.startswith(shown)
    assert left_out == len(whole) - len(shown) or whole[len(shown)] == " "


def test_chinese_breaks_between_characters_but_not_before_a_full_stop(installed: Path) -> None:
    font_with(installed / "Squares.ttf", "".join(sorted(set(CHINESE))))
    for columns in range(3, 12):
        lines, left_out = texts(Paragraph(CHINESE, 20, input="notes"), 20 * columns, 100)
        assert "".join(lines) == CHINESE
        assert left_out == 0
        assert all(line[0] not in "，。」！" and line[-1] != "「" for line in lines)
        assert max(map(len, lines)) <= columns


def test_one_font_draws_a_text_if_one_has_it_all_and_else_as_few_as_needed(installed: Path) -> None:
    font_with(installed / "SansTwo.ttf", "她提")
    font_with(installed / "SansOne.ttf", "她")
    font_with(installed / "SansZLatin.ttf", "她ab")
    font_with(installed / "broken.ttf", "她").write_bytes(b"\0\1\0\0 this is no font")
    assert {face.path for face in faces_for("ab c", input="name").values()} == {BUNDLED}
    assert {face.path.name for face in faces_for("a她b", input="name").values()} == {"SansZLatin.ttf"}
    assert faces_for("a她提", input="name") == {
        "a": Face(BUNDLED),
        "她": Face(installed / "SansTwo.ttf"),
        "提": Face(installed / "SansTwo.ttf"),
    }


def test_plain_faces_are_taken_before_bold_mono_and_serif_ones(installed: Path) -> None:
    for name in ("ASerif", "SansBold", "SansMono", "ZSans", "SansItalic"):
        font_with(installed / f"{name}.ttf", "她")
    assert faces_for("她", input="name")["她"].path.stem == "ZSans"


@pytest.mark.parametrize("style", ["Oblique", "Light", "Thin", "Black", "Condensed"])
def test_a_plain_face_is_taken_before_one_of_another_weight_or_width(installed: Path, style: str) -> None:
    for name in (f"ASans{style}", "ZSans"):
        font_with(installed / f"{name}.ttf", "她")
    assert faces_for("她", input="name")["她"].path.stem == "ZSans"


def test_a_font_with_more_of_what_is_missing_is_taken_before_one_with_more_of_what_another_has(
    installed: Path,
) -> None:
    font_with(installed / "SansA.ttf", "她abcdef")
    font_with(installed / "SansB.ttf", "她提")
    taken = {face.path for face in faces_for("abcdef她提", input="name").values()}
    assert taken == {BUNDLED, installed / "SansB.ttf"}


def test_a_font_with_its_ending_in_capitals_below_the_home_folder_is_found(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(installed))
    monkeypatch.setattr(font_choice, "FONT_DIRECTORIES", (Path("~/.fonts"),))
    (installed / ".fonts" / "some").mkdir(parents=True)
    font = font_with(installed / ".fonts" / "some" / "SANS.TTF", "她")
    assert faces_for("她", input="name") == {"她": Face(font)}


def test_of_a_collection_the_first_face_is_taken_and_drawn(installed: Path) -> None:
    collection = TTCollection()
    parts = installed / "parts"
    parts.mkdir()
    collection.fonts = [TTFont(font_with(parts / f"{name}.part", "她提")) for name in ("One", "Two")]
    collection.save(installed / "Sans.ttc")
    assert faces_for("她", input="name") == {"她": Face(installed / "Sans.ttc", 0)}
    (line,), _ = Paragraph("她提", 20, input="name").lines(1000, 1)
    assert line.width == 40


def test_a_font_of_cubic_outlines_is_taken(installed: Path) -> None:
    builder = FontBuilder(1000, isTTF=False)
    builder.setupGlyphOrder([".notdef", "u5979"])
    builder.setupCharacterMap({ord("她"): "u5979"})
    pen = T2CharStringPen(1000, None)
    builder.setupCFF("Sans", {}, dict.fromkeys((".notdef", "u5979"), pen.getCharString()), {})
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", "u5979"), (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-200)
    builder.setupPost()
    builder.save(installed / "Sans.otf")
    assert faces_for("她", input="name") == {"她": Face(installed / "Sans.otf")}


def test_a_font_without_outlines_is_not_taken(installed: Path) -> None:
    font_with(installed / "ZSans.ttf", "她")
    with TTFont(font_with(installed / "ASans.ttf", "她")) as pictures:
        del pictures["glyf"], pictures["loca"]
        pictures.save(installed / "ASans.ttf")
    assert faces_for("她", input="name")["她"].path.stem == "ZSans"


def test_characters_that_no_font_has_are_named_with_what_to_install(installed: Path) -> None:
    font_with(installed / "Sans.ttf", "她")
    with pytest.raises(BadInput) as caught:
        Annotator(Annotation("Rally", "她 and 提 and \a and 她"), 640, 360)
    assert "提 (U+63D0)" in caught.value.message
    assert "U+0007" in caught.value.message
    assert "她" not in caught.value.message
    assert caught.value.input == "the notes of 'Rally'"
    assert "fonts-noto-cjk" in (caught.value.what_to_do or "")


def test_of_many_characters_that_no_font_has_eight_are_named_and_the_others_counted(installed: Path) -> None:
    with pytest.raises(BadInput) as caught:
        faces_for("\a" + CHINESE[:10] + "a", input="name")
    assert ": not printable (U+0007), 她 (U+5979), " in caught.value.message
    assert caught.value.message.count("U+") == 8
    assert caught.value.message.endswith(" and 2 more")


@pytest.mark.parametrize(
    "damaged", [b"ttcf\0\1", b"ttcf\0\1\0\0\0\0\0\1", b"OTTO\0\1", b"wOF2" + b"\0" * 60, b""]
)
def test_a_font_file_that_is_damaged_is_passed_over(installed: Path, damaged: bytes) -> None:
    (installed / "ASans.ttf").write_bytes(damaged)
    font = font_with(installed / "Sans.ttf", "她")
    assert faces_for("她", input="name") == {"她": Face(font)}


def test_a_character_that_a_font_has_is_not_named_behind_one_that_none_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    font = font_with(tmp_path / "Sans.ttf", "\ue001")
    program = tmp_path / "fc-list"
    program.write_text(f'#!/bin/sh\ncase "$1" in *e001*) echo "{font}";; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(BadInput) as caught:
        faces_for("\ue000\ue001", input="name")
    assert caught.value.message.endswith("these characters: not printable (U+E000)")


def test_fontconfig_is_asked_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    font = font_with(tmp_path / "Sans One.ttf", "\ue000")
    asked = tmp_path / "asked"
    program = tmp_path / "fc-list"
    program.write_text(f'#!/bin/sh\necho "$1" >> {asked}\necho "{font}"\necho /no/such.pcf.gz\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert faces_for("a\ue000", input="name") == {"a": Face(BUNDLED), "\ue000": Face(font)}
    assert asked.read_text() == ":charset=e000:outline=True\n"


def test_an_emoji_is_drawn_as_an_outline_and_refused_where_no_font_has_one(installed: Path) -> None:
    plain = np.asarray(Card(Annotation("Good 😀"), 640, 360).image)
    assert np.ptp(plain[3:, :, :3].astype(int), axis=2).max() == 0  # white on black: no colour
    with pytest.raises(BadInput, match="U\\+1F44D"):
        Card(Annotation("Good 👍"), 640, 360)


def test_marks_and_joined_emoji_stay_with_their_character() -> None:
    assert clusters("कीa\u20dd") == ["की", "a\u20dd"]
    assert clusters("می\u200cخو") == ["م", "ی\u200c", "خ", "و"]
    assert clusters("e\u0301a👍🏽👨\u200d👩x") == ["e\u0301", "a", "👍🏽", "👨\u200d👩", "x"]


@pytest.mark.parametrize(
    ("text", "base", "directions"),
    [
        ("ab שם cd", "ltr", "LLLRRLLL"),
        ("שם ab שם", "rtl", "RRRLLRRR"),
        ("שם 12 ab", "ltr", "RRRRRLLL"),
        ("ab 12 שם", "rtl", "LLLLLRRR"),
    ],
)
def test_signs_and_digits_take_the_direction_of_what_is_around_them(
    text: str, base: str, directions: str
) -> None:
    found = directions_of(list(text), "rtl" if base == "rtl" else "ltr")
    assert "".join("R" if direction == "rtl" else "L" for direction in found) == directions


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow has no RAQM here")
def test_a_line_of_two_fonts_runs_as_its_text_does(installed: Path) -> None:
    font_with(installed / "Sans.ttf", "ไ")
    font_with(installed / "SansMandaic.ttf", "ࡀ")
    (line,), _ = Paragraph("שלום ไ עולם", 20, input="name").lines(1000, 1)
    assert [run.text.strip() for run in line.runs] == ["עולם", "ไ", "שלום"]
    (line,), _ = Paragraph("ab ไ שלום cd", 20, input="name").lines(1000, 1)
    assert "|".join(f"{run.text}{run.direction}" for run in line.runs) == "ab ltr|ไltr| ltr|שלוםrtl| cdltr"
    (line,), _ = Paragraph("ab שלום ࡀ cd", 20, input="name").lines(1000, 1)
    assert "|".join(f"{run.text}{run.direction}" for run in line.runs) == "ab ltr|ࡀrtl|שלום rtl| cdltr"


def test_without_raqm_plain_scripts_are_drawn_and_others_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines.features, "check", lambda _feature: False)
    assert Annotator(Annotation("Ралли"), 640, 360).notes == ()
    for text in ("سلام", "e\u0323\u0301 x\u0301"):
        with pytest.raises(BadInput, match="RAQM") as caught:
            Annotator(Annotation(text), 640, 360)
        assert "libfribidi0" in (caught.value.what_to_do or "")


@pytest.mark.parametrize("rating", [0, 6, -1])
def test_a_rating_outside_one_to_five_is_refused(rating: int) -> None:
    with pytest.raises(BadInput, match=r"1 \(worst\) to 5"):
        Annotation("Rally", rating=rating)


def test_nothing_to_say_leaves_the_picture_alone() -> None:
    frame = noise(640, 360)
    for annotation in (Annotation(), Annotation(" ", "\n", None, ("",))):
        assert Annotator(annotation, 640, 360).apply(frame) is frame


@pytest.mark.parametrize(
    "annotation",
    [
        Annotation(notes=LONG),
        Annotation(tags=("volley",)),
        Annotation(rating=4),
        Annotation("", LONG, 2, ("a",)),
    ],
)
def test_a_clip_without_a_name_shows_what_it_has(annotation: Annotation) -> None:
    annotator = Annotator(annotation, 640, 360)
    after = annotator.apply(flat(640, 360, 200))
    changed = np.flatnonzero((after.y != 200).any(axis=1))
    assert 20 < 360 - changed[0] < 90
    assert annotator.notes == ()
    assert np.ptp(after.y[changed[0] + 8 : -8].astype(int)) > 60


def test_a_card_holds_colours_times_alpha() -> None:
    image = Card(Annotation("Rally", LONG, 1, ("volley",)), 640, 360).image
    card = np.asarray(image)
    assert (card[:, :, :3] <= card[:, :, 3:]).all()
    assert len(np.unique(card[:, :, 3])) > 20  # soft edges


@pytest.mark.parametrize(("width", "height"), [(64, 360), (640, 48)])
def test_a_picture_too_small_to_read_is_refused(width: int, height: int) -> None:
    with pytest.raises(BadInput, match="too small"):
        Annotator(Annotation("Rally", rating=3), width, height)


def test_a_picture_of_another_size_is_a_defect() -> None:
    with pytest.raises(Internal, match="640x360"):
        Annotator(Annotation("Rally"), 640, 360).apply(noise(320, 240))
