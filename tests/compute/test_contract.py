"""The compute contract, the same for each backend, with real worker processes.

Modal is the deployed app on the loopback stand-in (`tests.servers.modal_loopback`), its store an S3 server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tests.compute.conftest import Backend, starts, wait_until_claimed
from tests.conftest import ROOT
from video_pipeline import keys
from video_pipeline.calls import read_call, read_result, request_cancel
from video_pipeline.compute.base import CallOptions, Event
from video_pipeline.compute.follow import CallFailed, Detached, follow, run_call
from video_pipeline.errors import BadInput
from video_pipeline.store.base import ObjectStore

LONG_S = 100.0


def let_nobody_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that listens ends by itself in a few seconds, on a busy machine in more than it is given."""
    for module in ("local", "modal_calls"):
        monkeypatch.setattr(f"video_pipeline.compute.{module}.CANCEL_GRACE_S", LONG_S)


def test_a_call_returns_its_result_and_leaves_nothing_running(backend: Backend) -> None:
    compute = backend.open()
    events: list[Event] = []
    handle, record = run_call(compute, "double", {"do": "return"}, on_event=events.append)
    assert record.status == "ok"
    assert record.result is not None
    assert not Path(record.result["scratch"]).exists()
    assert backend.is_at_rest()
    # A worker that serves several calls tells of itself first, and what a call on Modal costs is told beside.
    marked = [event.name for event in events if event.name not in ("log", "container", "cost")]
    assert marked == ["claimed", "ended"]
    assert [event.data["line"] for event in events if event.name == "log"] == [
        "a line of log",
        "another line of log",
    ]
    assert backend.store.head(keys.result_key("acme", handle.key)) is not None
    assert record.usage.peak_memory_mib > 1


def test_the_same_request_is_not_run_again(backend: Backend, tmp_path: Path) -> None:
    compute = backend.open()
    journal = tmp_path / "journal"
    request = {"do": "return", "journal": str(journal)}
    first, _ = run_call(compute, "double", request)
    second, record = run_call(compute, "double", request)
    assert first.key == second.key
    assert (first.attached, first.ended) == (False, False)
    assert (second.attached, second.ended) == (True, True)
    assert record.status == "ok"
    assert starts(journal) == 1
    run_call(compute, "double", request, CallOptions(repeat=1))
    assert starts(journal) == 2


def test_a_replaced_input_is_a_new_call(backend: Backend, tmp_path: Path) -> None:
    compute = backend.open()
    journal = tmp_path / "journal"
    request = {"do": "return", "journal": str(journal), "video_key": "acme/client/videos/a/video.mp4"}
    backend.store.put(request["video_key"], b"one")
    first, _ = run_call(compute, "double", request)
    backend.store.put(request["video_key"], b"another")
    second, _ = run_call(compute, "double", request)
    assert first.key != second.key
    assert starts(journal) == 2


def test_a_missing_input_is_named_before_anything_starts(backend: Backend) -> None:
    compute = backend.open()
    with pytest.raises(BadInput, match=r"acme/client/videos/a/video\.mp4"):
        compute.submit("double", {"video_key": "acme/client/videos/a/video.mp4"})
    assert backend.is_at_rest()


def test_an_unknown_task_and_an_unknown_field_are_named(backend: Backend) -> None:
    compute = backend.open()
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
    backend: Backend, tmp_path: Path, do: str, kind: str, expected_starts: int
) -> None:
    compute = backend.open()
    journal = tmp_path / "journal"
    with pytest.raises(CallFailed) as caught:
        run_call(compute, "double", {"do": do, "journal": str(journal)}, CallOptions(max_attempts=2))
    assert caught.value.error.kind == kind
    assert starts(journal) == expected_starts * (backend.lives if do == "die" else 1)
    assert backend.is_at_rest()
    if do == "crash":
        assert "ZeroDivisionError" in caught.value.error.traceback
    if do == "bad_input":
        assert str(caught.value) == "this input is wrong [the input] What to do: bring another"


def test_bad_input_is_remembered_and_a_defect_is_not(backend: Backend, tmp_path: Path) -> None:
    compute = backend.open()
    for do, expected in (("bad_input", 1), ("crash", 2)):
        journal = tmp_path / do
        for _ in range(2):
            with pytest.raises(CallFailed):
                run_call(compute, "double", {"do": do, "journal": str(journal)})
        assert starts(journal) == expected


def test_a_worker_that_died_is_started_again(backend: Backend, tmp_path: Path) -> None:
    compute = backend.open()
    journal = tmp_path / "journal"
    _, record = run_call(compute, "double", {"do": "die_once", "journal": str(journal)})
    assert record.status == "ok"
    assert starts(journal) == 2
    assert record.attempt == 2


