"""The loop that waits for a call: when it retries, cancels, detaches, buries and gives up. With a double."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from video_pipeline.calls import ErrorRecord, ResultRecord, WorkerIdentity
from video_pipeline.compute import follow as module
from video_pipeline.compute.base import CallOptions, Event, Handle, Status
from video_pipeline.compute.follow import CallFailed, Detached, Interrupts, follow, progress_line, run_call
from video_pipeline.errors import ErrorKind

HANDLE = Handle("acme", "ab" * 16, "double", "double")


def record(kind: ErrorKind | None) -> ResultRecord:
    """A result; `kind` None is a good one."""
    now = datetime.now(UTC)
    return ResultRecord(
        key=HANDLE.key,
        task="double",
        version=1,
        status="ok" if kind is None else "error",
        result={} if kind is None else None,
        error=None if kind is None else ErrorRecord(kind=kind, message=f"a {kind} end"),
        worker=WorkerIdentity(),
        started_at=now,
        finished_at=now,
    )


DONE = Status("done", result=record(None))
LOST = Status("lost", detail="its process is gone")


class DoubleOfCompute:
    """A backend that says of its calls, poll by poll, what a test gives it; the last of it for ever."""

    backend = "double"
    unclaimed_limit_s = 0.3

    def __init__(self, *says: Status, buries: bool = True) -> None:
        self.says = list(says)
        self.buries = buries
        self.asked: list[str] = []
        self.events_left: list[Event] = []

    def submit(self, task: str, request: Any, options: CallOptions | None = None) -> Handle:
        self.asked.append("submit")
        return HANDLE

    def check(self, task: str, calls: int, options: CallOptions | None = None) -> None:
        raise AssertionError("nobody fans out here")

    def poll(self, handle: Handle) -> Status:
        return self.says.pop(0) if len(self.says) > 1 else self.says[0]

    def events(self, handle: Handle) -> DoubleOfCompute:
        return self

    def read(self) -> list[Event]:
        told, self.events_left = self.events_left, []
        return told

    def cancel(self, handle: Handle, reason: str) -> None:
        self.asked.append(f"cancel: {reason}")

    def bury(self, handle: Handle, status: Status) -> ResultRecord | None:
        self.asked.append("bury")
        return record("preempted") if self.buries else None

    def describe(self, handle: Handle) -> dict[str, Any]:
        return {}


class Clock:
    """A double of `time` that goes on by what is slept: a loaded machine sleeps longer than it was told."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "time", Clock())


@pytest.mark.parametrize(
    ("kind", "submissions"),
    [
        ("transient", 3),
        ("preempted", 3),
        ("timeout", 1),
        ("bad_input", 1),
        ("internal", 1),
        ("cancelled", 1),
        ("out_of_memory", 1),
        ("version_mismatch", 1),
    ],
)
def test_only_what_may_pass_is_tried_again_and_no_more_often_than_allowed(
    kind: ErrorKind, submissions: int
) -> None:
    compute = DoubleOfCompute(Status("done", result=record(kind)))
    events: list[Event] = []
    with pytest.raises(CallFailed, match=f"a {kind} end"):
        run_call(compute, "double", {}, on_event=events.append)
    assert compute.asked == ["submit"] * submissions
    retries = [event.data["attempt"] for event in events if event.name == "retry"]
    assert retries == list(range(1, submissions))


def test_one_attempt_is_one_submission() -> None:
    compute = DoubleOfCompute(Status("done", result=record("transient")))
    with pytest.raises(CallFailed):
        run_call(compute, "double", {}, CallOptions(max_attempts=1))
    assert compute.asked == ["submit"]


def test_a_call_that_nobody_claims_is_cancelled_and_given_up() -> None:
    compute = DoubleOfCompute(Status("waiting"))
    ended = follow(compute, HANDLE)
    assert ended.error is not None
    assert ended.error.kind == "internal"
    assert "did not claim the call within 0 s" in ended.error.message
    assert compute.asked == ["cancel: the worker never claimed the call"]


def test_a_call_that_has_run_waits_anew_before_it_is_given_up() -> None:
    """A worker that was taken away leaves the call waiting: as long as it ran does not count."""
    waits, runs = [Status("waiting")] * 15, [Status("running")] * 5
    compute = DoubleOfCompute(*waits, *runs, *waits, DONE)
    assert follow(compute, HANDLE).status == "ok"
    assert compute.asked == []


