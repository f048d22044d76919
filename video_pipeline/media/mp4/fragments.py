"""Fragments and the two indexes of fragments.

Belongs here: `moof traf tfhd tfdt trun` (ISO/IEC 14496-12:2022, section 8.8), `sidx` (8.16.3), `mfra tfra
mfro` (8.8.9 to 8.8.11). Does not belong here: finding them in a file (`opening.py`), which of them hold a
time (`fragment_index.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from video_pipeline.media.mp4.boxes import Body, Malformed
from video_pipeline.media.mp4.movie import Defaults
from video_pipeline.media.mp4.track import Samples

MAX_SAMPLES = 1_000_000
"""In one fragment. A `trun` may state any number without spending a byte on each."""

NOT_SYNC = 1 << 16
"""sample_is_non_sync_sample of the sample flags (8.8.3.1)."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """One `moof` box: where it lies, and the video samples it describes (none for a fragment of sound alone).

    `base_time` is `tfdt`'s media time of the first sample; without one the times in `samples` begin at 0 and
    `timed` is False.
    """

    start: int
    moof_stop: int
    samples: Samples
    timed: bool

    def moved(self, ticks: int) -> Fragment:
        """The same fragment, its samples `ticks` later."""
        s = self.samples
        later = Samples(s.offsets, s.sizes, s.dts + ticks, s.pts + ticks, s.durations, s.key, s.entry)
        return Fragment(self.start, self.moof_stop, later, True)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place where a fragment begins, known without having read it, and about when (track ticks; a media
    time from `sidx` or `tfra`). `stop` is where the piece ends that begins here, None where that is not
    stated."""

    start: int
    time: int
    stop: int | None = None


def read_fragment(
    moof: Body, start: int, track_id: int, defaults: Mapping[int, Defaults], entries: int
) -> Fragment:
    """`start` is the position of the box itself, header included: the base of data offsets. `defaults` are
    those of every track: sizes of another track's samples tell where ours begin."""
    parts: list[Samples] = []
    timed, clock, room = False, 0, MAX_SAMPLES
    # Without default-base-is-moof a later traf counts from the end of the one before (8.8.7.1).
    data_end = start
    for traf in moof.children():
        if traf.kind != "traf":
            continue
        header = _track_header(traf.need("tfhd"), start, data_end, defaults)
        ours = header.track_id == track_id
        if ours and not 1 <= header.entry <= entries:
            raise Malformed(f"the fragment at byte {start} names sample entry {header.entry} of {entries}")
        time_box = traf.only("tfdt")
        if time_box is not None and ours:
            version, _ = time_box.full()
            clock, timed = time_box.place(8 if version == 1 else 4), True
        at = header.base
        for box in traf.children():
            if box.kind == "trun":
                samples, at = _run(box, header, at, clock if ours else 0, room)
                room -= len(samples)
                if ours and len(samples):
                    parts.append(samples)
                    clock = int(samples.dts[-1] + samples.durations[-1])
        data_end = at
    joined = Samples.join(parts) if parts else NO_SAMPLES
    return Fragment(start, moof.position + len(moof), joined, timed)


def lowest_offset(moof: Body) -> int:
    """The lowest composition offset in a fragment, of all of its tracks, in their ticks; 0 without any."""
    runs = (
        _run(box, _Track(0, 0, 1, 0, 0, 0), 0, 0, MAX_SAMPLES)[0]
        for traf in moof.children()
        if traf.kind == "traf"
        for box in traf.children()
        if box.kind == "trun"
    )
    return min((int((run.pts - run.dts).min()) for run in runs if len(run)), default=0)


_NONE = np.empty(0, np.int64)
NO_SAMPLES = Samples(_NONE, _NONE, _NONE, _NONE, _NONE, np.empty(0, bool), np.empty(0, np.uint8))


@dataclass(frozen=True, slots=True)
class _Track:
    track_id: int
    base: int
    entry: int
    duration: int
    size: int
    flags: int


def _track_header(box: Body, moof: int, data_end: int, of_tracks: Mapping[int, Defaults]) -> _Track:
    """`tfhd`: what it leaves out is as the track's `trex` has it."""
    _, flags = box.full()
    track_id = box.unsigned(4)
    defaults = of_tracks.get(track_id, Defaults())
    base = moof if flags & 0x020000 else data_end
    if flags & 0x1:
        base = box.place(8)
    entry = box.unsigned(4) if flags & 0x2 else defaults.entry
    duration = box.unsigned(4) if flags & 0x8 else defaults.duration
    size = box.unsigned(4) if flags & 0x10 else defaults.size
    sample_flags = box.unsigned(4) if flags & 0x20 else defaults.flags
    return _Track(track_id, base, entry, duration, size, sample_flags)


