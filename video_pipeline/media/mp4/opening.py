"""Opening the index of a file with as few requests as the file allows.

Belongs here: finding the movie box and the indexes of fragments. Does not belong here: what boxes mean
(`movie.py`, `fragments.py`), lookups (`index.py`).

Requests before the first picture: the head of the file (64 KiB, whose answer tells the size); then, unless
the head held them, the movie box (one request more where it lies at the end) and of a fragmented file `sidx`,
or the tail with `mfra`.
"""

from __future__ import annotations

from video_pipeline.errors import BadInput
from video_pipeline.media.mp4 import seek
from video_pipeline.media.mp4.boxes import HEADER, Malformed, malformed, parse_header, whole
from video_pipeline.media.mp4.fragment_index import FragmentIndex
from video_pipeline.media.mp4.fragments import (
    Anchor,
    SegmentIndex,
    random_access_size,
    read_random_access,
    read_segment_index,
)
from video_pipeline.media.mp4.index import VideoIndex, no_pictures
from video_pipeline.media.mp4.movie import Movie, read_movie
from video_pipeline.media.mp4.track import TrackInfo
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
            raise no_pictures(name)
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
        raise no_pictures(window.source.name)
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
