"""Parts of a clip: the packets that one of several workers made, in a file, exactly as they were.

Belongs here: the layout of such a file, writing and reading it. Does not belong here: making packets
(`h264`), the finished clip (`mp4_write`).

It is our own record file, because no common container keeps PTS and DTS as they are in any time base:
Matroska counts milliseconds, MP4 begins every file at 0, NUT stores no DTS. Layout, big-endian:

    b"VPH264P1", u32 length, JSON {width, height, time_base, frame_rate, extradata}   (fractions "n/d", hex)
    per packet  u8 1 or 3 (3: IDR picture), i64 pts, i64 dts, i64 duration, u32 size, the bytes
    u8 0, u64 count of packets, u32 CRC-32 of everything before these four bytes
"""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Self, cast

from video_pipeline.errors import BadInput, Internal
from video_pipeline.media.h264 import EncodedPacket, VideoFormat

_MAGIC = b"VPH264P1"
_PACKET = struct.Struct(">BqqqI")
_TAIL = struct.Struct(">BQ")
_END, _PICTURE, _KEY = 0, 1, 3
_LARGEST = 1 << 28
"""Bytes of one coded picture or header that a part may state: far above any, far below what would hurt."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one worker made of a clip: whole segments. `packets` reads from the file as it is consumed."""

    extradata: bytes
    packets: Iterator[EncodedPacket]
    format: VideoFormat


class PartWriter:
    """Writes packets, PTS and DTS unchanged, to `path` as they come. A context manager: the file is there
    once `close` was called, and nothing is left after an error."""

    def __init__(self, path: Path, fmt: VideoFormat, extradata: bytes) -> None:
        head = {
            "width": fmt.width,
            "height": fmt.height,
            "time_base": str(fmt.time_base),
            "frame_rate": str(fmt.frame_rate),
            "extradata": extradata.hex(),
        }
        text = json.dumps(head, sort_keys=True).encode()
        self._path, self._partial = path, path.with_name(path.name + ".partial")
        self._count = self._check = 0
        self._file = self._partial.open("wb")
        self._put(_MAGIC + struct.pack(">I", len(text)) + text)

    def write(self, packet: EncodedPacket) -> None:
        kind = _KEY if packet.key else _PICTURE
        self._put(_PACKET.pack(kind, packet.pts, packet.dts, packet.duration, len(packet.data)))
        self._put(packet.data)
        self._count += 1

    def close(self) -> None:
        """End the file and put it in its place. Once."""
        self._put(_TAIL.pack(_END, self._count))
        self._file.write(struct.pack(">I", self._check))
        self._file.close()
        os.replace(self._partial, self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        self._check = zlib.crc32(data, self._check)
        self._file.write(data)


def write_part(path: Path, fmt: VideoFormat, extradata: bytes, packets: Iterable[EncodedPacket]) -> None:
    """Writes all of `packets` to `path`; one is held in memory at a time."""
    with PartWriter(path, fmt, extradata) as writer:
        for packet in packets:
            writer.write(packet)
        writer.close()


def read_part(path: Path | BinaryIO, *, name: str) -> Part:
    """Opens a part. The header is read now, the packets while they are consumed, from front to back.

    A reader that was given is left open. A file that is no part, is cut off, or whose checksum differs:
    `BadInput` that names `name`, at the latest after the last packet.
    """
    if isinstance(path, Path):
        try:
            file: BinaryIO = path.open("rb")
        except FileNotFoundError as error:
            raise BadInput(
                "no such part of a clip", input=name, what_to_do="render the clip again."
            ) from error
        owned = True
    else:
        # A raw reader may be a store's, where every small read could be a request.
        file = cast(BinaryIO, io.BufferedReader(path, 1 << 20) if isinstance(path, io.RawIOBase) else path)
        owned = False
    reader = _PartReader(file, name)
    try:
        extradata, fmt = reader.head()
    except BaseException:
        if owned:
            file.close()
        raise
    return Part(extradata, _packets(reader, file, owned), fmt)


def _packets(reader: _PartReader, file: BinaryIO, owned: bool) -> Iterator[EncodedPacket]:
    try:
        yield from reader.packets()
    finally:
        if owned:
            file.close()


class _PartReader:
    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name, self._check = file, name, 0

    def head(self) -> tuple[bytes, VideoFormat]:
        if self._take(len(_MAGIC)) != _MAGIC:
            raise self._bad("it does not begin like a part of a clip")
        text = self._take(self._size(*struct.unpack(">I", self._take(4))))
        try:
            head = json.loads(text)
            times = Fraction(head["time_base"]), Fraction(head["frame_rate"])
            fmt = VideoFormat(int(head["width"]), int(head["height"]), *times)
            return bytes.fromhex(head["extradata"]), fmt
        except (ValueError, KeyError, TypeError, ZeroDivisionError, Internal) as error:
            raise self._bad("its header is damaged") from error

    def packets(self) -> Iterator[EncodedPacket]:
        count = 0
        while (kind := self._take(1)[0]) != _END:
            if kind not in (_PICTURE, _KEY):
                raise self._bad(f"packet {count} is of unknown kind {kind}")
            _, pts, dts, duration, size = _PACKET.unpack(bytes([kind]) + self._take(_PACKET.size - 1))
            yield EncodedPacket(self._take(self._size(size)), pts, dts, duration, kind == _KEY)
            count += 1
        (stated,) = struct.unpack(">Q", self._take(8))
        check = self._check
        if stated != count or self._take(4) != struct.pack(">I", check) or self._file.read(1):
            raise self._bad("its checksum or its end does not fit what it holds")

    def _size(self, size: int) -> int:
        if size > _LARGEST:
            raise self._bad(f"it states a size of {size} bytes")
        return size

    def _take(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            more = self._file.read(count - len(data))
            if not more:
                raise self._bad("it is cut off")
            data += more
        self._check = zlib.crc32(data, self._check)
        return bytes(data)

    def _bad(self, why: str) -> BadInput:
        return BadInput(
            f"the part of a clip is damaged: {why}", input=self._name, what_to_do="render it again."
        )
