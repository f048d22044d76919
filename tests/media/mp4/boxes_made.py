"""A small writer of MP4 boxes, so that a test can say what a file states, right or wrong.

Belongs here: bytes of boxes by ISO/IEC 14496-12. Does not belong here: expectations.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

IDENTITY = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


def box(kind: str, *content: bytes, large: bool = False) -> bytes:
    body = b"".join(content)
    if large:
        return struct.pack(">I4sQ", 1, kind.encode(), len(body) + 16) + body
    return struct.pack(">I4s", len(body) + 8, kind.encode()) + body


def full(kind: str, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


def u32(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *(value & 0xFFFFFFFF for value in values))


def u64(*values: int) -> bytes:
    return struct.pack(f">{len(values)}Q", *(value & 0xFFFFFFFFFFFFFFFF for value in values))


def counted(kind: str, rows: Sequence[Sequence[int]], *, version: int = 0) -> bytes:
    """A full box of a row count and rows of 32-bit numbers."""
    return full(kind, u32(len(rows)), *(u32(*row) for row in rows), version=version)


def stsd(*entries: bytes) -> bytes:
    given = entries or (visual(),)
    return full("stsd", u32(len(given)), *given)


def visual(kind: str = "avc1", *inside: bytes) -> bytes:
    fields = bytes(24) + struct.pack(">HH", 320, 180) + bytes(50)
    return box(kind, fields, *(inside or (box("avcC", b"\x01parameters"),)))


def stsz(sizes: Sequence[int]) -> bytes:
    return full("stsz", u32(0, len(sizes), *sizes))


def table(*boxes: bytes) -> bytes:
    return box("stbl", stsd(), *boxes)


def simple_table(count: int, **replaced: bytes) -> bytes:
    """One chunk at byte 1000 of `count` samples of 10 bytes and 512 ticks; boxes replaced by name."""
    boxes = {
        "stts": counted("stts", [(count, 512)]),
        "stsc": counted("stsc", [(1, count, 1)]),
        "stsz": stsz([10] * count),
        "stco": full("stco", u32(1, 1000)),
    } | replaced
    return table(*boxes.values())


def trak(
    stbl: bytes,
    *,
    handler: str = "vide",
    track: int = 1,
    enabled: bool = True,
    edts: bytes = b"",
    flags: int = 1,
) -> bytes:
    tkhd = full("tkhd", u32(0, 0, track, 0, 0), bytes(16), IDENTITY, u32(0, 0), flags=int(enabled))
    mdhd = full("mdhd", u32(0, 0, 12800, 0), bytes(4))
    hdlr = full("hdlr", u32(0), handler.encode(), bytes(12))
    dinf = box("dinf", full("dref", u32(1), full("url ", flags=flags)))
    return box("trak", tkhd, edts, box("mdia", mdhd, hdlr, box("minf", dinf, stbl)))


def elst(*edits: tuple[int, int, int], version: int = 0) -> bytes:
    """Edits of (duration in movie ticks, media time, rate as 16.16)."""
    rows = b"".join(
        u32(duration, start, rate) if version == 0 else u64(duration, start) + u32(rate)
        for duration, start, rate in edits
    )
    return box("edts", full("elst", u32(len(edits)), rows, version=version))


def moov(*traks: bytes, mvex: bytes = b"") -> bytes:
    mvhd = full("mvhd", u32(0, 0, 1000, 0), bytes(16), IDENTITY, bytes(28))
    return box("moov", mvhd, *traks, mvex)


def trex(track: int, *, duration: int = 0, size: int = 0, flags: int = 0) -> bytes:
    return full("trex", u32(track, 1, duration, size, flags))


def traf(
    track: int, *truns: bytes, tfdt: int | None = None, flags: int = 0x020000, fields: bytes = b""
) -> bytes:
    times = b"" if tfdt is None else full("tfdt", u64(tfdt), version=1)
    return box("traf", full("tfhd", u32(track), fields, flags=flags), times, *truns)


def trun(count: int, *rows: int, flags: int = 0, offset: int | None = None, version: int = 0) -> bytes:
    start = b"" if offset is None else u32(offset)
    return full(
        "trun", u32(count), start, u32(*rows), flags=flags | (0 if offset is None else 1), version=version
    )


def moof(*trafs: bytes) -> bytes:
    return box("moof", full("mfhd", u32(1)), *trafs)
