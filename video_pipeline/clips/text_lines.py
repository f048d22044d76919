"""Text of any script as lines of a given width: direction, fonts, breaks, measures, and drawing them.

Belongs here: everything between a string and its pixels that does not depend on what the string says. Does
not belong here: which font has which character (`font_choice.py`), where lines stand (`annotate.py`).

Shaping and the bidirectional algorithm (UAX #9) are libraqm's, which Pillow carries and which needs FriBiDi
on the machine. libraqm takes one font for a line; a line of several fonts is cut into runs by font and
direction here, ordered by rule L2 with levels 0 to 2: explicit embeddings are not honoured in such a line.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal

from PIL import ImageDraw, ImageFont, features

from video_pipeline.clips.font_choice import Face, clusters, faces_for, glyphs_of
from video_pipeline.errors import BadInput

ELLIPSIS = "…"

NOT_AT_START = frozenset(
    "、。，．：；！？）］｝〕〉》」』】〙〗｠»’”…‥ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮ々〻・ゝゞヽヾ"
)
NOT_AT_END = frozenset("（［｛〔〈《「『【〘〖｟«‘“")
"""Characters that begin or end no line of Chinese and Japanese text (JIS X 4051, the common part)."""

LONGEST = 500
"""Clusters looked at for one line. At the sizes of `annotate.py` a line holds about 60 narrow letters."""

Direction = Literal["ltr", "rtl"]
FontRun = tuple[str, ImageFont.FreeTypeFont, Direction]


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of a line in one font and direction."""

    text: str
    font: ImageFont.FreeTypeFont
    direction: Direction
    width: float


@dataclass(frozen=True, slots=True)
class Line:
    """Runs from left to right, with the line's measures in pixels above and below its baseline."""

    runs: Sequence[Run]
    direction: Direction
    width: float
    ascent: int
    descent: int

    @property
    def height(self) -> int:
        return self.ascent + self.descent

    def draw(self, draw: ImageDraw.ImageDraw, left: float, top: float, fill: tuple[int, ...]) -> None:
        for run in self.runs:
            where = (left, top + self.ascent)
            draw.text(where, run.text, fill, run.font, anchor="ls", direction=_for_pillow(run.direction))
            left += run.width


class Paragraph:
    """One text, set at one size: which fonts it takes, and its lines of any width.

    White space of any kind counts as one space. BadInput, naming `input`, for characters that no font of the
    machine has, and for scripts that need shaping or run from right to left where Pillow has no RAQM.
    """

    def __init__(self, text: str, size: int, *, input: str) -> None:
        self.text = " ".join(unicodedata.normalize("NFC", text).split())
        self.direction: Direction = base_direction(self.text)
        self.size = size
        if needs_shaping(self.text) and not features.check("raqm"):
            raise BadInput(
                "this text needs shaping or runs from right to left, and Pillow has no RAQM here",
                input=input,
                what_to_do="install FriBiDi (on Debian libfribidi0), which Pillow's RAQM loads.",
            )
        self._faces: Mapping[str, Face] = faces_for(self.text + ELLIPSIS, input=input)

    def lines(self, width: float, most: int) -> tuple[list[Line], int]:
        """At most `most` lines of at most `width` pixels, and how many characters were left out.

        Lines break at spaces and between Chinese or Japanese characters; a word that is wider than a line
        breaks between its characters, and so does text in scripts that write no spaces (Thai, Khmer). Cut
        text ends in an ellipsis.
        """
        rest = clusters(self.text)
        lines: list[Line] = []
        while rest and len(lines) < most:
            count = self._fitting(rest, width)
            if len(lines) == most - 1 and count < len(rest):
                kept = self._with_ellipsis(rest[:count], width)
                lines.append(self._line("".join(rest[:kept]).rstrip() + ELLIPSIS))
                return lines, sum(map(len, rest[kept:]))
            lines.append(self._line("".join(rest[:count]).strip()))
            # No line is empty: what was looked at may have ended just before a space.
            rest = rest[count + 1 :] if rest[count : count + 1] == [" "] else rest[count:]
        return lines, sum(map(len, rest))

    def _fitting(self, pieces: Sequence[str], width: float) -> int:
        """How many clusters the next line takes: at least one."""
        good, end, text = 0, 0, ""
        for end, piece in enumerate(pieces[:LONGEST], start=1):
            text += piece
            if not (end == len(pieces) or may_break(piece, pieces[end])):
                continue
            if self._line(text.strip()).width > width:
                break
            good = end
        if good:
            return good
        low, high = 1, end  # one word that is too wide: the longest part of it
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._line("".join(pieces[:middle]).strip()).width <= width
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def _with_ellipsis(self, pieces: Sequence[str], width: float) -> int:
        kept = len(pieces)
        while kept > 1 and self._line("".join(pieces[:kept]).strip() + ELLIPSIS).width > width:
            kept -= 1
        return kept

    def _line(self, text: str) -> Line:
        runs = [
            Run(piece, font, direction, font.getlength(piece, direction=_for_pillow(direction)))
            for piece, font, direction in self._visual_runs(text)
        ]
        measures = [run.font.getmetrics() for run in runs]
        return Line(
            tuple(runs),
            self.direction,
            sum(run.width for run in runs),
            max(ascent for ascent, _ in measures),
            max(descent for _, descent in measures),
        )

    def _visual_runs(self, text: str) -> list[FontRun]:
        """Pieces of a line from left to right. With one font the line is one piece, ordered by libraqm."""
        pieces = clusters(text)
        faces = [self._faces.get(piece) for piece in pieces]
        for at, piece in enumerate(pieces):
            if at and piece == " " and ord(" ") in glyphs_of(_known(faces[at - 1])):
                faces[at] = faces[at - 1]
        if len(set(faces)) == 1:
            return [(text, _font(_known(faces[0]), self.size), self.direction)]
        directions = directions_of(pieces, self.direction)
        runs: list[FontRun] = [
            ("".join(pieces[at] for at in group), _font(_known(face), self.size), direction)
            for (face, direction), group in groupby(
                range(len(pieces)), key=lambda at: (faces[at], directions[at])
            )
        ]
        return in_visual_order(runs, self.direction)


