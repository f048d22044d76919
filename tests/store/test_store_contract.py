"""What every store promises, checked on a directory and on a real S3 server."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import urllib.request
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import InputContainer

from tests.store.conftest import OpenStore
from tests.store.races import count_up, create_each, race
from video_pipeline.errors import BadInput
from video_pipeline.store.base import ObjectMissing, ObjectStore, PreconditionFailed


def test_what_was_put_is_there(store: ObjectStore, prefix: str) -> None:
    put = store.put(f"{prefix}/a.bin", b"content", content_type="application/octet-stream")

    head = store.head(f"{prefix}/a.bin")

    assert store.get(f"{prefix}/a.bin") == b"content"
    assert head is not None
    assert (head.key, head.size, head.version, head.etag) == (put.key, 7, put.version, put.etag)
    assert put.key == f"{prefix}/a.bin"
    assert head.modified.tzinfo is UTC
    assert abs(datetime.now(UTC) - head.modified) < timedelta(seconds=60)


def test_a_file_is_put_as_its_content(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    file = tmp_path / "file.bin"
    file.write_bytes(content)

    info = store.put(f"{prefix}/file.bin", file, sha256=hashlib.sha256(content).hexdigest())

    assert info.size == len(content)
    assert store.get(f"{prefix}/file.bin") == content


def test_a_put_replaces_and_changes_the_version(store: ObjectStore, prefix: str) -> None:
    first = store.put(f"{prefix}/a", b"one")
    second = store.put(f"{prefix}/a", b"two")

    assert store.get(f"{prefix}/a") == b"two"
    assert first.version != second.version
    assert first.etag != second.etag


def test_content_comes_with_the_etag_that_replaces_just_it(store: ObjectStore, prefix: str) -> None:
    store.put(f"{prefix}/a", b"first")
    content, etag = store.get_with_etag(f"{prefix}/a")
    assert content == b"first"
    store.put(f"{prefix}/a", b"second", if_match=etag)
    with pytest.raises(PreconditionFailed):
        store.put(f"{prefix}/a", b"third", if_match=etag)
    with pytest.raises(ObjectMissing):
        store.get_with_etag(f"{prefix}/nothing")


def test_content_and_etag_are_of_one_version_while_others_write(store: ObjectStore, prefix: str) -> None:
    """Each content is the number of its write; the ETag of a head before or after would be another's."""
    etags = {}
    done = threading.Event()

    def write() -> None:
        for number in range(60):
            etags[str(number).encode()] = store.put(f"{prefix}/a", str(number).encode()).etag
        done.set()

    etags[b"first"] = store.put(f"{prefix}/a", b"first").etag
    writer = threading.Thread(target=write)
    writer.start()
    read = []
    while not done.is_set():
        read.append(store.get_with_etag(f"{prefix}/a"))
    writer.join()
    assert all(etags[content] == etag for content, etag in read)


def test_an_empty_object_is_an_object(store: ObjectStore, prefix: str) -> None:
    info = store.put(f"{prefix}/empty", b"")

    assert info.size == 0
    assert store.get(f"{prefix}/empty") == b""
    assert store.get_range(f"{prefix}/empty", 0, 10) == b""
    with store.open_reader(f"{prefix}/empty") as reader:
        assert reader.read(10) == b""


def test_a_missing_object_is_none_or_named(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}/nothing"

    assert store.head(key) is None
    for read in (store.get, store.open_reader, lambda key: store.get_range(key, 0, 1)):
        with pytest.raises(ObjectMissing, match=key):
            read(key)
    with pytest.raises(ObjectMissing):
        store.get_range(key, 0, 0)
    store.delete(key)


def test_a_deleted_object_is_gone(store: ObjectStore, prefix: str) -> None:
    store.put(f"{prefix}/a", b"x")
    store.delete(f"{prefix}/a")
    store.delete(f"{prefix}/a")

    assert store.head(f"{prefix}/a") is None
    assert list(store.list(prefix)) == []


