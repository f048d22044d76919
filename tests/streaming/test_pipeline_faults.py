"""A failure anywhere, at any moment, in any stream: one error out, no thread left, nothing more delivered."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from video_pipeline.errors import Cancelled
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.pipeline import THREAD_PREFIX, Pipeline, Stage

ITEMS = 23
PLACES = ("source", "first", "second", "finish", "enter", "exit", "sink", "progress")


class Planted(Exception):
    """The error a test planted."""


@dataclass
class Trial:
    """One stream of two stages with a failure planted in it, and what was seen of it."""

    place: str = ""
    number: int = -1
    workers: int = 1
    ordered: bool = True
    queue_size: int = 2
    delay_s: float = 0.0
    delivered: list[Any] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    source_closed: bool = False
    planted: Planted | None = None
    delivered_at_failure: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    counts: dict[str, Iterator[int]] = field(default_factory=dict)

    def maybe_fail(self, place: str) -> None:
        if self.delay_s:
            time.sleep(random.random() * self.delay_s)
        with self.lock:
            count = next(self.counts.setdefault(place, itertools.count()))
            if place == self.place and count == self.number:
                self.planted = Planted(f"{place} {count}")
                self.delivered_at_failure = len(self.delivered)
                raise self.planted

    def source(self) -> Iterator[int]:
        try:
            for item in range(ITEMS):
                self.maybe_fail("source")
                yield item
        finally:
            self.source_closed = True

    @contextlib.contextmanager
    def worker(self) -> Iterator[Any]:
        self.maybe_fail("enter")
        with self.lock:
            self.opened += 1
        try:
            yield self.first
        finally:
            with self.lock:
                self.closed += 1
            self.maybe_fail("exit")

    def first(self, item: int) -> list[int]:
        self.maybe_fail("first")
        return [item * 10, item * 10 + 1]

    def second(self, item: int) -> list[int]:
        self.maybe_fail("second")
        return [] if item % 5 == 0 else [item]

    def finish(self) -> list[str]:
        self.maybe_fail("finish")
        return ["tail 1", "tail 2"]

    def sink(self, item: Any) -> None:
        self.maybe_fail("sink")
        self.delivered.append(item)

    def pipeline(self, cancel: CancellationToken | None = None) -> Pipeline:
        return Pipeline(
            "source",
            self.source,
            [
                Stage(
                    "first",
                    setup=self.worker,
                    workers=self.workers,
                    ordered=self.ordered,
                    queue_size=self.queue_size,
                ),
                Stage("second", self.second, finish=self.finish, queue_size=self.queue_size),
            ],
            cancel=cancel,
            sink=self.sink,
            on_progress=(lambda _: self.maybe_fail("progress")) if self.place == "progress" else None,
            progress_every_s=0.001,
        )

    def assert_nothing_is_left(self) -> None:
        assert [
            thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)
        ] == []
        assert self.closed == self.opened
        if self.counts.get("source") is not None:
            assert self.source_closed


EXPECTED = [value for item in range(ITEMS) for value in (item * 10, item * 10 + 1) if value % 5] + [
    "tail 1",
    "tail 2",
]


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("queue_size", [1, 4])
@pytest.mark.parametrize("ordered", [True, False])
def test_nothing_is_lost_doubled_or_reordered(workers: int, queue_size: int, ordered: bool) -> None:
    trial = Trial(workers=workers, queue_size=queue_size, ordered=ordered, delay_s=0.002)
    report = trial.pipeline().run()
    assert trial.delivered[-2:] == ["tail 1", "tail 2"]
    if ordered:
        assert trial.delivered == EXPECTED
    assert sorted(map(str, trial.delivered)) == sorted(map(str, EXPECTED))
    trial.assert_nothing_is_left()
    first, second = report.stages[1], report.stages[2]
    assert (first.items_in, first.items_out) == (ITEMS, 2 * ITEMS)
    assert (second.items_in, second.items_out) == (2 * ITEMS, len(EXPECTED))


def test_a_sequential_run_delivers_the_same() -> None:
    trial = Trial()
    trial.pipeline().run_sequentially()
    assert trial.delivered == EXPECTED
    trial.assert_nothing_is_left()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("queue_size", [1, 4])
def test_the_first_error_stops_all_and_is_the_one_raised(
    place: str, where: str, workers: int, ordered: bool, queue_size: int
) -> None:
    total = {
        "source": ITEMS,
        "first": ITEMS,
        "second": 2 * ITEMS,
        "sink": len(EXPECTED),
        "enter": workers,
        "exit": workers,
    }
    count = total.get(place, 1)
    number = {"first": 0, "middle": count // 2, "last": count - 1}[where]
    trial = Trial(place, number, workers, ordered, queue_size, delay_s=0.003 if place == "progress" else 0.0)
    with pytest.raises(Planted) as caught:
        trial.pipeline().run()
    assert caught.value is trial.planted
    trial.assert_nothing_is_left()
    if place == "sink":
        assert len(trial.delivered) == trial.delivered_at_failure


@pytest.mark.parametrize("place", ["source", "first", "second", "finish", "enter", "exit", "sink"])
def test_a_sequential_run_raises_the_first_error_too(place: str) -> None:
    trial = Trial(place, 0)
    with pytest.raises(Planted) as caught:
        trial.pipeline().run_sequentially()
    assert caught.value is trial.planted
    trial.assert_nothing_is_left()


def test_a_second_error_becomes_a_note_of_the_first() -> None:
    class Source:
        def __iter__(self) -> Source:
            return self

        def __next__(self) -> int:
            return 1

        def close(self) -> None:
            raise OSError("the file would not close")

    def work(item: int) -> list[int]:
        raise Planted("first")

    with pytest.raises(Planted) as caught:
        Pipeline("source", lambda: iter(Source()), [Stage("work", work)]).run()
    assert any("the file would not close" in note for note in caught.value.__notes__)


def test_ctrl_c_in_the_sink_stops_all() -> None:
    def sink(_item: Any) -> None:
        raise KeyboardInterrupt

    trial = Trial()
    pipeline = Pipeline("source", trial.source, [Stage("second", trial.second)], sink=sink)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run()
    trial.assert_nothing_is_left()


def test_a_signal_that_comes_at_any_moment_stops_the_stream() -> None:
    """As in a worker: the handler cancels in the main thread, which waits for the sink's items."""
    token = CancellationToken()
    previous = signal.signal(signal.SIGUSR1, lambda *_: token.cancel("a signal"))

    def nap(_item: int) -> None:
        token.wait(0.001)

    timer = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1])
    try:
        timer.start()
        with pytest.raises(Cancelled, match="a signal"):
            Pipeline(
                "source",
                lambda: itertools.count(),
                [Stage("one", nap)],
                cancel=token,
            ).run()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, previous)
    assert [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)] == []


