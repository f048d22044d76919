"""Tasks that run others, as workers of their own: failed, cancelled and killed, with nothing left behind.

What every backend must do runs on each; the rest are matters of the contract that local workers show fastest.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.compute.conftest import Backend, wait_until_claimed, workers_of
from tests.compute.test_contract import LONG_S, let_nobody_be_killed
from tests.compute.test_fan_out import behaviours, journals, key_of, wait_for
from tests.doubles.tasks import Behaviour, Orchestration
from video_pipeline.calls import CallRecord, list_calls, read_call, read_result
from video_pipeline.compute.base import CallOptions, Compute, Event, Handle
from video_pipeline.compute.follow import CallFailed, follow, run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.settings import Settings
from video_pipeline.store.base import ObjectStore


def submit(compute: Compute, children: list[Behaviour], **fields: Any) -> Handle:
    return compute.submit("orchestrating_double", Orchestration(children=children, **fields))


def wait_until_all_work(
    store: ObjectStore, settings: Settings, handle: Handle, children: list[Behaviour]
) -> CallRecord:
    """Waits until every child works and stands in the orchestrator's record, which is returned."""
    wanted = sorted(key_of(store, settings, child) for child in children)

    def noted() -> CallRecord | None:
        found = read_call(store, handle.tenant, handle.key)
        notes = (found[0].progress or {}).get("children", []) if found is not None else []
        return found[0] if found and sorted(child["key"] for child in notes) == wanted else None

    return wait_for(lambda: noted() if all(journals(children)) else None)


def test_an_orchestrator_returns_what_its_calls_did(backend: Backend, tmp_path: Path) -> None:
    compute = backend.open()
    events: list[Event] = []
    request = Orchestration(children=behaviours(tmp_path, "return", "return"), at_once=2)
    _, record = run_call(compute, "orchestrating_double", request, on_event=events.append)
    assert record.result == {"starts": [1, 1], "attempts": [1, 1]}
    assert sorted(event.data["child"] for event in events if event.name == "fan_out") == [1, 2]
    assert backend.is_at_rest()


def test_an_orchestrator_whose_call_fails_fails_in_the_same_kind_and_leaves_nothing_running(
    backend: Backend, tmp_path: Path
) -> None:
    compute = backend.open()
    request = Orchestration(children=behaviours(tmp_path, "sleep", "bad_input"), at_once=2)
    with pytest.raises(CallFailed) as caught:
        run_call(compute, "orchestrating_double", request)
    assert caught.value.error.kind == "bad_input"
    assert "double 2 of 2" in (caught.value.error.input or "")
    assert "in the worker of call" in caught.value.error.traceback
    assert backend.is_at_rest()


def test_an_orchestrator_that_fails_itself_leaves_nothing_running(backend: Backend, tmp_path: Path) -> None:
    compute = backend.open()
    request = Orchestration(children=behaviours(tmp_path, "sleep", "return"), at_once=2, fail=True)
    with pytest.raises(CallFailed, match="ZeroDivisionError"):
        run_call(compute, "orchestrating_double", request)
    assert backend.is_at_rest()


