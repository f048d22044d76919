"""Programmes to choose settings on, so that the evaluation set only measures: `evaluation.run --development`.

Belongs here: the list, as data. Does not belong here: making them (`set`) or measuring on them (`run`).

They are made as the evaluation set is, of photographs, clips, fonts and lines that it has none of: those of
the validation split, and of the training split for writing that the former has no font for. They are about
what is hard to time: fades, logos, small gaps, captions at the side.
"""

from __future__ import annotations

from fractions import Fraction

from evaluation.programmes import NTSC, Look, Programme
from video_pipeline.captions.train.media import Split

_LATO, _LATO_BOLD = "Lato-Regular.ttf", "Lato-Bold.ttf"
_SERIF, _SERIF_BOLD = "FreeSerif.ttf", "FreeSerifBold.ttf"
_CJK_BOLD, _NASKH, _ARABIC = "NotoSansCJK-Bold.ttc", "NotoNaskhArabic-Bold.ttf", "NotoSansArabic-Bold.ttf"

DEVELOPMENT: dict[Split, tuple[Programme, ...]] = {
    "val": (
        Programme("dev-fades", "fr", Look("Lato-Italic.ttf", 0.075), crf=22, fades=0.9),
        Programme("dev-fades-film", "sv", Look(_SERIF, 0.08), 854, 480, Fraction(24), crf=26, fades=0.6),
        Programme("dev-fades-box", "de", Look(_LATO, 0.06, edge="box", outline=0.15, shadow=0), fades=0.6),
        Programme("dev-fades-close", "ru", Look(_SERIF_BOLD, 0.07, "60F0FF"), fades=0.4, position="right"),
        Programme("dev-fades-50", "es", Look(_LATO_BOLD, 0.06), rate=Fraction(50), crf=26, fades=0.5),
        Programme("dev-plain", "en", Look(_LATO, 0.07), crf=24),
        Programme("dev-tiny", "it", Look(_LATO_BOLD, 0.07), rate=Fraction(50), crf=26, gaps="tiny"),
        Programme("dev-none", "sv", Look(_LATO_BOLD, 0.065, "FFFF60"), crf=28, gaps="none", word_changes=0.3),
        Programme("dev-logo", "ru", Look(_SERIF_BOLD, 0.08), crf=26, logo=True, fades=0.3),
        Programme("dev-ticker", "de", Look(_LATO_BOLD, 0.065), crf=26, ticker=True),
        Programme("dev-karaoke", "en", Look(_LATO_BOLD, 0.08, "FFE040"), rate=NTSC, karaoke=True),
        Programme("dev-short", "en", Look(_LATO, 0.08), crf=26, very_short=True),
    ),
    "train": (
        Programme("dev-zh-fades", "zh", Look(_CJK_BOLD, 0.085), rate=NTSC, crf=26, fades=0.6),
        Programme("dev-ja", "ja", Look(_CJK_BOLD, 0.08), rate=NTSC, crf=30, gaps="tiny"),
        Programme("dev-ar-logo", "ar", Look(_NASKH, 0.09), crf=26, logo=True, fades=0.3),
        Programme("dev-ar-logo-24", "ar", Look(_ARABIC, 0.08), rate=Fraction(24), crf=22, logo=True),
    ),
}
"""By the split that they are made of."""