def test_a_stated_sha256_that_is_wrong_writes_nothing(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(b"content")

    for data in (b"content", file):
        with pytest.raises(BadInput, match="SHA-256"):
            store.put(f"{prefix}/a", data, sha256="0" * 64)

    assert store.head(f"{prefix}/a") is None


def test_a_file_that_is_not_there_cannot_be_put(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent\.mp4"):
        store.put(f"{prefix}/a", tmp_path / "absent.mp4")


def test_a_second_create_is_refused(store: ObjectStore, prefix: str) -> None:
    store.put(f"{prefix}/a", b"first", if_none_match=True)

    with pytest.raises(PreconditionFailed, match=f"{prefix}/a"):
        store.put(f"{prefix}/a", b"second", if_none_match=True)

    assert store.get(f"{prefix}/a") == b"first"


def test_a_replacement_needs_the_etag_that_is_there(store: ObjectStore, prefix: str) -> None:
    first = store.put(f"{prefix}/a", b"first")
    second = store.put(f"{prefix}/a", b"second", if_match=first.etag)

    with pytest.raises(PreconditionFailed):
        store.put(f"{prefix}/a", b"third", if_match=first.etag)
    assert store.get(f"{prefix}/a") == b"second"

    store.put(f"{prefix}/a", b"third", if_match=second.etag)
    assert store.get(f"{prefix}/a") == b"third"


def test_a_replacement_of_what_is_gone_is_refused(store: ObjectStore, prefix: str) -> None:
    info = store.put(f"{prefix}/a", b"x")
    store.delete(f"{prefix}/a")

    with pytest.raises(PreconditionFailed):
        store.put(f"{prefix}/a", b"y", if_match=info.etag)
    assert store.head(f"{prefix}/a") is None


def test_conditional_writes_are_found_to_work(store: ObjectStore) -> None:
    assert store.conditional_writes() is True
    assert list(store.list("system/server/probes/")) == []


@pytest.mark.parametrize("rounds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_of_eight_racing_creators_one_wins(
    open_again: OpenStore, store: ObjectStore, prefix: str, rounds: int
) -> None:
    keys = [f"{prefix}/{number}" for number in range(rounds)]

    won = race(8, create_each, open_again, keys)

    for key in keys:
        winners = [index for index in range(8) if key in won[index]]
        assert len(winners) == 1
        assert store.get(key) == f"written by {winners[0]}".encode()


@pytest.mark.parametrize("more", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_four_writers_by_compare_and_swap_lose_no_update(
    open_again: OpenStore, store: ObjectStore, prefix: str, more: int
) -> None:
    # A write to a directory is done 100 times as fast: it takes more of them to meet.
    times = more * (5 if store.local_path("a") is None else 100)
    store.put(f"{prefix}/number", b"0")

    race(4, count_up, open_again, f"{prefix}/number", times)

    assert store.get(f"{prefix}/number") == str(4 * times).encode()


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 1000), (3, 700), (999, 1000), (5, 5)])
def test_a_range_is_a_slice(store: ObjectStore, prefix: str, start: int, stop: int) -> None:
    content = os.urandom(1000)
    info = store.put(f"{prefix}/a", content)

    assert store.get_range(f"{prefix}/a", start, stop) == content[start:stop]
    assert store.get_range(f"{prefix}/a", start, stop, version=info.version) == content[start:stop]


def test_a_range_ends_with_the_object(store: ObjectStore, prefix: str) -> None:
    store.put(f"{prefix}/a", b"0123456789")

    assert store.get_range(f"{prefix}/a", 8, 100) == b"89"
    assert store.get_range(f"{prefix}/a", 10, 11) == b""
    assert store.get_range(f"{prefix}/a", 100, 200) == b""


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 3)])
def test_a_backward_range_is_refused(store: ObjectStore, prefix: str, start: int, stop: int) -> None:
    store.put(f"{prefix}/a", b"0123456789")

    with pytest.raises(ValueError, match="range"):
        store.get_range(f"{prefix}/a", start, stop)


def test_a_range_of_a_replaced_version_is_refused(store: ObjectStore, prefix: str) -> None:
    old = store.put(f"{prefix}/a", b"0123456789")
    store.put(f"{prefix}/a", b"abcdefghij")

    for start, stop in ((0, 3), (2, 2)):
        with pytest.raises(BadInput, match="replaced"):
            store.get_range(f"{prefix}/a", start, stop, version=old.version)
    store.delete(f"{prefix}/a")
    with pytest.raises(BadInput, match="replaced or removed"):
        store.get_range(f"{prefix}/a", 0, 3, version=old.version)


TRICKY_NAMES = ["B", "a-b", "a.b", "a/a", "a/b", "a0", "b/c/d", "b/c-d", "b-", "z", "ä", "日本語/字幕", "😀"]


def test_a_listing_is_in_the_order_of_the_keys_bytes(store: ObjectStore, prefix: str) -> None:
    keys = [f"{prefix}/{name}" for name in TRICKY_NAMES]
    for key in random.Random(1).sample(keys, len(keys)):
        store.put(key, key.encode())
    ordered = sorted(keys, key=str.encode)

    assert [info.key for info in store.list(f"{prefix}/")] == ordered
    assert [info.key for info in store.list(prefix)] == ordered
    assert [info.key for info in store.list(f"{prefix}/a")] == [
        k for k in ordered if k.startswith(f"{prefix}/a")
    ]
    assert [info.key for info in store.list(f"{prefix}/b/c")] == [f"{prefix}/b/c-d", f"{prefix}/b/c/d"]
    assert list(store.list(f"{prefix}/nothing")) == []


def test_a_listing_describes_as_head_does(store: ObjectStore, prefix: str) -> None:
    for number in range(3):
        store.put(f"{prefix}/{number}", bytes(number))

    for info in store.list(prefix):
        head = store.head(info.key)
        assert head is not None
        assert (info.size, info.version, info.etag) == (head.size, head.version, head.etag)