def test_cancelling_an_orchestrator_ends_its_calls_within_seconds(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_nobody_be_killed(monkeypatch)
    compute = backend.open()
    children = behaviours(tmp_path, "sleep", "sleep")
    handle = submit(compute, children, at_once=2)
    wait_until_all_work(backend.store, backend.settings, handle, children)
    began = time.monotonic()
    compute.cancel(handle, "a test asked")
    assert time.monotonic() - began < LONG_S / 2
    assert backend.is_at_rest()
    assert _kinds(backend.store) == {"orchestrating_double": {"cancelled"}, "double": {"cancelled"}}
    assert journals(children) == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(("end", "kind"), [("its machine", "preempted"), ("its time limit", "timeout")])
def test_an_orchestrator_that_has_to_stop_ends_its_calls(
    compute: LocalCompute, store: ObjectStore, task_settings: Settings, tmp_path: Path, end: str, kind: str
) -> None:
    # The limit has to leave its calls the time to begin in: on a busy machine more than on another.
    for limit in (2.0, 15.0, 50.0) if end == "its time limit" else (None,):
        folder = tmp_path / str(limit)
        folder.mkdir()
        children = behaviours(folder, "sleep", "sleep")
        request = Orchestration(children=children, at_once=2)
        handle = compute.submit("orchestrating_double", request, CallOptions(timeout_s=limit))
        if end == "its machine":
            wait_for(lambda begun=children: all(journals(begun)))
            os.kill(wait_until_claimed(store, handle.tenant, handle.key).worker.pid, signal.SIGTERM)
        record = follow(compute, handle)
        assert record.error is not None
        assert record.error.kind == kind
        assert workers_of(task_settings) == []
        if all(journals(children)):
            return
    raise AssertionError("its calls did not even begin")


@pytest.mark.slow
def test_a_call_that_somebody_else_started_is_left_running(
    compute: LocalCompute, store: ObjectStore, task_settings: Settings, tmp_path: Path
) -> None:
    children = behaviours(tmp_path, "sleep", "sleep")
    theirs = compute.submit("double", children[0])
    wait_until_claimed(store, theirs.tenant, theirs.key)
    handle = submit(compute, children, at_once=2)
    wait_until_all_work(store, task_settings, handle, children)
    compute.cancel(handle, "a test asked")
    assert len(workers_of(task_settings)) == 1
    assert compute.poll(theirs).state == "running"


@pytest.mark.slow
def test_a_killed_orchestrators_calls_go_on_and_the_next_one_redoes_none(
    backend: Backend, tmp_path: Path
) -> None:
    compute = backend.open()
    children = behaviours(tmp_path, "return", "sleep", "sleep", seconds=6.0)
    handle = submit(compute, children, at_once=2)
    wait_for(lambda: journals(children)[:2] == [1, 1])
    wait_for(lambda: read_result(backend.store, "acme", key_of(backend.store, backend.settings, children[0])))
    killed = wait_until_claimed(backend.store, handle.tenant, handle.key)
    os.kill(killed.worker.pid, signal.SIGKILL)
    again, record = run_call(
        backend.open(),
        "orchestrating_double",
        Orchestration(children=children, at_once=2),
    )
    assert again.key == handle.key
    assert record.attempt == 2
    assert record.result == {"starts": [1, 1, 1], "attempts": [1, 1, 1]}
    assert journals(children) == [1, 1, 1]
    assert backend.is_at_rest()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["unclaimed", "waiting for them", "before it waits for them"])
def test_the_calls_of_a_killed_attempt_are_ended_with_the_next_one(
    compute: LocalCompute, store: ObjectStore, task_settings: Settings, tmp_path: Path, when: str
) -> None:
    children = behaviours(tmp_path, "sleep", "sleep")
    pause = tmp_path / "pause"
    handle = submit(compute, children, at_once=2, pause=str(pause))
    first = wait_until_all_work(store, task_settings, handle, children)
    os.kill(first.worker.pid, signal.SIGKILL)
    wait_for(lambda: compute.poll(handle).state == "lost")
    assert len(workers_of(task_settings)) == 2
    if when == "before it waits for them":
        pause.touch()
    again = submit(compute, children, at_once=2, pause=str(pause))
    if when != "unclaimed":
        second = wait_until_claimed(store, again.tenant, again.key)
        assert second.attempt == 2
        wanted = "claimed" if pause.exists() else "fan_out"
        wait_for(lambda: any(event.name == wanted for event in compute.events(again).read()))
    compute.cancel(again, "a test asked")
    assert workers_of(task_settings) == []
    assert journals(children) == [1, 1]


@pytest.mark.slow
def test_cancelling_a_killed_orchestrator_ends_the_calls_it_left(
    compute: LocalCompute, store: ObjectStore, task_settings: Settings, tmp_path: Path
) -> None:
    children = behaviours(tmp_path, "sleep", "sleep")
    handle = submit(compute, children, at_once=2)
    record = wait_until_all_work(store, task_settings, handle, children)
    os.kill(record.worker.pid, signal.SIGKILL)
    wait_for(lambda: compute.poll(handle).state == "lost")
    compute.cancel(handle, "a test asked")
    assert workers_of(task_settings) == []
    assert _kinds(store) == {"double": {"cancelled"}}
    for child in children:
        result = read_result(store, "acme", key_of(store, task_settings, child))
        assert result is not None
        assert result.error is not None
        assert result.error.message == "cancelled: a test asked"


@pytest.mark.slow
def test_cancelling_ends_even_calls_that_do_not_listen(backend: Backend, tmp_path: Path) -> None:
    compute = backend.open()
    children = behaviours(tmp_path, "ignore_cancel", "ignore_cancel", seconds=120)
    handle = submit(compute, children, at_once=2)
    wait_until_all_work(backend.store, backend.settings, handle, children)
    compute.cancel(handle, "a test asked")
    assert backend.is_at_rest()
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "cancelled"


def _kinds(store: ObjectStore) -> dict[str, set[str]]:
    """The kinds of error with which each task's calls ended; every call that has a result has one."""
    found: dict[str, set[str]] = {}
    for call in list_calls(store, "acme"):
        result = read_result(store, call.tenant, call.key)
        if result is not None:
            assert result.error is not None
            found.setdefault(call.task, set()).add(result.error.kind)
    return found
