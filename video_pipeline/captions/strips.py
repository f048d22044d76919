"""What each caption is read from: which samples, and putting their pictures together.

Belongs here: choosing samples, and gathering them out of a stream in order. Does not belong here: the stream
(`look`), what the pictures are good for (`representative`, `belonging`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from video_pipeline.captions.extents import Extent
from video_pipeline.media.frames import CroppedPicture

PICTURES = 9
"""Strips a caption is read from at most: their median clears away what covers a place in four of nine."""

CLEAR = 3
"""Samples from a caption to the picture without it, where the gap is long enough: captions fade."""

AHEAD = 2
"""Captions without a gap after one within which a picture without a caption is waited for."""

Beside = tuple[int | None, int | None]
"""The samples before and after a caption."""


@dataclass(frozen=True)
class Strips:
    """Pictures of one caption, evenly spaced over its span, in order; and without it, before and after."""

    number: int
    pictures: list[CroppedPicture]
    before: CroppedPicture | None
    after: CroppedPicture | None


def representatives(extents: Iterable[Extent]) -> dict[int, int]:
    """Which samples to read, and the number of the caption each shows: up to `PICTURES` of each, evenly."""
    wanted: dict[int, int] = {}
    for number, extent in enumerate(extents, 1):
        length = extent.end_frame - extent.first_frame
        count = min(PICTURES, length)
        wanted |= {extent.first_frame + (2 * i + 1) * length // (2 * count): number for i in range(count)}
    return wanted


def without_caption(extents: Sequence[Extent], frame_count: int) -> dict[int, Beside]:
    """By each caption's number, the samples without any caption before and after it; None where none is.

    Where captions follow each other without a gap, the one before is before the first of them, however far
    away (a single picture waits for them all); the one after is given up beyond `AHEAD` captions, because
    the strips of all of them would wait for it.
    """
    found: dict[int, Beside] = {}
    gaps = _gaps(extents, frame_count)
    before: int | None = None
    for number in range(1, len(extents) + 1):
        start, stop = gaps[number - 1]
        if start < stop:
            before = stop - min(CLEAR, (stop - start + 1) // 2)
        near = (gap for gap in gaps[number : number + AHEAD + 1] if gap[0] < gap[1])
        start, stop = next(near, (0, 0))
        found[number] = (before, start - 1 + min(CLEAR, (stop - start + 1) // 2) if start < stop else None)
    return found


def _gaps(extents: Sequence[Extent], frame_count: int) -> list[tuple[int, int]]:
    """Samples before, between and after the captions, half-open: one range more than there are captions."""
    ends = [0, *(extent.end_frame for extent in extents)]
    return list(zip(ends, [*(extent.first_frame for extent in extents), frame_count], strict=True))


class Gatherer:
    """Puts together what each caption is read from, out of samples in order."""

    def __init__(self, strips: Mapping[int, int], beside: Mapping[int, Beside]) -> None:
        self._strips, self._beside = strips, beside
        self._left = Counter(strips.values())
        self._afters = Counter(after for _, after in beside.values() if after is not None)
        self._befores = {before for before, _ in beside.values()}
        self._before: CroppedPicture | None = None  # the last one; no caption needs an earlier one any more
        self._held: list[CroppedPicture] = []
        self._waiting: list[Strips] = []

    def take(self, sample: int, picture: CroppedPicture) -> Iterator[Strips]:
        """Captions that are complete with this sample."""
        number = self._strips.get(sample)
        if number is not None:
            self._held.append(picture)
            self._left[number] -= 1
            if self._left[number] == 0:
                before = None if self._beside[number][0] is None else self._before
                strips = Strips(number, self._held, before, None)
                self._held = []
                if self._beside[number][1] is None:
                    yield strips
                else:
                    self._waiting.append(strips)
        elif self._afters[sample]:
            for strips in self._waiting:
                yield replace(strips, after=picture)
            self._waiting = []
        if sample in self._befores:
            self._before = picture