def test_a_stream_that_was_cancelled_before_it_began_delivers_nothing() -> None:
    token = CancellationToken()
    token.cancel("too late")
    trial = Trial()
    with pytest.raises(Cancelled, match="too late"):
        trial.pipeline(token).run()
    assert trial.delivered == []
    trial.assert_nothing_is_left()


def cancel_at_random(seed: int) -> None:
    chance = random.Random(seed)
    token = CancellationToken()
    trial = Trial(
        workers=chance.randint(1, 3),
        ordered=chance.random() < 0.5,
        queue_size=chance.randint(1, 4),
        delay_s=chance.choice([0.0, 0.001]),
    )
    timer = threading.Timer(chance.random() * 0.04, token.cancel, [f"seed {seed}"])
    timer.start()
    began = time.monotonic()
    error: Cancelled | None = None
    try:
        trial.pipeline(token).run()
    except Cancelled as cancelled:
        error = cancelled
    timer.join()
    assert time.monotonic() - began < 30
    trial.assert_nothing_is_left()
    assert error is not None or sorted(map(str, trial.delivered)) == sorted(map(str, EXPECTED))


def test_cancelling_at_forty_random_moments_leaves_nothing() -> None:
    for seed in range(40):
        cancel_at_random(seed)


@pytest.mark.slow
def test_cancelling_at_a_thousand_random_moments_leaves_nothing() -> None:
    for seed in range(1000, 2000):
        cancel_at_random(seed)


def test_a_slow_sink_holds_the_source_back() -> None:
    taken = 0
    furthest = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for item in range(200):
            taken += 1
            yield item

    delivered = 0

    def sink(_item: int) -> None:
        nonlocal delivered, furthest
        delivered += 1
        furthest = max(furthest, taken - delivered)
        if delivered < 20:
            time.sleep(0.005)

    Pipeline("source", source, [Stage("one", lambda item: [item], queue_size=2)], sink=sink).run()
    # Two queues of two, and one item in each hand: source, stage, sink.
    assert furthest <= 2 + 2 + 3
    assert delivered == 200


def test_a_blocked_stream_stops_at_once() -> None:
    token = CancellationToken()
    release = threading.Event()

    def source() -> Iterator[int]:
        yield from itertools.count()

    def wait_for_ever(_item: int) -> None:
        """As a sink does on a full disk, until the token wakes it."""
        if token.wait(60):
            release.set()

    threading.Timer(0.1, token.cancel, ["enough"]).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        Pipeline(
            "source",
            source,
            [Stage("one", lambda item: [item], queue_size=1)],
            cancel=token,
            sink=wait_for_ever,
        ).run()
    assert release.is_set()
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"work": None}, "either work or setup"),
        ({"workers": 0}, "at least one worker"),
        ({"queue_size": 0}, "at least one"),
        ({"workers": 2, "finish": list}, "one worker only"),
    ],
)
def test_a_stage_that_cannot_work_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Stage("stage", **{"work": lambda item: [item], **options})


def test_two_stages_of_one_name_are_refused() -> None:
    stage = Stage("same", lambda item: [item])
    with pytest.raises(ValueError, match="names of their own"):
        Pipeline("source", lambda: iter(()), [stage, stage])
