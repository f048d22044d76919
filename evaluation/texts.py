"""Caption texts of the test split, in lines that a font can write and a picture can hold.

Belongs here: which files hold a language's lines, cutting captions out of them, glyph coverage. Does not
belong here: timing, drawing.

The test split has between 500 and 2,900 characters of a language, whole articles mostly. A caption is a
random run of words (characters in Chinese and Japanese) of one line, so few lines make many captions.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fontTools.ttLib import TTCollection, TTFont
from PIL import ImageFont

from video_pipeline.captions.train.media import Media
from video_pipeline.errors import BadInput


@dataclass(frozen=True)
class Language:
    """`stems` are files of lines; `family` is the member of a font collection; `spaced` has words."""

    stems: tuple[str, ...]
    script: str
    family: str | None = None
    spaced: bool = True


LANGUAGES: dict[str, Language] = {
    "en": Language(("eng", "film_en"), "latin"),
    "de": Language(("deu_1996",), "latin"),
    "fr": Language(("fra",), "latin"),
    "es": Language(("spa",), "latin"),
    "it": Language(("ita",), "latin"),
    "sv": Language(("swe", "film_sv"), "latin"),
    "zh": Language(("cmn_hans",), "cjk", "Noto Serif CJK SC", spaced=False),
    "ja": Language(("jpn", "film_ja"), "cjk", "Noto Serif CJK JP", spaced=False),
    "ru": Language(("rus", "film_ru"), "cyrillic"),
    "uk": Language(("ukr",), "cyrillic"),
    "ar": Language(("arb", "film_ar"), "arabic"),
}

_WIDE = str.maketrans(",;:?!()", "，；：？！（）")
_LEADING = "、。，；：？！）」』”’…,.;:?!)-–— "


@dataclass(frozen=True)
class Face:
    """A font file's member: its family as libass looks it up, weight and slant, and its characters."""

    path: Path
    index: int
    family: str
    bold: bool
    italic: bool
    characters: frozenset[int]

    def covers(self, text: str) -> bool:
        return all(ord(c) in self.characters for c in text if c not in "\n ")


@lru_cache(maxsize=32)
def face_of(path: Path, family: str | None) -> Face:
    """The face of a font file; of a collection the member of that family."""
    members = TTCollection(path, lazy=True).fonts if path.suffix == ".ttc" else [TTFont(path, lazy=True)]
    for index, member in enumerate(members):
        names = member["name"]
        found = str(names.getDebugName(1))
        if family in (None, found):
            style = str(names.getDebugName(2))
            characters = frozenset(member.getBestCmap() or ())
            return Face(path, index, found, "Bold" in style, "Italic" in style, characters)
    raise BadInput(f"no face of the family {family} in the font", input=str(path), what_to_do="fetch again")


def family_in(path: Path, language: Language) -> str | None:
    """The language's member of a font collection; only the test split's collection has serifs."""
    if language.family is None or "Serif" in path.name:
        return language.family
    return language.family.replace("Serif", "Sans")


def lines_of(root: Path, media: Media, language: str) -> list[str]:
    """The language's lines of the split, as they are written on a screen."""
    known = LANGUAGES[language]
    split = set(media.texts[known.script])
    lines = []
    for stem in known.stems:
        for line in (root / "texts" / f"{stem}.txt").read_text(encoding="utf-8").splitlines():
            if line in split and not re.search(r"[{}\\]", line):
                lines.append(_as_shown(line, spaced=known.spaced))
    return lines


def _as_shown(line: str, *, spaced: bool) -> str:
    line = unicodedata.normalize("NFC", re.sub(r"\s+", " ", line)).strip()
    if not spaced:
        line = re.sub(" ", "", line.translate(_WIDE))
    return line


