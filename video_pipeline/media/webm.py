"""A strict reader of small WebM files with one video track: what stands in the file, byte for byte.

Belongs here: EBML elements (RFC 8794) and the Matroska elements (RFC 9559) that our own chunks use. Stricter
than a player or libavformat: an element that runs past its parent, or bytes left over, is an error, because
this reader exists to prove that a chunk is whole. Does not belong here: codecs (`vp9_bitstream`), reading
other people's files (`probe`, `decode`), writing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_EBML = 0x1A45DFA3
_DOC_TYPE = 0x4282
_SEGMENT = 0x18538067
_INFO = 0x1549A966
_TIMESTAMP_SCALE = 0x2AD7B1
_DURATION = 0x4489
_TRACKS = 0x1654AE6B
_TRACK_ENTRY = 0xAE
_TRACK_NUMBER = 0xD7
_CODEC_ID = 0x86
_VIDEO = 0xE0
_PIXEL_WIDTH = 0xB0
_PIXEL_HEIGHT = 0xBA
_CLUSTER = 0x1F43B675
_CLUSTER_TIMESTAMP = 0xE7
_SIMPLE_BLOCK = 0xA3
_SKIPPED_IN_SEGMENT = {
    0x114D9B74: "SeekHead",
    0xEC: "Void",
    0x1254C367: "Tags",
    0x1C53BB6B: "Cues",
}
_KEYFRAME_FLAG = 0x80
_LACING_FLAGS = 0x06


class NotOurWebm(ValueError):
    """The bytes are not one whole WebM file of the shape that our muxer writes; says where and why."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its presentation time in ms, whether it says it is a key frame, and the codec's bytes."""

    timestamp_ms: int
    keyframe: bool
    payload: memoryview


@dataclass(frozen=True, slots=True)
class WebmVideo:
    """The one video track of a file. Sizes in pixels, duration in ms, blocks in file order."""

    codec_id: str
    width: int
    height: int
    duration_ms: float
    blocks: tuple[Block, ...]


def parse_webm(data: bytes) -> WebmVideo:
    """Reads a whole file with one track, unlaced SimpleBlocks and a millisecond time base.

    Payloads are views into `data`, nothing is copied: about 0.2 ms for a chunk of 32 pictures. Raises
    `NotOurWebm` for truncation, left-over bytes, several tracks or any structure our chunks do not have.
    """
    top = list(_elements(memoryview(data), "file"))
    if [identifier for identifier, _ in top] != [_EBML, _SEGMENT]:
        raise NotOurWebm("the file is not one EBML header and one segment")
    if bytes(_only(top[0][1], _DOC_TYPE, "EBML header")) != b"webm":
        raise NotOurWebm("the document type is not 'webm'")
    info = track = None
    blocks: list[Block] = []
    for identifier, body in _elements(top[1][1], "segment"):
        if identifier == _INFO and info is None:
            info = body
        elif identifier == _TRACKS and track is None:
            track = _only(body, _TRACK_ENTRY, "tracks")
        elif identifier == _CLUSTER:
            blocks.extend(_cluster(body))
        elif identifier not in _SKIPPED_IN_SEGMENT:
            raise NotOurWebm(f"the segment holds an unexpected or repeated element 0x{identifier:X}")
    if info is None or track is None:
        raise NotOurWebm("the segment has no info or no tracks")
    if _unsigned(_only(info, _TIMESTAMP_SCALE, "info")) != 1_000_000:
        raise NotOurWebm("the time base is not one millisecond")
    if _unsigned(_only(track, _TRACK_NUMBER, "track")) != 1:
        raise NotOurWebm("the track's number is not 1")
    video = _only(track, _VIDEO, "track")
    return WebmVideo(
        codec_id=bytes(_only(track, _CODEC_ID, "track")).decode("ascii", "replace"),
        width=_unsigned(_only(video, _PIXEL_WIDTH, "video")),
        height=_unsigned(_only(video, _PIXEL_HEIGHT, "video")),
        duration_ms=_float(_only(info, _DURATION, "info")),
        blocks=tuple(blocks),
    )


def _cluster(body: memoryview) -> Iterator[Block]:
    """The blocks of one cluster (RFC 9559, sections 10.1 and 10.2: block header of 4 bytes for track 1)."""
    start = None
    for identifier, value in _elements(body, "cluster"):
        if identifier == _CLUSTER_TIMESTAMP and start is None:
            start = _unsigned(value)
        elif identifier == _SIMPLE_BLOCK and start is not None:
            if len(value) < 4 or value[0] != 0x81:
                raise NotOurWebm("a block does not belong to track 1")
            relative, flags = struct.unpack(">hB", value[1:4])
            if flags & _LACING_FLAGS:
                raise NotOurWebm("a block is laced")
            yield Block(start + relative, bool(flags & _KEYFRAME_FLAG), value[4:])
        else:
            raise NotOurWebm(f"a cluster holds an unexpected element 0x{identifier:X}")


def _elements(data: memoryview, parent: str) -> Iterator[tuple[int, memoryview]]:
    """The child elements of `data` as (identifier with its marker bits, body); RFC 8794, sections 4 to 6."""
    position, end = 0, len(data)
    while position < end:
        identifier, position = _variable_integer(data, position, 4, parent, keep_marker=True)
        size, position = _variable_integer(data, position, 8, parent, keep_marker=False)
        if position + size > end:
            missing = position + size - end
            raise NotOurWebm(f"an element 0x{identifier:X} of the {parent} lacks its last {missing} bytes")
        yield identifier, data[position : position + size]
        position += size


def _variable_integer(
    data: memoryview, position: int, longest: int, parent: str, *, keep_marker: bool
) -> tuple[int, int]:
    """A variable-size integer (RFC 8794, section 4) and the position after it."""
    first = data[position] if position < len(data) else 0
    length = 9 - first.bit_length()
    if length > longest or position + length > len(data):
        raise NotOurWebm(f"the {parent} ends or breaks in an element's header")
    value = int.from_bytes(data[position : position + length], "big")
    return (value if keep_marker else value & ((1 << 7 * length) - 1)), position + length


def _only(data: memoryview, wanted: int, parent: str) -> memoryview:
    found = [body for identifier, body in _elements(data, parent) if identifier == wanted]
    if len(found) != 1:
        raise NotOurWebm(f"the {parent} has {len(found)} elements 0x{wanted:X} where one is expected")
    return found[0]


def _unsigned(body: memoryview) -> int:
    return int.from_bytes(body, "big")


def _float(body: memoryview) -> float:
    if len(body) not in (4, 8):
        raise NotOurWebm(f"a floating-point element has {len(body)} bytes")
    return struct.unpack(">d" if len(body) == 8 else ">f", body)[0]
