"""Which picture of a caption to read, and what to do when one is not enough.

Belongs here: what is read, and the vote. Does not belong here: recognising (`recognise`), choosing samples
(`strips`), medians (`medians`).

A caption's pictures differ in what moves behind it. In their pixel-wise median the letters stay and the rest
blurs, so one reading is enough for most captions. Where it is not sure, single pictures are read as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.captions.belonging import Belonging
from video_pipeline.captions.medians import lower_median

if TYPE_CHECKING:
    from video_pipeline.captions.document import Unread
    from video_pipeline.captions.recognise import Reading, Recogniser

SURE = 0.9
"""Confidence of the median's reading from which no other picture is read."""

OTHERS = 2
"""Further pictures that are read at most."""


@dataclass(frozen=True)
class CaptionText:
    """What a caption says: `text` with lines joined by "\\n" or None and why; `confidence` 0..1, the
    recogniser's; `ocr_calls` pictures were read."""

    text: str | None
    confidence: float
    script: str | None
    unread: Unread | None
    ocr_calls: int


def read_caption(
    recogniser: Recogniser,
    pictures: Sequence[np.ndarray],
    before: np.ndarray | None = None,
    after: np.ndarray | None = None,
) -> CaptionText:
    """Reads the median of a caption's pictures, (H, W, 3) uint8 RGB in order; up to `OTHERS` single ones too
    where that is not sure, and then takes the reading that the others agree with most.

    `before` and `after` are pictures without a caption, where there are any: what stands there as well, and
    what does not stand still, is not read."""
    belonging = Belonging(pictures, before, after)
    readings = [recogniser.read(lower_median(pictures), belonging.own)]
    spent = 0
    unchanged = belonging.longest_unchanged(readings[0].boxes)
    if unchanged.stop - unchanged.start < len(pictures):
        # Two captions were taken for one, and the median of both is what neither says. Or a sign came into
        # sight: then the part without it may be what can be read.
        spent = 1
        part = Belonging(pictures[unchanged], before, after)
        again = recogniser.read(lower_median(pictures[unchanged]), part.own)
        if again.text is not None or readings[0].text is None:
            pictures, belonging, readings = pictures[unchanged], part, [again]
    if _is_doubtful(readings[0]) and len(pictures) > 1:
        chosen = np.linspace(0, len(pictures) - 1, OTHERS + 2).round().astype(int)[1:-1]
        for index in dict.fromkeys(chosen.tolist()):
            readings.append(recogniser.read(pictures[index], belonging.own))
    best = max(readings, key=lambda reading: _agreement(reading, readings))
    return CaptionText(best.text, best.confidence, best.script, best.unread, spent + len(readings))


def _is_doubtful(reading: Reading) -> bool:
    """A script that cannot be read will not become readable in another picture."""
    return reading.unread == "nothing_recognised" or (reading.unread is None and reading.confidence < SURE)


def _agreement(reading: Reading, readings: Sequence[Reading]) -> float:
    """How much the readings, each by its confidence, say the same as this one; its own confidence counts."""
    if reading.text is None:
        return 0.0
    return sum(
        other.confidence * SequenceMatcher(None, reading.text, other.text, autojunk=False).ratio()
        for other in readings
        if other.text is not None
    )
