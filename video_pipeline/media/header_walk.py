"""Whether a file is whole, told from the sizes in its own headers while it is read.

A container is a run of headers, each of which says where the next one begins; a file that ends before that
place was cut off. libav ends such a file as if it had ended there. Three kinds of walk: the top-level boxes
of MP4 and MOV (ISO/IEC 14496-12, 4.2), the elements of Matroska and WebM (RFC 8794, 5 and 6; RFC 9559, 4.5),
the chunks of AVI.

A live recorder cannot go back to its file's beginning: it leaves the size of the whole (of the Segment, of
the RIFF chunk) unknown, which is legal. There the walk goes down to what has a size: clusters, blocks,
chunks. A cut between two of them cannot be told. What is no sign of a cut: a recorder writes no Cues; and
`ffmpeg -i INPUT -frames:v 10 -c copy -f webm -` states the Duration of its whole input.

Belongs here: following headers, and what can be concluded from them. Does not belong here: opening files
(`container`), reading an MP4's index (`mp4`), checking our own chunks (`webm`).
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import BinaryIO, cast

Source = Path | str | BinaryIO | io.RawIOBase | io.BufferedIOBase

NOWHERE = 1 << 62


class HeaderWalk:
    """Follows headers in bytes that pass by, and by reads of its own.

    `kinds`: the names met, each once, in order of appearance. `open_ended`: the whole states no size.
    `longest`: the most bytes that `_take` needs.
    """

    format = ""
    longest = 16

    def __init__(self) -> None:
        self.next_header = 0
        self.kinds: list[str] = []
        self.open_ended = False
        self._last = ""
        self._stated_end = 0
        self._partial = b""

    def see(self, offset: int, data: bytes) -> None:
        """`data` was read at `offset`: take in every header it holds. A header cut by the end of `data` is
        kept until the bytes after it pass by."""
        if self._partial and offset == self.next_header + len(self._partial):
            data = self._partial + data
            offset = self.next_header
        self._partial = b""
        while offset <= self.next_header < offset + len(data):
            at = self.next_header - offset
            header = data[at : at + self.longest]
            if not self._take(header):
                self._partial = bytes(header)
                return

    def go_on(self, reader: Source, size: int, limit: int | None = None) -> None:
        """Read headers from where the walk stands: to the end, or with a `limit` at most so many of them,
        and none after a fragment's first."""
        inner = cast(BinaryIO, reader)
        while self.next_header < size and (limit is None or (limit > 0 and "moof" not in self.kinds)):
            before = self.next_header
            inner.seek(before)
            self.see(before, inner.read(self.longest))
            if self.next_header == before:
                return
            limit = None if limit is None else limit - 1

    def overrun(self, size: int) -> int:
        """By how many bytes the last element passes the end of a file of `size` bytes; 0 if it does not."""
        return 0 if self.next_header == NOWHERE else max(0, self._stated_end - size)

    def lacks(self, size: int) -> str | None:
        """What shows that a file of `size` bytes is cut off, for a sentence; None if nothing does so far."""
        over = self.overrun(size)
        if over:
            return f"its {self._last} lacks {over} bytes at the end"
        if self._partial and self.next_header + len(self._partial) == size and self._begins(self._partial):
            return "it ends within a header"
        return None

    def _take(self, header: bytes) -> bool:
        """Goes to the header after this one; False if `header` is too short to tell where that is."""
        raise NotImplementedError

    def _begins(self, partial: bytes) -> bool:
        """Whether these last bytes of a file can only be the beginning of a header."""
        return False

    def _go(self, kind: str, end: int, after: int | None = None) -> None:
        """An element `kind` states that it ends at `end`; the next header is there, or at `after`."""
        self._last = kind
        if kind not in self.kinds:
            self.kinds.append(kind)
        self._stated_end = end
        self.next_header = end if after is None else after

    def _lost(self) -> bool:
        """Padding or foreign bytes after the last element: nothing to conclude from."""
        self.next_header = NOWHERE
        return True


class BoxWalk(HeaderWalk):
    """The top-level boxes of an MP4 or MOV."""

    format = "mov"

    def _take(self, header: bytes) -> bool:
        if len(header) < 8:
            return False
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            if len(header) < 16:
                return False
            size = int.from_bytes(header[8:16], "big")
        kind = header[4:8]
        if not kind.isalnum() or (size < 8 and size != 0):
            return self._lost()
        self._go(kind.decode("latin-1"), NOWHERE if size == 0 else self.next_header + size)
        self._last += " box"
        return True


SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
ELEMENTS = {
    b"\x1a\x45\xdf\xa3": "EBML header",
    SEGMENT: "Segment",
    CLUSTER: "Cluster",
    b"\x11\x4d\x9b\x74": "SeekHead",
    b"\x15\x49\xa9\x66": "Info",
    b"\x16\x54\xae\x6b": "Tracks",
    b"\x1c\x53\xbb\x6b": "Cues",
    b"\x19\x41\xa4\x69": "Attachments",
    b"\x10\x43\xa7\x70": "Chapters",
    b"\x12\x54\xc3\x67": "Tags",
    b"\xec": "Void",
    b"\xbf": "CRC-32",
    b"\xe7": "Timestamp",
    b"\x58\x54": "SilentTracks",
    b"\xa7": "Position",
    b"\xab": "PrevSize",
    b"\xa3": "SimpleBlock",
    b"\xa0": "BlockGroup",
    b"\xaf": "EncryptedBlock",
}
"""Of a file, a Segment and a Cluster (RFC 9559, 5.1): all that can follow in a walk over those three."""


class ElementWalk(HeaderWalk):
    """The elements of a Matroska or WebM file; inside a Segment and a Cluster only where their size is
    unknown, which no other element may be (RFC 9559, 4.5)."""

    format = "matroska"
    longest = 12

    def _take(self, header: bytes) -> bool:
        id_length = 9 - header[0].bit_length()
        if header[0] == 0:
            return self._lost()
        if len(header) <= id_length:
            return False
        kind = ELEMENTS.get(header[:id_length])
        size_length = 9 - header[id_length].bit_length()
        if kind is None or header[id_length] == 0:
            return self._lost()
        body = id_length + size_length
        if len(header) < body:
            return False
        unknown = (1 << 7 * size_length) - 1
        size = int.from_bytes(header[id_length:body], "big") & unknown
        if size != unknown:
            self._go(kind, self.next_header + body + size)
        elif header[:id_length] in (SEGMENT, CLUSTER):
            self.open_ended = True
            self._go(kind, self.next_header + body)
        else:
            return self._lost()
        return True

    def _begins(self, partial: bytes) -> bool:
        return any(partial.startswith(known) or known.startswith(partial) for known in ELEMENTS)


AVIF_HASINDEX = 0x10
"""Of the flags in `avih`: the file has an `idx1`. A recorder that cannot go back does not set it."""
_CHUNK = re.compile(rb"RIFF|LIST|JUNK|idx1|ix\d\d|\d\d[A-Za-z]{2}")


class RiffWalk(HeaderWalk):
    """The RIFF chunks of an AVI; inside one, and inside its lists, only where the size is unknown: -1 or 0,
    which stand there until the recorder ends and writes the right one."""

    format = "avi"
    longest = 48

    def __init__(self) -> None:
        super().__init__()
        self._index_promised = False

    def _take(self, header: bytes) -> bool:
        if len(header) < 8:
            return False
        if not _CHUNK.fullmatch(header[:4]):
            return self._lost()
        kind = header[:4].decode()
        size = int.from_bytes(header[4:8], "little")
        if kind in ("RIFF", "LIST") and size in (0, 0xFFFFFFFF):
            if not self.kinds:
                if len(header) < self.longest:
                    return False
                # RIFF and its type, LIST and its type, avih and three fields of four bytes before the flags.
                flags = int.from_bytes(header[44:48], "little")
                self.open_ended = True
                self._index_promised = header[24:28] == b"avih" and bool(flags & AVIF_HASINDEX)
            self._go(kind, self.next_header + 12)
        else:
            end = self.next_header + 8 + size
            # A pad byte follows an odd size; some writers leave out the file's last one.
            self._go(f"{kind} chunk", end, end + (end & 1))
        return True

    def _begins(self, partial: bytes) -> bool:
        return bool(_CHUNK.fullmatch(partial[:4]))

    def lacks(self, size: int) -> str | None:
        at_end = size <= self.next_header < NOWHERE
        if self._index_promised and at_end and "idx1 chunk" not in self.kinds and not self.overrun(size):
            return "its header names an index, and there is none, as when a recording or an upload broke off"
        return super().lacks(size)


def walk_of(head: bytes) -> HeaderWalk:
    """The walk for a file that begins with `head`. `format` is the libav demuxer it is meant for: what
    another one reads is followed in vain."""
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return ElementWalk()
    if head.startswith(b"RIFF"):
        return RiffWalk()
    return BoxWalk()