class CaptionTexts:
    """Draws captions of one or two lines out of `lines`; never the same twice in a row.

    `width` tells a line's width in pixels, `room` is what a line may have. Raises BadInput where the font
    cannot write any of the lines.
    """

    def __init__(
        self,
        lines: list[str],
        *,
        face: Face,
        width: Callable[[str], float],
        room: float,
        spaced: bool,
        two_lines: float,
        chance: random.Random,
    ) -> None:
        self._lines = [line.split(" ") if spaced else list(line) for line in lines if face.covers(line)]
        if not self._lines:
            raise BadInput(f"{face.path.name} cannot write any line of the language", input=str(face.path))
        self._between = " " if spaced else ""
        self._width, self._room, self._two_lines, self._chance = width, room, two_lines, chance
        self._spaced = spaced
        self._last: tuple[str, ...] = ()

    def next(self) -> str:
        """A new caption, lines joined by a newline; it differs from the three before it."""
        for _ in range(1000):
            text = self._draw()
            if text is not None and text not in self._last:
                self._last = (text, *self._last[:2])
                return text
        raise BadInput("the lines of the language do not fit into the picture", input=repr(self._lines[0]))

    def changed(self, text: str) -> str | None:
        """The same caption with one word (or character) more, less or other; None where that does not fit."""
        words = self._units(text.replace("\n", self._between))
        at = self._chance.randrange(len(words))
        other = self._chance.choice(self._chance.choice(self._lines)).strip(_LEADING)
        how = self._chance.choice(("other", "other", "more", "less"))
        if not other or (how == "less" and len(words) < 3):
            return None
        if how == "other":
            words[at] = other
        elif how == "more":
            words.append(other)
        else:
            words.pop()
        made = self._laid_out(words)
        if made is None or made in self._last or made == text:
            return None
        self._last = (made, *self._last[:2])
        return made

    def ticker(self) -> str:
        """One long line for a ticker, about 200 characters."""
        pieces: list[str] = []
        while sum(map(len, pieces)) < 200:
            pieces.append(self._between.join(self._chance.choice(self._lines)))
        return "  +++  ".join(pieces)

    def _units(self, text: str) -> list[str]:
        return text.split(" ") if self._spaced else list(text)

    def _draw(self) -> str | None:
        # Weighted by length: a film's one-word lines would otherwise make up half of the captions.
        words = self._chance.choices(self._lines, [len(line) + 1 for line in self._lines])[0]
        full = 34 if self._spaced else 15
        if self._chance.random() < self._two_lines:
            length = self._chance.uniform(0.9, 2.2) * full
        else:
            length = self._chance.choice((0.25, 0.5, 0.7, 1.0)) * full
        start = self._chance.choice(self._starts(words))
        run: list[str] = []
        while start < len(words) and len(self._between.join(run)) < length:
            run.append(words[start])
            start += 1
        while run and not run[0].strip(_LEADING):
            run.pop(0)
        return self._laid_out(run)

    def _starts(self, words: list[str]) -> list[int]:
        """Where a run may begin: at any word, in writing without spaces at the start of a clause."""
        if self._spaced:
            return list(range(max(1, len(words) - 1)))
        return [at for at in range(len(words)) if at == 0 or words[at - 1] in "、。，；：？！…"]

    def _laid_out(self, words: list[str]) -> str | None:
        text = self._between.join(words).strip(" ")
        letters = [c for c in text if c.isalnum()]
        if len(letters) < 2 or text[0] in _LEADING:
            return None
        if self._width(text) <= self._room and len(text) <= (46 if self._spaced else 18):
            return text
        ways = []
        for cut in range(1, len(words)):
            above, below = self._between.join(words[:cut]), self._between.join(words[cut:])
            if below and below[0] not in _LEADING:
                ways.append((max(self._width(above), self._width(below)), f"{above}\n{below}"))
        width, best = min(ways, default=(float("inf"), ""))
        return best if width <= self._room else None


def width_by(face: Face, size: float) -> Callable[[str], float]:
    """A line's width at a font size, in pixels. PIL's size is the em, libass's the whole height of the face,
    which is larger: what fits here fits there."""
    drawn = ImageFont.truetype(str(face.path), round(size), index=face.index)
    return drawn.getlength
