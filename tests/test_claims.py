"""Who holds a call, claims taken, renewed and lost; which result may be had again. On a store alone."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.doubles.tasks import TASKS, call_of
from video_pipeline import calls, claims, keys
from video_pipeline.call_ends import end_in_its_place, error_in_its_place
from video_pipeline.calls import (
    LOST_AFTER_S,
    CallRecord,
    ErrorRecord,
    ResultRecord,
    WorkerIdentity,
    read_call,
    read_result,
    request_cancel,
    write_result,
)
from video_pipeline.claims import Claim
from video_pipeline.errors import ErrorKind, Transient
from video_pipeline.machine import started_since_boot
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore, PreconditionFailed

KEY = "ab" * 16
TASK = TASKS[0]


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return open_store(settings)


def worker(name: str, call_id: str | None = None, **fields: Any) -> WorkerIdentity:
    return WorkerIdentity(backend="modal", host=name, call_id=call_id or f"fc-{name}", **fields)


def record(who: WorkerIdentity, **fields: Any) -> CallRecord:
    return call_of(KEY, who, **fields)


def taken(store: ObjectStore, who: WorkerIdentity, **fields: Any) -> Claim:
    claim = Claim.take(store, record(who, **fields))
    assert isinstance(claim, Claim)
    return claim


def now(store: ObjectStore) -> CallRecord:
    found = read_call(store, "acme", KEY)
    assert found is not None
    return found[0]


def ledger(store: ObjectStore) -> list[str]:
    return [item.key for item in store.list(keys.LEDGER)]


def test_a_call_that_a_living_worker_holds_is_left_to_it(store: ObjectStore) -> None:
    taken(store, worker("first"))
    holder = Claim.take(store, record(worker("second")))
    assert isinstance(holder, CallRecord)
    assert holder.worker.host == "first"


def test_a_lost_worker_is_succeeded_with_the_next_number_and_entered_in_the_ledger(
    store: ObjectStore,
) -> None:
    taken(store, worker("first"), heartbeat_at=time.time() - LOST_AFTER_S - 1)
    second = taken(store, worker("second"))
    assert (second.record.attempt, now(store).worker.host) == (2, "second")
    assert len(ledger(store)) == 1
    second.finish()
    assert now(store).state == "finished"
    third = taken(store, worker("third"))
    assert third.record.attempt == 3
    assert len(ledger(store)) == 1, "one that ended has its entry from whoever wrote its result"


def test_of_two_that_would_succeed_a_lost_worker_one_does(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(store, worker("first"), heartbeat_at=time.time() - LOST_AFTER_S - 1)
    put, rivals = claims.put_call, ["rival"]

    def after_a_rival(*about: Any, **conditions: Any) -> None:
        if conditions.get("if_match") and rivals:
            taken(store, worker(rivals.pop()))
        put(*about, **conditions)

    monkeypatch.setattr(claims, "put_call", after_a_rival)
    holder = Claim.take(store, record(worker("second")))
    assert isinstance(holder, CallRecord)
    assert (holder.worker.host, now(store).worker.host) == ("rival", "rival")
    assert len(ledger(store)) == 1


def test_a_worker_that_lost_its_call_neither_renews_nor_ends_it_and_knows(store: ObjectStore) -> None:
    first = taken(store, worker("first"), heartbeat_at=time.time() - LOST_AFTER_S - 1)
    taken(store, worker("second"))
    request_cancel(store, "acme", KEY, "a person asked")
    before = now(store)
    assert first.heartbeat({"stage": "not mine"}) is None
    assert not first.owned
    first.finish()
    assert now(store) == before
    assert first.cancel_requested() is None


@pytest.mark.parametrize("gone", [False, True])
def test_a_worker_whose_call_is_anothers_or_gone_knows_from_a_look_as_from_a_heartbeat(
    gone: bool, store: ObjectStore
) -> None:
    claims_of_it = [taken(store, worker("first"), heartbeat_at=time.time() - LOST_AFTER_S - 1)]
    claims_of_it.append(Claim(store, "acme", claims_of_it[0].record))
    if gone:
        store.delete(keys.call_key("acme", KEY))
    else:
        taken(store, worker("second"))
        request_cancel(store, "acme", KEY, "a person asked")
    assert [claims_of_it[0].cancel_requested(), claims_of_it[1].heartbeat()] == [None, None]
    assert [claim.owned for claim in claims_of_it] == [False, False]
    assert gone == (read_call(store, "acme", KEY) is None), "what a sweep has deleted is not brought back"


def test_a_call_that_is_finished_gets_no_heartbeat_and_no_cancel(store: ObjectStore) -> None:
    claim = taken(store, worker("first"))
    claim.finish()
    before = now(store)
    assert claim.heartbeat({"stage": "too late"}) is None
    assert request_cancel(store, "acme", KEY, "too late") == before == now(store)


def test_a_record_that_is_deleted_before_it_could_be_read_stands_in_nobodys_way(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(store, worker("first"))
    read = claims.read_call

    def too_late(*about: Any) -> Any:
        store.delete(keys.call_key("acme", KEY))
        return read(*about)

    monkeypatch.setattr(claims, "read_call", too_late)
    assert taken(store, worker("second")).record.attempt == 1
    assert now(store).worker.host == "second"


def test_a_claim_that_others_always_take_first_is_given_up_for_another_try(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(*_: Any, **__: Any) -> None:
        raise PreconditionFailed("another was faster")

    taken(store, worker("first")).finish()
    monkeypatch.setattr(claims, "put_call", overtaken)
    with pytest.raises(Transient, match="changes hands too fast"):
        Claim.take(store, record(worker("second")))


def test_without_conditional_writes_the_last_of_two_that_write_at_once_has_the_call(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a server may refuse a condition, so it is asked for none."""
    put, conditions = store.put, []

    def noting(*about: Any, if_match: str | None, if_none_match: bool, **options: Any) -> Any:
        conditions.append((if_match, if_none_match))
        return put(*about, **options)

    def meanwhile(_: float) -> None:
        put(keys.call_key("acme", KEY), record(worker("rival")).model_dump_json().encode())

    monkeypatch.setattr(store, "conditional_writes", lambda: False)
    monkeypatch.setattr(store, "put", noting)
    monkeypatch.setattr(calls, "time", SimpleNamespace(sleep=meanwhile, time=time.time))
    holder = Claim.take(store, record(worker("first")))
    assert isinstance(holder, CallRecord)
    assert holder.worker.host == "rival"
    claim = Claim(store, "acme", holder)
    assert claim.heartbeat() is None
    assert claim.owned
    assert conditions == [(None, False)] * 2


