"""The bar at the bottom of a clip's pictures: its name, rating, tags and notes.

Belongs here: what the bar says and how it looks. Does not belong here: breaking text into lines
(`text_lines.py`), fonts (`font_choice.py`), blending it into pictures (`annotate.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from video_pipeline.clips.text_lines import Line, Paragraph
from video_pipeline.errors import BadInput

NOTATION = {1: "??", 2: "?", 3: "!?", 4: "!", 5: "!!"}
"""A rating as chess annotates moves: blunder, mistake, interesting, good, brilliant."""

COLOURS = {1: (206, 44, 49), 2: (255, 158, 44), 3: (74, 144, 226), 4: (58, 125, 48), 5: (38, 214, 200)}
"""The badge of each rating, sRGB: red, orange, blue, green, turquoise."""

UNRATED = (150, 150, 155)
WHITE, GREY, SKY, BLACK = (255, 255, 255), (222, 222, 226), (178, 216, 255), (12, 12, 14)

SHARE = 3
"""The bar takes at most one part in so many of the picture's height."""

BAR_ALPHA = 168
"""How dense the black behind the text is, of 255: on a white picture white text then has a contrast of 7.2
to 1, the blue of the tags 4.9 (WCAG 2.1 asks for 4.5)."""

NAME_SIZE, BODY_SIZE = 0.052, 0.036
"""Heights of letters as shares of the picture's shorter side: 56 and 39 pixels of 1080."""

SMALLEST_NAME, SMALLEST_BODY = 15, 12
"""Pixels; smaller ones cannot be read after encoding."""

MOST_NAME_LINES = 2
MOST_TAG_LINES = 1

NARROWEST, LINE = 4, 1.2
"""A bar has room for a name as wide as so many letters are high, and for a line of so many times a letter."""


LABEL = 40
"""Characters of a name that errors and notes give."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is said of a clip; anything may be missing. BadInput for a `rating` that is not 1 (worst) to 5."""

    name: str = ""
    notes: str = ""
    rating: int | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rating is not None and self.rating not in NOTATION:
            raise BadInput(
                f"a rating is a whole number from 1 (worst) to 5, not {self.rating!r}",
                input=f"the rating of {self.label}",
                what_to_do="give one of 1, 2, 3, 4, 5, or leave it out.",
            )

    @property
    def label(self) -> str:
        """How errors and notes call the clip."""
        if not self.name.split():
            return "a clip without a name"
        return repr(self.name if len(self.name) <= LABEL else f"{self.name[:LABEL]}…")

    @property
    def is_empty(self) -> bool:
        return self.rating is None and not "".join((self.name, self.notes, *self.tags)).split()


