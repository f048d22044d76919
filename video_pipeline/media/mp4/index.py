"""The index of one file's video: from a time to the coded pictures a decoder needs.

Belongs here: lookups. Does not belong here: opening an index (`opening.py`), how it is stored (`sidecar.py`),
fetching pictures, decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from video_pipeline.errors import BadInput
from video_pipeline.media.mp4 import seek
from video_pipeline.media.mp4.boxes import Malformed, malformed
from video_pipeline.media.mp4.fragment_index import FragmentIndex
from video_pipeline.media.mp4.fragments import Fragment
from video_pipeline.media.mp4.movie import Movie
from video_pipeline.media.mp4.track import SampleEntry, Samples, Target, TrackInfo, needed_for, shown_at
from video_pipeline.media.mp4.window import Window
from video_pipeline.media.ranges.base import Identity, Traffic


@dataclass(frozen=True, eq=False)
class Selection:
    """What must be fetched and decoded to see one picture: `samples` in decode order, the last of which is
    it.

    `pts` and the time base are the track's, `pts` on the movie's timeline. `frame_index` counts shown
    pictures from 0; None in a fragmented file where finding the picture does not take every fragment's header
    before it (see `VideoIndex.select`).
    """

    pts: int
    media_pts: int
    samples: Samples
    entry: SampleEntry
    frame_index: int | None

    @property
    def minimum_bytes(self) -> int:
        return int(self.samples.sizes.sum())


@dataclass(eq=False)
class VideoIndex:
    """Made by `opening.open_index`. Lookups may run in several threads."""

    window: Window
    movie: Movie
    identity: Identity
    fragments: FragmentIndex | None
    kind: str
    """plain, sidx, mfra, walk or bisect: how pictures are found."""

    notes: list[str] = field(default_factory=list)

    @property
    def track(self) -> TrackInfo:
        return self.movie.track

    @property
    def name(self) -> str:
        return self.window.source.name

    def end(self, traffic: Traffic) -> int:
        """Movie time, in ticks, at which the last picture's time on screen ends. Of a fragmented file the
        last fragment's header is read for it, unless `sidx` or `mehd` tells."""
        samples = self.movie.samples
        if self.fragments is not None:
            stated = self.stated_end
            if stated is not None:
                return stated
            if self.kind == "bisect":
                seek.narrow(self.fragments, np.iinfo(np.int64).max, traffic)
            last = self.fragments.last(traffic)
            if last is None:
                raise no_pictures(self.name)
            samples = last.samples
        target = shown_at(samples, self.track.edits, np.iinfo(np.int64).max)
        if target is None:
            raise no_pictures(self.name)
        edit = self.track.edits[-1]
        stop = target.pts + int(samples.durations[target.sample])
        return min(stop, edit.media_stop + edit.shift) if edit.media_stop is not None else stop

    stated_end: int | None = None
    """Movie time of the end where the file states it."""

    _all_read: bool = False

    def select(self, movie_time: int, traffic: Traffic, *, back: int = 0) -> Selection:
        """The picture on screen at a movie time in ticks. BadInput if the file has none that can be decoded.

        `back` begins so many sync samples further back than the index asks for (see `NoPicture`).

        Its number is known in a plain file. In a fragmented one it takes the headers of all fragments before
        it, which a search by walking has read, `all_samples` reads, and a picture of the first fragment does
        not need. Otherwise it stays None: they are not read for that, and whether other lookups happen to
        have read them must not change an answer.
        """
        try:
            if self.fragments is None:
                return self._from(self.movie.samples, movie_time, traffic, [], back)
            return self._from_fragments(self.fragments, movie_time, traffic, back)
        except Malformed as error:
            raise malformed(self.name, error) from error

    def _from_fragments(
        self, fragments: FragmentIndex, movie_time: int, traffic: Traffic, back: int
    ) -> Selection:
        edit = self.track.edits[0]
        media_time = max(movie_time - edit.shift, edit.media_start)
        if self.kind == "bisect":
            seek.narrow(fragments, media_time, traffic)
        group = fragments.around(media_time, traffic)
        while group:
            samples = Samples.join([part.samples for part in group])
            if shown_at(samples, self.track.edits, movie_time) is not None:
                return self._from(samples, movie_time, traffic, group, back)
            further = fragments.following(group[-1], traffic)
            group = [*group, further] if further is not None else []
        raise no_pictures(self.name)

    def _from(
        self, samples: Samples, movie_time: int, traffic: Traffic, group: Sequence[Fragment], back: int
    ) -> Selection:
        target = shown_at(samples, self.track.edits, movie_time)
        if target is None:
            raise no_pictures(self.name)
        number, run = target.sample, needed_for(samples, target.sample, back)
        first = group[0] if group else None
        while run is None:
            first = self.fragments.preceding(first, traffic) if self.fragments and first else None
            if first is None:
                raise BadInput(
                    f"no key frame lies before the picture at "
                    f"{float(target.pts * self.track.time_base):.3f} s: it cannot be decoded",
                    input=self.name,
                    what_to_do="choose a later time, or re-encode the video.",
                )
            samples = Samples.join([first.samples, samples])
            number += len(first.samples)
            run = needed_for(samples, number, back)
        part = samples.part(*run)
        _check_selection(part, self.identity.size, self.name)
        return Selection(
            pts=target.pts,
            media_pts=target.media_pts,
            samples=part,
            entry=self.track.entries[int(part.entry[-1])],
            frame_index=self._number_of(target, group),
        )

    def _number_of(self, target: Target, group: Sequence[Fragment]) -> int | None:
        """How many pictures are shown before this one, which is in `group` if the file is fragmented."""
        samples, before = self.movie.samples, 0
        if self.fragments is not None:
            parts = self.fragments.read_through(group[-1])
            if parts is None or not (self._all_read or self.kind == "walk" or parts[0] is group[0]):
                return None
            samples = Samples.join([part.samples for part in parts])
        for edit in self.track.edits:
            pts = samples.pts[samples.pts >= edit.media_start]
            if edit.media_stop is not None:
                pts = pts[pts < edit.media_stop]
            before += int((pts + edit.shift < target.pts).sum())
        return before

    def key_frame_times(self, traffic: Traffic) -> np.ndarray:
        """Movie times, int64 ticks, of all pictures that are sync samples and are shown. Of a fragmented file
        without a full index this reads every fragment's header."""
        samples = self.all_samples(traffic)
        times: list[np.ndarray] = []
        for edit in self.track.edits:
            shown = samples.key & (samples.pts >= edit.media_start)
            if edit.media_stop is not None:
                shown &= samples.pts < edit.media_stop
            times.append(samples.pts[shown] + edit.shift)
        return np.unique(np.concatenate(times))

    def all_samples(self, traffic: Traffic) -> Samples:
        """Every sample, in decode order; of a fragmented file by walking it from its beginning."""
        if self.fragments is None:
            return self.movie.samples
        parts: list[Samples] = []
        found = self.fragments.read(self.fragments.anchors()[0].start, traffic)
        while found is not None:
            if len(found.samples):
                parts.append(found.samples)
            found = self.fragments.following(found, traffic)
        if not parts:
            raise no_pictures(self.name)
        self._all_read = True
        return Samples.join(parts)


def _check_selection(part: Samples, size: int, name: str) -> None:
    ends = part.offsets + part.sizes
    if (part.offsets < 0).any() or (part.sizes <= 0).any():
        raise Malformed("its index names pictures of no bytes, or before the file's beginning")
    if ends.max() > size:
        raise BadInput(
            f"the video is cut off: a picture ends at byte {int(ends.max())}, the file has {size}",
            input=name,
            what_to_do="upload the file again, or choose pictures before the damage.",
        )
    if len(np.unique(part.entry)) > 1:
        raise BadInput(
            "its coding parameters change between a key frame and the picture that depends on it",
            input=name,
            what_to_do="choose another picture, or re-encode the video.",
        )


def no_pictures(name: str) -> BadInput:
    return BadInput(
        "its video track has no pictures", input=name, what_to_do="give a file with at least one."
    )


def ticks(seconds: Fraction, time_base: Fraction) -> int:
    """The last tick not after a time."""
    value = seconds / time_base
    return value.numerator // value.denominator
