"""The headers of a fragmented file, fetched ahead by small ranges, for a reader that looks at each of them.

Belongs here: whether they are worth fetching, what holds them, and a view of the file that has them at hand.
Does not belong here: going from header to header (`header_walk.py`), what they say (`fragments.py`), finding
a time without reading them all (`seek.py`).

Why. libav opens a seekable fragmented MP4 by reading the header of every fragment. Each is about 1 KiB, and
for each a reader over a network fetches a block, since it cannot know what follows a jump: of a ten-minute
file of 195 MB in 329 fragments 84 MB, each time it is opened. Its headers are 0.3 MB.

The view gives the file's own bytes at their own places: what is made of them does not change, whatever the
file is like, only where they come from. A header that was not fetched, or not recognised, costs a jump.
"""

from __future__ import annotations

import bisect
import io
import threading
from typing import BinaryIO, cast

from video_pipeline.media.mp4.boxes import HEADER, Malformed, parse_header, whole
from video_pipeline.media.mp4.header_walk import HEAD_BYTES, ReadRange, Walk, walk_on

Reader = BinaryIO | io.RawIOBase | io.BufferedIOBase

FIRST_LOOK = 16
"""Fragments walked before anything is concluded from them."""

MOST_SHARE = 1 / 3
"""If so much of the first fragments is header, blocks cost no more than ranges, and far fewer requests."""

_BETWEEN = ("free", "skip", "styp", "uuid", "emsg", "prft")


class FragmentHeaders:
    """Bytes of one version of a file. `note` says what was done, for people; `fragments` were found with
    `bytes_read` bytes of `requests` requests."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.note = ""
        self.fragments = 0
        self.requests = 0
        self.bytes_read = 0
        self._starts: list[int] = []
        self._blocks: dict[int, bytes] = {}
        self._kept = 0
        self._lock = threading.Lock()

    def keep(self, start: int, data: bytes) -> None:
        with self._lock:
            if data and start not in self._blocks:
                bisect.insort(self._starts, start)
                self._blocks[start] = data
                self._kept += len(data)

    def count(self, *, fragments: int = 0, bytes_read: int = 0) -> None:
        with self._lock:
            self.fragments += fragments
            self.requests += bytes_read > 0
            self.bytes_read += bytes_read

    @property
    def kept(self) -> int:
        """Bytes at hand."""
        return self._kept

    def at(self, position: int) -> memoryview | None:
        """The bytes at hand from `position` on; None if there are none."""
        place = bisect.bisect_right(self._starts, position) - 1
        if place < 0:
            return None
        start = self._starts[place]
        rest = memoryview(self._blocks[start])[position - start :]
        return rest if len(rest) else None

    def over(self, reader: Reader) -> Reader:
        """A view of `reader` with the headers at hand; `reader` itself if there are none."""
        return HeadersAtHand(reader, self) if self._blocks else reader


class HeadersAtHand(io.RawIOBase):
    """The file of `inner`, read-only and seekable. Does not close `inner`: its owner does.

    A read may give fewer bytes than were asked for, as a raw stream's may, and gives none only at the end.
    """

    def __init__(self, inner: Reader, headers: FragmentHeaders) -> None:
        self._inner = cast(BinaryIO, inner)
        self._headers = headers
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        found = self._headers.at(self._position) if size >= 0 else None
        if found is None:
            self._inner.seek(self._position)
            data = self._inner.read(size)
        else:
            data = bytes(found[:size])
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._headers.size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position


def fetch_headers(read: ReadRange, head: bytes, size: int) -> FragmentHeaders:
    """The headers of the file whose first bytes (HEAD_BYTES, if it has so many) are `head`.

    None are fetched, and `note` says why, if it is no fragmented MP4, if libav does not read them all (it
    finds a complete `sidx`), and if fragments are so small that blocks cost no more. A damaged file's are
    fetched up to the damage: whoever reads it finds it. Errors of `read` pass unchanged.
    """
    headers = FragmentHeaders(size)
    first = _first_fragment(read, head, size)
    if isinstance(first, str):
        headers.note = first
        return headers
    headers.keep(0, head[:first])
    walk = Walk(read, headers)
    at = walk.along(first, size, FIRST_LOOK)
    if at < size and headers.kept > MOST_SHARE * (at - first):
        headers.note = f"its fragments are small: {headers.kept} of {at - first} bytes are headers"
        return headers
    if at < size:
        walk_on(walk, at, max(1, (at - first) // max(1, headers.fragments)))
    headers.note = (
        f"{headers.fragments} fragments' headers in {headers.bytes_read} bytes, {headers.requests} requests"
    )
    return headers


# The beginning of the file


def _first_fragment(read: ReadRange, head: bytes, size: int) -> int | str:
    """Where the boxes after the movie box begin; or why no headers are fetched."""
    try:
        at = 0
        while at < len(head):
            box = parse_header(head, at, at)
            if box.kind == "moov":
                break
            if box.stop is None or box.kind in ("mdat", "moof"):
                return "it has no movie box in front"
            at = box.stop
        else:
            return "it has no movie box in front"
        if box.stop is None or box.stop > len(head):
            return f"its movie box is longer than {HEAD_BYTES} bytes, as a plain file's is"
        if whole(memoryview(head)[box.body : box.stop], "moov", box.body).only("mvex") is None:
            return "it is not fragmented"
        if _has_whole_index(read, head, box.stop, size):
            return "it has an index of its fragments (sidx)"
        return box.stop
    except Malformed as error:
        return f"its structure is damaged: {error}"


def _has_whole_index(read: ReadRange, head: bytes, at: int, size: int) -> bool:
    """Whether one of the `sidx` after the movie box reaches to the end of the file or to an `mfra` there:
    libav then reads no header but those that it needs."""
    while at + HEADER <= len(head):
        box = parse_header(head, at, at)
        if box.stop is None:
            return False
        if box.kind == "sidx":
            data = head[box.body : box.stop]
            if box.stop > len(head):
                data += read(len(head), min(size, box.stop))
            end = _indexed_end(data, box.stop)
            if end == size or (end < size and size - end == int.from_bytes(read(size - 4, size), "big")):
                return True
        elif box.kind not in _BETWEEN:
            return False
        at = box.stop
    return False


def _indexed_end(data: bytes, after: int) -> int:
    """The end of the last piece of a `sidx` (ISO/IEC 14496-12, 8.16.3), which itself ends at `after`."""
    box = whole(memoryview(data), "sidx", after - len(data))
    version, _ = box.full()
    box.take(8)
    wide = 8 if version else 4
    box.take(wide)
    first = box.unsigned(wide)
    box.take(2)
    count = box.unsigned(2)
    rows = bytes(box.take(12 * count))
    sizes = (int.from_bytes(rows[at : at + 4], "big") & 0x7FFFFFFF for at in range(0, len(rows), 12))
    return after + first + sum(sizes)
