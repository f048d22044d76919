"""What every source of ranges must do, over all of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.media.ranges.conftest import CONTENT, NAME
from tests.servers.ranges import RangeServer
from tests.servers.seaweedfs import SeaweedFS
from tests.store.conftest import s3_store
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.media.ranges.base import RangeSource, Traffic
from video_pipeline.media.ranges.file import FileSource
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.media.ranges.http_pool import HttpPool
from video_pipeline.media.ranges.store import StoreSource
from video_pipeline.store.base import ObjectStore
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.streaming.cancel import CancellationToken

SIZE = len(CONTENT)


class Kind:
    """One kind of source: opens files of the test by name, and replaces one."""

    def __init__(self, kind: str, request: pytest.FixtureRequest) -> None:
        self.kind = kind
        self.directory: Path = request.getfixturevalue("directory")
        self.store: ObjectStore | None = None
        if kind == "http":
            self.server: RangeServer = request.getfixturevalue("server")
            self.pool: HttpPool = request.getfixturevalue("pool")
        elif kind == "directory store":
            self.store = DirectoryStore(self.directory)
        elif kind == "s3 store":
            running: SeaweedFS = request.getfixturevalue("seaweedfs")
            self.store = s3_store(running)
            for name in (NAME, "empty.mp4"):
                self.store.put(name, self.directory / name)

    def open(self, name: str = NAME, cancel: CancellationToken | None = None) -> RangeSource:
        if self.kind == "http":
            return HttpSource(self.server.url(name), pool=self.pool, cancel=cancel, first_wait_s=0.01)
        if self.store is not None:
            return StoreSource(self.store, name, cancel=cancel)
        return FileSource(self.directory / name, cancel=cancel)

    def replace(self, content: bytes) -> None:
        if self.store is not None:
            self.store.put(NAME, content)
        else:
            (self.directory / NAME).write_bytes(content)


@pytest.fixture(params=["http", "directory store", "s3 store", "file"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param, request)


@pytest.fixture
def source(kind: Kind) -> Iterator[RangeSource]:
    opened = kind.open()
    yield opened
    opened.close()


def read(source: RangeSource, start: int, stop: int, traffic: Traffic | None = None) -> bytes:
    return source.read(start, stop, purpose="media", traffic=traffic or Traffic())


def test_a_range_holds_exactly_its_bytes(source: RangeSource) -> None:
    for start, stop in [(0, 1), (0, SIZE), (7, 65_543), (SIZE - 1, SIZE), (123_456, 123_457)]:
        assert read(source, start, stop) == CONTENT[start:stop]


def test_a_range_is_cut_at_the_end_of_the_file(source: RangeSource) -> None:
    assert read(source, SIZE - 10, SIZE + 10) == CONTENT[-10:]
    assert read(source, SIZE, SIZE + 10) == b""
    assert read(source, SIZE + 5, SIZE + 10) == b""


def test_a_first_range_behind_the_end_is_empty_and_tells_the_identity(source: RangeSource) -> None:
    assert read(source, SIZE + 5, SIZE + 10) == b""
    assert source.identity is not None
    assert source.identity.size == SIZE
    assert source.identity.tag is not None


def test_an_empty_range_is_empty_and_a_backward_one_is_an_error(source: RangeSource) -> None:
    assert read(source, 5, 5) == b""
    assert read(source, SIZE + 5, SIZE + 5) == b""
    for start, stop in [(5, 4), (-1, 4)]:
        with pytest.raises(ValueError, match="not a range"):
            read(source, start, stop)
    with pytest.raises(ValueError, match="not a number of bytes"):
        source.read_tail(-1, purpose="index", traffic=Traffic())


def test_the_tail_comes_with_its_position(kind: Kind) -> None:
    for length in (1, 1000, SIZE - 1, SIZE, SIZE + 1, 10 * SIZE):
        source = kind.open()
        start = max(0, SIZE - length)
        assert source.read_tail(length, purpose="index", traffic=Traffic()) == (start, CONTENT[start:])
        assert source.read_tail(length, purpose="index", traffic=Traffic()) == (start, CONTENT[start:])
        source.close()


def test_a_tail_of_no_bytes_is_at_the_end(source: RangeSource) -> None:
    assert source.read_tail(0, purpose="index", traffic=Traffic()) == (SIZE, b"")


def test_an_empty_file_has_empty_ranges_and_an_empty_tail(kind: Kind) -> None:
    source = kind.open("empty.mp4")
    assert source.read_tail(100, purpose="index", traffic=Traffic()) == (0, b"")
    assert read(source, 0, 100) == b""
    assert source.identity is not None
    assert source.identity.size == 0
    source.close()
    first = kind.open("empty.mp4")
    assert read(first, 0, 100) == b""
    first.close()


def test_threads_read_at_the_same_time(source: RangeSource) -> None:
    chance = random.Random(3)
    ranges = [(start, start + chance.randrange(50_000)) for start in chance.choices(range(SIZE), k=60)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda asked: read(source, *asked), ranges))
    assert answers == [CONTENT[start:stop] for start, stop in ranges]


def test_the_identity_stays_and_tells_versions_apart(kind: Kind) -> None:
    first = kind.open()
    read(first, 0, 10)
    known = first.identity
    assert known is not None
    assert known.size == SIZE
    assert known.tag
    again = kind.open()
    read(again, 5, 10)
    assert again.identity == known
    kind.replace(CONTENT[::-1])
    replaced = kind.open()
    assert read(replaced, 0, 10) == CONTENT[::-1][:10]
    assert replaced.identity != known
    assert replaced.identity is not None
    assert replaced.identity.size == SIZE
    for source in (first, again, replaced):
        source.close()


def test_a_file_that_is_replaced_between_two_reads_is_an_error_that_says_so(kind: Kind) -> None:
    for content in (CONTENT[::-1], CONTENT + b"more", CONTENT[:1000]):
        kind.replace(CONTENT)
        source = kind.open()
        assert read(source, 0, 10) == CONTENT[:10]
        kind.replace(content)
        with pytest.raises(BadInput, match=r"changed|replaced") as caught:
            read(source, 100, 200)
        assert NAME.split()[0] in str(caught.value)
        source.close()


def test_a_missing_file_is_an_error_that_names_it(kind: Kind) -> None:
    with pytest.raises(BadInput, match="there is no such") as caught:
        read(kind.open("nothing.mp4"), 0, 10)
    assert "nothing.mp4" in str(caught.value)


def test_name_and_cache_key_tell_files_apart(kind: Kind) -> None:
    one, other = kind.open(), kind.open("empty.mp4")
    assert one.name != other.name
    assert one.cache_key != other.cache_key
    assert kind.open().cache_key == one.cache_key


def test_each_read_is_accounted_for_in_its_own_traffic(source: RangeSource) -> None:
    read(source, 0, 10)
    mine, tail = Traffic(), Traffic()
    read(source, 100, 300, mine)
    source.read_tail(50, purpose="index", traffic=tail)
    assert [(record.start, record.stop, record.received) for record in mine.requests] == [(100, 300, 200)]
    assert [(r.start, r.stop, r.received, r.purpose) for r in tail.requests] == [
        (SIZE - 50, SIZE, 50, "index")
    ]
    record = mine.requests[0]
    assert record.purpose == "media"
    assert record.attempt == 1
    assert record.error is None
    assert record.began <= record.ended
    assert (mine.received(), mine.received("index")) == (200, 0)


def test_a_cancelled_token_stops_the_next_read(kind: Kind) -> None:
    cancel = CancellationToken()
    source = kind.open(cancel=cancel)
    read(source, 0, 10)
    cancel.cancel("the person left")
    with pytest.raises(Cancelled, match="the person left"):
        read(source, 0, 10)
    source.close()