@dataclass
class Card:
    """The bar as a picture, RGBA with colours times alpha, as wide as the pictures; its height is even.

    The name stands beside the badge, tags and notes below it. Each text stands at the side its script begins.
    Emoji are drawn in one colour, as outlines: fonts of coloured pictures do not scale. `image` is None if
    there is nothing to say; `notes` says what does not fit.
    """

    annotation: Annotation
    width: int
    height: int
    notes: list[str] = field(default_factory=list)
    image: Image.Image | None = field(init=False)

    def __post_init__(self) -> None:
        short = min(self.width, self.height)
        self._name_size = max(SMALLEST_NAME, round(NAME_SIZE * short))
        self._body_size = max(SMALLEST_BODY, round(BODY_SIZE * short))
        self._pad = max(4, round(0.022 * short))
        self._gap = self._pad // 2
        self._stripe = max(2, round(0.005 * short))
        self._left = self._pad * 2
        self._inner = self.width - 2 * self._left
        self.image = None if self.annotation.is_empty else self._drawn()

    def _drawn(self) -> Image.Image:
        said = self.annotation
        badge = Badge(said.rating, self._name_size, self._pad) if said.rating is not None else None
        beside = badge.width + self._pad if badge else 0
        room = (self.height // SHARE & ~1) - self._stripe - 2 * self._pad
        name, named = None, []
        if said.name.split():
            name = Paragraph(said.name, self._name_size, input=f"the name of {said.label}")
            named = self._fitted(name, self._inner - beside, MOST_NAME_LINES, room, "name")
        first = max(_height(named), badge.height if badge else 0)
        narrow = self._inner - beside < NARROWEST * self._name_size
        if narrow or room < max(first, LINE * self._body_size) or (name is not None and not named):
            raise BadInput(
                f"a picture of {self.width}x{self.height} is too small for a bar that can be read",
                input=said.label,
                what_to_do="render at 120 lines and 160 columns at least, or leave the annotation out.",
            )
        first += self._gap if first else 0
        tagged = " · ".join(tag for tag in said.tags if tag.split())
        tags = self._text(tagged, "tags", MOST_TAG_LINES, room - first)
        second = _height(tags) + self._gap if tags else 0
        notes = self._text(said.notes, "notes", self.height, room - first - second)
        third = _height(notes) or -self._gap  # no gap after what comes last

        used = self._stripe + 2 * self._pad + first + second + third
        used += used % 2
        card = Image.new("RGBA", (self.width, used), (0, 0, 0, BAR_ALPHA))
        draw = ImageDraw.Draw(card)
        colour = COLOURS[said.rating] if said.rating is not None else UNRATED
        draw.rectangle((0, 0, self.width, self._stripe - 1), fill=(*colour, 255))
        top = self._stripe + self._pad
        start, end = self._left, self._left + self._inner
        if badge is not None:
            rightwards = name is None or name.direction == "ltr"
            middle = max(0, named[0].height - badge.height) // 2 if named else 0
            badge.draw(card, start if rightwards else end - badge.width, top + middle)
            start, end = (start + beside, end) if rightwards else (start, end - beside)
        self._write(draw, named, start, end, top, WHITE)
        start, end = self._left, self._left + self._inner
        self._write(draw, tags, start, end, top + first, SKY)
        self._write(draw, notes, start, end, top + first + second, GREY)
        return card

    def _text(self, text: str, what: str, most: int, room: int) -> list[Line]:
        if not text.split():
            return []
        paragraph = Paragraph(text, self._body_size, input=f"the {what} of {self.annotation.label}")
        return self._fitted(paragraph, self._inner, most, room, what)

    def _fitted(self, paragraph: Paragraph, width: float, most: int, room: int, what: str) -> list[Line]:
        """The lines that fit into `room` pixels; what is left out is said."""
        most = max(0, min(most, room // paragraph.size))
        lines, left_out = paragraph.lines(width, most)
        while lines and _height(lines) > room:
            most = len(lines) - 1
            lines, left_out = paragraph.lines(width, most)
        if left_out:
            self.notes.append(
                f"the {what} of {self.annotation.label} cannot be shown whole in a bar of a third of the "
                f"picture: {left_out} of {len(paragraph.text)} characters are left out"
            )
        return lines

    def _write(
        self,
        draw: ImageDraw.ImageDraw,
        lines: list[Line],
        start: int,
        end: int,
        top: int,
        colour: tuple[int, int, int],
    ) -> None:
        for line in lines:
            left = start if line.direction == "ltr" else end - line.width
            line.draw(draw, left, top, (*colour, 255))
            top += line.height


def _height(lines: list[Line]) -> int:
    return sum(line.height for line in lines)


class Badge:
    """A rating's notation on a rounded field of its colour."""

    def __init__(self, rating: int, size: int, pad: int) -> None:
        self.colour = COLOURS[rating]
        (self._line,), _ = Paragraph(NOTATION[rating], size, input="rating").lines(1e6, 1)
        self.height = self._line.height
        self.width = max(round(self._line.width) + 2 * pad, round(1.5 * self.height))

    def draw(self, card: Image.Image, left: int, top: int) -> None:
        fine = 4  # Pillow draws shapes without soft edges: draw larger, then reduce
        field_ = Image.new("L", (self.width * fine, self.height * fine), 0)
        ImageDraw.Draw(field_).rounded_rectangle(
            (0, 0, field_.width - 1, field_.height - 1), radius=field_.height // 5, fill=255
        )
        mask = field_.reduce(fine)
        card.paste((*self.colour, 255), (left, top), mask)
        self._line.draw(
            ImageDraw.Draw(card),
            left + (self.width - self._line.width) / 2,
            top,
            (*ink_on(self.colour), 255),
        )


def ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever stands out more from `colour`."""
    return max((WHITE, BLACK), key=lambda ink: contrast(ink, colour))


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Contrast ratio of two sRGB colours, 1 to 21 (WCAG 2.1, "contrast ratio" and "relative luminance")."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: tuple[int, int, int]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
