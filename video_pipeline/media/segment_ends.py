"""Where the pieces of a fragmented MP4 end, by the `sidx` in front of them.

Belongs here: reading that index as far as a reader's bounds need it. Does not belong here: finding pictures
by it (libav does), files without it (`mp4.headers_at_hand`), reading (`part_reader`).

Why. libav that found a complete `sidx` reads a fragment's header when it comes to it, so its own index tells
nothing of where a later part ends, and a reader over a network reads ahead of that by up to 16 MiB.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from fractions import Fraction

from video_pipeline.media.mp4.boxes import HEADER, Malformed, parse_header, whole
from video_pipeline.media.mp4.fragments import read_segment_index
from video_pipeline.media.mp4.headers_at_hand import ReadRange


@dataclass(frozen=True, slots=True)
class SegmentEnds:
    """`begins` are the seconds of the media's own timeline at which pieces begin, in order; `stops` the bytes
    behind them. Edit lists are not applied: of fragmented files they move by a few pictures."""

    begins: tuple[Fraction, ...]
    stops: tuple[int, ...]

    def behind(self, moment: Fraction) -> int:
        """The byte behind the piece in which `moment` lies, or the nearest one."""
        place = bisect.bisect_right(self.begins, moment) - 1
        return self.stops[max(0, place)]


def segment_ends(read: ReadRange, head: bytes, size: int) -> SegmentEnds | None:
    """By the first `sidx` (ISO/IEC 14496-12, 8.16.3) that begins within `head`, the file's first bytes. None
    if there is none, if it points to further ones, or if it contradicts itself. Errors of `read` pass
    unchanged."""
    try:
        at = 0
        while at + HEADER <= len(head):
            box = parse_header(head, at, at)
            if box.stop is None or box.kind in ("moof", "mdat"):
                return None
            if box.kind == "sidx":
                data = head[box.body : box.stop]
                if box.stop > len(head):
                    data += read(len(head), min(size, box.stop))
                return _ends(data, box.body, box.stop)
            at = box.stop
    except Malformed:
        pass
    return None


def _ends(data: bytes, position: int, after: int) -> SegmentEnds | None:
    fields = whole(data, "sidx", position)
    fields.full()
    track, scale = fields.unsigned(4), fields.unsigned(4)
    found = read_segment_index(whole(data, "sidx", position), after, track, scale)
    if found is None or found.deeper or not found.anchors:
        return None
    pieces = [(Fraction(piece.time, scale), piece.stop) for piece in found.anchors]
    return SegmentEnds(
        tuple(begin for begin, _ in pieces), tuple(stop for _, stop in pieces if stop is not None)
    )
