"""What an index knows: a track's description, its samples, and which of them is shown when.

Belongs here: the data, edit lists as a map of time, and looking up a time among known samples. Does not
belong here: reading boxes (`movie.py`, `sample_table.py`, `fragments.py`), choosing bytes (`sampling`).

Words. ISO/IEC 14496-12 calls one coded picture a sample. Times are integers in the track's time base
(1 / `timescale` seconds). *Media* time is what the samples carry; *movie* time is what is shown, after the
edit list, and what `pts` means wherever nothing else is said: the value libav gives, 0 at the start of the
film.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from video_pipeline.media.geometry import Orientation


@dataclass(frozen=True, slots=True)
class SampleEntry:
    """A sample description: `codec` as libav names it, `extradata` the body of avcC, hvcC, vpcC or av1C."""

    fourcc: str
    codec: str
    extradata: bytes
    width: int
    height: int
    colour: tuple[int, int, int, int] | None
    """Primaries, transfer, matrix (ITU-T H.273) and full range (0, 1) of `colr`, which rank above the
    stream's."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Media time [media_start, media_stop) is shown from movie time `movie_start` on; stop None: to the
    end."""

    movie_start: int
    media_start: int
    media_stop: int | None

    @property
    def shift(self) -> int:
        """Added to a media time, gives the movie time."""
        return self.movie_start - self.media_start


@dataclass(frozen=True, slots=True)
class TrackInfo:
    """What is known of a track without its samples."""

    track_id: int
    timescale: int
    entries: tuple[SampleEntry, ...]
    edits: tuple[Edit, ...]
    """At least one, in order of movie time."""
    orientation: Orientation
    duration: int
    """Media duration of the header, 0 where it says nothing."""

    @property
    def time_base(self) -> Fraction:
        return Fraction(1, self.timescale)


COLUMNS = ("offsets", "sizes", "dts", "pts", "durations", "key", "entry")


@dataclass(frozen=True, eq=False)
class Samples:
    """Coded pictures in decode order; all arrays are (N,). Times are media times, int64.

    `offsets` and `sizes` are bytes of the file (int64), `key` tells sync samples (bool), `entry` the index of
    the sample entry (uint8), `durations` the decode durations (int64).
    """

    offsets: np.ndarray
    sizes: np.ndarray
    dts: np.ndarray
    pts: np.ndarray
    durations: np.ndarray
    key: np.ndarray
    entry: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def part(self, start: int, stop: int) -> Samples:
        """Samples [start, stop), as views."""
        return Samples(*(getattr(self, name)[start:stop] for name in COLUMNS))

    def take(self, numbers: np.ndarray) -> Samples:
        """The samples with these numbers, in their order."""
        return Samples(*(getattr(self, name)[numbers] for name in COLUMNS))

    @classmethod
    def join(cls, parts: Sequence[Samples]) -> Samples:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS))


@dataclass(frozen=True, slots=True)
class Target:
    """A picture to decode: its number among `samples`, its movie PTS, and when its successor is shown."""

    sample: int
    pts: int
    media_pts: int


def shown_at(samples: Samples, edits: Sequence[Edit], movie_time: int) -> Target | None:
    """The picture on screen at a movie time among the samples given: that with the largest PTS not after it,
    inside its edit; before the first picture, the first. None if no sample lies inside any edit.

    After the last picture's end the last one is meant, as a player holds it.
    """
    best: Target | None = None
    first: Target | None = None
    for edit in edits:
        inside = samples.pts >= edit.media_start
        if edit.media_stop is not None:
            inside &= samples.pts < edit.media_stop
        numbers = np.flatnonzero(inside)
        if not len(numbers):
            continue
        pts = samples.pts[numbers] + edit.shift
        if first is None:
            at = int(np.argmin(pts))
            first = Target(int(numbers[at]), int(pts[at]), int(pts[at]) - edit.shift)
        reached = pts <= movie_time
        if not reached.any():
            continue
        at = int(np.argmax(np.where(reached, pts, np.iinfo(np.int64).min)))
        best = Target(int(numbers[at]), int(pts[at]), int(pts[at]) - edit.shift)
    return best or first


def needed_for(samples: Samples, target: int, back: int = 0) -> tuple[int, int] | None:
    """The half-open run of samples in decode order that a decoder needs for sample `target`; None where no
    sync sample lies far enough back.

    A target that is shown before the sync sample it follows in decode order is a leading picture (14496-12,
    8.6.4 and 8.8.3.1: its references may lie before that sync sample), so the run begins one sync sample
    earlier.
    """
    keys = np.flatnonzero(samples.key[: target + 1])
    reaching = keys[samples.pts[keys] <= samples.pts[target]]
    return (int(reaching[-1 - back]), target + 1) if len(reaching) > back else None
