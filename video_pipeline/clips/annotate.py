"""A clip's name, rating, tags and notes in a bar at the bottom of its pictures.

Belongs here: what the bar says and how it looks, its planes, blending it into a picture. Does not belong
here: breaking text into lines (`text_lines.py`), fonts (`font_choice.py`), when a bar is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from video_pipeline.clips.text_lines import Line, Paragraph
from video_pipeline.errors import BadInput, Internal
from video_pipeline.media.colour import LUMA_WEIGHTS
from video_pipeline.media.frames import CroppedFrame

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


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is said of a clip. `rating` 1 (worst) to 5, or None; BadInput for another one or no name."""

    name: str
    notes: str = ""
    rating: int | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.split():
            raise BadInput("an annotated clip needs a name", input="name", what_to_do="give it one.")
        if self.rating is not None and self.rating not in NOTATION:
            raise BadInput(
                f"a rating is a whole number from 1 (worst) to 5, not {self.rating!r}",
                input=f"the rating of {self.name!r}",
                what_to_do="give one of 1, 2, 3, 4, 5, or leave it out.",
            )


class Annotator:
    """Lays an annotation out for pictures of one size, once, and blends it into each.

    `notes` says what could not be shown as it was given. BadInput for characters that no font has and for a
    picture too small to hold a readable name.
    """

    def __init__(self, annotation: Annotation, width: int, height: int) -> None:
        self.width, self.height = width, height
        card = Card(annotation, width, height)
        self.notes: tuple[str, ...] = tuple(card.notes)
        self._top = height - card.image.height
        self._luma, self._blue, self._red = _planes(np.asarray(card.image))

    def apply(self, frame: CroppedFrame) -> CroppedFrame:
        """The frame (BT.709, limited range) with the bar; planes above it are copied unchanged."""
        if (frame.width, frame.height) != (self.width, self.height):
            raise Internal(
                f"a bar for {self.width}x{self.height} was given a picture of {frame.width}x{frame.height}"
            )
        return CroppedFrame(
            y=self._luma.over(frame.y, self._top),
            u=self._blue.over(frame.u, self._top // 2),
            v=self._red.over(frame.v, self._top // 2),
            tags=frame.tags,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """A plane to be laid over another: `seen` (h, W) is 255 - alpha, `colour` (h, W) value times alpha,
    both uint16; `colour + seen * 255` stays below 65026."""

    seen: np.ndarray
    colour: np.ndarray

    def over(self, plane: np.ndarray, top: int) -> np.ndarray:
        """A copy of `plane` (H, W) uint8 with this over its rows from `top`, rounded: x / 255 is
        (x + 128 + (x + 128 >> 8)) >> 8 for all products of two bytes."""
        result = plane.copy()
        below = result[top:]
        mixed = below * self.seen
        mixed += self.colour
        mixed += 128
        mixed += mixed >> 8
        mixed >>= 8
        below[:] = mixed
        return result


def _planes(card: np.ndarray) -> tuple[_Layer, _Layer, _Layer]:
    """Y, Cb and Cr layers of a card (h, W, 4) uint8, RGB times alpha: BT.709, limited range (H.273 section
    8.3). Everything is linear in the premultiplied colours, so chroma is the mean of 2x2 of them."""
    kr, kb = LUMA_WEIGHTS[1]
    red, green, blue, alpha = np.moveaxis(card.astype(np.float32), 2, 0)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    planes = (
        (16 * alpha + 219 * luma, alpha),
        (_halved(128 * alpha + 112 / (1 - kb) * (blue - luma)), _halved(alpha)),
        (_halved(128 * alpha + 112 / (1 - kr) * (red - luma)), _halved(alpha)),
    )
    first, second, third = (
        _Layer((255 - np.rint(opacity)).astype(np.uint16), np.rint(colour).astype(np.uint16))
        for colour, opacity in planes
    )
    return first, second, third


def _halved(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    return plane.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


@dataclass
class Card:
    """The bar as a picture, RGBA with colours times alpha, as wide as the pictures; its height is even.

    The name stands beside the badge, tags and notes below it. Each text stands at the side its script begins.
    """

    annotation: Annotation
    width: int
    height: int
    notes: list[str] = field(default_factory=list)
    image: Image.Image = field(init=False)

    def __post_init__(self) -> None:
        short = min(self.width, self.height)
        self._name_size = max(SMALLEST_NAME, round(NAME_SIZE * short))
        self._body_size = max(SMALLEST_BODY, round(BODY_SIZE * short))
        self._pad = max(4, round(0.022 * short))
        self._gap = self._pad // 2
        self._stripe = max(2, round(0.005 * short))
        self._left = self._pad * 2
        self._inner = self.width - 2 * self._left
        self.image = self._drawn()

    def _drawn(self) -> Image.Image:
        said = self.annotation
        badge = Badge(said.rating, self._name_size, self._pad) if said.rating is not None else None
        beside = badge.width + self._pad if badge else 0
        room = (self.height // SHARE & ~1) - self._stripe - 2 * self._pad
        name = Paragraph(said.name, self._name_size, input=f"the name {said.name!r}")
        named = self._fitted(name, self._inner - beside, MOST_NAME_LINES, room, "name")
        if not named or self._inner - beside < 4 * self._name_size:
            raise BadInput(
                f"a picture of {self.width}x{self.height} is too small for a bar that can be read",
                input=f"the name {said.name!r}",
                what_to_do="render at 120 lines and 160 columns at least, or leave the annotation out.",
            )
        first = max(_height(named), badge.height if badge else 0)
        room -= first
        tags = self._text(" · ".join(said.tags), "tags", MOST_TAG_LINES, room - self._gap)
        under = _height(tags) + self._gap if tags else 0
        notes = self._text(said.notes, "notes", self.height, room - under - self._gap)
        below = _height(notes) + self._gap if notes else 0

        used = self._stripe + 2 * self._pad + first + under + below
        used += used % 2
        card = Image.new("RGBA", (self.width, used), (0, 0, 0, BAR_ALPHA))
        draw = ImageDraw.Draw(card)
        colour = COLOURS[said.rating] if said.rating is not None else UNRATED
        draw.rectangle((0, 0, self.width, self._stripe - 1), fill=(*colour, 255))
        top = self._stripe + self._pad
        start, end = self._left, self._left + self._inner
        if badge is not None:
            rightwards = name.direction == "ltr"
            middle = max(0, named[0].height - badge.height) // 2
            badge.draw(card, start if rightwards else end - badge.width, top + middle)
            start, end = (start + beside, end) if rightwards else (start, end - beside)
        self._write(draw, named, start, end, top, WHITE)
        start, end = self._left, self._left + self._inner
        self._write(draw, tags, start, end, top + first + self._gap, SKY)
        self._write(draw, notes, start, end, top + first + under + self._gap, GREY)
        return card

    def _text(self, text: str, what: str, most: int, room: int) -> list[Line]:
        if not text.split():
            return []
        paragraph = Paragraph(text, self._body_size, input=f"the {what} of {self.annotation.name!r}")
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
                f"the {what} of {self.annotation.name!r} cannot be shown whole in a bar of a third of the "
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