UNCLEAN_KEYS = [
    "", "/", "/etc/passwd", "a//b", "a/", "./a", "a/../b", "../a", "a/..", "a\\b", "a\x00b", "a\nb",
    "a/\u202eb", "\ud800", ".store/locks/1", ".STORE/x", "a" * 1025,
]  # fmt: skip


@pytest.mark.parametrize("key", UNCLEAN_KEYS, ids=repr)
def test_an_unclean_key_is_refused_everywhere(store: ObjectStore, key: str) -> None:
    calls = [
        store.head, store.get, store.delete, store.presign, store.open_reader, store.local_path,
        lambda key: store.put(key, b""), lambda key: store.get_range(key, 0, 1),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(BadInput, match="not a clean object key"):
            call(key)


@pytest.mark.parametrize("unclean", ["../", "/", "a//", "a/../b", ".store/"])
def test_an_unclean_prefix_is_refused(store: ObjectStore, unclean: str) -> None:
    with pytest.raises(BadInput, match="not a clean object key"):
        list(store.list(unclean))


AWKWARD_NAMES = ["with space", "a+b", "100%", "what?", "a#b", "a&b=c", "~tilde", "(1)", "é", "字", ".hidden"]


def test_awkward_names_come_back_as_they_went(store: ObjectStore, prefix: str) -> None:
    for name in AWKWARD_NAMES:
        store.put(f"{prefix}/{name}", name.encode())

    assert {info.key for info in store.list(prefix)} == {f"{prefix}/{name}" for name in AWKWARD_NAMES}
    for name in AWKWARD_NAMES:
        assert store.get(f"{prefix}/{name}") == name.encode()
        with urllib.request.urlopen(store.presign(f"{prefix}/{name}", expires_s=60)) as answer:
            assert answer.read() == name.encode()
        store.delete(f"{prefix}/{name}")
    assert list(store.list(prefix)) == []


def test_a_reader_reads_what_a_file_would(store: ObjectStore, prefix: str) -> None:
    content = os.urandom(5_000_000)
    store.put(f"{prefix}/a", content)
    chance = random.Random(7)

    with store.open_reader(f"{prefix}/a") as reader:
        assert reader.readable()
        assert reader.seekable()
        assert not reader.writable()
        assert reader.seek(0, os.SEEK_END) == len(content) == reader.size
        assert reader.read(1) == b""
        for _ in range(60):
            start, count = chance.randrange(len(content)), chance.choice((1, 100, 32768, 600_000))
            assert reader.seek(start) == start
            assert reader.read(count) == content[start : start + count]
            assert reader.tell() == min(start + count, len(content))
        reader.seek(-10, os.SEEK_END)
        reader.seek(4, os.SEEK_CUR)
        assert reader.read() == content[-6:]
        with pytest.raises(ValueError, match="seek"):
            reader.seek(-1)
        buffer = bytearray(100)
        reader.seek(50)
        assert reader.readinto(buffer) == 100
        assert buffer == content[50:150]
        assert reader.requests > 0
        assert reader.bytes_fetched > 0
    assert reader.closed
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)


def test_a_reader_never_mixes_two_versions(store: ObjectStore, prefix: str) -> None:
    old, new = os.urandom(4_000_000), os.urandom(4_000_000)
    info = store.put(f"{prefix}/a", old)

    with store.open_reader(f"{prefix}/a") as reader:
        assert reader.version == info.version
        assert reader.read(1000) == old[:1000]
        store.put(f"{prefix}/a", new)
        reader.seek(3_500_000)
        if store.local_path(f"{prefix}/a") is None:  # the server has only the new one
            with pytest.raises(BadInput, match="replaced"):
                reader.read()
        else:
            assert reader.read() == old[3_500_000:]


def _write_video(path: Path) -> None:
    """2 s of moving noise-like bars, MPEG-4 in MP4, 25 fps: a real file with its index at the end."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.bit_rate = 8_000_000
        noise = np.random.default_rng(3).integers(0, 255, (240, 370, 3), dtype=np.uint8)
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(noise[:, number : number + 320], format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _pictures(source: Any) -> list[tuple[int | None, str]]:
    with av.open(source) as container:
        assert isinstance(container, InputContainer)
        return [
            (frame.pts, hashlib.sha256(frame.to_ndarray(format="gray").tobytes()).hexdigest())
            for frame in container.decode(video=0)
        ]


def test_pyav_decodes_from_a_reader_what_it_decodes_from_the_file(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    _write_video(tmp_path / "video.mp4")
    store.put(f"{prefix}/video.mp4", tmp_path / "video.mp4")

    with store.open_reader(f"{prefix}/video.mp4") as reader:
        pictures = _pictures(reader)

    assert len(pictures) == 50
    assert pictures == _pictures(str(tmp_path / "video.mp4"))


def test_the_uri_names_the_store(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    key = f"{prefix}/a"
    local = store.local_path(key)

    if local is None:
        assert store.uri == "s3://videos"
    else:
        assert store.uri == str(tmp_path / "store")
        assert local == Path(store.uri) / key