def test_a_heartbeat_that_a_cancel_overtook_is_made_anew_and_brings_it(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = taken(store, worker("first"))
    put, reasons = calls.put_call, ["a person asked"]

    def after_a_cancel(*about: Any, **conditions: Any) -> None:
        if reasons:
            request_cancel(store, "acme", KEY, reasons.pop())
        put(*about, **conditions)

    monkeypatch.setattr(calls, "put_call", after_a_cancel)
    assert claim.heartbeat({"stage": "half"}) == "a person asked"
    assert (now(store).progress, now(store).cancel_requested) == ({"stage": "half"}, "a person asked")


def test_whoever_ends_a_lost_call_says_what_to_do_and_leaves_its_successors_record_alone(
    store: ObjectStore,
) -> None:
    lost = taken(store, worker("first"), heartbeat_at=time.time() - LOST_AFTER_S - 1).record
    taken(store, worker("second"))
    before = now(store)
    error = error_in_its_place("double", "preempted", "the worker died", what_to_do="look at the log")
    write_result(store, "acme", result(attempt=0, worker=worker("before")))
    ended = end_in_its_place(store, lost, error)
    assert ended == read_result(store, "acme", KEY)
    assert str(ended.error) == "the worker died [double] What to do: look at the log"
    assert (ended.attempt, ended.worker.host) == (1, "first")
    assert now(store) == before


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_result_that_came_after_all_is_not_replaced_by_the_error_of_a_call_that_seemed_lost(
    attempt: int, store: ObjectStore
) -> None:
    """Of the worker itself, or of a successor that was through before its caller wrote what it had found."""
    lost = taken(store, worker("first"), heartbeat_at=time.time() - LOST_AFTER_S - 1).record
    came = result(attempt=attempt)
    write_result(store, "acme", came)
    error = error_in_its_place("double", "preempted", "the worker died", what_to_do="look at the log")
    assert end_in_its_place(store, lost, error) == came
    assert read_result(store, "acme", KEY) == came
    assert now(store).state == "finished"


def test_an_end_is_as_fresh_as_a_heartbeat(store: ObjectStore) -> None:
    """By it one tells a worker that leaves, and still writes its log, from one that left long ago."""
    claim = taken(store, worker("first"), heartbeat_at=time.time() - 30)
    claim.finish()
    assert time.time() - now(store).heartbeat_at < 10


def test_a_heartbeat_without_progress_keeps_what_was_told_and_brings_the_cancel(store: ObjectStore) -> None:
    claim = taken(store, worker("first"), heartbeat_at=time.time() - 30)
    assert claim.heartbeat({"stage": "half"}) is None
    assert claim.heartbeat() is None
    assert now(store).progress == {"stage": "half"}
    assert time.time() - now(store).heartbeat_at < 10
    assert request_cancel(store, "acme", KEY, "the first reason") == now(store)
    request_cancel(store, "acme", KEY, "another reason")
    assert claim.heartbeat() == "the first reason"
    assert claim.cancel_requested() == "the first reason"


def test_only_modals_rerun_of_the_same_call_takes_over_from_a_worker_that_seems_alive(
    store: ObjectStore,
) -> None:
    taken(store, worker("first", "fc-1"))
    again = Claim.take(store, record(worker("first", "fc-1")))
    assert isinstance(again, CallRecord), "a worker is no successor of itself"
    rerun = taken(store, worker("second", "fc-1"))
    assert rerun.record.attempt == 2
    mine = WorkerIdentity.of_this_process()
    other = mine.model_copy(update={"pid": mine.pid + 1})
    assert not other.is_rerun_of(mine), "processes of this machine have no call of Modal's"
    nameless = worker("third").model_copy(update={"call_id": None})
    assert not nameless.is_rerun_of(nameless.model_copy(update={"host": "fourth"}))


def test_a_process_with_a_recycled_number_is_not_the_worker() -> None:
    mine = WorkerIdentity.of_this_process()
    assert mine.process() == psutil.Process()
    assert record(mine, heartbeat_at=0.0).is_alive(), (
        "of a process of this machine its heartbeat says nothing"
    )
    earlier = mine.model_copy(update={"started": mine.started - 0.1})
    assert earlier.process() is None
    assert not record(earlier).is_alive()
    # Containers of one machine share its boot and count their processes each for itself.
    for elsewhere in ({"boot_id": "before"}, {"host": "a container"}, {"backend": "modal"}):
        other = mine.model_copy(update=elsewhere)
        assert other.process() is None
        assert record(other).is_alive(), "of another machine only its heartbeat says anything"
        assert not record(other, heartbeat_at=0.0).is_alive()


def test_a_worker_is_alive_whatever_happens_to_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Linux the time of a process's start, and of the boot, moves with every step of the clock."""
    mine = WorkerIdentity.of_this_process()
    booted = psutil.boot_time()
    for module in (psutil, psutil._psplatform):  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setattr(module, "boot_time", lambda: booted + 1)
    assert mine.process() is not None
    assert WorkerIdentity.of_this_process() == mine


def test_a_process_that_has_ended_and_was_not_waited_for_is_no_worker() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = psutil.Process(child.pid)
        mine = WorkerIdentity.of_this_process()
        ended = mine.model_copy(update={"pid": child.pid, "started": started_since_boot(child.pid)})
        assert ended.process() == process
        assert child.stdin is not None
        child.stdin.close()
        deadline = time.monotonic() + 120
        while process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert ended.process() is None
    assert ended.process() is None, "nor one that was waited for"


def result(**fields: Any) -> ResultRecord:
    at = datetime.now(UTC)
    return ResultRecord(
        **{
            "key": KEY,
            "task": "double",
            "version": 1,
            "status": "ok",
            "result": {},
            "worker": worker("first"),
            "started_at": at,
            "finished_at": at,
            **fields,
        }
    )


def test_a_good_result_is_had_again_as_long_as_its_outputs_exist(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert result().is_reusable(TASK, store)
    assert not result(version=0).is_reusable(TASK, store)
    assert not result(result=None).is_reusable(TASK, store)
    key = "acme/server/videos/a/made"
    monkeypatch.setattr(TASK.result_model, "output_keys", lambda self: [key], raising=False)
    assert not result().is_reusable(TASK, store)
    store.put(key, b"")
    assert result().is_reusable(TASK, store)


@pytest.mark.parametrize(
    ("kind", "reusable"), [("bad_input", True), ("internal", False), ("preempted", False)]
)
def test_only_an_error_that_would_come_again_is_had_again(
    kind: ErrorKind, reusable: bool, store: ObjectStore
) -> None:
    failed = result(status="error", result=None, error=ErrorRecord(kind=kind, message="as a test wants it"))
    assert failed.is_reusable(TASK, store) == reusable
