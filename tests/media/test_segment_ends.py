"""Where pieces of a fragmented file end by its `sidx`, against the boxes of real files and built ones."""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import cast

import av
import pytest

from tests.fixtures.media_factory import ffmpeg
from video_pipeline.media.mp4.boxes import parse_header
from video_pipeline.media.segment_ends import SegmentEnds, segment_ends

HEAD = 64 << 10


def ends_of(data: bytes, head: int = HEAD, asked: list[tuple[int, int]] | None = None) -> SegmentEnds | None:
    def read(start: int, stop: int) -> bytes:
        if asked is not None:
            asked.append((start, stop))
        return data[start:stop]

    return segment_ends(read, data[:head], len(data))


def top_level(data: bytes) -> list[tuple[str, int, int]]:
    boxes, at = [], 0
    while at < len(data):
        box = parse_header(data, at, at)
        assert box.stop is not None
        boxes.append((box.kind, at, box.stop))
        at = box.stop
    return boxes


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 s in pieces of 1 s, with sound, and with an index of each track in front."""
    path = tmp_path_factory.mktemp("sidx") / "film.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=10"]
    sound = ["-f", "lavfi", "-i", "sine=duration=10", "-c:a", "aac"]
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-threads", "1"]
    flags = ["-movflags", "+frag_keyframe+dash+global_sidx"]
    ffmpeg([*picture, *sound, *encoder, *flags, str(path)])
    return path


def test_each_moment_lies_in_the_piece_that_holds_its_pictures(film: Path) -> None:
    data = film.read_bytes()
    found = ends_of(data)
    assert found is not None
    assert len(found.begins) == len(found.stops) == 10
    with av.open(str(film)) as container:
        video = container.streams.video[0]
        tick = Fraction(video.time_base or 1)
        packets = [packet for packet in container.demux(video) if packet.pts is not None]
        seen = [(cast(int, one.pts) * tick, cast(int, one.pos) + one.size) for one in packets]
    assert len(seen) == 250
    for seconds, last in seen:
        assert last <= found.behind(seconds)
    mdats = [stop for kind, _, stop in top_level(data) if kind == "mdat"]
    assert set(found.stops) <= set(mdats)
    assert found.behind(Fraction(-1)) == found.stops[0]
    assert found.behind(Fraction(5, 2)) == found.stops[2]
    assert found.behind(Fraction(7, 2)) == found.stops[3]
    assert found.behind(Fraction(99)) == found.stops[-1]


def test_an_index_longer_than_the_head_is_read_to_its_end(film: Path) -> None:
    data = film.read_bytes()
    _, start, stop = next(box for box in top_level(data) if box[0] == "sidx")
    asked: list[tuple[int, int]] = []
    assert ends_of(data, start + 20, asked) == ends_of(data)
    assert asked == [(start + 20, stop)]


def sidx(rows: list[tuple[int, int]], *, scale: int = 10, wide: bool = False, first: int = 0) -> bytes:
    """A segment index of track 1 whose pieces have (size and kind, duration)."""
    form = ">QQ" if wide else ">II"
    body = struct.pack(">III", wide << 24, 1, scale) + struct.pack(form, 20, first)
    body += struct.pack(">HH", 0, len(rows)) + b"".join(struct.pack(">III", *row, 0) for row in rows)
    return struct.pack(">I4s", len(body) + 8, b"sidx") + body


MOOV = struct.pack(">I4s", 8, b"moov")


@pytest.mark.parametrize("wide", [False, True])
def test_sizes_and_durations_add_up_from_the_end_of_the_index(wide: bool) -> None:
    index = sidx([(100, 5), (300, 10)], wide=wide, first=7)
    data = MOOV + index + bytes(500)
    found = ends_of(data)
    after = len(MOOV + index) + 7
    assert found == SegmentEnds((Fraction(2), Fraction(5, 2)), (after + 100, after + 400))


@pytest.mark.parametrize(
    "data",
    [
        MOOV + sidx([(100, 5), (1 << 31 | 100, 5)]),
        MOOV + sidx([]),
        MOOV + sidx([(100, 5)], scale=0),
        MOOV + sidx([(100, 5)])[:-4],
        MOOV + b"\0\0\0\4free" + sidx([(100, 5)]),
        MOOV + struct.pack(">I4s", 8, b"moof") + sidx([(100, 5)]),
        MOOV + struct.pack(">I4s", 0, b"mdat") + sidx([(100, 5)]),
        MOOV,
        b"",
    ],
    ids=["deeper", "empty", "no scale", "cut off", "damaged", "late", "media first", "none", "nothing"],
)
def test_what_is_no_index_of_pieces_gives_none(data: bytes) -> None:
    assert ends_of(data) is None


def test_boxes_between_the_movie_and_the_index_are_passed() -> None:
    free = struct.pack(">I4s", 20, b"free") + bytes(12)
    found = ends_of(MOOV + free + sidx([(100, 5)]) + bytes(100))
    assert found is not None
    assert [later - earlier for earlier, later in pairwise((0, *found.stops))] == [
        len(MOOV + free) + 44 + 100
    ]
