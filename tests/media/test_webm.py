"""The strict reader and files built element by element: one is right, every other is wrong in one thing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from video_pipeline.media.webm import NotOurWebm, parse_webm


def element(identifier: int, *bodies: bytes) -> bytes:
    """An EBML element with an eight-byte size (RFC 8794, section 6)."""
    body = b"".join(bodies)
    return (
        identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")
        + (1 << 56 | len(body)).to_bytes(8, "big")
        + body
    )


def number(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def block(at: int, payload: bytes = b"picture", *, track: int = 0x81, flags: int = 0) -> bytes:
    return element(0xA3, struct.pack(">BhB", track, at, flags), payload)


def header(doc_type: bytes = b"webm") -> bytes:
    return element(0x1A45DFA3, element(0x4282, doc_type))


def info(*, scale: int = 1_000_000, duration: bytes = struct.pack(">d", 300.0), more: bytes = b"") -> bytes:
    return element(0x1549A966, element(0x2AD7B1, number(scale)), element(0x4489, duration), more)


def track(*, number_: int = 1, width: bytes = element(0xB0, number(576)), more: bytes = b"") -> bytes:
    video = element(0xE0, width, element(0xBA, number(72)))
    return element(0xAE, element(0xD7, number(number_)), element(0x86, b"V_VP9"), video, more)


def cluster(*parts: bytes, at: int | None = 0) -> bytes:
    return element(0x1F43B675, b"" if at is None else element(0xE7, number(at)), *parts)


def file(**changes: Any) -> bytes:
    """A header and one segment; `changes` replace its parts."""
    parts: dict[str, bytes] = {
        "info": info(),
        "tracks": element(0x1654AE6B, track()),
        "first": cluster(block(0, flags=0x80), block(100)),
        "second": cluster(block(-50), at=250),
        "end": b"",
    }
    parts |= {name: value for name, value in changes.items() if name != "header"}
    return changes.get("header", header()) + element(0x18538067, *parts.values())


def test_a_whole_file_is_read_with_everything_in_its_place() -> None:
    video = parse_webm(file())
    assert (video.codec_id, video.width, video.height, video.duration_ms) == ("V_VP9", 576, 72, 300.0)
    assert [(each.timestamp_ms, each.keyframe, bytes(each.payload)) for each in video.blocks] == [
        (0, True, b"picture"),
        (100, False, b"picture"),
        (200, False, b"picture"),
    ]


@pytest.mark.parametrize("identifier", [0x114D9B74, 0xEC, 0x1254C367, 0x1C53BB6B])
def test_indexes_tags_and_room_are_passed_over_wherever_they_stand(identifier: int) -> None:
    extra = element(identifier, b"anything")
    assert parse_webm(file(end=extra)) == parse_webm(file(info=extra + info())) == parse_webm(file())


def test_a_duration_may_be_of_either_precision() -> None:
    assert parse_webm(file(info=info(duration=struct.pack(">f", 2.5)))).duration_ms == 2.5


WRONG: list[tuple[str, Callable[[], bytes], str]] = [
    ("another document", lambda: file(header=header(b"matroska")), "not 'webm'"),
    ("no header", lambda: file(header=b""), "one EBML header and one segment"),
    ("two headers", lambda: file(header=header() * 2), "one EBML header and one segment"),
    ("two segments", lambda: file() + element(0x18538067, info()), "one EBML header and one segment"),
    ("two document types", lambda: file(header=element(0x1A45DFA3, element(0x4282, b"webm") * 2)),
     "has 2 elements 0x4282"),
    ("no info", lambda: file(info=b""), "no info or no tracks"),
    ("no tracks", lambda: file(tracks=b""), "no info or no tracks"),
    ("two infos", lambda: file(end=info()), "unexpected or repeated element 0x1549A966"),
    ("two lists of tracks", lambda: file(end=element(0x1654AE6B, track())), "repeated element 0x1654AE6B"),
    ("two tracks", lambda: file(tracks=element(0x1654AE6B, track(), track(number_=2))), "2 elements 0xAE"),
    ("a track of another number", lambda: file(tracks=element(0x1654AE6B, track(number_=2))), "not 1"),
    ("two codecs", lambda: file(tracks=element(0x1654AE6B, track(more=element(0x86, b"V_VP8")))),
     "has 2 elements 0x86"),
    ("no width", lambda: file(tracks=element(0x1654AE6B, track(width=b""))), "has 0 elements 0xB0"),
    ("microseconds", lambda: file(info=info(scale=1000)), "not one millisecond"),
    ("two time bases", lambda: file(info=info(more=element(0x2AD7B1, number(1_000_000)))),
     "has 2 elements 0x2AD7B1"),
    ("two durations", lambda: file(info=info(more=element(0x4489, struct.pack(">d", 1.0)))),
     "has 2 elements 0x4489"),
    ("half a duration", lambda: file(info=info(duration=b"\0\0\0")), "has 3 bytes"),
    ("a laced block", lambda: file(second=cluster(block(0, flags=0x02))), "laced"),
    ("a block laced in another way", lambda: file(second=cluster(block(0, flags=0x84))), "laced"),
    ("a block of another track", lambda: file(second=cluster(block(0, track=0x82))), "belong to track 1"),
    ("a block without a header", lambda: file(second=cluster(element(0xA3, b"\x81\0\0"))), "to track 1"),
    ("a block before its time", lambda: file(second=cluster(block(0), at=None)), "unexpected element 0xA3"),
    ("two times", lambda: file(second=cluster(element(0xE7, number(1)))), "unexpected element 0xE7"),
    ("a group of blocks", lambda: file(second=cluster(element(0xA0, block(0)))), "unexpected element 0xA0"),
    ("chapters", lambda: file(end=element(0x1043A770, b"")), "unexpected or repeated element 0x1043A770"),
    ("an element that runs past its parent", lambda: file(end=b"\xec\x85four"), "lacks its last 1 bytes"),
    ("an identifier of five bytes", lambda: file(end=b"\x08\0\0\0\0\x80"), "breaks in an element's header"),
    ("a size of nine bytes", lambda: file(end=b"\xec\x00" + bytes(9)), "breaks in an element's header"),
    ("bytes left over", lambda: file() + b"\0", "breaks in an element's header"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "says"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_anything_else_is_refused_for_what_it_is(build: Callable[[], bytes], says: str) -> None:
    with pytest.raises(NotOurWebm, match=says):
        parse_webm(build())


def test_every_truncation_is_refused() -> None:
    whole = file()
    for length in range(len(whole)):
        with pytest.raises(NotOurWebm):
            parse_webm(whole[:length])


def test_payloads_are_views_and_no_copies() -> None:
    whole = file()
    payload = parse_webm(whole).blocks[0].payload
    assert payload.obj is whole
