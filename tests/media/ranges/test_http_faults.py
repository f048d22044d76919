"""What a source over HTTP does when the server or the network misbehaves: one test per fault."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from email.utils import formatdate
from types import SimpleNamespace

import pytest

from tests.media.ranges.conftest import CONTENT, NAME
from tests.servers.ranges import Fault, RangeServer
from video_pipeline.errors import BadInput, Transient
from video_pipeline.media.ranges import http
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.media.ranges.http_pool import HttpPool

SIZE = len(CONTENT)
TOKEN = uuid.uuid4().hex
OpenHttp = Callable[..., HttpSource]


def read(source: HttpSource, start: int, stop: int, traffic: Traffic | None = None) -> bytes:
    return source.read(start, stop, purpose="media", traffic=traffic or Traffic())


def tail(source: HttpSource, length: int, traffic: Traffic | None = None) -> tuple[int, bytes]:
    return source.read_tail(length, purpose="index", traffic=traffic or Traffic())


def refused(source: HttpSource, start: int = 100, stop: int = 300, match: str = "") -> Traffic:
    """Reads, and expects one `BadInput` that names the file; the traffic of that."""
    traffic = Traffic()
    with pytest.raises(BadInput, match=match) as caught:
        read(source, start, stop, traffic)
    assert caught.value.input == source.name
    assert caught.value.what_to_do
    assert traffic.requests[-1].error is not None
    return traffic


# Servers that do not answer ranges


def test_without_ranges_the_head_of_the_file_is_taken_and_nothing_else(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("no_ranges")]
    source = open_http()
    assert read(source, 0, 1000, traffic) == CONTENT[:1000]
    assert traffic.received() == 1000
    assert traffic.requests[0].status == 200
    assert "does not answer range requests" in str(traffic.requests[0].error)
    assert source.identity is not None
    assert source.identity.size == SIZE
    assert refused(source, match="does not answer range requests").received() == 0
    assert read(source, 0, 10**6) == CONTENT


def test_without_ranges_a_head_that_breaks_off_is_begun_again(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("no_ranges"), Fault("cut", nth={1}, after=700)]
    assert read(open_http(), 0, 1000, traffic) == CONTENT[:1000]
    assert [record.received for record in traffic.requests] == [700, 1000]


def test_without_ranges_the_tail_is_refused_unless_it_is_the_whole_file(
    server: RangeServer, open_http: OpenHttp
) -> None:
    server.faults = [Fault("no_ranges")]
    with pytest.raises(BadInput, match="does not answer range requests"):
        tail(open_http(), 1000)
    assert tail(open_http(), SIZE) == (0, CONTENT)
    assert tail(open_http(), SIZE + 1) == (0, CONTENT)


def test_the_whole_file_in_answer_to_a_range_of_it_all_is_nothing_remarkable(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    """RFC 9110 §14.2 lets a server ignore such a range."""
    server.faults = [Fault("no_ranges")]
    source = open_http()
    assert read(source, 0, 10**9, traffic) == CONTENT
    assert read(source, 0, SIZE, traffic) == CONTENT
    assert [record.error for record in traffic.requests] == [None, None]
    assert server.connections == 1


def test_a_large_file_is_not_received_from_a_server_without_ranges(
    server: RangeServer, open_http: OpenHttp
) -> None:
    (server.directory / "large.mp4").write_bytes(bytes(64 * 2**20))
    server.faults = [Fault("no_ranges")]
    refused(open_http(server.url("large.mp4")), match="sends the whole file")
    deadline = time.monotonic() + 60.0
    while server.sent("large.mp4") == 64 * 2**20 and time.monotonic() < deadline:
        time.sleep(0.01)
    # What the buffers of a loopback connection hold (Linux: 6 MiB by default), out of 64 MiB.
    assert server.sent("large.mp4") < 16 * 2**20


@pytest.mark.parametrize("status", [416, 501, 200])
@pytest.mark.parametrize("tells_size", [True, False])
def test_a_tail_is_read_by_position_where_suffix_ranges_are_refused(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic, status: int, tells_size: bool
) -> None:
    server.faults = [Fault("no_suffix", status=status, tells_size=tells_size)]
    source = open_http()
    assert tail(source, 1000, traffic) == (SIZE - 1000, CONTENT[-1000:])
    assert (traffic.requests[0].start, traffic.requests[0].stop) == (-1000, 0)
    assert traffic.requests[0].error is not None
    assert traffic.received() <= 1001
    assert tail(source, 50) == (SIZE - 50, CONTENT[-50:])
    assert sum(logged.range == "bytes=-50" for logged in server.log) == 0


def test_a_flaky_cache_that_answers_if_range_with_the_whole_file_is_asked_without_it(
    server: RangeServer, open_http: OpenHttp
) -> None:
    source = open_http()
    read(source, 0, 10)
    server.faults = [Fault("no_ranges", nth={1})]
    assert read(source, 500, 700) == CONTENT[500:700]
    assert ["If-Range" in logged.headers for logged in server.log] == [False, True, False]


# Answers that break off


@pytest.mark.parametrize("kind", ["cut", "stall", "reset_body"])
@pytest.mark.parametrize("first", [True, False])
def test_a_broken_body_goes_on_from_the_byte_reached(
    server: RangeServer, open_http: OpenHttp, impatient: HttpPool, traffic: Traffic, kind, first: bool
) -> None:
    source = open_http(pool=impatient)
    if not first:
        read(source, 0, 10)
    server.faults = [Fault(kind, nth={1, 3}, after=1000)]
    assert read(source, 100, 5000, traffic) == CONTENT[100:5000]
    asked = [(record.start, record.attempt) for record in traffic.requests]
    assert asked[0] == (100, 1)
    if kind == "reset_body":  # a reset may overtake bytes that were sent
        assert 100 <= asked[1][0] <= 1100
    else:
        assert asked == [(100, 1), (1100, 2)]
    assert traffic.received() == 4900
    assert traffic.requests[0].error is not None
    assert traffic.requests[-1].error is None


def test_a_broken_tail_goes_on_by_position(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("cut", nth={1}, after=1000)]
    assert tail(open_http(), 5000, traffic) == (SIZE - 5000, CONTENT[-5000:])
    assert [logged.range for logged in server.log] == ["bytes=-5000", f"bytes={SIZE - 4000}-{SIZE - 1}"]
    assert [(record.start, record.stop) for record in traffic.requests] == [
        (SIZE - 5000, SIZE),
        (SIZE - 4000, SIZE),
    ]


@pytest.mark.parametrize("kind", ["silent", "reset"])
def test_a_server_that_does_not_answer_is_asked_again(
    server: RangeServer, open_http: OpenHttp, impatient: HttpPool, traffic: Traffic, kind
) -> None:
    server.faults = [Fault(kind, nth={1, 2})]
    assert read(open_http(pool=impatient), 100, 5000, traffic) == CONTENT[100:5000]
    assert [record.attempt for record in traffic.requests] == [1, 2, 3]
    assert [record.error is None for record in traffic.requests] == [False, False, True]


def test_a_silence_lasts_as_long_as_the_pool_allows(server: RangeServer) -> None:
    server.faults = [Fault("silent")]
    with HttpPool(stall_timeout_s=0.2) as pool:
        began = time.perf_counter()
        with pytest.raises(Transient, match=r"silent for 0\.2 s"):
            read(HttpSource(server.url(NAME), pool=pool, attempts=2, first_wait_s=0.01), 0, 10)
        assert 0.4 <= time.perf_counter() - began < 30


def test_a_server_that_stays_silent_is_given_up_within_a_minute_as_the_pool_is_made() -> None:
    with HttpPool() as pool:
        silent = http.ATTEMPTS * pool.stall_timeout_s
    waits = sum(min(http.LONGEST_WAIT_S, http.FIRST_WAIT_S * 2**n) for n in range(http.ATTEMPTS - 1))
    assert silent + waits < 60, "it was 300 s, and took the run with it"


def test_a_body_that_drips_is_no_stall(
    server: RangeServer, open_http: OpenHttp, impatient: HttpPool, traffic: Traffic
) -> None:
    server.faults = [Fault("drip", after=100, seconds=0.08)]
    assert read(open_http(pool=impatient), 0, 1000, traffic) == CONTENT[:1000]
    assert len(traffic.requests) == 1


def test_a_body_that_comes_too_slowly_is_given_up_and_keeps_what_came(
    server: RangeServer, traffic: Traffic
) -> None:
    """A byte each 20 ms is no silence, and would take an hour for 180 KB."""
    server.faults = [Fault("drip", after=1, seconds=0.02)]
    with HttpPool(slowest_bytes_per_s=1000, slow_after_s=0.25) as pool:
        began = time.perf_counter()
        source = HttpSource(server.url(NAME), pool=pool, attempts=2, first_wait_s=0.01)
        with pytest.raises(
            Transient, match=r"in 2 attempts: the body came too slowly: \d+ bytes in \d+\.\d+ s"
        ):
            read(source, 0, 5000, traffic)
        assert 0.5 <= time.perf_counter() - began < 30
        first, second = traffic.requests
        assert first.received > 0
        assert second.start == first.received
        assert "too slowly" in str(first.error)
        server.faults = [Fault("drip", nth={1}, after=1, seconds=0.02)]
        assert read(source, 0, 5000) == CONTENT[:5000]


def test_slowness_is_judged_by_what_came_lately(server: RangeServer) -> None:
    """100,000 bytes at once do not make up for the drip behind them; a steady slow line is let be."""
    with HttpPool(slowest_bytes_per_s=100, slow_after_s=0.2) as pool, socket.create_server(("", 0)) as slow:
        server.faults = [Fault("drip", after=100, seconds=0.02)]
        assert read(HttpSource(server.url(NAME), pool=pool, attempts=1), 0, 4000) == CONTENT[:4000]

        def answer() -> None:
            client, _ = slow.accept()
            with client, contextlib.suppress(OSError):
                client.recv(4096)
                client.sendall(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-199999/200000\r\n")
                client.sendall(b"Content-Length: 200000\r\n\r\n" + CONTENT[:100_000])
                for _ in range(500):
                    client.sendall(b"x")
                    time.sleep(0.02)

        threading.Thread(target=answer, daemon=True).start()
        source = HttpSource(f"http://127.0.0.1:{slow.getsockname()[1]}/a.mp4", pool=pool, attempts=1)
        traffic = Traffic()
        with pytest.raises(Transient, match="too slowly"):
            read(source, 0, 200_000, traffic)
        assert traffic.received() > 100_000


def test_a_server_that_stays_away_is_given_up_with_its_name_and_the_last_cause(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("cut", after=10)]
    with pytest.raises(Transient, match=r"in 4 attempts: .*broke off") as caught:
        read(open_http(f"{server.url(NAME)}?token={TOKEN}"), 100, 5000, traffic)
    assert caught.value.input == server.url(NAME)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    assert [record.received for record in traffic.requests] == [10, 10, 10, 10]


def test_nobody_listening_is_transient_and_sends_nothing(open_http: OpenHttp, traffic: Traffic) -> None:
    with pytest.raises(Transient, match="no connection could be opened") as caught:
        read(open_http(f"http://127.0.0.1:9/video.mp4?token={TOKEN}"), 0, 10, traffic)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    assert [(record.sent, record.received, record.status) for record in traffic.requests] == [
        (0, 0, None)
    ] * 4


# Statuses


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_status_that_passes_is_tried_again(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic, status: int
) -> None:
    server.faults = [Fault("status", nth={1, 2, 3}, status=status)]
    assert read(open_http(), 100, 5000, traffic) == CONTENT[100:5000]
    assert [record.status for record in traffic.requests] == [status, status, status, 206]
    assert server.connections == 1
    server.faults = [Fault("status", status=status)]
    with pytest.raises(Transient, match=f"answers {status}"):
        read(open_http(), 0, 10)


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_waited_for(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic, as_date: bool
) -> None:
    asked = int(time.time()) + 2
    wait = formatdate(asked, usegmt=True) if as_date else "1"
    server.faults = [Fault("status", nth={1}, status=429, retry_after=wait)]
    assert read(open_http(), 0, 10, traffic) == CONTENT[:10]
    first, second = traffic.requests
    if as_date:
        assert time.time() >= asked
    else:
        assert 0.9 <= second.began - first.ended < 30


def test_waits_between_attempts_double_up_to_a_limit(
    server: RangeServer, pool: HttpPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("video_pipeline.media.ranges.http.time", SimpleNamespace(sleep=waits.append))
    server.faults = [Fault("status", status=503)]
    with pytest.raises(Transient):
        read(HttpSource(server.url(NAME), pool=pool, first_wait_s=1.0, attempts=6), 0, 10)
    for wait, longest in zip(waits, (1, 2, 4, 8, 8), strict=True):
        assert longest / 2 <= wait <= longest


def test_a_server_that_asks_for_a_long_wait_is_given_up_at_once(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("status", status=503, retry_after="3600")]
    with pytest.raises(Transient, match="asks to wait 3600 s"):
        read(open_http(), 0, 10, traffic)
    assert len(traffic.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501, 405])
def test_a_status_that_stays_is_refused_at_once(
    server: RangeServer, open_http: OpenHttp, status: int
) -> None:
    server.faults = [Fault("status", status=status)]
    traffic = refused(open_http(), match=str(status))
    assert [record.status for record in traffic.requests] == [status]


# Answers that cannot be true


@pytest.mark.parametrize("etag", ['"other"', 'W/"other"'])
def test_another_etag_means_the_file_changed(server: RangeServer, open_http: OpenHttp, etag: str) -> None:
    source = open_http()
    read(source, 0, 10)
    server.faults = [Fault("etag", etag=etag)]
    assert refused(source, match="changed").received() == 0


def test_another_size_means_the_file_changed(server: RangeServer, open_http: OpenHttp) -> None:
    source = open_http()
    read(source, 0, 10)
    server.faults = [Fault("size", amount=5)]
    refused(source, match=f"changed.*{SIZE} bytes.*{SIZE + 5} bytes")


def test_a_file_that_became_shorter_is_no_end_of_the_one_before(
    server: RangeServer, open_http: OpenHttp
) -> None:
    """A server without tags answers 416 to a range that lay inside the file."""
    server.faults = [Fault("etag", etag="")]
    source = open_http()
    read(source, 0, 10)
    (server.directory / NAME).write_bytes(CONTENT[:50])
    refused(source, match=f"changed.*{SIZE} bytes.*50 bytes")


def test_a_file_that_changes_between_two_attempts_is_never_mixed(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("cut", nth={1}, after=1000), Fault("etag", nth={2}, etag='"other"')]
    with pytest.raises(BadInput, match="changed"):
        read(open_http(), 0, 5000, traffic)
    assert [record.status for record in traffic.requests] == [206, 200]


def test_a_weak_etag_is_compared_but_not_sent(server: RangeServer, open_http: OpenHttp) -> None:
    server.faults = [Fault("etag", etag='W/"weak"')]
    source = open_http()
    read(source, 0, 10)
    assert source.identity is not None
    assert source.identity.tag is None
    assert read(source, 10, 20) == CONTENT[10:20]
    assert not any("If-Range" in logged.headers for logged in server.log)
    server.faults = [Fault("etag", etag='W/"other"')]
    refused(source, match="changed")


def test_bytes_from_elsewhere_are_refused(server: RangeServer, open_http: OpenHttp) -> None:
    server.faults = [Fault("wrong_range", amount=1)]
    refused(open_http(), match="answers with bytes 101-300 where bytes=100-299 was asked for")
    server.faults = [Fault("wrong_range", amount=-1)]
    with pytest.raises(BadInput, match="was asked for"):
        tail(open_http(), 100)


@pytest.mark.parametrize("amount", [-10, 10])
def test_a_content_length_that_contradicts_the_range_is_refused(
    server: RangeServer, open_http: OpenHttp, amount: int
) -> None:
    server.faults = [Fault("wrong_length", amount=amount)]
    assert refused(open_http(), match="two lengths").received() == 0


def test_a_missing_content_range_is_refused(server: RangeServer, open_http: OpenHttp) -> None:
    server.faults = [Fault("no_content_range")]
    refused(open_http(), match="does not say which bytes")


def test_an_unknown_size_is_refused_only_while_nobody_said_it(
    server: RangeServer, open_http: OpenHttp
) -> None:
    server.faults = [Fault("unknown_size")]
    refused(open_http(), match="does not tell the file's size")
    server.faults = [Fault("unknown_size", nth={2})]
    source = open_http()
    read(source, 0, 10)
    assert read(source, 100, 300) == CONTENT[100:300]


@pytest.mark.parametrize("whole", [False, True])
def test_several_parts_are_refused(server: RangeServer, open_http: OpenHttp, whole: bool) -> None:
    server.faults = [Fault("multipart")] + ([Fault("no_ranges")] if whole else [])
    refused(open_http(), start=0, match="multipart/byteranges")


@pytest.mark.parametrize("whole", [False, True])
def test_compressed_content_is_refused(server: RangeServer, open_http: OpenHttp, whole: bool) -> None:
    server.faults = [Fault("gzip")] + ([Fault("no_ranges")] if whole else [])
    refused(open_http(), start=0, match="content encoding 'gzip'")
    assert all(logged.headers["Accept-Encoding"] == "identity" for logged in server.log)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_longer_than_asked_is_cut_and_named(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic, chunked: bool
) -> None:
    server.faults = [Fault("chunked" if chunked else "longer", nth={1}, amount=100_000)]
    source = open_http()
    assert read(source, 100, 300, traffic) == CONTENT[100:300]
    assert traffic.requests[0].error == "the answer is longer than asked"
    assert traffic.received() <= 201
    assert read(source, 300, 400) == CONTENT[300:400]
    assert server.connections == 2


def test_bytes_behind_an_answer_do_not_reach_the_next_one(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("overrun", amount=50)]
    source = open_http()
    for start in range(0, 5000, 500):
        assert read(source, start, start + 500, traffic) == CONTENT[start : start + 500]


def test_an_answer_shorter_than_asked_is_continued(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("shorter", amount=65_536)]
    assert read(open_http(), 1, SIZE, traffic) == CONTENT[1:]
    assert len(traffic.requests) == -(-(SIZE - 1) // 65_536)
    assert tail(open_http(), 100_000) == (SIZE - 100_000, CONTENT[-100_000:])
    server.faults = [Fault("shorter", amount=10)]
    with pytest.raises(Transient, match="less than it is asked for"):
        read(open_http(), 0, 1000)


def test_chunks_are_read_like_a_plain_body_and_keep_the_connection(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("chunked")]
    source = open_http()
    for start in range(0, 300_000, 100_000):
        assert read(source, start, start + 100_000, traffic) == CONTENT[start : start + 100_000]
    assert server.connections == 1
    assert [record.error for record in traffic.requests] == [None] * 3


def test_chunks_that_break_off_go_on_from_the_byte_reached(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("chunked"), Fault("cut", nth={1}, after=1000)]
    assert read(open_http(), 100, 5000, traffic) == CONTENT[100:5000]
    assert [record.start for record in traffic.requests] == [100, 1100]


def test_chunks_that_end_too_early_count_as_broken_off(
    server: RangeServer, open_http: OpenHttp, traffic: Traffic
) -> None:
    server.faults = [Fault("chunked", nth={1}, amount=-900)]
    assert read(open_http(), 100, 200_000, traffic) == CONTENT[100:200_000]
    assert [(record.start, record.attempt) for record in traffic.requests] == [(100, 1), (199_100, 2)]
    assert "broke off" in str(traffic.requests[0].error)


def test_a_range_refused_inside_the_file_is_an_error(server: RangeServer, open_http: OpenHttp) -> None:
    source = open_http()
    read(source, 0, 10)
    server.faults = [Fault("status", status=416)]
    refused(source, match="refuses the range bytes=100-299")
