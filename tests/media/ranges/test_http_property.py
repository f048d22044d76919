"""Random ranges under random faults: always the right bytes, or an error that has a name."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers.ranges import Fault, FaultKind, RangeServer
from video_pipeline.errors import BadInput, PipelineError, Transient
from video_pipeline.media.ranges import http_answer as answers
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.media.ranges.http_pool import HttpPool

SIZE = 20_011
CONTENT = random.Random(5).randbytes(SIZE)
NAME = "v.mp4"

PASSING: list[FaultKind] = [
    *("cut", "reset", "reset_body", "status", "stall", "silent", "shorter", "chunked", "longer"),
]
LYING: list[FaultKind] = [
    *("no_ranges", "no_suffix", "etag", "size", "wrong_range", "wrong_length", "no_content_range"),
    *("unknown_size", "multipart", "gzip", "overrun"),
]

POSITIONS = st.integers(0, SIZE + 100)
RANGES = st.lists(st.tuples(POSITIONS, POSITIONS), min_size=1, max_size=6)
"""A backward range stands for a tail: its first number is how long."""


def faults(kinds: list[FaultKind]) -> st.SearchStrategy[Fault]:
    return st.builds(
        Fault,
        kind=st.sampled_from(kinds),
        nth=st.frozensets(st.integers(1, 10), min_size=1, max_size=6),
        status=st.sampled_from([200, 416, 429, 500, 501, 503]),
        etag=st.sampled_from(["", '"other"', 'W/"other"']),
        after=st.integers(0, 9000),
        amount=st.integers(1, 9000),
        tells_size=st.booleans(),
    )


@pytest.fixture(scope="module")
def server() -> Iterator[RangeServer]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / NAME).write_bytes(CONTENT)
        with RangeServer(Path(folder)) as running:
            yield running


@pytest.fixture(scope="module")
def quick() -> Iterator[HttpPool]:
    with HttpPool(stall_timeout_s=0.05) as opened:
        yield opened


def read(source: HttpSource, start: int, stop: int, traffic: Traffic) -> PipelineError | None:
    """Reads, and holds the bytes against the file's. The error that there was instead."""
    try:
        if start <= stop:
            data = source.read(start, stop, purpose="media", traffic=traffic)
        else:
            length = start
            start, data = source.read_tail(length, purpose="media", traffic=traffic)
            stop = start + length
    except (Transient, BadInput) as error:
        return error
    told = SIZE if source.identity is None else source.identity.size
    assert data == CONTENT[start : start + len(data)]
    assert len(data) == max(0, min(stop, told) - start)
    return None


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(st.lists(faults(PASSING), min_size=1, max_size=4), RANGES)
def test_faults_that_pass_leave_the_right_bytes_or_a_transient_error(
    server: RangeServer, quick: HttpPool, struck: list[Fault], ranges: list[tuple[int, int]]
) -> None:
    server.faults = [
        replace(fault, seen=0, status=fault.status if answers.passes(fault.status) else 502)
        for fault in struck
    ]
    source = HttpSource(server.url(NAME), pool=quick, first_wait_s=0.0)
    for start, stop in ranges:
        error = read(source, start, stop, Traffic())
        assert error is None or isinstance(error, Transient)
        assert error is None or error.input == source.name
    server.faults = []
    # On a busy machine a healthy answer may take longer than this pool waits.
    assert None in (read(source, 0, SIZE, Traffic()) for _ in range(30))


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(st.lists(faults(PASSING + LYING), min_size=1, max_size=4), RANGES)
def test_no_lie_of_a_server_ever_gives_other_bytes(
    server: RangeServer, quick: HttpPool, struck: list[Fault], ranges: list[tuple[int, int]]
) -> None:
    # An error page with status 200 is just another file: nobody could tell.
    server.faults = [
        replace(fault, seen=0, status=404 if (fault.kind, fault.status) == ("status", 200) else fault.status)
        for fault in struck
    ]
    source = HttpSource(server.url(NAME), pool=quick, first_wait_s=0.0)
    for start, stop in ranges:
        error = read(source, start, stop, Traffic())
        assert error is None or error.input == source.name


@settings(max_examples=15, deadline=None)
@given(st.lists(faults(PASSING), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_threads_under_faults_get_the_right_bytes(
    server: RangeServer, quick: HttpPool, struck: list[Fault], chance: random.Random
) -> None:
    server.faults = [replace(fault, seen=0, status=503) for fault in struck]
    source = HttpSource(server.url(NAME), pool=quick, first_wait_s=0.0, attempts=20)
    starts = chance.choices(range(SIZE), k=20)
    with ThreadPoolExecutor(6) as threads:
        reads = [
            threads.submit(read, source, start, start + chance.randrange(3000), Traffic()) for start in starts
        ]
    assert [done.result() for done in reads] == [None] * 20
