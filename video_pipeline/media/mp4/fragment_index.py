"""Which fragments hold a time, read as far as somebody asks.

Belongs here: going from a time to the fragments that decide which picture is shown then, along anchors
(`sidx`, `mfra`, or found by `seek.py`) and from fragment to fragment. Does not belong here: parsing
(`fragments.py`), coded pictures.
"""

from __future__ import annotations

import bisect
import threading
from concurrent.futures import Future

from video_pipeline.errors import BadInput
from video_pipeline.media.mp4.boxes import HEADER, Malformed, malformed, parse_header, whole
from video_pipeline.media.mp4.fragments import Anchor, Fragment, read_fragment
from video_pipeline.media.mp4.movie import Movie
from video_pipeline.media.mp4.window import Window
from video_pipeline.media.ranges.base import Traffic

MAX_MOOF = 16 << 20
"""Bytes. A fragment's header of an hour at 60 pictures a second is 4 MiB."""

FIRST_GUESS = 4096
"""Bytes read for a fragment's header before any has been seen: two seconds of picture and sound need
2,000."""

IN_MOVIE = -1
"""Start of the fragment that stands for samples of the movie box itself."""


class FragmentIndex:
    """Fragments of one file. Lookups may run in several threads; no header is read twice."""

    def __init__(self, window: Window, movie: Movie, first: int, anchors: list[Anchor]) -> None:
        """`first` is the position after the movie box, where fragments begin."""
        self.window = window
        self.movie = movie
        self._lock = threading.Lock()
        self.first_probe = threading.Lock()
        """Held while the end of the file is looked for, so that lookups side by side do it once."""
        self._reads: dict[int, Future[Fragment | None]] = {}
        self._next: dict[int, int] = {}
        self._times: dict[int, int] = {}
        self._starts: list[int] = []
        self._longest_moof = 0
        self._bytes = 0
        self.first = first
        if len(movie.samples):
            fragment = Fragment(IN_MOVIE, first, movie.samples, timed=True)
            self._reads[IN_MOVIE] = Future()
            self._reads[IN_MOVIE].set_result(fragment)
            self._next[IN_MOVIE] = first
            self.add(Anchor(IN_MOVIE, int(movie.samples.pts.min())))
        elif not anchors or anchors[0].start > first:
            self.add(Anchor(first, 0))
        for anchor in anchors:
            self.add(anchor)

    def add(self, anchor: Anchor) -> None:
        with self._lock:
            if anchor.start not in self._times:
                bisect.insort(self._starts, anchor.start)
            self._times[anchor.start] = anchor.time

    def anchors(self) -> list[Anchor]:
        """All known places, in order of the file."""
        with self._lock:
            return [Anchor(start, self._times[start]) for start in self._starts]

    def loaded(self) -> list[tuple[Fragment, int]]:
        """Fragments read so far and where the search for the next one goes on, in order of the file."""
        with self._lock:
            done = [read.result() for read in self._reads.values() if read.done()]
            known = {found.start: found for found in done if found is not None}
            return [(found, self._next[start]) for start, found in sorted(known.items())]

    def read_through(self, last: Fragment) -> list[Fragment] | None:
        """The fragments with pictures from the file's first to `last`; None if one between them was not
        read."""
        parts: list[Fragment] = []
        with self._lock:
            start = self._starts[0]
            while (read := self._reads.get(start)) is not None and read.done():
                found = read.result()
                if found is None:
                    return None
                if len(found.samples):
                    parts.append(found)
                if found.start >= last.start:
                    return parts
                start = self._next[found.start]
        return None

    def leads(self) -> list[tuple[int, int | None]]:
        """Places that were asked for and the beginning of the fragment found behind them, where that is
        another place; None where there was none."""
        with self._lock:
            done = [(start, read.result()) for start, read in self._reads.items() if read.done()]
        found = [(start, None if part is None else part.start) for start, part in done]
        return [(start, led) for start, led in found if start != led]

    def restore_lead(self, start: int, led: int | None) -> None:
        """Take in one of `leads` of an earlier session, after the fragments."""
        with self._lock:
            if led is not None:
                self._reads[start], self._next[start] = self._reads[led], self._next[led]
                return
            nothing: Future[Fragment | None] = Future()
            nothing.set_result(None)
            self._reads[start] = nothing

    def restore(self, fragment: Fragment, then: int) -> None:
        """Take in a fragment that was read in an earlier session."""
        done: Future[Fragment | None] = Future()
        done.set_result(fragment)
        with self._lock:
            self._reads[fragment.start] = done
            self._next[fragment.start] = then
        self._learn(fragment)

    def _learn(self, fragment: Fragment) -> None:
        if len(fragment.samples):
            self.add(Anchor(fragment.start, int(fragment.samples.pts.min())))
        if fragment.start != IN_MOVIE:
            self._longest_moof = max(self._longest_moof, fragment.moof_stop - fragment.start)

    # Reading

    def read(self, start: int, traffic: Traffic) -> Fragment | None:
        """The first fragment at or after byte `start`, which must be the beginning of a box; None at the end
        of the file. Raises BadInput if the file is damaged there."""
        with self._lock:
            known = self._reads.get(start)
            if known is None:
                mine: Future[Fragment | None] = Future()
                self._reads[start] = mine
        if known is not None:
            return known.result()
        try:
            fragment, then = self._read(start, traffic)
        except BaseException as error:
            with self._lock:
                del self._reads[start]
            mine.set_exception(error)
            raise
        if fragment is not None:
            with self._lock:
                self._next[start] = self._next[fragment.start] = then
                if fragment.start != start:
                    self._reads.setdefault(fragment.start, mine)
            self._learn(fragment)
        mine.set_result(fragment)
        return fragment

    def _read(self, start: int, traffic: Traffic) -> tuple[Fragment | None, int]:
        name = self.window.source.name
        try:
            at = start
            while at + 8 <= self.window.size:
                longest = self._longest_moof
                guess = longest + longest // 8 + HEADER if longest else FIRST_GUESS
                data = self.window.read(at, HEADER, traffic, guess=guess)
                header = parse_header(data, 0, at)
                if header.kind == "moof":
                    return self._fragment(at, header.body, header.stop, traffic)
                if header.stop is None or header.kind == "mfra":
                    break
                at = header.stop
            if at > self.window.size:
                raise BadInput(
                    f"the video is cut off: its last box lacks {at - self.window.size} bytes at the end",
                    input=name,
                    what_to_do="upload the file again, or choose pictures before the damage.",
                )
            return None, at
        except Malformed as error:
            raise malformed(name, error) from error

    def _fragment(self, start: int, body: int, stop: int | None, traffic: Traffic) -> tuple[Fragment, int]:
        if stop is None or stop - start > MAX_MOOF:
            raise Malformed(f"the fragment header at byte {start} is longer than {MAX_MOOF} bytes")
        # With the header of the box behind it, which tells where the next fragment begins.
        with_next = min(stop + HEADER, max(stop, self.window.size))
        data = self.window.exactly(start, with_next, "a fragment's header", traffic)[: stop - start]
        fragment = read_fragment(
            whole(data[body - start :], "moof", body),
            start,
            self.movie.track.track_id,
            self.movie.defaults,
            len(self.movie.track.entries),
        )
        if not fragment.timed and len(fragment.samples):
            fragment = fragment.moved(self._time_without_tfdt(fragment))
        self._check_bytes(fragment)
        beyond = self.window.at_hand(stop, HEADER)
        then = stop
        if beyond is not None and len(beyond) >= HEADER:
            media = parse_header(beyond, 0, stop)
            # Of a box that passes the end of the file nothing is skipped: whoever goes on there gets the
            # error.
            then = stop if media.stop is None or media.stop > self.window.size else media.stop
        return fragment, then

    def _check_bytes(self, fragment: Fragment) -> None:
        """Damage may claim the same bytes again and again, and memory with them."""
        with self._lock:
            self._bytes += int(fragment.samples.sizes.sum())
        if self._bytes > 2 * self.window.size:
            raise Malformed("its fragments state more bytes than the file has")

    def _time_without_tfdt(self, fragment: Fragment) -> int:
        """Fragments of old writers state no time: each goes on where the one before it ended (8.8.12)."""
        with self._lock:
            before = [start for start in self._starts if start < fragment.start]
            stated = self._times.get(fragment.start)
        if not before:
            return 0
        for start in reversed(before):
            read = self._reads.get(start)
            earlier = read.result() if read is not None and read.done() else None
            # What lies in the movie box itself is followed by its media data, and then by the first fragment.
            follows = earlier is not None and (
                self._next[start] == fragment.start or start == before[-1] == IN_MOVIE
            )
            if earlier is not None and follows and len(earlier.samples):
                return int(earlier.samples.dts[-1] + earlier.samples.durations[-1])
        if stated is not None:
            return stated - int(fragment.samples.pts.min())
        raise BadInput(
            "its fragments state no times (no tfdt), and this one was not reached from the beginning",
            input=self.window.source.name,
            what_to_do="re-wrap it: ffmpeg -i INPUT -c copy -movflags +faststart OUTPUT.mp4",
        )

    # Moving

    def following(self, fragment: Fragment, traffic: Traffic) -> Fragment | None:
        """The next fragment with pictures of the track, None at the end."""
        found: Fragment | None = fragment
        while found is not None:
            found = self.read(self._next[found.start], traffic)
            if found is not None and len(found.samples):
                return found
        return None

    def preceding(self, fragment: Fragment, traffic: Traffic) -> Fragment | None:
        """The fragment with pictures before this one, None at the beginning."""
        with self._lock:
            before = [start for start in self._starts if start < fragment.start]
        for start in reversed(before):
            found = self.read(start, traffic)
            last: Fragment | None = None
            while found is not None and found.start < fragment.start:
                last = found if len(found.samples) else last
                found = self.read(self._next[found.start], traffic)
            if last is not None:
                return last
        return None

    def around(self, media_time: int, traffic: Traffic) -> list[Fragment]:
        """Neighbouring fragments among whose samples is the picture shown at `media_time`, the first of them
        beginning with a sync sample (if the file has one there). Empty for a file without pictures.

        A fragment need not hold all pictures up to its last: where fragments are cut inside a GOP, pictures
        of neighbours interleave. Backwards, a sync sample ends that: what is decoded before it is shown
        before it and before its leading pictures (ISO/IEC 14496-12, 8.6.2; ITU-T H.265, 8.3.1). Forwards, it
        ends where samples are decoded too late to be shown in time: dts > media_time - (pts - dts).
        """
        found = self._beginning_before(media_time, traffic)
        if found is None:
            return []
        group = [found]
        while not group[0].samples.key[0]:
            earlier = self.preceding(group[0], traffic)
            if earlier is None:
                break
            group.insert(0, earlier)
        while True:
            samples = group[-1].samples
            least_lead = min(int((part.samples.pts - part.samples.dts).min()) for part in group)
            if int(samples.dts[-1] + samples.durations[-1]) > media_time - least_lead:
                return group
            further = self.following(group[-1], traffic)
            if further is None:
                return group
            # On a long way forward, what lies before a sync sample in time is behind us.
            first = int(further.samples.pts[0])
            if further.samples.key[0] and first <= media_time and int(further.samples.pts.min()) == first:
                group = []
            group.append(further)

    def _beginning_before(self, media_time: int, traffic: Traffic) -> Fragment | None:
        """The last known fragment whose first picture is shown at or before a time; else the first with
        any."""
        with self._lock:
            after = bisect.bisect_right([self._times[start] for start in self._starts], media_time)
            starts = self._starts[: max(1, after)]
            later = self._starts[max(1, after) :]
        found: Fragment | None = None
        for start in reversed(starts):
            candidate = self.read(start, traffic)
            if candidate is not None and len(candidate.samples):
                found = candidate
                if found.samples.pts.min() <= media_time:
                    return found
        for start in later if found is None else ():
            candidate = self.read(start, traffic)
            if candidate is not None and len(candidate.samples):
                return candidate
        return found

    def last(self, traffic: Traffic) -> Fragment | None:
        """The last fragment with pictures, reached from the last known place."""
        with self._lock:
            starts = list(self._starts)
        for start in reversed(starts):
            found = self.read(start, traffic)
            last: Fragment | None = None
            while found is not None:
                last = found if len(found.samples) else last
                found = self.read(self._next[found.start], traffic)
            if last is not None:
                return last
        return None