def _run(box: Body, track: _Track, at: int, clock: int, room: int) -> tuple[Samples, int]:
    """The samples of one `trun`, at most `room`, and the byte after their data."""
    version, flags = box.full()
    count = box.unsigned(4)
    if count > room:
        raise Malformed(f"a run of samples at byte {box.position} states {count} samples")
    if flags & 0x1:
        at = track.base + box.signed(4)
    first_flags = box.unsigned(4) if flags & 0x4 else None
    names = [name for bit, name in _FIELDS if flags & bit]
    row = np.dtype([(name, ">i4" if name == "offset" and version else ">u4") for name in names])
    rows = np.frombuffer(box.take(count * row.itemsize), row) if names else None

    def column(name: str, default: int) -> np.ndarray:
        if rows is None or name not in names:
            return np.full(count, default, np.int64)
        return rows[name].astype(np.int64)

    durations, sizes = column("duration", track.duration), column("size", track.size)
    sample_flags = column("flags", track.flags)
    if first_flags is not None and count:
        sample_flags[0] = first_flags
    offsets = column("offset", 0)
    # Version 0 is unsigned by the letter; a lead of half the range can only be a negative number.
    offsets[offsets >= 1 << 31] -= 1 << 32
    starts = at + np.cumsum(sizes) - sizes
    dts = clock + np.cumsum(durations) - durations
    samples = Samples(
        offsets=starts,
        sizes=sizes,
        dts=dts,
        pts=dts + offsets,
        durations=durations,
        key=(sample_flags & NOT_SYNC) == 0,
        entry=np.full(count, (track.entry - 1) & 0xFF, np.uint8),
    )
    return samples, at + int(sizes.sum())


_FIELDS = ((0x100, "duration"), (0x200, "size"), (0x400, "flags"), (0x800, "offset"))


@dataclass(frozen=True, slots=True)
class SegmentIndex:
    """A `sidx` box: pieces of the file and, of a hierarchical one, further `sidx` boxes to read."""

    anchors: tuple[Anchor, ...]
    deeper: tuple[Anchor, ...]
    stop: int
    """The byte after the last piece."""
    end_time: int
    """Media time at which the last piece ends, in ticks of the track."""

    def covers(self, size: int) -> bool:
        """Whether the pieces reach the end of a file of `size` bytes, but for less than the smallest of them:
        where each fragment has an index of its own, one is no index of the file."""
        pieces = [anchor.stop - anchor.start for anchor in self.anchors if anchor.stop is not None]
        return size - self.stop < min(pieces, default=0)


def read_segment_index(box: Body, after: int, track_id: int, timescale: int) -> SegmentIndex | None:
    """`after` is the byte behind the box. None for the index of another track."""
    version, _ = box.full()
    reference, scale = box.unsigned(4), box.unsigned(4)
    wide = 8 if version else 4
    time, first = box.place(wide), box.place(wide)
    box.take(2)
    count = box.unsigned(2)
    rows = np.frombuffer(box.take(12 * count), ">u4").reshape(-1, 3).tolist()
    if reference != track_id or scale == 0:
        return None
    pieces: list[Anchor] = []
    deeper: list[Anchor] = []
    at = after + first
    # Python's integers: times since 1970 in ticks do not leave 64 bits any room to be multiplied.
    for kind_and_size, duration, _ in rows:
        size = kind_and_size & 0x7FFFFFFF
        piece = Anchor(at, time * timescale // scale, at + size)
        (deeper if kind_and_size >> 31 else pieces).append(piece)
        at, time = at + size, time + duration
    end = time * timescale // scale
    if end >= 1 << 62 or at >= 1 << 62:
        raise Malformed(f"box 'sidx' at byte {box.position} states no times")
    return SegmentIndex(tuple(pieces), tuple(deeper), at, end)


def read_random_access(mfra: Body, track_id: int) -> list[Anchor]:
    """The places of a track's sync samples by `tfra`, one for each fragment, in order of the file."""
    found: dict[int, int] = {}
    for box in mfra.children():
        if box.kind != "tfra":
            continue
        version, _ = box.full()
        if box.unsigned(4) != track_id:
            continue
        lengths = box.unsigned(4)
        numbers = sum((lengths >> shift & 3) + 1 for shift in (4, 2, 0))
        wide = 8 if version else 4
        for _ in range(box.unsigned(4)):
            time, start = box.place(wide), box.place(wide)
            box.take(numbers)
            found.setdefault(start, time)
    return [Anchor(start, time) for start, time in sorted(found.items())]


def random_access_size(tail: bytes | memoryview) -> int | None:
    """Size of the `mfra` box that ends a file, by the `mfro` box in its last 16 bytes; None if there is
    none."""
    if len(tail) < 16 or tail[-16:-8] != b"\0\0\0\x10mfro":
        return None
    return int.from_bytes(tail[-4:], "big")
