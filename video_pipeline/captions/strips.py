"""What each caption is read from: which samples, and putting their pictures together.

Belongs here: choosing samples, and gathering them out of a stream in order. Does not belong here: the stream
(`look`), what the pictures are good for (`representative`, `belonging`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from video_pipeline.captions.extents import Extent
from video_pipeline.media.frames import CroppedPicture

PICTURES = 9
"""Strips a caption is read from at most: their median clears away what covers a place in four of nine."""

CLEAR = 3
"""Samples from a caption to the picture without it, where the gap is long enough: captions fade."""

AHEAD = 2
"""Captions without a gap after one within which a picture without a caption is waited for."""


class Beside(NamedTuple):
    """The samples beside a caption: `before` and `after` without any, `previous` and `following` of the
    captions that touch it. None where none is."""

    before: int | None
    after: int | None
    previous: int | None
    following: int | None


@dataclass(frozen=True)
class Strips:
    """Pictures of one caption, evenly spaced over its span, in order; and those of `Beside`."""

    number: int
    pictures: list[CroppedPicture]
    before: CroppedPicture | None
    after: CroppedPicture | None
    previous: CroppedPicture | None
    following: CroppedPicture | None


def representatives(extents: Iterable[Extent]) -> dict[int, int]:
    """Which samples to read, and the number of the caption each shows: up to `PICTURES` of each, evenly."""
    wanted: dict[int, int] = {}
    for number, extent in enumerate(extents, 1):
        length = extent.end_frame - extent.first_frame
        count = min(PICTURES, length)
        wanted |= {extent.first_frame + (2 * i + 1) * length // (2 * count): number for i in range(count)}
    return wanted


def surroundings(extents: Sequence[Extent], frame_count: int) -> dict[int, Beside]:
    """The samples beside each caption, by its number.

    Where captions follow each other without a gap, the one without a caption before is before the first of
    them, however far away (a single picture waits for them all); the one after is given up beyond `AHEAD`
    captions, because the strips of all of them would wait for it.
    """
    found: dict[int, Beside] = {}
    gaps = _gaps(extents, frame_count)
    shown = [[*representatives([extent])] for extent in extents]
    before: int | None = None
    for index in range(len(extents)):
        start, stop = gaps[index]
        if start < stop:
            before = stop - min(CLEAR, (stop - start + 1) // 2)
        previous = shown[index - 1][-1] if index and start == stop else None
        start, stop = gaps[index + 1]
        following = shown[index + 1][0] if index + 1 < len(extents) and start == stop else None
        near = (gap for gap in gaps[index + 1 : index + AHEAD + 2] if gap[0] < gap[1])
        start, stop = next(near, (0, 0))
        after = start - 1 + min(CLEAR, (stop - start + 1) // 2) if start < stop else None
        found[index + 1] = Beside(before, after, previous, following)
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
        self._befores = {each.before for each in beside.values()}
        self._before: CroppedPicture | None = None  # the last one; no caption needs an earlier one any more
        self._previous: CroppedPicture | None = None  # the last one of the caption before
        self._held: list[CroppedPicture] = []
        self._waiting: list[Strips] = []

    def take(self, sample: int, picture: CroppedPicture) -> Iterator[Strips]:
        """Captions that are complete with this sample."""
        number = self._strips.get(sample)
        if number is not None:
            self._held.append(picture)
            self._left[number] -= 1
        self._waiting = [self._with(strips, sample, picture) for strips in self._waiting]
        if number is not None and self._left[number] == 0:
            self._waiting.append(self._complete(number))
        if sample in self._befores:
            self._before = picture
        ready = [strips for strips in self._waiting if self._is_ready(strips)]
        self._waiting = [strips for strips in self._waiting if not self._is_ready(strips)]
        yield from ready

    def _complete(self, number: int) -> Strips:
        """The caption whose pictures are all there, with what came before it."""
        beside = self._beside[number]
        before = None if beside.before is None else self._before
        previous = None if beside.previous is None else self._previous
        strips = Strips(number, self._held, before, None, previous, None)
        self._previous, self._held = self._held[-1], []
        return strips

    def _with(self, strips: Strips, sample: int, picture: CroppedPicture) -> Strips:
        beside = self._beside[strips.number]
        if sample == beside.after:
            return replace(strips, after=picture)
        return replace(strips, following=picture) if sample == beside.following else strips

    def _is_ready(self, strips: Strips) -> bool:
        beside = self._beside[strips.number]
        return (beside.after is None or strips.after is not None) and (
            beside.following is None or strips.following is not None
        )
