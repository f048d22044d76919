"""A source over HTTP that works: requests, connections, redirects, credentials, cancelling, the account."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.media.ranges.conftest import CONTENT, NAME
from tests.servers.ranges import Fault, RangeServer
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.media.ranges.http_pool import HttpPool
from video_pipeline.streaming.cancel import CancellationToken

SIZE = len(CONTENT)
OpenHttp = Callable[..., HttpSource]


@pytest.fixture
def other(directory: Path) -> Iterator[RangeServer]:
    with RangeServer(directory) as running:
        yield running


def read(source: HttpSource, start: int, stop: int, traffic: Traffic | None = None) -> bytes:
    return source.read(start, stop, purpose="media", traffic=traffic or Traffic())


def test_no_head_is_sent_and_no_second_request_for_the_size(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    source = open_http()
    source.read_tail(1000, purpose="index", traffic=traffic)
    assert source.identity is not None
    assert source.identity.size == SIZE
    read(source, 0, 1000, traffic)
    read(open_http(), SIZE + 1, SIZE + 2, traffic)
    assert {logged.method for logged in server.log} == {"GET"}
    assert [logged.range for logged in server.log] == [
        "bytes=-1000",
        "bytes=0-999",
        f"bytes={SIZE + 1}-{SIZE + 1}",
        "bytes=0-0",
    ]


def test_connections_are_kept_between_reads_and_sources(server: RangeServer, open_http: OpenHttp) -> None:
    for _ in range(5):
        source = open_http()
        for start in range(0, 100_000, 10_000):
            read(source, start, start + 10_000)
    assert server.connections == 1
    assert server.per_connection() == {1: 50}


def test_a_kept_connection_that_the_server_closed_is_replaced_without_a_failure(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("cut", after=10**9)]
    source = open_http()
    for start in range(3):
        assert read(source, start, start + 10, traffic) == CONTENT[start : start + 10]
        time.sleep(0.05)
    assert [(record.attempt, record.error) for record in traffic.requests] == [(1, None)] * 3
    assert server.connections == 3


def test_many_threads_use_no_more_connections_than_the_pool_has(server: RangeServer) -> None:
    server.latency_s = 0.02
    with HttpPool(connections_per_host=3) as pool, ThreadPoolExecutor(12) as threads:
        source = HttpSource(server.url(NAME), pool=pool)
        answers = list(threads.map(lambda k: read(source, k, k + 100), range(36)))
    assert answers == [CONTENT[k : k + 100] for k in range(36)]
    assert server.connections == 3


def test_answers_left_unread_give_their_connection_back(server: RangeServer) -> None:
    cancel = CancellationToken()
    hangs = threading.Timer(60.0, cancel.cancel, ["no connection was given back"])
    hangs.start()
    with HttpPool(connections_per_host=1) as pool:
        for kind in ("no_ranges", "multipart", "longer", "no_content_range"):
            server.faults = [Fault(kind, nth={1}, amount=100_000)]
            source = HttpSource(server.url(NAME), pool=pool, cancel=cancel)
            with contextlib.suppress(BadInput):
                read(source, 100, 50_000)
            traffic = Traffic()
            assert read(source, 0, 10, traffic) == CONTENT[:10]
            assert [record.attempt for record in traffic.requests] == [1], "nothing is left of the one before"
    hangs.cancel()


def test_the_strong_etag_goes_with_every_request_after_the_first(
    server: RangeServer, open_http: OpenHttp
) -> None:
    source = open_http()
    for start in (0, 10, 20):
        read(source, start, start + 10)
    assert source.identity is not None
    assert [logged.headers.get("If-Range") for logged in server.log] == [None, *[source.identity.tag] * 2]


def test_the_account_agrees_with_what_the_server_saw(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("status", nth={2}, status=503), Fault("redirect", nth={1}, location="/moved.mp4")]
    (server.directory / "moved.mp4").write_bytes(CONTENT)
    source = open_http(f"{server.url(NAME)}?a=1&b=%20x", headers={"Authorization": "Bearer x"})
    source.read_tail(1000, purpose="index", traffic=traffic)
    read(source, 5, 50_000, traffic)
    assert [record.sent for record in traffic.requests] == [logged.asked for logged in server.log]
    assert [record.received for record in traffic.requests] == [logged.sent for logged in server.log]
    assert [record.status for record in traffic.requests] == [logged.status for logged in server.log]
    assert traffic.received() == server.sent()
    assert all(a.ended <= b.began for a, b in zip(traffic.requests, traffic.requests[1:], strict=False))


def test_latency_is_within_the_recorded_times(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.latency_s = 0.05
    read(open_http(), 0, 10, traffic)
    assert 0.05 <= traffic.requests[0].ended - traffic.requests[0].began < 30


def test_the_wait_for_a_connection_is_not_taken_for_the_servers(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch, traffic: Traffic
) -> None:
    monkeypatch.setattr("video_pipeline.media.ranges.http_exchange.WAIT_FOR_CONNECTION_S", 0.05)
    server.latency_s = 0.5
    with HttpPool(connections_per_host=1) as pool, ThreadPoolExecutor(2) as threads:
        source = HttpSource(server.url(NAME), pool=pool)
        list(threads.map(lambda start: read(source, start, start + 10, traffic), (0, 100)))
    first, second = traffic.requests
    assert first.ended - first.began >= 0.5
    assert second.began - first.began > 0.4, "from when it had the connection, or all but 0.05 s"
    assert second.ended - second.began >= 0.5


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_once_and_remembered(
    server: RangeServer, other: RangeServer, open_http: OpenHttp, traffic: Traffic, status: int
) -> None:
    server.faults = [Fault("redirect", status=status, location=other.url(NAME))]
    source = open_http()
    for start in (0, 100, 200):
        assert read(source, start, start + 100, traffic) == CONTENT[start : start + 100]
    assert len(server.log) == 1
    assert len(other.log) == 3
    assert source.name == server.url(NAME)
    assert [record.status for record in traffic.requests] == [status, 206, 206, 206]


def test_a_relative_redirect_is_followed(server: RangeServer, open_http: OpenHttp) -> None:
    server.faults = [Fault("redirect", name="old.mp4", location=f"./{NAME.replace(' ', '%20')}?v=2")]
    assert read(open_http(server.url("old.mp4")), 0, 10) == CONTENT[:10]


def test_a_remembered_redirect_that_expired_is_asked_for_again(
    server: RangeServer, other: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("redirect", location=f"{other.url(NAME)}?signature=1")]
    source = open_http()
    read(source, 0, 100)
    server.faults = [Fault("redirect", location=f"{other.url(NAME)}?signature=2")]
    other.faults = [Fault("status", nth={1}, status=403)]
    assert read(source, 100, 200, traffic) == CONTENT[100:200]
    assert [record.status for record in traffic.requests] == [403, 302, 206]
    other.faults = [Fault("status", status=403)]
    with pytest.raises(BadInput, match="refuses access"):
        read(source, 200, 300)


def test_more_than_five_redirects_are_refused(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("redirect", nth=range(1, 6), location=server.url(NAME))]
    assert read(open_http(), 0, 10) == CONTENT[:10]
    server.faults = [Fault("redirect", location=server.url(NAME))]
    with pytest.raises(BadInput, match="more than 5 times"):
        read(open_http(), 0, 10, traffic)
    assert len(traffic.requests) == 6


@pytest.mark.parametrize("location", ["", "ftp://example.com/a", "http://", "file:///etc/passwd"])
def test_a_redirect_to_nowhere_is_refused(server: RangeServer, open_http: OpenHttp, location: str) -> None:
    server.faults = [Fault("redirect", location=location)]
    with pytest.raises(BadInput, match="redirects"):
        read(open_http(), 0, 10)


def test_private_headers_stay_with_the_server_they_are_for(
    server: RangeServer, other: RangeServer, open_http: OpenHttp
) -> None:
    server.faults = [
        Fault("redirect", nth={1}, location=f"/{NAME}"),
        Fault("redirect", nth={2}, location=other.url(NAME)),
    ]
    url = server.url(NAME).replace("http://", "http://ann:p%40ss@")
    source = open_http(url, headers={"Cookie": "a=b", "X-Api-Key": "k"})
    read(source, 0, 10)
    read(source, 10, 20)
    assert [logged.headers.get("Authorization") for logged in server.log] == ["Basic YW5uOnBAc3M="] * 2
    assert [logged.headers.get("X-Api-Key") for logged in server.log] == ["k", "k"]
    assert len(other.log) == 2
    for logged in other.log:
        assert not {"Authorization", "Cookie", "X-Api-Key"} & set(logged.headers)
    assert "p%40ss" not in source.name + source.cache_key
    assert "ann" not in source.name + source.cache_key


# Cancelling and closing


@pytest.mark.parametrize("kind", ["silent", "stall", "drip"])
def test_cancelling_ends_a_read_that_waits_for_the_server(
    server: RangeServer, traffic: Traffic, kind
) -> None:
    server.faults = [Fault(kind, after=10, seconds=0.05)]
    cancel = CancellationToken()
    with HttpPool(stall_timeout_s=30.0) as pool:
        source = HttpSource(server.url(NAME), pool=pool, cancel=cancel)
        timer = threading.Timer(0.15, cancel.cancel, ["enough"])
        timer.start()
        began = time.perf_counter()
        with pytest.raises(Cancelled, match="enough"):
            read(source, 0, SIZE, traffic)
        assert time.perf_counter() - began < 15
        timer.join()
    assert traffic.requests[0].error == "cancelled"


def test_cancelling_ends_the_wait_between_attempts(server: RangeServer, pool: HttpPool) -> None:
    server.faults = [Fault("status", status=503, retry_after="20")]
    cancel = CancellationToken()
    timer = threading.Timer(0.15, cancel.cancel, ["enough"])
    timer.start()
    began = time.perf_counter()
    with pytest.raises(Cancelled, match="enough"):
        read(HttpSource(server.url(NAME), pool=pool, cancel=cancel), 0, 10)
    assert time.perf_counter() - began < 10
    timer.join()


def test_cancelling_ends_the_wait_for_a_connection(server: RangeServer) -> None:
    server.faults = [Fault("silent")]
    cancel = CancellationToken()
    with HttpPool(connections_per_host=1, stall_timeout_s=60.0) as pool, ThreadPoolExecutor(1) as threads:
        busy = threads.submit(read, HttpSource(server.url(NAME), pool=pool, attempts=1), 0, 10)
        while not server.log:
            time.sleep(0.01)
        timer = threading.Timer(0.1, cancel.cancel, ["enough"])
        timer.start()
        began = time.perf_counter()
        with pytest.raises(Cancelled, match="enough"):
            read(HttpSource(server.url(NAME), pool=pool, cancel=cancel), 0, 10)
        assert time.perf_counter() - began < 30
        server.ended.set()
        assert busy.exception() is not None


def test_other_reads_of_the_pool_go_on_after_a_cancel(server: RangeServer, pool: HttpPool) -> None:
    cancel = CancellationToken()
    server.faults = [Fault("stall", nth={1}, after=10)]
    cancelled = HttpSource(server.url(NAME), pool=pool, cancel=cancel)
    timer = threading.Timer(0.1, cancel.cancel, ["enough"])
    timer.start()
    with pytest.raises(Cancelled):
        read(cancelled, 0, 1000)
    timer.join()
    source = HttpSource(server.url(NAME), pool=pool)
    for start in range(40):
        assert read(source, start, start + 10) == CONTENT[start : start + 10]


def test_a_cancel_after_a_read_disturbs_nobody_on_the_connection_it_had(
    server: RangeServer, pool: HttpPool, traffic: Traffic
) -> None:
    cancel = CancellationToken()
    read(HttpSource(server.url(NAME), pool=pool, cancel=cancel), 0, 10)
    server.faults = [Fault("drip", after=100, seconds=0.02)]
    timer = threading.Timer(0.1, cancel.cancel, ["late"])
    timer.start()
    assert read(HttpSource(server.url(NAME), pool=pool), 0, 2000, traffic) == CONTENT[:2000]
    timer.join()
    assert len(traffic.requests) == server.connections == 1


def test_headers_that_the_source_sets_itself_cannot_be_given(pool: HttpPool) -> None:
    with pytest.raises(ValueError, match="range: the source sets"):
        HttpSource("http://example.com/a", pool=pool, headers={"Range": "bytes=0-1"})


def test_a_source_closes_its_own_pool_and_not_another(server: RangeServer, pool: HttpPool) -> None:
    shared, own = HttpSource(server.url(NAME), pool=pool), HttpSource(server.url(NAME))
    assert read(shared, 0, 10) == read(own, 0, 10)
    shared.close()
    own.close()
    for source in (shared, own):
        with pytest.raises(ValueError, match="closed"):
            read(source, 0, 10)
    assert read(HttpSource(server.url(NAME), pool=pool), 0, 10) == CONTENT[:10]


def test_a_closed_pool_opens_no_connection(server: RangeServer) -> None:
    with HttpPool() as pool:
        source = HttpSource(server.url(NAME), pool=pool)
    with pytest.raises(ValueError, match="the pool of connections is closed"):
        read(source, 0, 10)
    assert server.connections == 0
