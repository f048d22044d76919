"""A picture of a whole video: evenly spaced caption strips, each with its frame number and time under it.

Belongs here: choosing strips from a stream of unknown length in bounded memory, and drawing the sheet. Does
not belong here: decoding, storing the picture, or anything a machine reads.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from video_pipeline.media.colour import effective_matrix, is_full_range, yuv_to_rgb
from video_pipeline.media.frames import CroppedFrame, DeviceFrame

SHEET_WIDTH = 1500
"""The sheet's width in pixels at most; it fills a notebook's screen."""

_GAP = 10
_LABEL_HEIGHT = 22
_LABEL_SIZE = 15
_BACKGROUND = (24, 24, 27)
_LABEL_COLOUR = (228, 228, 231)


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One strip as it will be drawn: the frame's number and its picture, RGB (H, W, 3) uint8."""

    index: int
    rgb: np.ndarray


def columns_for(width: int, height: int) -> int:
    """How many strips stand side by side: 3 of a caption line's shape, up to 8 of upright crops."""
    aspect = width / height
    return 3 if aspect >= 3 else 4 if aspect >= 1.5 else 6 if aspect >= 0.75 else 8


def make_thumbnail(index: int, frame: CroppedFrame) -> Thumbnail:
    """The frame scaled to its cell, at most to twice its size: Lanczos per plane, then RGB by its tags."""
    cell = (SHEET_WIDTH - _GAP) // columns_for(frame.width, frame.height) - _GAP
    scale = min(cell / frame.width, cell / frame.height, 2.0)
    size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
    y, u, v = (
        np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0))
        for plane in (frame.y, frame.u, frame.v)
    )
    matrix = effective_matrix(frame.tags, frame.width)
    return Thumbnail(index, yuv_to_rgb(y, u, v, matrix=matrix, full_range=is_full_range(frame.tags)))


def time_label(index: int, rate: Fraction) -> str:
    """`#120  0:12.00`: the frame's number and its time after the first frame, in hundredths, rounded down."""
    hundredths = index * 100 * rate.denominator // rate.numerator
    seconds, rest = divmod(hundredths, 100)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    clock = f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
    return f"#{index}  {clock}.{rest:02d}"


def make_contact_sheet(thumbnails: Sequence[Thumbnail], *, rate: Fraction, columns: int) -> bytes:
    """The sheet as PNG, `columns` strips side by side in reading order. All thumbnails have one size.

    The same thumbnails give the same bytes. Raises `ValueError` for none at all or for sizes that differ.
    """
    shapes = {thumbnail.rgb.shape for thumbnail in thumbnails}
    if len(shapes) != 1:
        raise ValueError(
            f"a contact sheet takes one or more pictures of one size, not sizes {sorted(shapes)}"
        )
    height, width, _ = shapes.pop()
    columns = min(columns, len(thumbnails))
    rows = -(-len(thumbnails) // columns)
    font = ImageFont.load_default(size=_LABEL_SIZE)
    cell_width = max(width, 130) + _GAP  # a label needs 130 pixels
    cell_height = height + _LABEL_HEIGHT + _GAP
    sheet = Image.new("RGB", (columns * cell_width + _GAP, rows * cell_height + _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for place, thumbnail in enumerate(thumbnails):
        left = _GAP + place % columns * cell_width
        top = _GAP + place // columns * cell_height
        sheet.paste(Image.fromarray(thumbnail.rgb), (left, top))
        draw.text((left, top + height + 3), time_label(thumbnail.index, rate), _LABEL_COLOUR, font)
    buffer = io.BytesIO()
    # Level 1 takes 0.1 s for a sheet of 48, the default 0.3 s for a tenth less.
    sheet.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


class ContactSheet:
    """Is shown every frame of a stream and keeps a few, evenly spaced, whatever the stream's length.

    Keeps the frames whose number is a multiple of a stride, as thumbnails of about 100 kB and 1.7 ms; when
    twice `max_pictures` are held, every second one goes and the stride doubles. `render` draws every n-th of
    those, so a long stream ends with 1/2 to 3/3 of `max_pictures`. `expected_frames` (may be wrong, None if
    unknown) only saves work: it lets the stride begin near its end value. Not thread-safe.
    """

    def __init__(self, *, expected_frames: int | None, rate: Fraction, max_pictures: int = 48) -> None:
        if max_pictures < 1:
            raise ValueError(f"a contact sheet shows at least one picture, not {max_pictures}")
        self._rate = rate
        self._max_pictures = max_pictures
        self._capacity = 2 * max_pictures
        self._stride = max(1, -(-(expected_frames or 0) // self._capacity))
        self._columns = 0
        self._held: list[Thumbnail] = []

    @property
    def thumbnails_held(self) -> int:
        return len(self._held)

    def add(self, index: int, frame: CroppedFrame | DeviceFrame) -> None:
        """Shows frame `index` (0, 1, 2, …) to the sheet; nearly free for a frame that is not kept."""
        if index % self._stride:
            return
        if len(self._held) == self._capacity:
            self._stride *= 2
            self._held = [thumbnail for thumbnail in self._held if thumbnail.index % self._stride == 0]
            if index % self._stride:
                return
        self._columns = self._columns or columns_for(frame.width, frame.height)
        self._held.append(make_thumbnail(index, frame.to_host()))

    def chosen(self) -> list[Thumbnail]:
        """The thumbnails that the sheet shows so far: every n-th of those held, `max_pictures` at most."""
        step = max(1, -(-len(self._held) // self._max_pictures))
        return self._held[::step]

    def render(self) -> bytes:
        """The sheet as PNG. Raises `ValueError` if no frame was ever added."""
        return make_contact_sheet(self.chosen(), rate=self._rate, columns=self._columns)
