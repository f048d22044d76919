"""The programmes of the evaluation set: what each one looks like and which difficulty it is about.

Belongs here: the list, as data. Does not belong here: timing (`schedule`), drawing (`ass`, `backgrounds`),
texts and fonts on disk (`texts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Gaps = Literal["mixed", "none", "tiny", "long"]
Position = Literal["bottom", "left", "right", "top"]
Scenery = Literal["street", "bikes", "clips", "photos", "plates", "all"]
Box = Literal["outline", "box", "shadow"]

NTSC = Fraction(30000, 1001)


@dataclass(frozen=True)
class Look:
    """How captions are drawn. `size` is libass's font size as a share of the picture's height; `outline` and
    `shadow` are shares of the font size. `colour` is RGB in hex. `box` draws an opaque box instead."""

    font: str
    size: float = 0.07
    colour: str = "FFFFFF"
    edge: Box = "outline"
    outline: float = 0.06
    shadow: float = 0.03


@dataclass(frozen=True)
class Programme:
    """One video. Shares are of its captions, 0..1.

    `crop` is how a person would draw the region: close around the captions, or a generous band.
    `ticker` scrolls under the captions within the region, `credits` roll through it after the last caption,
    `logo` stands in its corner throughout: none of them is a caption.
    """

    name: str
    language: str
    look: Look
    width: int = 640
    height: int = 360
    rate: Fraction = Fraction(25)
    crf: int = 23
    captions: int = 40
    position: Position = "bottom"
    gaps: Gaps = "mixed"
    scenery: Scenery = "all"
    crop: Literal["close", "band"] = "band"
    two_lines: float = 0.35
    fades: float = 0.0
    word_changes: float = 0.04
    karaoke: bool = False
    very_short: bool = False
    logo: bool = False
    ticker: bool = False
    credits: bool = False
    from_first_frame: bool = False
    to_last_frame: bool = False

    @property
    def traits(self) -> list[str]:
        """Names of what is special about it, for the result tables."""
        flags = ("karaoke", "very_short", "logo", "ticker", "credits", "from_first_frame", "to_last_frame")
        return [
            f"{self.position} position",
            f"{self.gaps} gaps",
            f"{self.scenery} scenery",
            *(name for name in flags if getattr(self, name)),
        ]


def _boxed(font: str, size: float) -> Look:
    return Look(font, size, edge="box", outline=0.15, shadow=0)


def _shadowed(font: str, size: float) -> Look:
    return Look(font, size, edge="shadow", outline=0.02, shadow=0.08)


SANS, SANS_BOLD = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"
SERIF, MONO = "DejaVuSerif.ttf", "DejaVuSansMono.ttf"
OPEN, OPEN_BOLD, OPEN_ITALIC = "OpenSans-Semibold.ttf", "OpenSans-Bold.ttf", "OpenSans-Italic.ttf"
CONDENSED = "OpenSans-CondBold.ttf"
CJK, CJK_BOLD = "NotoSerifCJK-Regular.ttc", "NotoSerifCJK-Bold.ttc"
KUFI, KUFI_BOLD = "NotoKufiArabic-Regular.ttf", "NotoKufiArabic-Bold.ttf"

PROGRAMMES: tuple[Programme, ...] = (
    Programme("en-plain", "en", Look(SANS), crf=20, from_first_frame=True, to_last_frame=True),
    Programme("en-box", "en", _boxed(OPEN, 0.06), 854, 480, Fraction(24), crf=26),
    Programme("en-very-short", "en", Look(SANS_BOLD, 0.08), crf=26, very_short=True, captions=56),
    Programme("en-karaoke", "en", Look(OPEN_BOLD, 0.08, "FFE040"), rate=NTSC, crf=20, karaoke=True),
    Programme("en-scene-text", "en", Look(OPEN, 0.065), crf=26, scenery="plates", crop="close"),
    Programme("en-720p", "en", Look(OPEN_BOLD, 0.055), 1280, 720, crf=23, captions=34, crop="close"),
    Programme("en-mono", "en", Look(MONO, 0.055), crf=32, gaps="none", word_changes=0.15),
    Programme("en-none", "en", Look(SANS), crf=26, captions=0, logo=True, scenery="plates"),
    Programme("de-plain", "de", Look(SERIF, 0.075), crf=26, scenery="clips", from_first_frame=True),
    Programme("de-word-changes", "de", Look(OPEN), crf=26, word_changes=0.55, gaps="tiny"),
    Programme("de-long-gaps", "de", Look(SANS, 0.06), crf=32, gaps="long", captions=9),
    Programme("fr-fades", "fr", Look(OPEN_ITALIC, 0.08), crf=20, fades=0.9, scenery="clips"),
    Programme("fr-ticker", "fr", Look(OPEN_BOLD, 0.065), crf=26, ticker=True),
    Programme("fr-film", "fr", Look(SERIF, 0.06), 854, 480, Fraction(24), scenery="bikes"),
    Programme("es-back-to-back", "es", Look(SANS_BOLD, 0.065), rate=NTSC, crf=26, gaps="none"),
    Programme("es-credits", "es", Look(CONDENSED, 0.085), crf=26, credits=True),
    Programme("it-50", "it", Look(OPEN, 0.07), rate=Fraction(50), crf=26, captions=36, gaps="tiny"),
    Programme("sv-left", "sv", Look(OPEN_BOLD, 0.06, "FFFF60"), crf=26, position="left", crop="close"),
    Programme("zh-plain", "zh", Look(CJK, 0.09), crf=20, to_last_frame=True),
    Programme("zh-top", "zh", _shadowed(CJK_BOLD, 0.085), 854, 480, crf=26, position="top"),
    Programme("zh-fades", "zh", Look(CJK_BOLD, 0.085), rate=NTSC, crf=26, fades=0.7),
    Programme("ja-plain", "ja", Look(CJK_BOLD, 0.085), rate=NTSC, crf=26, from_first_frame=True),
    Programme("ja-logo", "ja", Look(CJK, 0.085), crf=20, logo=True, scenery="clips"),
    Programme("ja-box", "ja", _boxed(CJK_BOLD, 0.08), crf=32, gaps="tiny"),
    Programme("ru-plain", "ru", Look(SANS, 0.065), crf=26, scenery="street"),
    Programme("ru-right", "ru", Look(OPEN_BOLD, 0.06, "60F0FF"), crf=26, position="right", fades=0.3),
    Programme("uk-small", "uk", Look(OPEN, 0.05), crf=32, two_lines=0.6, crop="close"),
    Programme("ar-plain", "ar", Look(KUFI, 0.095), crf=26),
    Programme("ar-logo", "ar", Look(KUFI_BOLD, 0.09), rate=Fraction(24), crf=26, logo=True, fades=0.3),
)
