"""The compute contract on the local backend, with real worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tests.compute.conftest import wait_until_claimed, workers_of
from tests.conftest import ROOT
from video_pipeline import keys
from video_pipeline.calls import Claim, read_call, read_result
from video_pipeline.compute.base import CallOptions, Event
from video_pipeline.compute.follow import CallFailed, Detached, follow, run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.errors import BadInput
from video_pipeline.settings import Settings
from video_pipeline.store.base import ObjectStore


def starts(journal: Path) -> int:
    return len(journal.read_text().splitlines()) if journal.exists() else 0


def test_a_call_returns_its_result_and_leaves_nothing_running(
    compute: LocalCompute, store: ObjectStore, task_settings: Settings
) -> None:
    events: list[Event] = []
    handle, record = run_call(compute, "double", {"do": "return"}, on_event=events.append)
    assert record.status == "ok"
    assert record.result is not None
    assert not Path(record.result["scratch"]).exists()
    assert workers_of(task_settings) == []
    assert [event.name for event in events if event.name != "log"] == ["claimed", "ended"]
    assert [event.data["line"] for event in events if event.name == "log"] == [
        "a line of log",
        "another line of log",
    ]
    assert store.head(keys.result_key("acme", handle.key)) is not None
    assert record.usage["peak_memory_mib"] > 1


def test_the_same_request_is_not_run_again(compute: LocalCompute, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    request = {"do": "return", "journal": str(journal)}
    first, _ = run_call(compute, "double", request)
    second, record = run_call(compute, "double", request)
    assert first.key == second.key
    assert second.attached
    assert record.status == "ok"
    assert starts(journal) == 1
    run_call(compute, "double", request, CallOptions(repeat=1))
    assert starts(journal) == 2


def test_a_replaced_input_is_a_new_call(compute: LocalCompute, store: ObjectStore, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    request = {"do": "return", "journal": str(journal), "video_key": "acme/client/videos/a/video.mp4"}
    store.put(request["video_key"], b"one")
    first, _ = run_call(compute, "double", request)
    store.put(request["video_key"], b"another")
    second, _ = run_call(compute, "double", request)
    assert first.key != second.key
    assert starts(journal) == 2


def test_a_missing_input_is_named_before_anything_starts(
    compute: LocalCompute, task_settings: Settings
) -> None:
    with pytest.raises(BadInput, match=r"acme/client/videos/a/video\.mp4"):
        compute.submit("double", {"video_key": "acme/client/videos/a/video.mp4"})
    assert workers_of(task_settings) == []


def test_an_unknown_task_and_an_unknown_field_are_named(compute: LocalCompute) -> None:
    with pytest.raises(BadInput, match="'no_such_task'"):
        compute.submit("no_such_task", {})
    with pytest.raises(BadInput, match="wrong_field"):
        compute.submit("double", {"wrong_field": 1})


@pytest.mark.parametrize(
    ("do", "kind", "expected_starts"),
    [
        ("bad_input", "bad_input", 1),
        ("crash", "internal", 1),
        ("memory", "out_of_memory", 1),
        ("wrong_type", "internal", 1),
        ("transient", "transient", 2),
        ("die", "preempted", 2),
    ],
)
def test_each_kind_of_error_is_retried_by_its_own_rule(
    compute: LocalCompute, tmp_path: Path, task_settings: Settings, do: str, kind: str, expected_starts: int
) -> None:
    journal = tmp_path / "journal"
    with pytest.raises(CallFailed) as caught:
        run_call(compute, "double", {"do": do, "journal": str(journal)}, CallOptions(max_attempts=2))
    assert caught.value.error.kind == kind
    assert starts(journal) == expected_starts
    assert workers_of(task_settings) == []
    if do == "crash":
        assert "ZeroDivisionError" in caught.value.error.traceback
    if do == "bad_input":
        assert str(caught.value) == "this input is wrong [the input] What to do: bring another"


def test_bad_input_is_remembered_and_a_defect_is_not(compute: LocalCompute, tmp_path: Path) -> None:
    for do, expected in (("bad_input", 1), ("crash", 2)):
        journal = tmp_path / do
        for _ in range(2):
            with pytest.raises(CallFailed):
                run_call(compute, "double", {"do": do, "journal": str(journal)})
        assert starts(journal) == expected


def test_a_worker_that_died_is_started_again(compute: LocalCompute, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    _, record = run_call(compute, "double", {"do": "die_once", "journal": str(journal)})
    assert record.status == "ok"
    assert starts(journal) == 2
    assert record.attempt == 2


def test_two_submissions_at_once_run_one_worker(
    task_settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    request = {"do": "sleep", "seconds": 1.0, "journal": str(journal)}
    records = []

    def caller() -> None:
        records.append(run_call(LocalCompute(task_settings, store), "double", request)[1])

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [record.status for record in records] == ["ok"] * 3
    assert starts(journal) == 1


def test_cancel_ends_a_task_that_listens(
    compute: LocalCompute, store: ObjectStore, task_settings: Settings
) -> None:
    handle = compute.submit("double", {"do": "sleep", "seconds": 60})
    wait_until_claimed(store, handle.tenant, handle.key)
    began = time.monotonic()
    compute.cancel(handle, "a test asked")
    assert time.monotonic() - began < 6
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "cancelled"
    assert "a test asked" in record.error.message
    assert workers_of(task_settings) == []


@pytest.mark.slow
def test_cancel_kills_a_task_that_does_not_listen(
    compute: LocalCompute, store: ObjectStore, task_settings: Settings
) -> None:
    handle = compute.submit("double", {"do": "ignore_cancel", "seconds": 120})
    wait_until_claimed(store, handle.tenant, handle.key)
    compute.cancel(handle, "a test asked")
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "cancelled"
    assert workers_of(task_settings) == []


def test_a_cancel_from_another_process_reaches_the_worker_through_its_record(
    compute: LocalCompute, store: ObjectStore
) -> None:
    from video_pipeline.calls import request_cancel

    handle = compute.submit("double", {"do": "sleep", "seconds": 60})
    wait_until_claimed(store, handle.tenant, handle.key)
    request_cancel(store, handle.tenant, handle.key, "from elsewhere")
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "cancelled"


def test_a_terminated_worker_is_preempted_not_cancelled(compute: LocalCompute, store: ObjectStore) -> None:
    handle = compute.submit("double", {"do": "sleep", "seconds": 60})
    call = wait_until_claimed(store, handle.tenant, handle.key)
    os.kill(call.worker.pid, signal.SIGTERM)
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "preempted"


def test_a_task_past_its_time_limit_is_a_timeout(compute: LocalCompute) -> None:
    with pytest.raises(CallFailed) as caught:
        run_call(compute, "double", {"do": "sleep", "seconds": 60}, CallOptions(timeout_s=1.0))
    assert caught.value.error.kind == "timeout"


def test_a_detached_caller_leaves_the_call_running_and_the_next_one_attaches(
    task_settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    request = {"do": "sleep", "seconds": 2.5, "journal": str(journal)}
    first = LocalCompute(task_settings, store)
    handle = first.submit("double", request)
    wait_until_claimed(store, handle.tenant, handle.key)
    with pytest.raises(Detached):
        follow(first, handle, interrupted=lambda: "detach")
    events: list[Event] = []
    second = LocalCompute(task_settings, store)
    again, record = run_call(second, "double", request, on_event=events.append)
    assert again.attached
    assert record.status == "ok"
    assert starts(journal) == 1
    assert any(event.name == "progress" for event in events)
    assert sum(event.name == "claimed" for event in events) == 1


def test_a_killed_caller_leaves_the_worker_and_the_next_one_attaches(
    task_settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    request = {"do": "sleep", "seconds": 4.0, "journal": str(journal)}
    script = textwrap.dedent(f"""
        from video_pipeline.compute import open_compute
        from video_pipeline.compute.follow import run_call
        from video_pipeline.settings import load_settings
        from video_pipeline.store import open_store
        settings = load_settings(store={task_settings.store!r})
        run_call(open_compute(settings, open_store(settings)), "double", {request!r})
    """)
    caller = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    compute = LocalCompute(task_settings, store)
    key = _only_key(store)
    wait_until_claimed(store, "acme", key)
    caller.kill()
    caller.wait()
    handle, record = run_call(compute, "double", request)
    assert handle.key == key
    assert handle.attached
    assert record.status == "ok"
    assert starts(journal) == 1


def _only_key(store: ObjectStore) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for item in store.list(keys.calls_prefix("acme")):
            return item.key.rsplit("/", 1)[1].removesuffix(".json")
        time.sleep(0.05)
    raise AssertionError("no call was claimed")


def test_a_worker_whose_claim_was_taken_over_publishes_nothing(
    compute: LocalCompute, store: ObjectStore, task_settings: Settings
) -> None:
    handle = compute.submit("double", {"do": "sleep", "seconds": 60})
    call = wait_until_claimed(store, handle.tenant, handle.key)
    # As a caller on another machine would after a minute without a heartbeat.
    thief = call.model_copy(deep=True)
    thief.worker.host, thief.worker.boot_id = "another-machine", "another-boot"
    store.put(keys.call_key(handle.tenant, handle.key), thief.model_dump_json().encode())
    deadline = time.monotonic() + 20
    while workers_of(task_settings) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers_of(task_settings) == []
    assert read_result(store, handle.tenant, handle.key) is None
    found = read_call(store, handle.tenant, handle.key)
    assert found is not None
    assert found[0].worker.host == "another-machine"


def test_a_claim_without_a_heartbeat_for_a_minute_is_taken_over(store: ObjectStore) -> None:
    from video_pipeline.calls import CallRecord, WorkerIdentity

    def record(host: str, age_s: float) -> CallRecord:
        return CallRecord(
            key="ab" * 16,
            task="double",
            version=1,
            tenant="acme",
            request={},
            worker=WorkerIdentity(host=host, boot_id="elsewhere", pid=1),
            heartbeat_at=time.time() - age_s,
        )

    first = Claim.take(store, record("one", 50))
    assert isinstance(first, Claim)
    assert not isinstance(Claim.take(store, record("two", 0)), Claim)
    found = read_call(store, "acme", "ab" * 16)
    assert found is not None
    stale = found[0].model_copy(update={"heartbeat_at": time.time() - 61})
    store.put(keys.call_key("acme", "ab" * 16), stale.model_dump_json().encode())
    second = Claim.take(store, record("two", 0))
    assert isinstance(second, Claim)
    assert second.record.attempt == 2
    assert first.heartbeat() is None
    assert not first.owned
