"""Mutated real files: the right pictures, other pictures that ffmpeg sees too, or one error that names the
file.

Never a hang, another exception, unbounded requests or unbounded memory. Everything but the media data is
mutated.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.errors import BadInput
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.mp4.seek import Search
from video_pipeline.media.mp4.sidecar import dump_index, load_index
from video_pipeline.media.ranges.base import Identity, Purpose, RequestRecord, Traffic

NAMES = (
    *("h264_b", "h264_faststart", "edit_empty", "edit_trim", "hevc", "vfr", "av1"),
    *("h264_fragmented", "h264_fragmented_mfra", "h264_fragmented_sidx", "h264_fragmented_dash"),
    *("h264_fragmented_hybrid", "h264_fragmented_offsets", "h264_fragmented_small", "h264_fragmented_cmaf"),
)
CONTAINERS = (
    b"moov",
    b"trak",
    b"mdia",
    b"minf",
    b"stbl",
    b"edts",
    b"mvex",
    b"moof",
    b"traf",
    b"mfra",
    b"dinf",
)
MOST_REQUESTS = 2500
SECONDS = 4.0
"""Of processor time: what else the machine does says nothing of the index."""
MEMORY = 96 << 20
TIMES = (0, 3000, 9000, 14_000, 26_000, 40_000)


class Bytes:
    """A range source over memory that counts requests, and refuses to go on without an end."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.cache_key = data, name, name
        self.identity: Identity | None = None

    def read(self, start: int, stop: int, *, purpose: Purpose, traffic: Traffic) -> bytes:
        self.identity = Identity(len(self.data), "fuzz")
        part = self.data[max(0, start) : max(0, stop)]
        now = time.perf_counter()
        traffic.add(RequestRecord(start, stop, purpose, len(part), 0, now, now, 1))
        assert len(traffic.requests) < MOST_REQUESTS, "the index is read without an end"
        return part

    def read_tail(self, length: int, *, purpose: Purpose, traffic: Traffic) -> tuple[int, bytes]:
        start = max(0, len(self.data) - length)
        return start, self.read(start, len(self.data), purpose=purpose, traffic=traffic)

    def close(self) -> None: ...


