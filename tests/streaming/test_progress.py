"""What a stream tells while it runs and of itself afterwards: progress, spans, statistics of every part."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from video_pipeline.errors import Cancelled
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.pipeline import THREAD_PREFIX, Pipeline, ProgressSnapshot, Stage
from video_pipeline.telemetry.timing import Recorder, use_recorder


def twice(item: int) -> list[int]:
    return [item, item]


def slowly(item: int) -> list[int]:
    time.sleep(0.002)
    return [item]


def test_progress_tells_what_every_part_has_taken_so_far() -> None:
    told: list[ProgressSnapshot] = []

    def until_told(item: int) -> list[int]:
        while len(told) < item / 20:
            time.sleep(0.002)
        return [item]

    Pipeline(
        "source",
        lambda: iter(range(60)),
        [Stage("slow", until_told, queue_size=2)],
        sink=lambda _: None,
        on_progress=told.append,
        progress_every_s=0.01,
    ).run()
    assert len(told) >= 3
    assert all(list(each.items) == ["source", "slow", "sink"] for each in told)
    for earlier, later in itertools.pairwise(told):
        assert earlier.elapsed_s < later.elapsed_s
        assert all(earlier.items[name] <= later.items[name] for name in earlier.items)
    last = told[-1].items
    assert 60 >= last["source"] >= last["slow"] >= last["sink"] > 0
    assert any(0 < each.items["slow"] < 60 for each in told), "while it runs, not only at its end"


def test_without_a_listener_nobody_is_told() -> None:
    report = Pipeline("source", lambda: iter(range(3)), [Stage("one", twice)]).run()
    assert [stage.name for stage in report.stages] == ["source", "one"]


def test_a_sequential_run_tells_after_each_part() -> None:
    told: list[ProgressSnapshot] = []
    Pipeline(
        "source",
        lambda: iter(range(5)),
        [Stage("one", twice), Stage("two", twice)],
        sink=lambda _: None,
        on_progress=told.append,
    ).run_sequentially()
    assert [each.items for each in told] == [
        {"source": 5, "one": 0, "two": 0, "sink": 0},
        {"source": 5, "one": 5, "two": 0, "sink": 0},
        {"source": 5, "one": 5, "two": 10, "sink": 0},
    ]
    assert [each.elapsed_s for each in told] == sorted(each.elapsed_s for each in told)


@pytest.mark.parametrize("sequential", [False, True])
def test_every_part_counts_its_items_and_says_when_it_began_and_ended(sequential: bool) -> None:
    pipeline = Pipeline(
        "source",
        lambda: iter(range(5)),
        [Stage("one", twice, workers=2), Stage("two", slowly, finish=lambda: [-1])],
        sink=lambda _: None,
    )
    began = time.perf_counter()
    report = pipeline.run_sequentially() if sequential else pipeline.run()
    wall = time.perf_counter() - began
    source, one, two, sink = report.stages
    assert (source.items_out, one.items_in, one.items_out) == (5, 5, 10)
    assert (two.items_in, two.items_out, sink.items_in) == (10, 11, 11)
    assert one.workers == (1 if sequential else 2), "in a sequential run one worker does it all"
    assert [stage.scalable for stage in report.stages] == [False, True, False, False]
    assert 0 < report.wall_s <= wall
    for stage in report.stages:
        assert stage.started is not None
        assert 0 <= stage.started <= stage.ended <= report.wall_s
    assert two.busy_s >= 10 * 0.002
    if sequential:
        for earlier, later in itertools.pairwise(report.stages):
            assert earlier.ended <= (later.started or 0), "each to its end before the next begins"
    else:
        assert (two.started or 0) < one.ended, "all at once"


@pytest.mark.parametrize("sequential", [False, True])
def test_each_step_is_a_span_of_the_callers_recorder(sequential: bool) -> None:
    recorder = Recorder()
    with use_recorder(recorder):
        pipeline = Pipeline(
            "source",
            lambda: iter(range(4)),
            [Stage("one", twice, workers=1 if sequential else 2)],
            sink=lambda _: None,
        )
        if sequential:
            pipeline.run_sequentially()
        else:
            pipeline.run()
    counts = {name: sum(span.name == name for span in recorder.spans()) for name in ("source", "one", "sink")}
    assert counts == {"source": 4, "one": 4, "sink": 8}


def test_spans_that_the_recorder_had_no_room_for_are_counted_in_the_report() -> None:
    recorder = Recorder(limit=3)
    with use_recorder(recorder):
        report = Pipeline("source", lambda: iter(range(10)), [Stage("one", twice)]).run()
    assert report.dropped_spans == recorder.dropped > 0
    assert Pipeline("source", lambda: iter(range(2)), [Stage("one", twice)]).run().dropped_spans == 0


def test_a_generator_is_pulled_only_as_fast_as_its_items_are_taken() -> None:
    made = taken = furthest = 0

    def many(_item: int) -> Iterator[int]:
        nonlocal made
        for number in range(100):
            made += 1
            yield number

    def take(_item: int) -> None:
        nonlocal taken, furthest
        taken += 1
        furthest = max(furthest, made - taken)
        if taken < 20:
            time.sleep(0.002)

    Pipeline("source", lambda: iter([0]), [Stage("many", many, queue_size=2)], sink=take).run()
    # One queue of two, and one item in each hand.
    assert furthest <= 2 + 2
    assert taken == 100


def test_a_cancel_ends_a_sequential_run_before_its_next_step() -> None:
    token = CancellationToken()
    done: list[int] = []

    def work(item: int) -> list[int]:
        done.append(item)
        if item == 3:
            token.cancel("enough")
        return [item]

    with pytest.raises(Cancelled, match="enough"):
        Pipeline("source", lambda: iter(range(10)), [Stage("one", work)], cancel=token).run_sequentially()
    assert done == [0, 1, 2, 3]


@pytest.mark.parametrize("sequential", [False, True])
def test_none_is_an_item_like_any_other_from_a_source_and_nothing_from_a_stage(sequential: bool) -> None:
    delivered: list[Any] = []
    pipeline = Pipeline(
        "source",
        lambda: iter([None, 1, None]),
        [Stage("keep", lambda item: [item]), Stage("drop", lambda item: None if item == 1 else [item])],
        sink=delivered.append,
    )
    if sequential:
        pipeline.run_sequentially()
    else:
        pipeline.run()
    assert delivered == [None, None]


@pytest.mark.parametrize("sequential", [False, True])
def test_a_stream_without_stages_carries_the_source_to_the_sink(sequential: bool) -> None:
    delivered: list[int] = []
    pipeline = Pipeline("source", lambda: iter(range(20)), [], sink=delivered.append)
    report = pipeline.run_sequentially() if sequential else pipeline.run()
    assert delivered == list(range(20))
    assert [stage.name for stage in report.stages] == ["source", "sink"]


def test_a_source_of_nothing_still_finishes() -> None:
    delivered: list[str] = []
    stage = Stage("one", lambda item: [item], finish=lambda: ["the tail"])
    Pipeline("source", lambda: iter(()), [stage], sink=delivered.append).run()
    assert delivered == ["the tail"]


@pytest.mark.parametrize("names", [("same", "same", "sink"), ("a", "b", "a"), ("a", "b", "b")])
def test_no_two_parts_may_have_one_name(names: tuple[str, str, str]) -> None:
    source, stage, sink = names
    with pytest.raises(ValueError, match="names of their own"):
        Pipeline(source, lambda: iter(()), [Stage(stage, twice)], sink=lambda _: None, sink_name=sink)


@pytest.mark.parametrize("sequential", [False, True])
def test_opening_and_closing_a_worker_is_time_that_its_stage_was_busy(sequential: bool) -> None:
    """A recogniser takes a third of a second to make: that is no waiting."""
    all_given = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        all_given.set()

    @contextlib.contextmanager
    def worker() -> Iterator[Any]:
        time.sleep(0.03)
        if not sequential:
            assert all_given.wait(60)
        yield twice
        time.sleep(0.03)

    pipeline = Pipeline("source", source, [Stage("slow to open", setup=worker)])
    report = pipeline.run_sequentially() if sequential else pipeline.run()
    stage = report.stages[1]
    if not sequential:
        assert stage.busy_s >= 0.06
        assert stage.wait_in_s < stage.busy_s
    assert (stage.items_in, stage.items_out) == (1, 2)


def test_an_error_of_the_sink_that_comes_second_becomes_a_note_of_the_first() -> None:
    in_the_sink = threading.Event()

    def work(item: int) -> list[int]:
        if item == 1:
            assert in_the_sink.wait(60)
            raise ValueError("the first")
        return [item]

    def sink(_item: int) -> None:
        in_the_sink.set()
        deadline = time.monotonic() + 60
        while any(thread.name.startswith(THREAD_PREFIX) for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        raise OSError("the second")

    with pytest.raises(ValueError, match="the first") as caught:
        Pipeline("source", lambda: iter([0, 1]), [Stage("one", work)], sink=sink).run()
    assert caught.value.__notes__ == ["while stopping: OSError: the second"]


class Swallows(contextlib.AbstractContextManager[Any]):
    """A worker's context that claims to have dealt with whatever ended it."""

    def __enter__(self) -> Any:
        def work(_item: int) -> list[int]:
            raise ValueError("of the work")

        return work

    def __exit__(self, *_: object) -> bool:
        return True


@pytest.mark.parametrize("sequential", [False, True])
def test_a_workers_context_cannot_swallow_an_error(sequential: bool) -> None:
    pipeline = Pipeline("source", lambda: iter([1]), [Stage("one", setup=Swallows)])
    run = pipeline.run_sequentially if sequential else pipeline.run
    with pytest.raises(ValueError, match="of the work"):
        run()