def _known(face: Face | None) -> Face:
    assert face is not None, "every cluster of the paragraph has a face"
    return face


@lru_cache(maxsize=64)
def _font(face: Face, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(face.path), size, index=face.number)


def _for_pillow(direction: Direction) -> Direction | None:
    """Pillow's basic layout, used where it has no RAQM, takes no direction."""
    return direction if features.check("raqm") else None


def needs_shaping(text: str) -> bool:
    """Whether letters join, reorder, take marks or run from right to left."""
    return any(
        unicodedata.bidirectional(character) in ("R", "AL", "AN")
        or unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")
        for character in text
    )


def base_direction(text: str) -> Direction:
    """That of the first letter with one (UAX #9, rules P2 and P3, without isolates)."""
    for character in text:
        strong = _strong(character)
        if strong is not None:
            return strong
    return "ltr"


def _strong(character: str) -> Direction | None:
    kind = unicodedata.bidirectional(character)
    return "ltr" if kind == "L" else "rtl" if kind in ("R", "AL") else None


def directions_of(pieces: Sequence[str], base: Direction) -> list[Direction]:
    """Of each cluster: a letter has its own; digits have that of the letter before; what stands between two
    of one direction has theirs, anything else the line's (UAX #9, rules W7, N1 and N2, simplified)."""
    known: list[Direction | None] = []
    before = base
    for piece in pieces:
        strong = _strong(piece[0])
        before = strong or before
        number = unicodedata.bidirectional(piece[0]) in ("EN", "AN")
        known.append(before if number else strong)
    found: list[Direction] = []
    for at, direction in enumerate(known):
        left = found[-1] if found else base
        right = next((other for other in known[at:] if other is not None), base)
        found.append(direction or (left if left == right else base))
    return found


def in_visual_order(runs: Sequence[FontRun], base: Direction) -> list[FontRun]:
    """Runs in reading order to runs from left to right (UAX #9, rule L2): neighbours that run against the
    line are turned around together, and then, if the line runs from right to left, the whole line."""
    ordered: list[FontRun] = []
    for direction, group in groupby(runs, key=lambda run: run[2]):
        together = list(group)
        ordered += together if direction == base else together[::-1]
    return ordered if base == "ltr" else ordered[::-1]


def may_break(before: str, after: str) -> bool:
    """Whether a line may end between two neighbouring clusters (UAX #14, the part that is needed here)."""
    if before.isspace():
        return True
    if after.isspace() or after[0] in NOT_AT_START or before[0] in NOT_AT_END:
        return False
    return before in "-–—/" or _is_wide(before) or _is_wide(after)


def _is_wide(piece: str) -> bool:
    return unicodedata.east_asian_width(piece[0]) in ("W", "F")