def boxes_of(data: bytes, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, bytes]]:
    """Position, end and type of every box, containers before what they hold."""
    stop = len(data) if stop is None else stop
    at = start
    while at + 8 <= stop:
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size < 8 or at + size > stop:
            return
        yield at, at + size, kind
        if kind in CONTAINERS:
            yield from boxes_of(data, at + 8, at + size)
        at += size


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One to four changes of what is not media data."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        boxes = [part for part in boxes_of(bytes(out)) if part[2] != b"mdat"]
        if not boxes:
            break
        start, stop, _ = chance.choice(boxes)
        kind = chance.randrange(9)
        if kind <= 2:
            place = chance.randrange(start, min(stop, start + 200_000))
            out[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 3:
            place = chance.randrange(start, stop)
            out[place : place + 4] = chance.choice(
                (0, 1, 0xFFFFFFFF, 0x7FFFFFFF, chance.randrange(1 << 32))
            ).to_bytes(4, "big")
        elif kind == 4:
            out[start : start + 4] = chance.choice((0, 1, 4, 8, stop - start + 1, 1 << 31)).to_bytes(4, "big")
        elif kind == 5:
            out[start:stop] = b""
        elif kind == 6:
            out[stop:stop] = out[start:stop]
        elif kind == 7:
            out[start:start] = chance.randbytes(chance.randint(1, 40))
        else:
            del out[chance.randrange(max(1, len(out) // 2), len(out)) :]
    return bytes(out)


def check(name: str, data: bytes, seed: int) -> tuple[int, int]:
    """One mutated file through opening, looking up, keeping and loading; how many looked up and refused."""
    chance = random.Random(f"{name} {seed}")
    broken = mutated(data, chance)
    search: Search | None = chance.choice((None, "walk", "bisect"))
    began, traffic = time.process_time(), Traffic()
    file = f"{name}-{seed}.mp4"
    found = refused = 0
    try:
        index = open_index(Bytes(broken, file), traffic, search=search)
        for moment in TIMES:
            try:
                selection = index.select(moment, traffic)
            except BadInput as error:
                refused += names(error, file)
                continue
            found += 1
            ends = selection.samples.offsets + selection.samples.sizes
            assert (selection.samples.offsets >= 0).all()
            assert ends.max() <= len(broken)
            assert selection.samples.key[0]
        try:
            index.end(traffic)
        except BadInput as error:
            names(error, file)
        load_index(dump_index(index), Bytes(broken, file), name="kept")
    except BadInput as error:
        refused += names(error, file)
    assert time.process_time() - began < SECONDS, f"{file} took too long"
    return found, refused


def names(error: BadInput, file: str) -> int:
    """1 for an error that names the file."""
    assert error.input == file, error
    return 1


def run(media: MediaFactory, name: str, seeds: range) -> None:
    data = media.path(name).read_bytes()
    tracemalloc.start()
    found = refused = 0
    try:
        for seed in seeds:
            try:
                looked_up, named = check(name, data, seed)
            except Exception as error:
                raise AssertionError(f"{name}, seed {seed}: {type(error).__name__}: {error}") from error
            found, refused = found + looked_up, refused + named
        assert tracemalloc.get_traced_memory()[1] < MEMORY + 4 * len(data)
    finally:
        tracemalloc.stop()
    assert found, "every mutation was refused: they are too coarse to try anything"
    assert refused, "no mutation was refused: they change nothing"


@pytest.mark.parametrize("name", NAMES)
def test_a_mutated_file_gives_pictures_or_an_error_that_names_it(name: str, media: MediaFactory) -> None:
    run(media, name, range(30))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_thousands_of_mutated_files_give_pictures_or_an_error_that_names_them(
    name: str, media: MediaFactory
) -> None:
    run(media, name, range(1000, 1300))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["h264_b", "hevc", "h264_fragmented_small", "h264_fragmented_mfra"])
def test_what_comes_out_of_a_mutated_file_is_what_ffmpeg_shows_of_it(
    name: str, media: MediaFactory, tmp_path: Path
) -> None:
    """Where the mutated file and the whole one disagree, an independent decoder of the mutated file
    decides."""
    from tests.media.mp4.framemd5 import md5_of, whole_decode
    from video_pipeline.media.decode_memory import CodedPicture, CodedRun, decode_pictures

    data = media.path(name).read_bytes()
    right = dict(whole_decode(media.path(name)))
    same = judged = 0
    for seed in range(120):
        chance = random.Random(f"{name} shown {seed}")
        broken = mutated(data, chance)
        traffic, source = Traffic(), Bytes(broken, f"{seed}.mp4")
        other: set[str] | None = None
        try:
            index = open_index(source, traffic)
        except BadInput:
            continue
        for moment in TIMES[:4]:
            try:
                selection = index.select(moment, traffic)
                s = selection.samples
                rows = zip(s.offsets, s.sizes, s.pts, s.dts, s.key, strict=True)
                coded = [
                    CodedPicture(broken[int(at) : int(at + size)], int(pts), int(dts), bool(key))
                    for at, size, pts, dts, key in rows
                ]
                run = CodedRun(selection.entry, index.track.time_base, index.track.orientation, coded, "x")
                ((_, picture),) = decode_pictures(run, [selection.media_pts])
            except BadInput:
                continue
            digest = md5_of(picture)
            if right.get(selection.pts * index.track.time_base) == digest or digest in right.values():
                same += 1
                continue
            if other is None:
                (tmp_path / "broken.mp4").write_bytes(broken)
                other = shown_by_ffmpeg(tmp_path / "broken.mp4")
            judged += 1
            assert digest in other, f"seed {seed}: a picture that nobody else sees"
    assert same > 50


def shown_by_ffmpeg(path: Path) -> set[str]:
    """MD5 of every picture that ffmpeg gets out of a file, damaged ones too."""
    from tests.media.mp4.framemd5 import whole_decode

    try:
        return {digest for _, digest in whole_decode(path)}
    except StopIteration:
        return set()
