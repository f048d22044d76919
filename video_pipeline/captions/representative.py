"""Which picture of a caption to read, and what to do when one is not enough.

Belongs here: what is read, and the vote. Does not belong here: recognising (`recognise`), choosing samples
(`strips`), medians (`medians`).

A caption's pictures differ in what moves behind it. In their pixel-wise median the letters stay and the rest
blurs, so one reading is enough for most captions. Where it is not sure, single pictures are read as well.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.captions.belonging import Belonging, Touching, alike
from video_pipeline.captions.fine_structure import Box
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


@dataclass(frozen=True)
class Said:
    """What a run of a caption's pictures says: those at `pictures`, positions among all of them."""

    pictures: slice
    text: CaptionText


def read_caption(
    recogniser: Recogniser,
    pictures: Sequence[np.ndarray],
    before: np.ndarray | None = None,
    after: np.ndarray | None = None,
    *,
    touching: Touching = (None, None),
    stays: bool = False,
) -> list[Said]:
    """Reads the median of a caption's pictures, (H, W, 3) uint8 RGB in order; up to `OTHERS` single ones too
    where that is not sure, and then takes the reading that the others agree with most.

    `before` and `after` are pictures without a caption, `touching` those of captions without a gap, where
    there are any: what stands there as well, and what does not stand still, is not read (see `Belonging`, for
    `stays` too). One thing is said, but where the lettering shows that several captions were taken for one:
    then each says its own, in order."""
    whole = _Run(recogniser, pictures, slice(0, len(pictures)), before, after, touching, stays=stays)
    if not whole.boxes:
        # The median of captions that follow each other may show none of them: single pictures do.
        whole.read_on()
    spans = whole.belonging.runs(whole.boxes)
    if len(spans) > 1:
        # The median of several captions is what none of them says.
        runs = [_Run(recogniser, pictures, span, before, after, touching) for span in spans]
        captions = _apart([run for run in runs if run.is_caption], whole.boxes)
        if len(captions) < 2:
            # A sign came into sight: then the part without it may be what can be read.
            best = max(runs, key=lambda run: (run.is_readable, run.length))
            captions = [best if best.median.text is not None or whole.median.text is None else whole]
            captions[0].span = whole.span
        for run in captions:
            run.read_on()
        spent = sum(len(run.readings) for run in (whole, *runs) if run not in captions)
        return [Said(run.span, run.text(spent if run is captions[0] else 0)) for run in captions]
    whole.read_on()
    return [Said(whole.span, whole.text())]


class _Run:
    """Some of a caption's pictures that follow each other, and what was read in them."""

    def __init__(
        self,
        recogniser: Recogniser,
        pictures: Sequence[np.ndarray],
        span: slice,
        before: np.ndarray | None,
        after: np.ndarray | None,
        touching: Touching,
        *,
        stays: bool = False,
    ) -> None:
        self.span = span
        self._recogniser, self._pictures = recogniser, pictures[span]
        self.length = len(self._pictures)
        self.belonging = Belonging(self._pictures, before, after, touching=touching, stays=stays)
        self.picture = lower_median(self._pictures)
        self.readings = [recogniser.read(self.picture, self.belonging.parts)]

    @property
    def median(self) -> Reading:
        return self.readings[0]

    @property
    def boxes(self) -> list[Box]:
        """The lettering of all readings."""
        return list(dict.fromkeys(box for reading in self.readings for box in reading.boxes))

    @property
    def is_caption(self) -> bool:
        """Whether a caption stands here. What cannot be read must stand in two pictures at least: in a single
        one anything may look like letters."""
        if self.median.text is None:
            return self.median.unread == "script_not_readable" and self.length > 1
        return self.length > 1 or self.median.confidence >= SURE

    @property
    def is_readable(self) -> bool:
        """As a caption: in a single picture anything may look like letters."""
        return self.median.text is not None and self.length > 1

    def read_on(self) -> None:
        """Reads single pictures as well, once, if the median's reading is in doubt."""
        if len(self.readings) > 1 or self.length == 1 or not _is_doubtful(self.median):
            return
        chosen = np.linspace(0, self.length - 1, OTHERS + 2).round().astype(int)[1:-1]
        for index in dict.fromkeys(chosen.tolist()):
            self.readings.append(self._recogniser.read(self._pictures[index], self.belonging.parts))

    def says_as(self, other: _Run, boxes: Sequence[Box]) -> bool:
        """Whether two runs show one caption: all letters of one in the other; in what cannot be read the same
        shapes in their boxes and in `boxes`. Where only one can be read, that one's lettering in the other:
        what is filmed beside a caption may keep it from being read. A single picture that can be read beside
        what cannot, or the reverse, is no caption of its own: in one picture anything may look like
        letters."""
        one, two = self.median.text, other.median.text
        if one is not None and two is not None:
            return _holds(_letters(one), _letters(two))
        if (one is None) != (two is None):
            readable = self if two is None else other
            return 1 in (self.length, other.length) or alike(
                self.picture, other.picture, readable.median.boxes
            )
        return alike(self.picture, other.picture, (*boxes, *self.median.boxes, *other.median.boxes))

    def text(self, spent: int = 0) -> CaptionText:
        """The reading that the others agree with most; `spent` readings were made for nothing."""
        best = max(self.readings, key=lambda reading: _agreement(reading, self.readings))
        return CaptionText(best.text, best.confidence, best.script, best.unread, spent + len(self.readings))


def _apart(runs: Sequence[_Run], boxes: Sequence[Box]) -> list[_Run]:
    """One run of each caption: of neighbours that say the same the longest that can be read, over the span of
    them all."""
    found: list[_Run] = []
    for run in runs:
        if found and found[-1].says_as(run, boxes):
            span = slice(found[-1].span.start, run.span.stop)
            found[-1] = max(found[-1], run, key=lambda each: (each.is_readable, each.length))
            found[-1].span = span
        else:
            found.append(run)
    return found


def _holds(one: str, other: str) -> bool:
    """Whether the longer has all of the shorter's letters in order: filmed text near to a caption may be read
    as one line of it for a while."""
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    found = sum(block.size for block in matcher.get_matching_blocks())
    return found == min(len(one), len(other))


def _letters(text: str) -> str:
    """Small letters and digits alone: marks above and below letters are misread most."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text.casefold()) if letter.isalnum())


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