def test_two_submissions_at_once_run_one_worker(backend: Backend, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    request = {"do": "sleep", "seconds": 1.0, "journal": str(journal)}
    records = []

    def caller() -> None:
        records.append(run_call(backend.open(), "double", request)[1])

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [record.status for record in records] == ["ok"] * 3
    assert starts(journal) == 1


def test_cancel_ends_a_task_that_listens(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    let_nobody_be_killed(monkeypatch)
    compute = backend.open()
    handle = compute.submit("double", {"do": "sleep", "seconds": 60})
    wait_until_claimed(backend.store, handle.tenant, handle.key)
    began = time.monotonic()
    compute.cancel(handle, "a test asked")
    assert time.monotonic() - began < LONG_S / 2
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "cancelled"
    assert "a test asked" in record.error.message
    assert backend.is_at_rest()


@pytest.mark.slow
def test_cancel_kills_a_task_that_does_not_listen(backend: Backend) -> None:
    compute = backend.open()
    handle = compute.submit("double", {"do": "ignore_cancel", "seconds": 120})
    wait_until_claimed(backend.store, handle.tenant, handle.key)
    compute.cancel(handle, "a test asked")
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "cancelled"
    assert backend.is_at_rest()


def test_a_cancel_from_another_process_reaches_the_worker_through_its_record(backend: Backend) -> None:
    compute = backend.open()
    handle = compute.submit("double", {"do": "sleep", "seconds": 60})
    wait_until_claimed(backend.store, handle.tenant, handle.key)
    request_cancel(backend.store, handle.tenant, handle.key, "from elsewhere")
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "cancelled"


def test_a_task_past_its_time_limit_is_a_timeout(backend: Backend) -> None:
    compute = backend.open()
    with pytest.raises(CallFailed) as caught:
        run_call(compute, "double", {"do": "sleep", "seconds": 60}, CallOptions(timeout_s=1.0))
    assert caught.value.error.kind == "timeout"


@pytest.mark.slow
def test_a_task_that_does_not_stop_at_its_time_limit_is_ended_and_not_run_again(
    backend: Backend, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    request = {"do": "ignore_cancel", "seconds": 200, "journal": str(journal)}
    with pytest.raises(CallFailed) as caught:
        run_call(backend.open(), "double", request, CallOptions(timeout_s=1.0))
    assert caught.value.error.kind == "timeout"
    assert "did not stop" in caught.value.error.message
    assert backend.is_at_rest(within_s=60)
    assert starts(journal) == 1


@pytest.mark.slow
def test_a_detached_caller_leaves_the_call_running_and_the_next_one_attaches(
    backend: Backend, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    request = {"do": "sleep", "seconds": 2.5, "journal": str(journal)}
    first = backend.open()
    handle = first.submit("double", request)
    wait_until_claimed(backend.store, handle.tenant, handle.key)
    with pytest.raises(Detached):
        follow(first, handle, interrupted=lambda: "detach")
    events: list[Event] = []
    second = backend.open()
    again, record = run_call(second, "double", request, on_event=events.append)
    assert (again.attached, again.ended) == (True, False)
    assert record.status == "ok"
    assert starts(journal) == 1
    assert any(event.name == "progress" for event in events)
    assert sum(event.name == "claimed" for event in events) == 1


def test_a_killed_caller_leaves_the_worker_and_the_next_one_attaches(
    backend: Backend, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    request = {"do": "sleep", "seconds": 4.0, "journal": str(journal)}
    script = textwrap.dedent(f"""
        from video_pipeline.compute import open_compute
        from video_pipeline.compute.follow import run_call
        from video_pipeline.settings import load_settings
        from video_pipeline.store import open_store
        settings = load_settings()
        run_call(open_compute(settings, open_store(settings)), "double", {request!r})
    """)
    caller = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, **backend.environment}
    )
    compute = backend.open()
    key = _only_key(backend.store)
    wait_until_claimed(backend.store, "acme", key)
    caller.kill()
    caller.wait()
    handle, record = run_call(compute, "double", request)
    assert handle.key == key
    assert handle.attached
    assert record.status == "ok"
    assert starts(journal) == 1


def _only_key(store: ObjectStore) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for item in store.list(keys.calls_prefix("acme")):
            return item.key.rsplit("/", 1)[1].removesuffix(".json")
        time.sleep(0.05)
    raise AssertionError("no call was claimed")


def test_a_worker_whose_claim_was_taken_over_publishes_nothing(backend: Backend) -> None:
    compute = backend.open()
    handle = compute.submit("double", {"do": "sleep", "seconds": 60})
    call = wait_until_claimed(backend.store, handle.tenant, handle.key)
    # As a caller on another machine would after a minute without a heartbeat.
    thief = call.model_copy(deep=True)
    thief.worker.host, thief.worker.boot_id = "another-machine", "another-boot"
    backend.store.put(keys.call_key(handle.tenant, handle.key), thief.model_dump_json().encode())
    assert backend.is_at_rest(within_s=60)
    assert read_result(backend.store, handle.tenant, handle.key) is None
    found = read_call(backend.store, handle.tenant, handle.key)
    assert found is not None
    assert found[0].worker.host == "another-machine"
