"""Which pictures around the ends of captions to look at again, and putting them together.

Belongs here: the window of each end, in samples and in source timestamps, and gathering its pictures out of a
stream in order. Does not belong here: what is seen in them (`narrow`, `opacity`), the stream (`look`).

A boundary at sample k says that a caption changes between the pictures of samples k - 1 and k. Of a caption
that fades that is where the change is first, or last, seen, up to half a second from where it is half
opaque: so a window reaches further, but into no other caption and not beyond the middle of its own. Where the
pairs alone tell that it is a cut, only the pictures of samples are looked at there: the pictures between them
are most of what has to be decoded.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np

from video_pipeline.captions.extents import Extent
from video_pipeline.captions.labels import CHANGES, REVERSED, Label
from video_pipeline.media.frames import CroppedPicture

End = Literal["start", "end"]

REACH_SECONDS = Fraction(3, 5)
"""To either side of a boundary. With half a second the share of exact ends of the fades that settings were
found on (`opacity`) falls from 0.86 to 0.84."""

MAX_PICTURES = 96
"""Pictures of a window at most; at 10 Hz it has 78 at 60 pictures a second. Beyond, every second picture that
no sample shows is left out, or more."""

CLEAR = (0.9, 0.05)
"""A cut is clear where the network gives a change at a pair the former at least, and at the two pairs to
either side the latter at most. So it is at 308 of 376 ends that do not fade, and at none of 44 that do, in
the ten-minute film of `benchmarks.caption_film`."""


@dataclass(frozen=True)
class Span:
    """The window of one end of caption `number`, which the extents put at `sample`: the pictures from the one
    of sample `first` (`sample` - 1 or before) to the one of sample `last` (`sample` or after). If the cut is
    `clear` those of samples, and all between `sample` - 1 and `sample`."""

    number: int
    end: End
    sample: int
    label: Label
    first: int
    last: int
    clear: bool = False


@dataclass
class Window:
    """The pictures of one span, in order."""

    span: Span
    pictures: list[CroppedPicture] = field(default_factory=list)
    _stride: int = 1
    _seen: int = 0
    _reached: int = -1

    def add(self, picture: CroppedPicture) -> None:
        if picture.samples:
            self.pictures.append(picture)
            self._reached = picture.samples[-1]
            return
        if self.span.clear and self._reached != self.span.sample - 1:
            return
        if self._seen % self._stride == 0:
            self.pictures.append(picture)
        self._seen += 1
        if len(self.pictures) > MAX_PICTURES and self._seen > 1:
            between = [kept for kept in self.pictures if not kept.samples]
            dropped = {kept.pts for kept in between[1::2]}
            self.pictures = [kept for kept in self.pictures if kept.pts not in dropped]
            self._stride *= 2

    @property
    def change(self) -> int:
        """Position of the picture of the span's sample: the first that is surely after the change."""
        return next(at for at, kept in enumerate(self.pictures) if self.span.sample in kept.samples)

    @property
    def bracket(self) -> list[CroppedPicture]:
        """The pictures from the sample before the boundary to the one after it; one and the same picture
        twice where both show it (a rate above the video's)."""
        last = self.change
        first = next(at for at, kept in enumerate(self.pictures) if self.span.sample - 1 in kept.samples)
        return self.pictures[first : last + 1] if first < last else [self.pictures[last]] * 2


def clear_cuts(probabilities: np.ndarray) -> np.ndarray:
    """(N - 1,) bool: whether a cut is clear at each pair, from the pairs' `probabilities` (N - 1, 2, 5)."""
    both = (probabilities[:, 0] + probabilities[:, 1, REVERSED]) / 2
    change = both[:, CHANGES].sum(axis=1)
    beside = np.pad(change, 2)
    around = np.max([beside[:-4], beside[1:-3], beside[3:-1], beside[4:]], axis=0)
    return (change >= CLEAR[0]) & (around <= CLEAR[1])


def spans(extents: Sequence[Extent], rate: Fraction, frame_count: int, clear: np.ndarray) -> list[Span]:
    """The windows of all ends inside the video, by the first sample of each. `rate` is samples per second;
    `clear` from `clear_cuts`."""
    reach = math.ceil(REACH_SECONDS * rate)
    found = []
    for at, extent in enumerate(extents):
        middle = (extent.first_frame + extent.end_frame - 1) // 2
        if extent.start_beside != "video_edge":
            sample, label = extent.first_frame, _start_label(extent)
            nearest = _last_of(extents[at - 1], extent.start_beside == "other_caption") if at else 0
            first = min(max(nearest, sample - reach), sample - 1)
            last = max(min(middle, sample - 1 + reach), sample)
            found.append(Span(at + 1, "start", sample, label, first, last, bool(clear[sample - 1])))
        if extent.end_beside != "video_edge":
            sample, label = extent.end_frame, _end_label(extent)
            nearest = frame_count - 1
            if at + 1 < len(extents):
                nearest = _first_of(extents[at + 1], extent.end_beside == "other_caption")
            first = min(max(middle, sample - reach), sample - 1)
            last = max(min(nearest, sample - 1 + reach), sample)
            found.append(Span(at + 1, "end", sample, label, first, last, bool(clear[sample - 1])))
    return sorted(found, key=lambda span: span.first)


def _start_label(extent: Extent) -> Label:
    return "different" if extent.start_beside == "other_caption" else "empty_valid"


def _end_label(extent: Extent) -> Label:
    return "different" if extent.end_beside == "other_caption" else "valid_empty"


def _last_of(before: Extent, touches: bool) -> int:
    """How far back a window may reach: into the half of a caption that touches, else up to its end."""
    return (before.first_frame + before.end_frame - 1) // 2 if touches else before.end_frame


def _first_of(after: Extent, touches: bool) -> int:
    return (after.first_frame + after.end_frame - 1) // 2 if touches else after.first_frame - 1


class Wanted:
    """Where pictures that no sample shows are wanted: inside any of the spans, of a clear cut's beside it."""

    def __init__(self, pts: Sequence[int], spans: Sequence[Span]) -> None:
        """`pts` (N,): each sample's source PTS."""
        self._lows: list[int] = []
        self._highs: list[int] = []
        ends = ((s.sample - 1, s.sample) if s.clear else (s.first, s.last) for s in spans)
        for low, high in sorted((pts[first], pts[last]) for first, last in ends):
            if self._highs and low <= self._highs[-1]:
                self._highs[-1] = max(self._highs[-1], high)
            else:
                self._lows.append(low)
                self._highs.append(high)

    def between(self, pts: int) -> bool:
        """Whether a picture lies inside a span. Pictures of samples come by themselves."""
        at = bisect.bisect_right(self._lows, pts) - 1
        return at >= 0 and pts < self._highs[at]


class WindowGatherer:
    """Puts together the windows of `spans`, in order of their first sample, out of pictures in order."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._waiting = list(reversed(spans))
        self._open: list[Window] = []

    def take(self, picture: CroppedPicture) -> Iterator[Window]:
        """Windows that are complete with this picture."""
        reached = picture.samples[-1] if picture.samples else None
        while reached is not None and self._waiting and self._waiting[-1].first <= reached:
            self._open.append(Window(self._waiting.pop()))
        for window in self._open:
            window.add(picture)
        if reached is not None:
            yield from (window for window in self._open if window.span.last <= reached)
            self._open = [window for window in self._open if window.span.last > reached]
