"""A local worker that ends before it has claimed its call: its caller is told that, and no earlier attempt's
result, and nothing is written into the store in its name."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.compute.test_fan_out import wait_for
from tests.doubles.tasks import Behaviour, call_of
from video_pipeline import keys
from video_pipeline.calls import WorkerIdentity, put_call, read_call, read_result
from video_pipeline.compute.base import CallOptions, Status
from video_pipeline.compute.follow import CallFailed, follow, run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.settings import Settings
from video_pipeline.store.base import ObjectStore
from video_pipeline.worker import CallFile

ONCE = CallOptions(max_attempts=1)


def behaviour(tmp_path: Path) -> Behaviour:
    return Behaviour(do="transient", journal=str(tmp_path / "journal"))


def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Lets workers be started by a shell script that stands for Python."""
    double = tmp_path / "python"
    double.write_text(f"#!/bin/sh\n{script}\n")
    double.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(double))


@pytest.fixture
def failed_before(compute: LocalCompute, tmp_path: Path) -> str:
    """The key of the call, which an earlier attempt of has failed."""
    with pytest.raises(CallFailed) as caught:
        run_call(compute, "double", behaviour(tmp_path), ONCE)
    assert caught.value.error.kind == "transient"
    return caught.value.record.key


def test_a_worker_that_cannot_even_start_is_told_in_its_own_words_and_leaves_the_record_of_the_one_before(
    failed_before: str,
    task_settings: Settings,
    store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, call = (read(store, "acme", failed_before) for read in (read_result, read_call))
    ledger = [item.key for item in store.list(keys.LEDGER)]
    interpreter(tmp_path, monkeypatch, "echo cannot load the library; exit 127")
    with pytest.raises(CallFailed) as caught:
        run_call(LocalCompute(task_settings, store), "double", behaviour(tmp_path))
    assert caught.value.error.kind == "internal"
    assert "the worker did not claim the call: exit code 127" in caught.value.error.message
    assert "cannot load the library" in caught.value.error.message
    assert (read_result(store, "acme", failed_before), read_call(store, "acme", failed_before)) == (
        result,
        call,
    )
    assert [item.key for item in store.list(keys.LEDGER)] == ledger


@pytest.mark.parametrize("again", [False, True])
def test_a_cancel_before_a_worker_has_claimed_is_a_cancel(
    again: bool, request: pytest.FixtureRequest, task_settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:

    if again:
        request.getfixturevalue("failed_before")
    compute = LocalCompute(task_settings, store)
    handle = compute.submit("double", behaviour(tmp_path))
    compute.cancel(handle, "a person asked")
    ended = follow(compute, handle)
    assert ended.error is not None
    assert (ended.error.kind, ended.error.message) == ("cancelled", "cancelled: a person asked")
    left = read_result(store, "acme", handle.key)
    assert (left.error.kind if left is not None and left.error is not None else None) == (
        "transient" if again else None
    )


def test_a_cancel_is_not_said_of_the_worker_that_is_started_after_it(
    task_settings: Settings, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = LocalCompute(task_settings, store)
    interpreter(tmp_path, monkeypatch, "exec sleep 600")
    compute.cancel(compute.submit("double", behaviour(tmp_path)), "a person asked")
    interpreter(tmp_path, monkeypatch, "exit 127")
    with pytest.raises(CallFailed, match="exit code 127") as caught:
        run_call(compute, "double", behaviour(tmp_path))
    assert caught.value.error.kind == "internal"


def test_a_worker_that_died_before_somebody_cancelled_its_call_died(
    compute: LocalCompute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter(tmp_path, monkeypatch, "exit 127")
    handle = compute.submit("double", behaviour(tmp_path))
    compute._started[handle.key].wait()
    compute.cancel(handle, "a person asked")
    ended = follow(compute, handle)
    assert ended.error is not None
    assert ended.error.message == "the worker did not claim the call: exit code 127\n"


def test_a_worker_that_does_not_listen_is_killed_with_what_it_has_started(
    compute: LocalCompute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video_pipeline.compute.local.CANCEL_GRACE_S", 0.3)
    child = tmp_path / "child"
    interpreter(tmp_path, monkeypatch, f"trap '' TERM; sleep 600 & echo $! > {child}; wait; sleep 600")
    handle = compute.submit("double", behaviour(tmp_path))
    wait_for(lambda: child.exists() and child.read_text().endswith("\n"))
    its_child = psutil.Process(int(child.read_text()))
    compute.cancel(handle, "a person asked")
    assert compute._started[handle.key].wait() == -signal.SIGKILL
    wait_for(lambda: not its_child.is_running() or its_child.status() == psutil.STATUS_ZOMBIE)


def test_a_worker_that_begins_is_waited_for_though_the_one_before_had_its_process_id(
    compute: LocalCompute, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container that is started anew the same process ids come again."""
    interpreter(tmp_path, monkeypatch, "exec sleep 600")
    handle = compute.submit("double", behaviour(tmp_path))
    pid = compute._started[handle.key].pid
    before = call_of(handle.key, WorkerIdentity(host="the container before", pid=pid), heartbeat_at=0.0)
    put_call(store, "acme", before)
    compute._before[handle.key] = before
    assert compute.poll(handle).state == "waiting"
    compute.cancel(handle, "a test asked")
    status = compute.poll(handle)
    assert (status.state, status.detail) == ("lost", "the worker did not claim the call: killed by SIGTERM\n")


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("exit 3", "its process is gone\nits last words"),
        ("echo no memory; exit 126", "the worker did not claim the call: exit code 126\nno memory"),
    ],
    ids=["left it to the other", "did not come so far"],
)
def test_of_two_workers_that_are_gone_the_one_that_had_the_call_is_told_of(
    script: str,
    detail: str,
    compute: LocalCompute,
    store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Unless the one that was started for this caller could not even look who had it."""
    interpreter(tmp_path, monkeypatch, script)
    handle = compute.submit("double", behaviour(tmp_path))
    compute._started[handle.key].wait()
    log = tmp_path / "output.log"
    log.write_text("its last words\n")
    gone = WorkerIdentity.of_this_process(str(log)).model_copy(update={"started": -1.0})
    other = call_of(handle.key, gone)
    put_call(store, "acme", other)
    assert compute.poll(handle) == Status("lost", detail=detail, died="preempted")


@contextmanager
def _as_stdin(descriptor: int) -> Iterator[None]:
    """In the place of this process's standard input, which is empty in tests."""
    before = os.dup(0)
    os.dup2(descriptor, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_a_worker_gets_its_callers_settings_a_folder_of_its_own_and_nothing_of_its_callers_terminal(
    task_settings: Settings, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STORE", "STATE", "COMPUTE"):
        monkeypatch.setenv(f"VIDEO_PIPELINE_{name}", "modal")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    monkeypatch.setattr(sys, "path", ["", "elsewhere"])
    interpreter(
        tmp_path,
        monkeypatch,
        "pwd; readlink /proc/$$/fd/0; cut -d ' ' -f 6 /proc/$$/stat; echo $$; env; echo \"$@\" >&2; exit 127",
    )
    clock = SimpleNamespace(time=lambda: 9.0)
    monkeypatch.setattr("video_pipeline.compute.local.time", clock)
    compute = LocalCompute(task_settings, store)
    (tmp_path / "keyboard").touch()
    with (tmp_path / "keyboard").open() as keyboard, _as_stdin(keyboard.fileno()):
        handle = compute.submit("double", behaviour(tmp_path), CallOptions(timeout_s=7.0, parent="cd" * 16))
    ended = follow(compute, handle)
    assert ended.error is not None
    (folder,) = (task_settings.state_dir / "calls" / handle.key).iterdir()
    file, log = folder / "call.json", folder / "output.log"
    call = CallFile.model_validate_json(file.read_text())
    assert (call.key, call.log_path, call.parent) == (handle.key, str(log), "cd" * 16)
    assert (call.timeout_s, call.submitted_at) == (7.0, 9.0)
    where, stdin, session, process, *environment, arguments = log.read_text().splitlines()
    assert (where, stdin, arguments) == (str(folder), "/dev/null", f"-m video_pipeline.worker {file}")
    assert session == process, "it leads its own"
    assert {
        f"VIDEO_PIPELINE_STORE={task_settings.store}",
        f"VIDEO_PIPELINE_STATE={task_settings.state_dir}",
        "VIDEO_PIPELINE_COMPUTE=local",
        "PYTHONUNBUFFERED=1",
        f"PYTHONPATH={os.getcwd()}{os.pathsep}elsewhere",
    } <= set(environment)

    # The last words are of the worker that was started last, as its folder's name does not tell: 9, then 10.
    clock.time = lambda: 10.0
    interpreter(tmp_path, monkeypatch, "echo no memory; exit 126")
    with pytest.raises(CallFailed) as caught:
        run_call(compute, "double", behaviour(tmp_path))
    assert caught.value.error.message == "the worker did not claim the call: exit code 126\nno memory"
    follow(compute, compute.submit("double", behaviour(tmp_path)))
    assert len(list(folder.parent.iterdir())) == 3, "one for each, within one second too"
