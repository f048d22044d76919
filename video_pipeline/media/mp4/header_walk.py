"""Going along a fragmented file by small ranges, so that its headers are at hand.

Belongs here: which bytes a walk fetches and keeps, and walks side by side. Does not belong here: what holds
them and whether they are worth fetching (`headers_at_hand.py`), what headers say (`fragments.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from video_pipeline.media.mp4.boxes import HEADER, BoxHeader, Malformed, parse_header
from video_pipeline.media.mp4.fragment_index import FIRST_GUESS, MAX_MOOF
from video_pipeline.media.mp4.seek import header_in

if TYPE_CHECKING:
    from video_pipeline.media.mp4.headers_at_hand import FragmentHeaders

ReadRange = Callable[[int, int], bytes]
"""Gives bytes `start` to `stop` (half-open) of the file, cut at its end; called from several threads."""

HEAD_BYTES = 64 << 10
"""The movie box of a fragmented file holds no samples, or those of one fragment: 1 to 10 KiB."""

JUMPED = 32 << 10
"""libav reads through a stretch up to this long instead of seeking over it (SHORT_SEEK_THRESHOLD of
libavformat/aviobuf.c), so media data that is no longer is fetched like a header."""

MAX_KEPT = 64 << 20

SIDE_BY_SIDE_FROM_S = 1.0
AT_ONCE = 8
PROBING_SHARE = 0.02
"""Of the bytes: what may be spent on finding places where walks side by side begin."""

BLOCKS = 4
"""Blocks to which a fragment is read while a header is looked for: 0.6 of its bytes on average."""

_JUMPED_KINDS = ("mdat", "free", "skip", "mfra")


def walk_on(walk: Walk, at: int, span: int) -> None:
    """From `at` to the end: in one walk if that is quick, else in several side by side. `span` bytes lie from
    one fragment to the next."""
    size = walk.headers.size
    left = (size - at) // span
    parts = min(AT_ONCE, int(left * PROBING_SHARE / 0.6) + 1)
    if left * walk.latency < SIDE_BY_SIDE_FROM_S or parts < 2:
        walk.along(at, size)
        return
    borders = [at + (size - at) * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        found = pool.map(lambda start, stop: walk.find(start, stop, span // BLOCKS), borders[1:], borders[2:])
        starts = [at, *(place for place in found if place is not None)]
        list(pool.map(walk.along, starts, [*starts[1:], size]))


class Walk:
    """Goes from box to box. Several walks of one file may run side by side."""

    def __init__(self, read: ReadRange, headers: FragmentHeaders) -> None:
        self._read = read
        self.headers = headers
        self.latency = float("inf")
        """Seconds, of the quickest request so far."""
        self._longest = 0

    def along(self, at: int, stop: int, most: int = 1 << 62) -> int:
        """Keep what lies before media data, from the box at `at` to the first one at or after `stop`, or for
        `most` fragments. Returns where that is; the file's end if nothing can be followed further."""
        size = self.headers.size
        block = _Block(at)
        fragment, seen = at, 0
        while at < min(stop, size) and seen < most and self.headers.kept < MAX_KEPT:
            self._reach(block, at + HEADER, at + self._guess)
            box = _header(block, at)
            if box is None or (box.kind not in _JUMPED_KINDS and _length(box, size) > MAX_MOOF):
                at = size
                break
            end = size if box.stop is None else min(size, box.stop)
            far = box.kind in _JUMPED_KINDS and end - box.body > JUMPED
            if not far:
                self._reach(block, end, end + HEADER)
            if box.kind == "mdat":
                self._longest = max(self._longest, at + HEADER - fragment)
                fragment, seen = end, seen + 1
                self.headers.count(fragments=1)
            if far or end - block.start > HEAD_BYTES:
                self.headers.keep(block.start, block.upto(at + HEADER if far else end))
                block = block.rest(end)
            at = end
        self.headers.keep(block.start, block.upto(at))
        return at

    def find(self, start: int, stop: int, length: int) -> int | None:
        """Where the first fragment begins whose header is seen in [start, stop), read in blocks of `length`
        bytes; None if there is none."""
        while start < stop:
            data = self._get(start, min(stop, start + max(length, FIRST_GUESS)))
            place = header_in(data)
            if place is not None or len(data) <= HEADER:
                return None if place is None else start + place
            start += len(data) - HEADER
        return None

    @property
    def _guess(self) -> int:
        return self._longest + self._longest // 8 + HEADER if self._longest else FIRST_GUESS

    def _reach(self, block: _Block, least: int, guess: int) -> None:
        """Bytes up to `least` into the block; if they are not there, up to `guess` in one request."""
        size = self.headers.size
        if block.stop < min(least, size):
            block.data += self._get(block.stop, min(max(least, guess), size))

    def _get(self, start: int, stop: int) -> bytes:
        began = time.perf_counter()
        data = self._read(start, stop)
        self.latency = min(self.latency, time.perf_counter() - began)
        self.headers.count(bytes_read=len(data))
        return data


class _Block:
    """Bytes from `start` on that grow at their end."""

    def __init__(self, start: int, data: bytes = b"") -> None:
        self.start, self.data = start, data

    @property
    def stop(self) -> int:
        return self.start + len(self.data)

    def upto(self, position: int) -> bytes:
        return self.data[: max(0, position - self.start)]

    def rest(self, position: int) -> _Block:
        """The block from `position` on, empty if it does not reach so far."""
        return _Block(position, self.data[position - self.start :])


def _header(block: _Block, at: int) -> BoxHeader | None:
    try:
        return parse_header(block.data, at - block.start, at)
    except Malformed:
        return None


def _length(box: BoxHeader, size: int) -> int:
    return (size if box.stop is None else box.stop) - box.start
