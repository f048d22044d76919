"""What a window keeps at hand of a file, and that it asks for nothing twice."""

from __future__ import annotations

import time

from video_pipeline.media.mp4.window import KEPT_BLOCKS, Window, latency
from video_pipeline.media.ranges.base import Identity, Purpose, RequestRecord, Traffic

DATA = bytes(range(256)) * 40


class Counted:
    """A range source over memory that lists what it was asked for."""

    name = cache_key = "counted.mp4"
    identity: Identity | None = Identity(len(DATA), "1")

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def read(self, start: int, stop: int, *, purpose: Purpose, traffic: Traffic) -> bytes:
        self.asked.append((start, stop))
        return DATA[start:stop]

    def read_tail(self, length: int, *, purpose: Purpose, traffic: Traffic) -> tuple[int, bytes]:
        raise AssertionError("no tail is asked for here")

    def close(self) -> None:
        pass


def test_bytes_at_hand_are_not_asked_for_again_and_are_the_files_own() -> None:
    source, traffic = Counted(), Traffic()
    window = Window(source)
    first = window.read(1000, 50, traffic, guess=200)
    assert bytes(first) == DATA[1000:1200]
    assert bytes(window.read(1150, 50, traffic)) == DATA[1150:1200]
    assert source.asked == [(1000, 1200)]
    assert bytes(window.read(1151, 50, traffic)) == DATA[1151:1201]
    assert source.asked == [(1000, 1200), (1151, 1201)]
    assert bytes(window.exactly(1010, 1020, "a box", traffic)) == DATA[1010:1020]
    assert len(source.asked) == 2


def test_a_block_that_ends_with_the_file_answers_for_more_than_there_is() -> None:
    source, traffic = Counted(), Traffic()
    window = Window(source)
    window.keep(len(DATA) - 10, DATA[-10:])
    assert bytes(window.read(len(DATA) - 4, 16, traffic)) == DATA[-4:]
    assert bytes(window.read(len(DATA), 16, traffic, guess=100)) == b""
    assert not source.asked


def test_the_head_stays_and_of_the_others_the_latest() -> None:
    window = Window(Counted())
    window.keep(0, DATA[:8])
    starts = [100 * number for number in range(1, KEPT_BLOCKS + 3)]
    for start in starts:
        window.keep(start, DATA[start : start + 8])
    kept = [start for start in [0, *starts] if window.at_hand(start, 8) is not None]
    assert kept == [0, *starts[-(KEPT_BLOCKS - 1) :]]


def test_latency_is_the_quickest_request_that_worked() -> None:
    traffic = Traffic()
    assert latency(traffic) == 0.0
    now = time.perf_counter()
    for seconds, error in ((0.001, "refused"), (0.05, None), (0.03, None)):
        traffic.add(RequestRecord(0, 1, "index", 1, 0, now, now + seconds, 1, error=error))
    assert abs(latency(traffic) - 0.03) < 1e-9
