"""Headers at hand against the file itself: the same bytes and pictures, in fewer bytes read."""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import BinaryIO, cast

import numpy as np
import pytest

from tests.fixtures.media_factory import VARIANTS, MediaFactory, usual_ones_fast
from tests.media.mp4.boxes_made import box, full, u32
from video_pipeline.errors import BadInput, Transient
from video_pipeline.media.clip_source import ClipSource
from video_pipeline.media.mp4 import header_walk, headers_at_hand
from video_pipeline.media.mp4.headers_at_hand import HEAD_BYTES, FragmentHeaders, fetch_headers
from video_pipeline.media.stream_copy import copy_range

FRAGMENTED = [name for name in VARIANTS if "fragmented" in name and "truncated" not in name]
MOOV = box("moov", box("mvex", full("trex", u32(1, 1, 0, 0, 0))))


def fetched(data: bytes, read: Callable[[int, int], bytes] | None = None) -> FragmentHeaders:
    return fetch_headers(read or (lambda start, stop: data[start:stop]), data[:HEAD_BYTES], len(data))


def view(data: bytes) -> BinaryIO:
    return cast(BinaryIO, fetched(data).over(io.BytesIO(data)))


def fragments(count: int, media: int, *, between: bytes = b"") -> bytes:
    """A fragmented file as far as its top level goes: `count` fragments with `media` bytes of media data."""
    chance = random.Random(5)
    parts = [box("ftyp", b"isom"), MOOV]
    for number in range(count):
        header = box("moof", full("mfhd", u32(number + 1)), bytes(800))
        parts += [between, header, box("mdat", chance.randbytes(media))]
    return b"".join(parts)


def places(data: bytes, kind: bytes = b"moof\0\0\0\x10mfhd") -> list[int]:
    found, at = [], data.find(kind)
    while at >= 0:
        found.append(at - 4)
        at = data.find(kind, at + 1)
    return found


@pytest.fixture(params=[256, header_walk.JUMPED], ids=["media jumped", "media kept"])
def jumped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of these tests are small: each way of treating their media data."""
    monkeypatch.setattr(header_walk, "JUMPED", request.param)


@pytest.mark.usefixtures("jumped")
@pytest.mark.parametrize(
    "variant",
    [*FRAGMENTED, "truncated_fragmented_50", "truncated_fragmented_95", "h264_b", "h264_faststart", "text"],
)
def test_the_view_gives_the_files_own_bytes_at_every_place(media: MediaFactory, variant: str) -> None:
    data = media.path(variant).read_bytes()
    reader, chance = view(data), random.Random(3)
    for _ in range(400):
        at, length = chance.randrange(len(data) + 40), chance.choice([1, 8, 16, 700, 32768])
        assert reader.seek(at) == at
        got = reader.read(length)
        assert got == data[at : at + len(got)]
        assert len(got) <= length
        assert got or at >= len(data)
        assert reader.tell() == at + len(got)
    assert reader.seek(-9, io.SEEK_END) == len(data) - 9
    assert reader.seek(-7, io.SEEK_CUR) == len(data) - 16
    assert reader.read(-1) == data[-16:]


def assert_same_clips(a: ClipSource, b: ClipSource) -> None:
    for field in ("start", "stop", "frame_rate", "time_base", "probe", "notes", "width", "height"):
        assert getattr(a, field) == getattr(b, field), field
    length = a.stop - a.start
    for first, last in ((0, 1), (0, Fraction(1, 3)), (Fraction(3, 7), Fraction(1, 2)), (Fraction(9, 10), 1)):
        part = (a.start + length * first, a.start + length * last)
        assert a.count(*part) == b.count(*part)
        for one, other in zip(a.pictures(*part), b.pictures(*part), strict=True):
            assert (one.pts, one.stop) == (other.pts, other.stop)
            assert all(np.array_equal(getattr(one.frame, p), getattr(other.frame, p)) for p in "yuv")


@pytest.mark.usefixtures("jumped")
@pytest.mark.parametrize("variant", usual_ones_fast(FRAGMENTED))
def test_pictures_times_and_facts_of_a_clip_are_the_same(media: MediaFactory, variant: str) -> None:
    path = media.path(variant)
    with (
        ClipSource(path, name="it") as plain,
        ClipSource(view(path.read_bytes()), name="it") as viewed,
    ):
        assert_same_clips(plain, viewed)


@pytest.mark.usefixtures("jumped")
@pytest.mark.parametrize("variant", ["h264_fragmented", "h264_fragmented_small", "hevc_fragmented"])
def test_a_copied_part_is_the_same_file(media: MediaFactory, variant: str, tmp_path) -> None:
    path = media.path(variant)
    span = (Fraction(1), Fraction(2))
    plain = copy_range(path, *span, tmp_path / "plain.mp4", name="it")
    viewed = copy_range(view(path.read_bytes()), *span, tmp_path / "viewed.mp4", name="it")
    assert plain == viewed
    assert (tmp_path / "plain.mp4").read_bytes() == (tmp_path / "viewed.mp4").read_bytes()


def damaged(data: bytes) -> bytes:
    """The size of the second fragment's media data is nonsense."""
    place = places(data)[1]
    media = data.index(b"mdat", place) - 4
    return data[:media] + b"\0\0\0\3" + data[media + 4 :]


