"""The index of one file's video: from a time to the coded pictures a decoder needs.

Belongs here: opening an index with as few requests as the file allows, and lookups. Does not belong here: how
an index is stored (`sidecar.py`), fetching pictures, decoding.

Requests before the first picture: the head of the file (64 KiB, whose answer tells the size); then, unless
the head held them, the movie box (one request more where it lies at the end) and of a fragmented file `sidx`,
or the tail with `mfra`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from video_pipeline.errors import BadInput
from video_pipeline.media.mp4 import seek
from video_pipeline.media.mp4.boxes import HEADER, Malformed, malformed, parse_header, whole
from video_pipeline.media.mp4.fragment_index import FragmentIndex
from video_pipeline.media.mp4.fragments import (
    Anchor,
    Fragment,
    SegmentIndex,
    random_access_size,
    read_random_access,
    read_segment_index,
)
from video_pipeline.media.mp4.movie import Movie, read_movie
from video_pipeline.media.mp4.track import SampleEntry, Samples, Target, TrackInfo, needed_for, shown_at
from video_pipeline.media.mp4.window import Window
from video_pipeline.media.ranges.base import Identity, RangeSource, Traffic

HEAD_BYTES = 64 << 10
TAIL_BYTES = 16 << 10
"""Holds the `mfra` of about ten minutes in fragments of a second, with sound."""

MAX_MOOV = 256 << 20
MOOV_GUESS = 4 << 20
"""A movie box at the end is asked for with all that follows it, if that is not more than this."""

MAX_TOP_LEVEL = 512
"""Boxes looked at on the way to the movie box."""

NOT_MP4 = "give an MP4 or MOV file; other containers can be re-wrapped: ffmpeg -i INPUT -c copy OUTPUT.mp4"


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
    """Made by `open_index`. Lookups may run in several threads."""

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
                raise _no_pictures(self.name)
            samples = last.samples
        target = shown_at(samples, self.track.edits, np.iinfo(np.int64).max)
        if target is None:
            raise _no_pictures(self.name)
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
        raise _no_pictures(self.name)

    def _from(
        self, samples: Samples, movie_time: int, traffic: Traffic, group: Sequence[Fragment], back: int
    ) -> Selection:
        target = shown_at(samples, self.track.edits, movie_time)
        if target is None:
            raise _no_pictures(self.name)
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
            raise _no_pictures(self.name)
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


def _no_pictures(name: str) -> BadInput:
    return BadInput(
        "its video track has no pictures", input=name, what_to_do="give a file with at least one."
    )


# Opening


def open_index(source: RangeSource, traffic: Traffic, *, search: seek.Search | None = None) -> VideoIndex:
    """Read what is needed to look pictures up. `search` decides how a file without an index of its fragments
    is searched; by default the measured latency does.

    Raises BadInput that names the file: not an MP4, damaged, no video, a codec or a feature not supported.
    """
    window = Window(source)
    head = source.read(0, HEAD_BYTES, purpose="index", traffic=traffic)
    identity = source.identity
    assert identity is not None
    window.keep(0, head)
    if not head:
        raise BadInput("the file is empty", input=source.name, what_to_do=NOT_MP4)
    try:
        return _open(window, identity, traffic, search)
    except Malformed as error:
        raise malformed(source.name, error) from error


def _open(window: Window, identity: Identity, traffic: Traffic, search: seek.Search | None) -> VideoIndex:
    name = window.source.name
    start, body, stop, early = _find_moov(window, traffic)
    if stop - start > MAX_MOOV:
        raise Malformed(f"the movie box states {stop - start} bytes, more than {MAX_MOOV}")
    data = window.exactly(start, stop, "its index (the moov box)", traffic)
    movie = read_movie(whole(data[body - start :], "moov", body), name, window.size)
    if not movie.fragmented:
        if not len(movie.samples):
            raise _no_pictures(name)
        return VideoIndex(window, movie, identity, None, "plain")
    if len(movie.track.edits) > 1:
        raise BadInput(
            "it is fragmented and its edit list has several parts",
            input=name,
            what_to_do="re-wrap it: ffmpeg -i INPUT -c copy -movflags +faststart OUTPUT.mp4",
        )
    return _open_fragmented(window, identity, movie, stop, early, traffic, search)


def _find_moov(window: Window, traffic: Traffic) -> tuple[int, int, int, int | None]:
    """Start, body and end of the movie box, and where the first `sidx` before it lies, from top-level
    headers."""
    at, early, name = 0, None, window.source.name
    for number in range(MAX_TOP_LEVEL):
        if at + 8 > window.size:
            break
        rest = window.size - at
        guess = rest if rest <= MOOV_GUESS else HEAD_BYTES
        data = window.read(at, HEADER, traffic, guess=guess)
        try:
            header = parse_header(data, 0, at)
        except Malformed:
            if number == 0:
                break
            raise
        stop = window.size if header.stop is None else header.stop
        if header.kind == "moov":
            return at, header.body, stop, early
        if number == 0 and header.kind not in _FIRST_BOXES:
            break
        if header.kind == "sidx" and early is None:
            early = at
        at = stop
    if at == 0:
        raise BadInput("not an MP4 file", input=name, what_to_do=NOT_MP4)
    missing = "its last box lacks bytes at the end, and " if at > window.size else ""
    raise BadInput(
        f"the video is cut off: {missing}it has no index (moov box), as after a broken recording or upload",
        input=name,
        what_to_do="upload the file again.",
    )


_FIRST_BOXES = ("ftyp", "styp", "moov", "mdat", "free", "skip", "wide", "pnot", "uuid", "sidx", "moof")


def _open_fragmented(
    window: Window,
    identity: Identity,
    movie: Movie,
    after: int,
    early: int | None,
    traffic: Traffic,
    search: seek.Search | None,
) -> VideoIndex:
    place = early if early is not None else _sidx_after(window, after, traffic)
    track = movie.track
    shift = track.edits[0].shift
    stated = movie.fragments_duration + shift if movie.fragments_duration else None
    indexed = _segment_index(window, place, track, traffic)
    if indexed is not None and indexed.covers(window.size):
        # Fragments begin where its first piece does: what lies before that is the index itself.
        first = max(after, indexed.anchors[0].start)
        fragments = FragmentIndex(window, movie, first, list(indexed.anchors))
        return VideoIndex(window, movie, identity, fragments, "sidx", stated_end=indexed.end_time + shift)
    anchors = _random_access_anchors(window, track, traffic)
    if anchors:
        fragments = FragmentIndex(window, movie, after, anchors)
        return VideoIndex(window, movie, identity, fragments, "mfra", stated_end=stated)
    fragments = FragmentIndex(window, movie, after, list(indexed.anchors) if indexed is not None else [])
    if fragments.read(after, traffic) is None and not len(movie.samples):
        raise _no_pictures(window.source.name)
    chosen, reason = seek.choose_search(fragments, traffic)
    chosen = search or chosen
    notes = [f"the file has no index of its fragments: {chosen}, since {reason}"]
    return VideoIndex(window, movie, identity, fragments, chosen, notes, stated)


def _sidx_after(window: Window, at: int, traffic: Traffic) -> int | None:
    """A `sidx` between the movie box and the first fragment."""
    while at + 8 <= window.size:
        header = parse_header(window.read(at, HEADER, traffic, guess=HEAD_BYTES // 4), 0, at)
        if header.kind == "sidx":
            return at
        if header.kind not in ("free", "skip", "styp", "uuid", "emsg", "prft") or header.stop is None:
            return None
        at = header.stop
    return None


def _segment_index(
    window: Window, place: int | None, track: TrackInfo, traffic: Traffic
) -> SegmentIndex | None:
    """None without a `sidx`, and where one contradicts itself: fragments are found in other ways too."""
    try:
        return _segment_anchors(window, place, track, traffic) if place is not None else None
    except Malformed:
        return None


def _segment_anchors(window: Window, place: int, track: TrackInfo, traffic: Traffic) -> SegmentIndex | None:
    """The pieces of the `sidx` at `place`, of those it points to, and of those that follow it directly (one
    for each track); None if none is about the video track."""
    anchors: list[Anchor] = []
    waiting, seen, stop, end = [place], set(), 0, 0
    while waiting and len(seen) < MAX_TOP_LEVEL:
        at = waiting.pop(0)
        if at in seen or at + 8 > window.size:
            continue
        seen.add(at)
        header = parse_header(window.read(at, HEADER, traffic, guess=HEAD_BYTES // 4), 0, at)
        if header.kind != "sidx" or header.stop is None:
            continue
        data = window.exactly(at, header.stop, "its segment index", traffic)
        box = whole(data[header.body - at :], "sidx", header.body)
        waiting.append(header.stop)
        found = read_segment_index(box, header.stop, track.track_id, track.timescale)
        if found is not None:
            anchors += found.anchors
            waiting += [deep.start for deep in found.deeper]
            stop, end = max(stop, found.stop), max(end, found.end_time)
    anchors.sort(key=lambda anchor: anchor.start)
    return SegmentIndex(tuple(anchors), (), stop, end) if anchors else None


def _random_access_anchors(window: Window, track: TrackInfo, traffic: Traffic) -> list[Anchor]:
    start = max(0, window.size - TAIL_BYTES)
    tail = window.at_hand(start, window.size - start)
    if tail is None:
        start, tail = window.source.read_tail(TAIL_BYTES, purpose="index", traffic=traffic)
        window.keep(start, tail)
    size = random_access_size(tail)
    if size is None or not 16 <= size <= min(MAX_MOOV, window.size):
        return []
    begin = window.size - size
    data = window.exactly(begin, window.size, "its index of fragments", traffic)
    header = parse_header(data, 0, begin)
    if header.kind != "mfra" or header.stop != window.size:
        return []
    return read_random_access(whole(data[header.body - begin :], "mfra", header.body), track.track_id)


def ticks(seconds: Fraction, time_base: Fraction) -> int:
    """The last tick not after a time."""
    value = seconds / time_base
    return value.numerator // value.denominator