def test_a_lost_call_is_buried_and_one_that_turns_out_to_live_is_followed_on() -> None:
    compute = DoubleOfCompute(LOST)
    buried = follow(compute, HANDLE)
    assert buried.error is not None
    assert buried.error.kind == "preempted"
    alive = DoubleOfCompute(LOST, Status("running"), DONE, buries=False)
    assert follow(alive, HANDLE).status == "ok"
    assert alive.asked == ["bury"]


def test_a_call_that_is_found_lost_while_it_is_cancelled_is_buried_too() -> None:
    compute = DoubleOfCompute(LOST, DONE)
    ended = follow(compute, HANDLE, interrupted=lambda: "cancel")
    assert (ended.error is not None, compute.asked) == (True, ["cancel: cancelled by its caller", "bury"])


def test_a_call_that_stays_lost_and_cannot_be_buried_is_an_error_in_its_words() -> None:
    ended = follow(DoubleOfCompute(LOST, buries=False), HANDLE)
    assert ended.error is not None
    assert (ended.error.kind, ended.error.message) == ("internal", "its process is gone")


def test_a_detached_caller_leaves_the_call_alone_and_a_cancelling_one_waits_for_its_end() -> None:
    compute = DoubleOfCompute(Status("running"))
    with pytest.raises(Detached) as caught:
        follow(compute, HANDLE, interrupted=lambda: "detach")
    assert caught.value.input == HANDLE.key
    assert compute.asked == []
    ending = DoubleOfCompute(Status("done", result=record("cancelled")))
    assert follow(ending, HANDLE, interrupted=lambda: "cancel").error is not None
    assert ending.asked == ["cancel: cancelled by its caller"]


def test_what_a_worker_said_last_is_passed_on_though_its_call_has_ended() -> None:
    """And though it was said between two looks."""

    class Ending(DoubleOfCompute):
        def poll(self, handle: Handle) -> Status:
            self.events_left = [Event("log", {"line": "the last word"}), Event("ended")]
            return super().poll(handle)

    told: list[Event] = []
    follow(Ending(DONE), HANDLE, on_event=told.append)
    assert [event.name for event in told] == ["log", "ended"]


@pytest.mark.parametrize(("ended", "told_of"), [(True, ["log"]), (False, ["progress", "log"])])
def test_a_call_that_had_ended_before_tells_no_progress(ended: bool, told_of: list[str]) -> None:
    compute = DoubleOfCompute(DONE)
    compute.events_left = [Event("progress", {"done": 1, "total": 840, "seconds_left": 122}), Event("log")]
    told: list[Event] = []
    follow(compute, replace(HANDLE, attached=True, ended=ended), on_event=told.append)
    assert [event.name for event in told] == told_of


@pytest.mark.parametrize(
    ("known", "line"),
    [
        ({"total": 400, "seconds_left": 3.48}, "captions: 120 of 400 frames, 80.5/s, 3 s left"),
        ({"total": None, "seconds_left": None}, "captions: 120 frames, 80.5/s"),
        ({"total": 120, "seconds_left": 0.0}, "captions: 120 of 120 frames, 80.5/s, 0 s left"),
        ({"total": 400, "done": 0, "rate_per_s": 0.0}, "captions: 0 of 400 frames"),
    ],
)
def test_progress_is_told_in_a_line_with_what_is_known_of_its_end(known: dict[str, Any], line: str) -> None:
    assert (
        progress_line({"stage": "captions", "done": 120, "unit": "frames", "rate_per_s": 80.5, **known})
        == line
    )


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ([signal.SIGINT], "cancel"),
        ([signal.SIGTERM], "detach"),
        ([signal.SIGTERM, signal.SIGINT], "cancel"),
        ([signal.SIGINT, signal.SIGTERM], "cancel"),
    ],
)
def test_an_interrupt_cancels_a_termination_detaches_and_the_handlers_are_given_back(
    sent: list[signal.Signals], asked: str
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interrupts.watched() as interrupts:
        assert interrupts.asked is None
        for number in sent:
            os.kill(os.getpid(), number)
        assert interrupts.asked == asked
        assert interrupts.signal_name == sent[-1].name
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_handlers_are_given_back_to_a_caller_that_is_told_to_end() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Detached), Interrupts.watched():
        raise Detached("the caller was told to end; the call goes on")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_another_thread_watches_nothing_and_fails_nothing() -> None:
    seen: list[Interrupts] = []

    def watch() -> None:
        with Interrupts.watched() as interrupts:
            seen.append(interrupts)

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert [one.asked for one in seen] == [None]
