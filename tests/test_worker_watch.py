"""What watches a task: a store that is away, a cancel, a lost claim, a time limit. With doubles, fast."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.doubles.tasks import call_of
from video_pipeline import worker_watch
from video_pipeline.calls import WorkerIdentity, read_call, read_result, request_cancel
from video_pipeline.claims import Claim
from video_pipeline.errors import TimedOut, Transient
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.task_context import TaskContext
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.telemetry.usage import Usage
from video_pipeline.worker_watch import ClaimLost, Watch

KEY = "ab" * 16


@pytest.fixture(autouse=True)
def _without_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_watch, "CANCEL_POLL_S", 0.01)
    monkeypatch.setattr(worker_watch, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(worker_watch, "GRACE_S", 0.3)


@pytest.fixture
def context(settings: Settings, tmp_path: Path) -> TaskContext:
    return TaskContext(
        store=open_store(settings),
        settings=settings,
        scratch=tmp_path,
        cancel=CancellationToken(),
        recorder=Recorder(),
        emit=lambda _: None,
    )


@pytest.fixture
def claim(context: TaskContext) -> Claim:
    worker = WorkerIdentity(backend="modal", host="ta-1", call_id="fc-1")
    record = call_of(KEY, worker)
    claim = Claim.take(context.store, record)
    assert isinstance(claim, Claim)
    return claim


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """With which code the process was ended, and when: here only the thread that watches ends."""
    ends: list[tuple[int, float]] = []

    def leave(code: int) -> None:
        ends.append((code, time.monotonic()))
        raise SystemExit

    monkeypatch.setattr(worker_watch, "os", SimpleNamespace(_exit=leave))
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    return ends


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def watching(claim: Claim, context: TaskContext, timeout_s: float = 60.0) -> Watch:
    watch = Watch(claim, context, timeout_s, lambda: Usage(frames=7))
    watch.start()
    return watch


def test_a_store_that_is_away_ends_no_work_and_a_cancel_is_found_once_it_is_back(
    claim: Claim, context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def look(*_: Any) -> str | None:
        looks.append("a look")
        monkeypatch.setattr(worker_watch, "HEARTBEAT_S", 1000.0)
        if len(looks) < 5:
            raise Transient("the store is away")
        return "a person asked" if len(looks) > 8 else None

    monkeypatch.setattr(claim, "cancel_requested", look)
    heartbeats: list[int] = []

    def beat(*_: Any) -> str | None:
        heartbeats.append(len(looks))
        return look()

    monkeypatch.setattr(claim, "heartbeat", beat)
    watch = watching(claim, context)
    wait_for(lambda: context.cancel.cancelled)
    watch.stop()
    assert len(looks) >= 9
    assert heartbeats, "a heartbeat is due now and then"
    assert len(heartbeats) <= 2, "between them the record is only read"
    assert context.cancel.reason == "a person asked"
    assert watch.outcome is None, "whether it was a cancel is for the record to say"
    assert not context.claim_lost


def test_the_record_has_a_fresh_heartbeat_and_the_progress_as_long_as_the_task_runs(
    claim: Claim, context: TaskContext
) -> None:
    context.last_progress = {"stage": "half"}
    before = time.time()
    watch = watching(claim, context)

    def noted() -> bool:
        found = read_call(context.store, "acme", KEY)
        return found is not None and found[0].progress == {"stage": "half"}

    wait_for(noted)
    watch.stop()
    found = read_call(context.store, "acme", KEY)
    assert found is not None
    assert found[0].heartbeat_at >= before
    assert not context.cancel.cancelled


def test_what_a_task_has_to_say_while_the_store_is_away_waits_for_the_next_heartbeat(
    claim: Claim, context: TaskContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise Transient("the store is away")

    context.last_progress = {"stage": "half"}
    watch = Watch(claim, context, 60.0, Usage)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(context.store, "get_with_etag", away)
        watch.renew()
    assert "could not be renewed: the store is away" in caplog.text
    watch.renew()
    found = read_call(context.store, "acme", KEY)
    assert found is not None
    assert found[0].progress == {"stage": "half"}


def test_a_worker_that_lost_its_claim_is_told_to_publish_nothing(claim: Claim, context: TaskContext) -> None:
    other = claim.record.model_copy(update={"worker": WorkerIdentity(host="elsewhere")})
    Claim._note(claim, other)
    context.store.put(f"acme/server/calls/{KEY}.json", other.model_dump_json().encode())
    watch = watching(claim, context)
    wait_for(lambda: context.cancel.cancelled)
    watch.stop()
    assert context.claim_lost
    assert isinstance(watch.outcome, ClaimLost)


def test_a_task_past_its_time_is_told_and_one_that_does_not_hear_is_ended_with_a_result(
    claim: Claim, context: TaskContext, left: list[tuple[int, float]]
) -> None:
    began = time.monotonic()
    watch = watching(claim, context, timeout_s=0.05)
    wait_for(lambda: left)
    watch.stop()
    ((code, at),) = left
    assert code == 1
    assert at - began > worker_watch.GRACE_S, "it has its time to stop in"
    assert isinstance(watch.outcome, TimedOut)
    assert context.cancel.cancelled
    result = read_result(context.store, "acme", KEY)
    assert result is not None
    assert result.error is not None
    assert (result.error.kind, result.usage.frames, result.buried) == ("timeout", 7, False)
    assert "did not stop when told to" in result.error.message
    found = read_call(context.store, "acme", KEY)
    assert found is not None
    assert found[0].state == "finished"


def test_a_task_past_its_time_is_told_long_before_it_is_ended(
    claim: Claim, context: TaskContext, left: list[tuple[int, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_watch, "GRACE_S", 1000.0)
    watch = watching(claim, context, timeout_s=0.05)
    wait_for(lambda: context.cancel.cancelled)
    watch.stop()
    assert isinstance(watch.outcome, TimedOut)
    assert left == []
    assert read_result(context.store, "acme", KEY) is None


def test_a_task_that_hears_no_cancel_is_ended_at_its_time_limit_as_cancelled(
    claim: Claim, context: TaskContext, left: list[tuple[int, float]]
) -> None:
    request_cancel(context.store, "acme", KEY, "a person asked")
    watch = watching(claim, context, timeout_s=0.05)
    wait_for(lambda: left)
    watch.stop()
    assert context.cancel.reason == "a person asked"
    assert watch.outcome is None, "one that stops late was cancelled, too"
    result = read_result(context.store, "acme", KEY)
    assert result is not None
    assert result.error is not None
    assert (result.error.kind, result.error.message) == ("cancelled", "cancelled: a person asked")


def test_a_task_is_ended_at_its_time_limit_though_its_store_is_away(
    claim: Claim, context: TaskContext, left: list[tuple[int, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hang because of that: then nothing but the limit ends what is paid for by the second."""

    def away(*_: Any) -> None:
        raise Transient("the store is away")

    for of, name in ((claim, "heartbeat"), (claim, "cancel_requested"), (context.store, "put")):
        monkeypatch.setattr(of, name, away)
    watch = watching(claim, context, timeout_s=0.05)
    wait_for(lambda: left)
    watch.stop()
    assert isinstance(watch.outcome, TimedOut)
    assert "longer than its 0 s" in context.cancel.reason


def test_a_worker_that_lost_its_claim_and_does_not_stop_is_ended_and_leaves_no_result(
    claim: Claim, context: TaskContext, left: list[tuple[int, float]]
) -> None:
    other = claim.record.model_copy(update={"worker": WorkerIdentity(host="elsewhere")})
    context.store.put(f"acme/server/calls/{KEY}.json", other.model_dump_json().encode())
    watch = watching(claim, context, timeout_s=0.05)
    wait_for(lambda: left)
    watch.stop()
    assert isinstance(watch.outcome, ClaimLost)
    assert read_result(context.store, "acme", KEY) is None
    found = read_call(context.store, "acme", KEY)
    assert found is not None
    assert found[0] == other