@pytest.mark.usefixtures("jumped")
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[: places(data)[1] + 40],
        lambda data: data[: places(data)[1] + 5],
        damaged,
    ],
    ids=["half", "a byte short", "cut in a header", "cut in a size", "a size that cannot be"],
)
def test_damage_is_told_in_the_same_words(media: MediaFactory, change: Callable[[bytes], bytes]) -> None:
    data = change(media.path("h264_fragmented").read_bytes())
    said: list[str] = []
    for source in (io.BytesIO(data), view(data)):
        try:
            with ClipSource(source, name="it") as clip:
                said.append(f"{len(list(clip.pictures()))} pictures to {clip.stop}")
        except BadInput as error:
            said.append(str(error))
    assert said[0] == said[1]


def test_all_headers_are_at_hand_for_a_request_and_two_kilobytes_each() -> None:
    data = fragments(90, 100_000, between=box("styp", b"msdh") + box("emsg", bytes(60)))
    headers = fetched(data)
    assert headers.fragments == 90
    assert headers.requests <= 91
    assert headers.bytes_read < 90 * 2000
    for place in places(data):
        at_hand = headers.at(place - 80)
        assert at_hand is not None
        assert len(at_hand) > 80 + 832
    assert headers.note == f"90 fragments' headers in {headers.bytes_read} bytes, {headers.requests} requests"


@pytest.mark.parametrize("planted", [False, True], ids=["", "with a false header in the media data"])
def test_over_a_slow_connection_they_are_fetched_side_by_side(planted: bool) -> None:
    made = bytearray(fragments(400, 100_000))
    if planted:
        false = b"\0\0\1\0moof\0\0\0\x10mfhd"
        for place in places(bytes(made))[40::3]:
            made[place + 50_000 : place + 50_000 + len(false)] = false
    data = bytes(made)
    under_way, most, lock = 0, 0, threading.Lock()

    def read(start: int, stop: int) -> bytes:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.004)
        with lock:
            under_way -= 1
        return data[start:stop]

    headers = fetched(data, read)
    assert 4 < most <= header_walk.AT_ONCE
    assert headers.bytes_read < 0.05 * len(data)
    reader = cast(BinaryIO, headers.over(io.BytesIO(data)))
    for place in places(data, b"mfhd\0\0\0\0"):
        reader.seek(place)
        assert reader.read(40) == data[place : place + 40]
    if not planted:
        assert all(headers.at(place) is not None for place in places(data))


def test_a_header_longer_than_those_before_it_is_fetched_whole() -> None:
    long = box("moof", full("mfhd", u32(1)), bytes(150_000))
    data = fragments(20, 100_000) + long + box("mdat", bytes(90_000)) + box("mfra", bytes(70_000))
    at_hand = fetched(data).at(data.index(long))
    assert at_hand is not None
    assert bytes(at_hand[: len(long)]) == long
    assert len(at_hand) <= len(long) + 16


@pytest.mark.parametrize(
    ("variant", "note"),
    [
        ("h264_b", "it has no movie box in front"),
        ("h264_faststart", "it is not fragmented"),
        ("h264_fragmented_sidx", "it has an index of its fragments (sidx)"),
        ("av1_fragmented", "it has an index of its fragments (sidx)"),
        ("text", "it has no movie box in front"),
        ("empty_file", "it has no movie box in front"),
    ],
)
def test_why_nothing_is_fetched_is_said(media: MediaFactory, variant: str, note: str) -> None:
    data = media.path(variant).read_bytes()
    headers = fetched(data)
    inner = io.BytesIO(data)
    assert headers.over(inner) is inner
    assert headers.note == note


def test_small_fragments_are_left_to_the_reader() -> None:
    data = fragments(300, 1000)
    headers = fetched(data)
    assert headers.fragments == headers_at_hand.FIRST_LOOK
    assert "its fragments are small" in headers.note
    assert headers.bytes_read < 0.2 * len(data)


def test_an_index_of_the_first_fragments_only_is_no_index_of_the_file(media: MediaFactory) -> None:
    data = bytearray(media.path("h264_fragmented_sidx").read_bytes())
    for place in places(bytes(data), b"sidx\x01\0\0\0"):
        at = place + 4 + 34  # reference_count of version 1, ISO/IEC 14496-12, 8.16.3.2
        count = int.from_bytes(data[at : at + 2], "big")
        data[at : at + 2] = (count - 1).to_bytes(2, "big")
    assert fetched(bytes(data)).fragments == len(places(bytes(data))) == count


def test_errors_of_the_connection_pass() -> None:
    data = fragments(400, 100_000)

    def read(start: int, stop: int) -> bytes:
        if start > len(data) // 2:
            raise Transient("the store does not answer")
        time.sleep(0.004)
        return data[start:stop]

    with pytest.raises(Transient):
        fetched(data, read)


def test_what_is_kept_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_walk, "MAX_KEPT", 40_000)
    headers = fetched(fragments(90, 100_000))
    assert 16 < headers.fragments < 60
