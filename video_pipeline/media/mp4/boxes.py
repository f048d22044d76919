"""Boxes: the containers MP4 is made of, and integers inside them.

Belongs here: ISO/IEC 14496-12:2022, section 4.2 (object structure), and reading fields without ever leaving a
box. Does not belong here: what a box means.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from video_pipeline.errors import BadInput

HEADER = 16
"""Bytes that hold any box header but that of a `uuid` box: size, type, large size."""

REPAIR = "repair or re-wrap it, for example with ffmpeg -i INPUT -c copy OUTPUT.mp4"


class Malformed(Exception):
    """A box contradicts itself or its parent. Becomes a BadInput that names the file where that is known."""


def malformed(name: str, error: Malformed) -> BadInput:
    return BadInput(f"the MP4 structure is damaged: {error}", input=name, what_to_do=REPAIR)


@dataclass(frozen=True, slots=True)
class BoxHeader:
    """`body` and `stop` are positions in the same coordinates as `start`; `stop` is None for a box that runs
    to the end of the file (size 0, allowed at top level only)."""

    kind: str
    start: int
    body: int
    stop: int | None


def parse_header(data: bytes | memoryview, at: int, position: int) -> BoxHeader:
    """The header at `data[at:]`, which lies at `position` in the file. Raises Malformed for one that cannot
    be, or that is cut off."""
    if at + 8 > len(data):
        raise Malformed(f"box header cut off at byte {position}")
    size, raw = struct.unpack_from(">I4s", data, at)
    length = 8
    if size == 1:
        if at + 16 > len(data):
            raise Malformed(f"box header cut off at byte {position}")
        (size,) = struct.unpack_from(">Q", data, at + 8)
        length = 16
    if not all(byte in _KIND_BYTES for byte in raw):
        raise Malformed(f"no box begins at byte {position}")
    kind = raw.decode("latin-1")
    if size == 0:
        return BoxHeader(kind, position, position + length, None)
    if size < length:
        raise Malformed(f"box {kind!r} at byte {position} states a size of {size}")
    return BoxHeader(kind, position, position + length, position + size)


# Four printable characters (section 4.2.2); 0xA9 begins QuickTime's user data.
_KIND_BYTES = frozenset([*range(0x20, 0x7F), 0xA9])


class Body:
    """The content of one box, held in memory, and a cursor. Reading past its end raises Malformed."""

    def __init__(self, data: memoryview, kind: str, position: int) -> None:
        self.data, self.kind, self.position, self.at = data, kind, position, 0

    def __len__(self) -> int:
        return len(self.data)

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> memoryview:
        if count < 0 or count > self.left:
            raise Malformed(f"box {self.kind!r} at byte {self.position} is too short for what it states")
        part = self.data[self.at : self.at + count]
        self.at += count
        return part

    def unsigned(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def signed(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big", signed=True)

    def place(self, size: int) -> int:
        """An unsigned position or time. Beyond 2^62 it is neither, and would not fit beside others in 64
        bits."""
        value = self.unsigned(size)
        if value >= 1 << 62:
            raise Malformed(f"box {self.kind!r} at byte {self.position} states {value}")
        return value

    def full(self) -> tuple[int, int]:
        """Version and flags of a FullBox."""
        word = self.unsigned(4)
        return word >> 24, word & 0xFFFFFF

    def children(self) -> Iterator[Body]:
        """The boxes from the cursor to the end; the cursor stays. Eight or fewer zero bytes may pad the end
        (QuickTime File Format, "user data list": a 32-bit zero ends it)."""
        at = self.at
        while at < len(self.data):
            if len(self.data) - at < 8 or not any(self.data[at : at + 8]):
                if any(self.data[at:]):
                    raise Malformed(f"box {self.kind!r} at byte {self.position} has bytes after its boxes")
                return
            start = self.position + at
            header = parse_header(self.data, at, start)
            stop = self.position + len(self.data) if header.stop is None else header.stop
            if stop > self.position + len(self.data):
                raise Malformed(f"box {header.kind!r} at byte {start} ends outside of {self.kind!r}")
            inside = self.data[header.body - self.position : stop - self.position]
            at = stop - self.position
            yield Body(inside, header.kind, header.body)

    def only(self, kind: str) -> Body | None:
        """The first child of a kind, if there is one."""
        return next((child for child in self.children() if child.kind == kind), None)

    def need(self, kind: str) -> Body:
        child = self.only(kind)
        if child is None:
            raise Malformed(f"box {self.kind!r} at byte {self.position} has no {kind!r}")
        return child


def whole(data: bytes | memoryview, kind: str, position: int) -> Body:
    """A body whose first byte lies at `position` in the file."""
    return Body(memoryview(data), kind, position)
