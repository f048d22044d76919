"""A task that runs others, in this process, with real workers for its calls: order, limit, first failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from tests.compute.conftest import starts, wait_until_claimed, workers_of
from tests.compute.test_follow import record
from tests.doubles.tasks import Behaviour
from video_pipeline.calls import read_result
from video_pipeline.compute.base import CallOptions, Event, Handle, Status
from video_pipeline.compute.fan_out import fan_out
from video_pipeline.compute.follow import CallFailed
from video_pipeline.compute.local import LocalCompute
from video_pipeline.errors import BadInput, Cancelled, ErrorKind, PipelineError, Transient
from video_pipeline.settings import Settings
from video_pipeline.store.base import ObjectStore
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.task_context import TaskContext
from video_pipeline.tasks import call_key_of, find_task
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.telemetry.usage import Usage


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def context(
    task_settings: Settings, store: ObjectStore, compute: LocalCompute, told: list, tmp_path: Path
) -> TaskContext:
    """What a task gets, in this process; its calls are real workers (`compute` ends any that are left)."""
    return TaskContext(
        store=store,
        settings=task_settings,
        scratch=tmp_path,
        cancel=CancellationToken(),
        recorder=Recorder(),
        emit=told.append,
    )


def behaviours(tmp_path: Path, *wanted: str, seconds: float = 60.0) -> list[Behaviour]:
    """One double for each word, with a journal of its own."""
    return [
        Behaviour.model_validate(
            {"number": number, "do": do, "seconds": seconds, "journal": str(tmp_path / f"journal-{number}")}
        )
        for number, do in enumerate(wanted)
    ]


def journals(requests: list[Behaviour]) -> list[int]:
    return [starts(Path(request.journal or "")) for request in requests]


def key_of(store: ObjectStore, settings: Settings, request: Behaviour) -> str:
    return call_key_of(find_task("double", settings), request, store)


def wait_for(condition: Callable[[], Any], timeout_s: float = 120.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (met := condition()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
    return met


def test_results_come_in_the_order_of_the_requests_and_no_more_than_allowed_run_at_once(
    context: TaskContext, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    requests = behaviours(tmp_path, *["sleep"] * 4)
    for request, seconds in zip(requests, (1.2, 0.1, 0.6, 0.1), strict=True):
        request.seconds = seconds
    progress: list[tuple[int, int]] = []
    begun_before_the_first_end: list[int] = []

    def progressed(done: int, total: int) -> None:
        begun_before_the_first_end.append(sum(event["event"] == "fan_out" for event in told))
        progress.append((done, total))

    records = fan_out(context, "double", requests, at_once=2, on_progress=progressed)
    assert [record.key for record in records] == [
        key_of(context.store, context.settings, request) for request in requests
    ]
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    borders = sorted(
        [(record.started_at, 1) for record in records] + [(record.finished_at, -1) for record in records]
    )
    running = [sum(step for _, step in borders[: count + 1]) for count in range(len(borders))]
    # How long a worker takes to start is for the machine to say: two that were begun need not meet.
    assert max(running) <= 2 <= begun_before_the_first_end[0]
    assert journals(requests) == [1, 1, 1, 1]
    submitted = [event for event in told if event["event"] == "fan_out"]
    assert sorted(event["child"] for event in submitted) == [1, 2, 3, 4]
    assert {event["call"] for event in submitted} == {record.key for record in records}
    stages = {event["stage"] for event in told if event["event"] == "progress"}
    assert "double 1 of 4, sleeping" in stages
    assert context.children == {}


def test_without_a_limit_the_local_backend_runs_as_many_as_there_are_cores(
    context: TaskContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr("video_pipeline.compute.fan_out.usable_cores", lambda: 1)
    first, second = fan_out(context, "double", behaviours(tmp_path, "return", "return"))
    assert first.finished_at <= second.started_at
    overall = [event for event in told if event["event"] == "progress"]
    assert [(event["stage"], event["done"], event["total"]) for event in overall] == [
        ("double", 1, 2),
        ("double", 2, 2),
    ]


def test_equal_requests_are_one_call_and_what_has_ended_is_not_run_again(
    context: TaskContext, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    first, second = behaviours(tmp_path, "sleep", "return", seconds=0.5)
    once = fan_out(context, "double", [first])
    assert any("sleeping" in event.get("stage", "") for event in told)
    news = len(told)
    records = fan_out(context, "double", [first, second, first.model_copy()])
    assert not any("sleeping" in event.get("stage", "") for event in told[news:])
    assert records[0] == records[2] == once[0]
    assert journals([first, second]) == [1, 1]
    submitted = [event for event in told if event["event"] == "fan_out"]
    assert [(event["attached"], event["finished"]) for event in submitted if event["child"] == 1] == [
        (False, False),
        (True, True),
    ]


def test_no_requests_need_no_backend(context: TaskContext) -> None:
    assert fan_out(context, "double", []) == []
    assert "compute" not in vars(context)
    assert context.compute is context.compute


def test_no_calls_at_a_time_are_refused(context: TaskContext, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="0 calls at a time"):
        fan_out(context, "double", behaviours(tmp_path, "return"), at_once=0)


def test_more_calls_than_are_paid_for_are_refused_before_the_first(
    context: TaskContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(task: str, calls: int, options: CallOptions | None = None) -> None:
        asked.append((task, calls))
        raise BadInput("too dear", input=task)

    monkeypatch.setattr(context.compute, "check", refuse)
    requests = behaviours(tmp_path, "return", "return")
    with pytest.raises(BadInput, match="too dear"):
        fan_out(context, "double", [*requests, requests[0]])
    assert asked == [("double", 2)]
    assert journals(requests) == [0, 0]


def test_a_call_whose_worker_died_is_started_again(context: TaskContext, tmp_path: Path, told: list) -> None:
    requests = behaviours(tmp_path, "die_once", "return")
    records = fan_out(context, "double", requests, at_once=2)
    assert [record.status for record in records] == ["ok", "ok"]
    assert journals(requests) == [2, 1]
    assert [event["child"] for event in told if event["event"] == "retry"] == [1]


@pytest.mark.parametrize(
    ("do", "kind", "expected_starts"),
    [("bad_input", "bad_input", 1), ("crash", "internal", 1), ("transient", "transient", 2)],
)
def test_the_first_failure_keeps_its_kind_names_the_call_and_ends_the_others(
    context: TaskContext, tmp_path: Path, do: str, kind: str, expected_starts: int
) -> None:
    requests = behaviours(tmp_path, "sleep", do, "sleep")
    requests[1].after = requests[0].journal
    with pytest.raises(PipelineError) as caught:
        fan_out(context, "double", requests, at_once=2, options=CallOptions(max_attempts=2))
    assert caught.value.kind == kind
    assert not isinstance(caught.value, CallFailed)
    key = key_of(context.store, context.settings, requests[1])
    assert caught.value.input is not None
    assert caught.value.input.startswith(f"double 2 of 3, call {key}")
    if do == "bad_input":
        assert caught.value.message == "this input is wrong"
        assert caught.value.input.endswith(": the input")
        assert caught.value.what_to_do == "bring another"
    assert "in run\n" in "".join(caught.value.__notes__)
    assert workers_of(context.settings) == []
    assert journals(requests) == [1, expected_starts, 0]
    cancelled = read_result(context.store, "acme", key_of(context.store, context.settings, requests[0]))
    assert cancelled is not None
    assert cancelled.error is not None
    assert cancelled.error.kind == "cancelled"


def test_a_request_whose_input_is_missing_is_named_and_ends_the_others(
    context: TaskContext, tmp_path: Path
) -> None:
    running, missing = behaviours(tmp_path, "sleep", "return")
    missing.video_key = "acme/client/videos/a/video.mp4"
    with pytest.raises(BadInput, match=r"double 2 of 2: .*acme/client/videos/a/video\.mp4"):
        fan_out(context, "double", [running, missing], at_once=2)
    assert workers_of(context.settings) == []


def test_a_store_that_is_away_for_a_moment_ends_no_call(
    context: TaskContext, tmp_path: Path, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video_pipeline.compute.fan_out.AGAIN_AFTER_S", 0.5)
    poll, polls = context.compute.poll, []

    def away_for_a_moment(handle: Handle) -> Status:
        polls.append(time.monotonic())
        if len(polls) == 3:
            raise Transient("the store is away")
        return poll(handle)

    monkeypatch.setattr(context.compute, "poll", away_for_a_moment)
    requests = behaviours(tmp_path, "sleep", seconds=1.0)
    (record,) = fan_out(context, "double", requests)
    assert record.status == "ok"
    assert journals(requests) == [1]
    assert [event["message"] for event in told if event["event"] == "retry"] == ["the store is away"]
    assert polls[3] - polls[2] >= 0.5, "it is left alone for a while"


def test_a_store_that_stays_away_fails_the_fan_out_as_transient_and_ends_the_calls(
    context: TaskContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video_pipeline.compute.fan_out.AGAIN_AFTER_S", 0.1)
    requests = behaviours(tmp_path, "sleep")

    def away(handle: Handle) -> Status:
        wait_until_claimed(context.store, handle.tenant, handle.key)
        raise Transient("the store is away")

    monkeypatch.setattr(context.compute, "poll", away)
    with pytest.raises(Transient, match="the store is away"):
        fan_out(context, "double", requests)
    assert workers_of(context.settings) == []


def test_a_failing_listener_ends_every_call(
    context: TaskContext, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    def emit(event: dict[str, Any]) -> None:
        told.append(event)
        if event["event"] == "progress":
            raise BrokenPipeError("nobody listens")

    context.emit = emit
    with pytest.raises(BrokenPipeError):
        fan_out(context, "double", behaviours(tmp_path, "sleep", "sleep"), at_once=2)
    assert any(event["event"] == "progress" for event in told)
    assert workers_of(context.settings) == []


def test_an_orchestrator_whose_call_was_taken_over_leaves_its_calls_to_the_other(
    context: TaskContext, store: ObjectStore, tmp_path: Path
) -> None:
    children = behaviours(tmp_path, "sleep")

    def lose(event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            context.claim_lost = True
            context.cancel.cancel("another worker took this call over")

    context.emit = lose
    with pytest.raises(Cancelled, match="took this call over"):
        fan_out(context, "double", children)
    assert len(workers_of(context.settings)) == 1


class DoubleOfCompute:
    """A backend of many machines, without any: a call ends with `kind`, or works until it is cancelled where
    that is `cancelled`. The calls whose numbers are in `known` were there before. `at_poll` may wait."""

    backend = "modal"
    unclaimed_limit_s = 120.0

    def __init__(
        self, kind: ErrorKind | None = None, known: Iterable[int] = (), events: Iterable[Event] = ()
    ) -> None:
        self.kind: ErrorKind | None = kind
        self.known, self.told = set(known), list(events)
        self.parents: set[str | None] = set()
        self.cancelled: list[str] = []
        self.at_poll: Callable[[Handle], object] = lambda handle: None

    def check(self, task: str, calls: int, options: CallOptions | None = None) -> None:
        pass

    def submit(self, task: str, request: Any, options: CallOptions | None = None) -> Handle:
        self.parents.add((options or CallOptions()).parent)
        key = f"call-{request.number}"
        return Handle("acme", key, task, self.backend, attached=request.number in self.known)

    def poll(self, handle: Handle) -> Status:
        self.at_poll(handle)
        if self.kind == "cancelled" and handle.key not in self.cancelled:
            return Status("running")
        usage = Usage(chunk_download_overhead_ms=2.0)
        return Status("done", result=record(self.kind).model_copy(update={"key": handle.key, "usage": usage}))

    def events(self, handle: Handle) -> Any:
        return SimpleNamespace(read=lambda: self.told)

    def cancel(self, handle: Handle, reason: str) -> None:
        self.cancelled.append(handle.key)

    def bury(self, handle: Handle, status: Status) -> None:
        raise AssertionError("nobody dies here")

    def describe(self, handle: Handle) -> dict[str, Any]:
        return {}


def test_elsewhere_than_on_this_machine_all_calls_run_at_once_in_the_name_of_the_one_that_started_them(
    context: TaskContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video_pipeline.compute.fan_out.usable_cores", lambda: 1)
    context.compute = double = DoubleOfCompute()
    together = threading.Barrier(5, timeout=120)
    double.at_poll = lambda _: together.wait()
    context.call_key = "ab" * 16
    assert len(fan_out(context, "double", behaviours(tmp_path, *["return"] * 5))) == 5
    assert double.parents == {"ab" * 16}


def test_a_call_stands_in_the_record_before_it_is_waited_for_and_no_longer_than_it_runs(
    context: TaskContext, tmp_path: Path
) -> None:
    context.compute = double = DoubleOfCompute(known=(1, 2))
    note = {"tenant": "acme", "task": "double"}
    # Of a killed attempt: one that this one takes up, and one of another fan-out.
    before = {key: {**note, "key": key, "child": 1, "started": True} for key in ("call-1", "another")}
    context.children = dict(before)
    written: list[dict[str, Any]] = []
    context.renew = lambda: written.append(dict(context.children or {}))
    double.at_poll = lambda handle: written[-1][handle.key]
    fan_out(context, "double", behaviours(tmp_path, "return", "return", "return"), at_once=1)
    assert [{key: child["started"] for key, child in children.items()} for children in written] == [
        {"call-1": True, "another": True, "call-0": True},
        {"call-1": True, "another": True},
        {"another": True, "call-2": False},
    ]
    assert written[0]["call-0"] == {**note, "key": "call-0", "child": 1, "started": True}
    assert context.children == {"another": before["another"]}


def test_the_progress_of_a_call_is_passed_on_now_and_then_and_at_its_end(
    context: TaskContext, tmp_path: Path, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video_pipeline.compute.fan_out.PROGRESS_EVERY_S", 3600.0)
    steps = [Event("progress", {"stage": "frames", "done": done, "total": 4}) for done in (1, 2, 3, 4)]
    context.compute = DoubleOfCompute(events=[*steps, Event("log", {"line": "of the call's own log"})])
    fan_out(context, "double", behaviours(tmp_path, "return"), on_progress=lambda done, total: None)
    passed_on = [(event["stage"], event["done"]) for event in told if event["event"] == "progress"]
    assert passed_on == [("double 1 of 1, frames", 1), ("double 1 of 1, frames", 4)]
    assert {event["event"] for event in told} == {"fan_out", "progress"}


@pytest.mark.parametrize("kind", [kind for kind in get_args(ErrorKind) if kind != "cancelled"])
def test_every_kind_of_error_stays_what_it_is(kind: ErrorKind, context: TaskContext, tmp_path: Path) -> None:
    context.compute = DoubleOfCompute(kind)
    with pytest.raises(PipelineError) as caught:
        fan_out(context, "double", behaviours(tmp_path, "return"), options=CallOptions(max_attempts=1))
    assert caught.value.kind == kind
    assert not isinstance(caught.value, CallFailed)
    assert caught.value.input == "double 1 of 1, call call-0"
    assert context.children == {}, "what has failed needs no end"


def test_a_fan_out_that_fails_leaves_the_calls_of_others(
    context: TaskContext, tmp_path: Path, told: list[dict[str, Any]]
) -> None:
    context.compute = double = DoubleOfCompute("cancelled", known=[1])
    both = threading.Barrier(2, timeout=120)

    def emit(event: dict[str, Any]) -> None:
        both.wait()
        raise BrokenPipeError("nobody listens")

    context.emit = emit
    with pytest.raises(BrokenPipeError):
        fan_out(context, "double", behaviours(tmp_path, "return", "return"))
    assert double.cancelled == ["call-0"]
    assert list(context.children or {}) == ["call-1"]


def test_what_a_fan_out_took_is_added_to_that_of_the_one_before(context: TaskContext, tmp_path: Path) -> None:
    context.compute = double = DoubleOfCompute()
    fan_out(context, "double", behaviours(tmp_path, "return", "return"))
    usage = context.usage
    first = (usage.orchestrator_startup_ms, usage.map_dispatch_ms or 0.0)
    assert (usage.chunks, usage.chunk_download_overhead_ms) == (2, 4.0)
    double.at_poll = lambda _: time.sleep(0.01)
    fan_out(context, "double", behaviours(tmp_path, "return"))
    assert (usage.chunks, usage.chunk_download_overhead_ms) == (3, 6.0)
    assert usage.orchestrator_startup_ms == first[0]
    assert (usage.map_dispatch_ms or 0.0) > first[1] > 0
