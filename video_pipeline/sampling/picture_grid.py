"""A picture of the sampled frames: each with its label, confidence, time and video under it.

Belongs here: drawing the sheet, and what stands under a frame. Does not belong here: decoding video, storing.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from urllib.parse import unquote

from PIL import Image, ImageDraw, ImageFont

from video_pipeline.media.ranges.http_address import without_secrets
from video_pipeline.sampling.request import FrameRow, RunInferenceResult

SHEET_WIDTH = 1600
"""Pixels at most."""

MAX_TILES = 200
"""What is over that is counted under the sheet. 200 square pictures make 1600 x 6,100 pixels: 29 MB."""

MAX_COLUMNS = 8
_MAX_SCALE = 2.0
_GAP = 12
_TEXT_SIZE = 15
_LINE = 20
_BACKGROUND = (24, 24, 27)
_TILE = (39, 39, 42)
_FAILED = (76, 29, 32)
_INK = (244, 244, 245)
_SOFT = (161, 161, 170)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def picture_grid(pictures: Sequence[tuple[bytes | None, str]], columns: int | None = None) -> bytes:
    """The sheet as PNG: RGB, at most SHEET_WIDTH wide, `columns` (1 to MAX_COLUMNS) tiles side by side.

    Each tile is a picture (PNG, JPEG or what else Pillow opens) and its caption, in lines. A picture keeps
    its shape; a row is as high as its highest picture and never higher than a tile is wide. None stands for a
    frame that failed: its caption is written where the picture would be. The same input gives the same bytes.
    ValueError for no tile at all or other numbers of columns.
    """
    if not pictures:
        raise ValueError("a picture grid takes one tile or more")
    shown = pictures[:MAX_TILES]
    columns = min(len(shown), _columns_for(len(shown)) if columns is None else columns)
    if not 1 <= columns <= MAX_COLUMNS:
        raise ValueError(f"a picture grid has 1 to {MAX_COLUMNS} columns, not {columns}")
    font = ImageFont.load_default(size=_TEXT_SIZE)
    # One picture alone would fill the sheet: a tile is at most 640 wide.
    width = min(640, (SHEET_WIDTH - _GAP) // columns - _GAP)
    rows = [
        _Row([(_opened(png, width), caption) for png, caption in shown[at : at + columns]], width, font)
        for at in range(0, len(shown), columns)
    ]
    more = len(pictures) - len(shown)
    height = _GAP + sum(row.height + _GAP for row in rows) + (_LINE + _GAP if more else 0)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for row in rows:
        row.paint(sheet, draw, top)
        top += row.height + _GAP
    if more:
        text = _shortened(f"the first {len(shown)} of {len(pictures)} frames", sheet.width - 2 * _GAP, font)
        draw.text((_GAP, top), text, fill=_SOFT, font=font)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def result_tiles(result: RunInferenceResult, pictures: Sequence[bytes]) -> list[tuple[bytes | None, str]]:
    """A tile for each frame that was asked for. `pictures` are those of the delivered frames, in order.

    ValueError if there are more or fewer of them.
    """
    given = iter(pictures)
    if len(pictures) != result.delivered:
        raise ValueError(f"{len(pictures)} pictures for {result.delivered} delivered frames")
    return [(next(given) if row.delivered else None, frame_caption(row)) for row in result.frames]


def frame_caption(row: FrameRow) -> str:
    """What stands under a frame: label and confidence, time, video; of one that failed, the reason first."""
    seconds = row.seconds if row.seconds is not None else row.requested_seconds
    time = "" if seconds is None else f"{seconds:.2f} s  "
    place = f"{time}{video_name(row.url)}"
    if row.error is not None:
        return f"{row.error.kind.replace('_', ' ')}: {row.error.message}\n{place}"
    if row.prediction is None:
        return f"no prediction\n{place}"
    return f"{row.prediction.confidence:.0%} {row.prediction.label}\n{place}"


def video_name(url: str) -> str:
    """The last part of an address's path, as people write it, or the address; with its folder where it is
    `video.mp4`, as every video in the store is called."""
    clean = without_secrets(url)
    *folders, name = unquote(clean.rstrip("/")).split("/")
    return (f"{folders[-1]}/{name}" if folders and name.startswith("video.") else name) or clean


def _columns_for(tiles: int) -> int:
    """As square a sheet as rows of wide pictures make: 2 of up to 4, 3 of up to 9, 4, then 6 and 8."""
    return next((n for n, most in ((1, 1), (2, 4), (3, 9), (4, 24), (6, 90)) if tiles <= most), MAX_COLUMNS)


def _opened(png: bytes | None, width: int) -> Image.Image | str | None:
    """The picture, fitted into a square of `width`; why it cannot be shown; None where there is none."""
    if png is None:
        return None
    try:
        with Image.open(io.BytesIO(png)) as opened:
            scale = min(width / opened.width, width / opened.height, _MAX_SCALE)
            size = (max(1, round(opened.width * scale)), max(1, round(opened.height * scale)))
            return opened.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"The picture cannot be shown: {error}"


class _Row:
    """Tiles side by side. Those without a picture take the room that the others need."""

    def __init__(self, tiles: list[tuple[Image.Image | str | None, str]], width: int, font: Font) -> None:
        self._tiles = tiles
        self._width = width
        self._font = font
        heights = [picture.height for picture, _ in tiles if isinstance(picture, Image.Image)]
        self._room = max(heights, default=width * 9 // 16)
        if len(heights) < len(tiles):
            # A reason needs three lines at least.
            self._room = max(self._room, 3 * _LINE + _GAP)
        lines = [caption.count("\n") + 1 for picture, caption in tiles if picture is not None]
        self._lines = max(lines, default=0)
        self.height = self._room + 6 + self._lines * _LINE if self._lines else self._room

    def paint(self, sheet: Image.Image, draw: ImageDraw.ImageDraw, top: int) -> None:
        for place, (picture, caption) in enumerate(self._tiles):
            left = _GAP + place * (self._width + _GAP)
            failed = not isinstance(picture, Image.Image)
            box = (left, top, left + self._width - 1, top + self._room - 1)
            draw.rectangle(box, fill=_FAILED if failed else _TILE)
            if isinstance(picture, Image.Image):
                across, down = (self._width - picture.width) // 2, (self._room - picture.height) // 2
                sheet.paste(picture, (left + across, top + down))
            else:
                self._write_reason(draw, caption if picture is None else picture, left, top)
            if picture is not None:
                for number, line in enumerate(caption.split("\n")):
                    at = (left, top + self._room + 4 + number * _LINE)
                    text = _shortened(line, self._width, self._font)
                    draw.text(at, text, fill=_SOFT if number else _INK, font=self._font)

    def _write_reason(self, draw: ImageDraw.ImageDraw, text: str, left: int, top: int) -> None:
        lines = [
            part
            for number, line in enumerate(text.split("\n"))
            for part in (_wrapped(line, self._width - _GAP, self._font) if number == 0 else [line])
        ]
        fit = max(1, (self._room - _GAP) // _LINE)
        if len(lines) > fit:
            # The last line, the time and the video, stays; the reason before it is cut.
            lines = [*lines[: fit - 2], lines[fit - 2] + "…", lines[-1]] if fit > 1 else lines[:1]
        for number, line in enumerate(lines):
            at = (left + _GAP // 2, top + _GAP // 2 + number * _LINE)
            draw.text(at, _shortened(line, self._width - _GAP, self._font), fill=_INK, font=self._font)


def _shortened(text: str, width: int, font: Font) -> str:
    """At most `width` pixels: the middle is left out, since names differ at both ends."""
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        kept = (low + high + 1) // 2
        low, high = (kept, high) if font.getlength(_cut(text, kept)) <= width else (low, kept - 1)
    return _cut(text, low)


def _cut(text: str, kept: int) -> str:
    head = (kept + 1) // 2
    return text[:head] + "…" + text[len(text) - (kept - head) :]


def _wrapped(text: str, width: int, font: Font) -> list[str]:
    """Lines of at most `width` pixels, broken between words; a longer word is a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]
