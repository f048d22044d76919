"""The local backend beyond the contract: signals, and claims whose machine is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.compute.conftest import starts, wait_until_claimed
from tests.doubles.tasks import call_of
from video_pipeline import keys
from video_pipeline.calls import (
    CallRecord,
    ErrorRecord,
    WorkerIdentity,
    failed_result,
    put_call,
    read_call,
    read_result,
    write_result,
)
from video_pipeline.claims import Claim
from video_pipeline.compute.base import Event, Handle, Status
from video_pipeline.compute.follow import follow, run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.machine import started_since_boot
from video_pipeline.settings import Settings
from video_pipeline.store.base import ObjectMissing, ObjectStore
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.worker import EVENT_PREFIX, CallFile, execute


def test_a_terminated_worker_is_preempted_not_cancelled(compute: LocalCompute, store: ObjectStore) -> None:
    handle = compute.submit("double", {"do": "sleep", "seconds": 60})
    call = wait_until_claimed(store, handle.tenant, handle.key)
    assert os.getsid(call.worker.pid) == call.worker.pid, "what ends its caller's terminal does not end it"
    os.kill(call.worker.pid, signal.SIGTERM)
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "preempted"


@pytest.mark.parametrize(
    ("code", "died", "how"),
    [("exit(1)", "internal", "exit code 1"), ("os.kill(0, 9)", "preempted", "killed by SIGKILL")],
)
def test_a_worker_that_died_without_a_word_is_lost_in_its_own_way_whatever_an_earlier_attempt_left(
    code: str, died: str, how: str, compute: LocalCompute, store: ObjectStore, tmp_path: Path
) -> None:
    handle = Handle("acme", "ab" * 16, "double", "local")
    died_early = subprocess.Popen(
        [sys.executable, "-c", f"import os; input(); {code}"], stdin=subprocess.PIPE, start_new_session=True
    )
    log = tmp_path / "output.log"
    log.write_text(f'{EVENT_PREFIX}{{"event": "claimed"}}\nits last words\n')
    mine = WorkerIdentity.of_this_process(str(log))
    started = started_since_boot(died_early.pid)
    record = call_of(
        handle.key, mine.model_copy(update={"pid": died_early.pid, "started": started}), attempt=2
    )
    put_call(store, "acme", record)
    earlier = failed_result(record, ErrorRecord(kind="transient", message="of the attempt before"))
    write_result(store, "acme", earlier.model_copy(update={"attempt": 1}))
    compute._started[handle.key] = died_early
    assert compute.poll(handle).state == "running"
    died_early.communicate(b"\n")
    status = compute.poll(handle)
    assert (status.state, status.died) == ("lost", died)
    assert status.detail == f"{how}\nits last words"
    buried = compute.bury(handle, status)
    assert buried is not None
    assert buried.error is not None
    assert (buried.error.kind, buried.error.message) == (died, f"the worker died: {how}\nits last words")
    assert compute.poll(handle) == Status("done", result=buried)
    found = read_call(store, "acme", handle.key)
    assert found is not None
    assert found[0].state == "finished", "another machine need not wait until its heartbeat is old"


def test_a_caller_that_finds_a_call_dead_writes_nothing_over_what_another_has_made_of_it_meanwhile(
    compute: LocalCompute, store: ObjectStore
) -> None:
    """Two followed it. One was held up before it could say so; the other has started the call again."""
    handle = Handle("acme", "ab" * 16, "double", "local")
    successor = call_of(handle.key, WorkerIdentity(), state="finished", attempt=2)
    put_call(store, "acme", successor)
    made = failed_result(successor, ErrorRecord(kind="bad_input", message="its own word"))
    write_result(store, "acme", made)
    assert compute.bury(handle, Status("lost", detail="its process is gone")) == made
    assert read_result(store, "acme", handle.key) == made


def test_a_living_call_is_not_buried_and_one_that_died_of_a_cancel_is_cancelled(
    compute: LocalCompute, store: ObjectStore
) -> None:
    handle, lost = Handle("acme", "ab" * 16, "double", "local"), Status("lost", detail="its process is gone")
    alive = call_of(handle.key, WorkerIdentity.of_this_process(), cancel_requested="a person asked")
    put_call(store, "acme", alive)
    assert compute.bury(handle, lost) is None
    assert read_result(store, "acme", handle.key) is None
    gone = alive.worker.model_copy(update={"started": -1.0})
    put_call(store, "acme", alive.model_copy(update={"worker": gone}))
    buried = compute.bury(handle, lost)
    assert buried is not None
    assert buried.error is not None
    assert (buried.error.kind, buried.error.message) == ("cancelled", "cancelled: a person asked")


def test_a_call_that_is_started_again_tells_of_its_new_attempt_and_not_of_the_one_before(
    compute: LocalCompute, task_settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    request = {"do": "transient_once", "journal": str(tmp_path / "journal")}
    events: list[Event] = []
    run_call(compute, "double", request, on_event=events.append)
    assert [event.data["attempt"] for event in events if event.name == "claimed"] == [1, 2]
    assert [event.data["status"] for event in events if event.name == "ended"] == ["error", "ok"]
    again: list[Event] = []
    run_call(LocalCompute(task_settings, store), "double", request, on_event=again.append)
    assert [event.data["attempt"] for event in again if event.name == "claimed"] == [2], "the result is there"


def test_output_is_given_in_whole_lines_each_once(
    compute: LocalCompute, store: ObjectStore, tmp_path: Path
) -> None:
    handle = Handle("acme", "ab" * 16, "double", "local")
    reader = compute.events(handle)
    assert reader.read() == []
    log = tmp_path / "output.log"
    worker = WorkerIdentity.of_this_process(str(log))
    record = call_of(handle.key, worker)
    put_call(store, "acme", record)
    assert reader.read() == [], "somebody has cleaned up"

    def read(written: str) -> list[object]:
        with log.open("a") as file:
            file.write(written)
        return [event.data.get("line", event.name) for event in reader.read()]

    assert read("one\ntw") == ["one"]
    assert read("") == []
    assert read("o\n\nthree\n") == ["two", "three"]
    assert read(f'{EVENT_PREFIX}{{"event": "ended"}}\n{EVENT_PREFIX}[1]\n') == ["ended", f"{EVENT_PREFIX}[1]"]
    elsewhere = worker.model_copy(update={"host": "another-machine"})
    put_call(store, "acme", record.model_copy(update={"worker": elsewhere}))
    assert compute.events(handle).read() == [], "a file of that name here is of another call"


def test_a_worker_ends_with_its_task_and_waits_for_no_thread_of_it(
    compute: LocalCompute, store: ObjectStore, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    handle = compute.submit("double", {"do": "linger", "seconds": 60, "journal": str(journal)})
    assert follow(compute, handle).status == "ok"
    # Followed to the end of its process: what was to be told of it has been.
    assert compute.describe(handle)["state"] == "finished"
    call = read_call(store, handle.tenant, handle.key)
    assert call is not None
    assert call[0].worker.process() is None
    assert journal.read_text() == "told of the end"


def test_torchs_threads_leave_the_cores_to_others_while_they_wait(
    compute: LocalCompute, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (set_before, told) in enumerate({"": "PASSIVE", "ACTIVE": "ACTIVE"}.items()):
        monkeypatch.setenv("OMP_WAIT_POLICY", set_before)
        if not set_before:
            monkeypatch.delenv("OMP_WAIT_POLICY")
        done = follow(compute, compute.submit("double", {"number": number}))
        assert done.result is not None
        assert done.result["wait_policy"] == told


def test_a_call_that_has_ended_is_followed_to_the_end_of_its_process_but_not_for_long(
    compute: LocalCompute, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video_pipeline.compute.local.LEAVING_S", 3600.0)
    handle = Handle("acme", "ab" * 16, "double", "local")
    leaving = subprocess.Popen(["sleep", "600"])
    ids = {"pid": leaving.pid, "started": started_since_boot(leaving.pid)}
    record = call_of(
        handle.key,
        WorkerIdentity.of_this_process().model_copy(update=ids),
        state="finished",
        progress={"done": 1},
    )
    put_call(store, "acme", record)
    result = failed_result(record, ErrorRecord(kind="internal", message="its own word"))
    write_result(store, "acme", result)
    compute._started[handle.key] = leaving
    try:
        assert compute.poll(handle) == Status("running", progress={"done": 1})
        put_call(store, "acme", record.model_copy(update={"heartbeat_at": time.time() - 3601}))
        assert compute.poll(handle) == Status("done", result=result)
    finally:
        leaving.kill()
        leaving.wait()
    put_call(store, "acme", record)
    assert compute.poll(handle) == Status("done", result=result)


def test_how_a_worker_ended_says_nothing_of_another_callers_worker_after_it(
    compute: LocalCompute, store: ObjectStore
) -> None:
    handle = Handle("acme", "ab" * 16, "double", "local")
    ended_well = subprocess.Popen(["true"])
    record = call_of(
        handle.key,
        WorkerIdentity.of_this_process().model_copy(update={"pid": ended_well.pid}),
        state="finished",
    )
    result = failed_result(record, ErrorRecord(kind="transient", message="the network was away"))
    write_result(store, "acme", result)
    assert compute.poll(handle) == Status("done", result=result), "whoever has cleaned up its record"
    put_call(store, "acme", record)
    # Started when the one in the record was taken for dead; then that one wrote its result after all.
    compute._before[handle.key] = record.model_copy(update={"state": "running"})
    compute._started[handle.key] = ended_well
    ended_well.wait()
    assert compute.poll(handle) == Status("done", result=result)
    successor = record.model_copy(update={"state": "running", "attempt": 2})
    put_call(store, "acme", successor)
    assert compute.poll(handle) == Status("lost", detail="its process is gone\n")


def test_where_a_call_runs_is_described_for_people(compute: LocalCompute, store: ObjectStore) -> None:
    handle = Handle("acme", "ab" * 16, "double", "local")
    known = {"backend": "local", "key": handle.key, "task": "double"}
    assert compute.describe(handle) == {**known, "state": "not claimed"}
    of_nobody = Status("lost", detail="the worker did not claim the call: its process is gone\n")
    assert compute.poll(handle) == of_nobody, "no attempt of it has ever been made here"
    worker = WorkerIdentity(host="a machine", pid=57, log_path="/a/log")
    record = call_of(handle.key, worker, attempt=2)
    put_call(store, "acme", record.model_copy(update={"heartbeat_at": time.time() - 100}))
    described = compute.describe(handle)
    assert 100 <= described.pop("heartbeat_age_s") < 1000
    place = {"host": "a machine", "pid": 57, "log": "/a/log"}
    assert described == {**known, "state": "running", **place, "attempt": 2}


def test_a_claim_without_a_heartbeat_for_a_minute_is_taken_over(store: ObjectStore) -> None:
    def record(host: str, age_s: float) -> CallRecord:
        return call_of(
            "ab" * 16, WorkerIdentity(host=host, boot_id="elsewhere", pid=1), heartbeat_at=time.time() - age_s
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


@pytest.mark.parametrize(("do", "traced"), [("bad_input", False), ("crash", True)])
def test_the_log_shows_a_traceback_only_where_a_message_is_not_all_one_needs(
    compute: LocalCompute, do: str, traced: bool
) -> None:
    lines: list[str] = []
    handle = compute.submit("double", {"do": do})
    record = follow(compute, handle, on_event=lambda event: lines.append(str(event.data.get("line", ""))))
    assert record.error is not None
    assert "Traceback" in record.error.traceback
    assert any(f"double failed ({record.error.kind})" in line for line in lines)
    assert any("Traceback" in line for line in lines) == traced


def test_a_worker_that_looked_for_the_result_a_moment_too_early_does_nothing_again(
    task_settings: Settings, store: ObjectStore, tmp_path: Path
) -> None:
    key, journal = "ab" * 16, tmp_path / "starts"
    request = {"journal": str(journal)}
    call = CallFile(key=key, task="double", version=1, request=request, timeout_s=60)
    here = WorkerIdentity.of_this_process()

    class Overtaken(DirectoryStore):
        """The other worker has ended the call between this one's first look and its claim."""

        looked = False

        def get(self, key: str) -> bytes:
            if key == keys.result_key("acme", call.key) and not self.looked:
                self.looked = True
                with pytest.raises(ObjectMissing):
                    super().get(key)
                other = here.model_copy(update={"pid": 1})
                assert execute(call, task_settings, store, other) == 0
                raise ObjectMissing("there was no result", input=key)
            return super().get(key)

    assert execute(call, task_settings, Overtaken(tmp_path / "store"), here) == 0
    assert starts(journal) == 1
    found, result = read_call(store, "acme", key), read_result(store, "acme", key)
    assert found is not None
    assert result is not None
    assert (found[0].worker.pid, found[0].state, found[0].attempt) == (1, "finished", 1)
    assert (result.worker.pid, result.status) == (1, "ok")
