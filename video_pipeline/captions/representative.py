"""One text for one caption, out of the many pictures that show it.

Belongs here: keeping a few pictures evenly spaced over a caption, their median, and choosing between readings.
Does not belong here: reading one picture (`recognise`), knowing which pictures show a caption (`extents`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from video_pipeline.captions.document import Unread
from video_pipeline.captions.recognise import Reading

MOST_PICTURES = 9
"""Of one caption. An odd number, so that the median is one of them; 9 strips of 1280x160 are 5.5 MB."""

_DOUBTFUL = 0.95
"""A median picture read with less is compared with single ones. See `read_caption` for what it is worth."""


class Reads(Protocol):
    """What is asked of a recogniser."""

    def read(self, rgb: np.ndarray, /) -> Reading: ...


@dataclass(frozen=True, slots=True)
class CaptionText:
    """What a caption says: lines joined by "\\n", or None and why; `confidence` 0..1, None without text."""

    text: str | None
    confidence: float | None
    script: str | None
    unread: Unread | None
    ocr_calls: int

    def fields(self) -> dict[str, Any]:
        """The fields of `document.Caption` that tell of the text."""
        return {
            "text": self.text,
            "text_confidence": self.confidence,
            "script": self.script,
            "unread": self.unread,
            "ocr_calls": self.ocr_calls,
        }


class EvenPictures:
    """Is shown every picture of a caption, however many, and keeps up to `most`, evenly spaced from the first.

    Keeps those whose place is a multiple of a stride; when one more would be too many, every second one goes
    and the stride doubles: from (most + 1) / 2 to `most` are held once as many have been shown.
    """

    def __init__(self, most: int = MOST_PICTURES) -> None:
        if most < 1:
            raise ValueError(f"at least one picture must be kept, not {most}")
        self._most = most
        self._stride = 1
        self._shown = 0
        self._held: list[np.ndarray] = []

    def add(self, picture: np.ndarray) -> None:
        """Shows the next picture; it is kept without a copy."""
        if self._shown % self._stride == 0 and len(self._held) == self._most:
            self._held = self._held[::2]
            self._stride *= 2
        if self._shown % self._stride == 0:
            self._held.append(picture)
        self._shown += 1

    @property
    def pictures(self) -> list[np.ndarray]:
        """Those held, in order."""
        return list(self._held)


def median_picture(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """The pixel-wise median of aligned pictures of one shape, uint8, in any colour space, per channel.

    What moves behind a caption blurs away, and the caption stays. Of an even number, the upper of the two
    middle values, so that every value is one that a picture has. ValueError for no picture or other shapes.
    """
    if not pictures or len({picture.shape for picture in pictures}) != 1:
        raise ValueError("a median takes one or more pictures of one shape")
    if len(pictures) == 1:
        return pictures[0]
    middle = len(pictures) // 2
    stack = np.stack(pictures)
    stack.partition(middle, axis=0)
    return stack[middle]


def read_caption(recogniser: Reads, pictures: Sequence[np.ndarray]) -> CaptionText:
    """The text of a caption, from up to `MOST_PICTURES` RGB pictures (H, W, 3) uint8 in order of time.

    The median is read first. If nothing was recognised in it, or with little confidence, two single pictures
    are read as well, and the text with the most confidence in sum is taken: at most 3 calls. A writing that
    cannot be read is believed at once. ValueError for no picture or for different shapes.
    """
    pictures = list(pictures)
    if len(pictures) > MOST_PICTURES:
        step = len(pictures) / MOST_PICTURES
        pictures = [pictures[int((place + 0.5) * step)] for place in range(MOST_PICTURES)]
    readings = [recogniser.read(median_picture(pictures))]
    if _is_settled(readings[0]) or len(pictures) == 1:
        return _outcome(readings, readings[0])
    # Away from both ends, where captions fade.
    for place in sorted({len(pictures) // 3, 2 * len(pictures) // 3}):
        readings.append(recogniser.read(pictures[place]))
        if _agree(readings):
            break
    return _outcome(readings, _elected(readings))


def _is_settled(reading: Reading) -> bool:
    return reading.unread == "script_not_readable" or reading.confidence >= _DOUBTFUL


def _agree(readings: Sequence[Reading]) -> bool:
    """Whether two readings have one text, so that a third cannot win against it unless much surer."""
    texts = [reading.text for reading in readings if reading.text is not None]
    return len(set(texts)) < len(texts)


def _elected(readings: Sequence[Reading]) -> Reading:
    """The surest reading of the text with the most confidence in sum; of equals, the earlier read."""
    weights: dict[str | None, float] = {}
    for reading in readings:
        weights[reading.text] = weights.get(reading.text, 0.0) + reading.confidence
    text = max(weights, key=lambda text: weights[text])
    return max((reading for reading in readings if reading.text == text), key=lambda r: r.confidence)


def _outcome(readings: Sequence[Reading], chosen: Reading) -> CaptionText:
    text = chosen.text
    return CaptionText(
        text=text,
        confidence=None if text is None else min(1.0, round(chosen.confidence, 4)),
        script=chosen.script if text is not None else None,
        unread=chosen.unread,
        ocr_calls=len(readings),
    )
