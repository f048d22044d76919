"""What can go wrong on Modal: machines taken away, containers killed, limits, outages, lost notes.

Each with the real app deployed on the stand-in, and the number of spawned calls counted there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compute.conftest import ModalBackend, starts, wait_until_claimed
from tests.compute.test_fan_out import wait_for
from tests.conftest import ROOT
from tests.doubles import tasks as doubles
from video_pipeline import keys
from video_pipeline.calls import LOST_AFTER_S, ResultRecord, read_call, read_result
from video_pipeline.compute import open_compute
from video_pipeline.compute.base import CallOptions, Compute, Event, Handle
from video_pipeline.compute.follow import CallFailed, follow, run_call
from video_pipeline.compute.modal import DeployedApp
from video_pipeline.compute.modal_spawns import SpawnNote, read_note, take_note
from video_pipeline.errors import BadInput, Transient, VersionMismatch
from video_pipeline.settings import load_settings

pytestmark = pytest.mark.slow


class Job:
    """One call of the double that sleeps, followed in a thread."""

    def __init__(self, backend: ModalBackend, journal: Path, seconds: float = 4.0, **more: Any) -> None:
        self.backend = backend
        self.journal = journal
        self.request = {"do": "sleep", "seconds": seconds, "journal": str(journal), **more}
        self.compute: Compute = backend.open()
        self.handle = self.compute.submit("double", self.request)
        self.events: list[Event] = []
        self.outcome: ResultRecord | BaseException | None = None
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        try:
            _, self.outcome = run_call(self.compute, "double", self.request, on_event=self.events.append)
        except BaseException as error:
            self.outcome = error

    def claimed(self) -> Job:
        wait_until_claimed(self.backend.store, self.handle.tenant, self.handle.key)
        wait_for(self.journal.exists)
        return self

    def call_id(self) -> str:
        found = read_note(self.backend.store, self.handle.tenant, self.handle.key)
        assert found is not None
        assert found[0].call_id is not None
        return found[0].call_id

    def end(self, within_s: float = 120) -> ResultRecord:
        self._thread.join(within_s)
        assert not self._thread.is_alive(), "it did not end in time"
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        assert self.outcome is not None
        return self.outcome

    def failed(self, within_s: float = 120) -> CallFailed:
        self._thread.join(within_s)
        assert isinstance(self.outcome, CallFailed), self.outcome
        return self.outcome

    def retries(self) -> int:
        return sum(event.name == "retry" for event in self.events)


@pytest.fixture
def spawned(modal_backend: ModalBackend) -> Callable[[], int]:
    """How many calls were spawned since the test began."""

    def count() -> int:
        return modal_backend.loopback.state()["rpcs"].get("FunctionMap", 0)

    before = count()
    return lambda: count() - before


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def submitted(backend: ModalBackend, journal: Path, **behaviour: Any) -> tuple[Compute, Handle, dict]:
    request = {"do": "sleep", "seconds": 3.0, "journal": str(journal), **behaviour}
    compute = backend.open()
    return compute, compute.submit("double", request), request


def test_a_preempted_call_is_run_again_by_modal_and_not_spawned_again(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    job = Job(modal_backend, journal, seconds=60.0, do="sleep_once").claimed()
    assert len(modal_backend.loopback.fault("preempt", call=job.call_id(), grace_s=3)) == 1
    record = job.end()
    assert record.status == "ok"
    assert (starts(journal), record.attempt, spawned(), job.retries()) == (2, 2, 1, 0)


def test_a_killed_container_is_replaced_at_once_although_its_heartbeat_is_fresh(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    job = Job(modal_backend, journal, seconds=60.0, do="sleep_once").claimed()
    began = time.monotonic()
    assert len(modal_backend.loopback.fault("kill", call=job.call_id())) == 1
    record = job.end()
    assert time.monotonic() - began < LOST_AFTER_S, "the heartbeat was waited for"
    assert record.status == "ok"
    assert (starts(journal), record.attempt, spawned(), job.retries()) == (2, 2, 1, 0)


def test_a_worker_that_wrote_its_end_before_its_container_was_lost_does_not_work_twice(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    job = Job(modal_backend, journal, seconds=60.0).claimed()
    call_id = job.call_id()
    modal_backend.loopback.fault("drop_outputs", call=call_id)
    job.compute.cancel(job.handle, "a test asked")
    assert job.failed().error.kind == "cancelled"
    modal_backend.loopback.fault("kill", call=call_id)
    assert modal_backend.is_at_rest(within_s=60)
    assert (starts(journal), spawned()) == (1, 1)


def test_modals_own_time_limit_is_a_timeout_and_not_retried(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    job = Job(modal_backend, journal, seconds=60.0).claimed()
    modal_backend.loopback.fault("time_out", call=job.call_id())
    error = job.failed().error
    assert error.kind == "timeout"
    assert "time limit" in error.message
    assert (starts(journal), spawned()) == (1, 1)
    stored = read_result(modal_backend.store, job.handle.tenant, job.handle.key)
    assert stored is not None
    assert stored.error is not None
    assert stored.error.kind == "timeout"
    # Its heartbeat is a few seconds old; the next caller is not led to wait for it.
    assert not modal_backend.open().submit("double", job.request).attached


def test_a_call_that_runs_out_of_memory_says_how_much_it_had_and_is_not_retried(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    job = Job(modal_backend, journal, seconds=60.0).claimed()
    modal_backend.loopback.fault("run_out_of_memory", call=job.call_id())
    error = job.failed().error
    assert error.kind == "out_of_memory"
    assert "out of memory" in error.message
    assert "asks for 256 MiB and is ended beyond 512" in (error.what_to_do or "")
    assert (starts(journal), spawned(), job.retries()) == (1, 1, 0)
    stored = read_result(modal_backend.store, job.handle.tenant, job.handle.key)
    assert stored is not None
    assert stored.error == error


def test_a_call_whose_containers_keep_dying_is_given_up_although_modal_would_start_it_again_without_end(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    compute = modal_backend.open()
    with pytest.raises(CallFailed) as caught:
        run_call(compute, "double", {"do": "die", "journal": str(journal)}, CallOptions(max_attempts=1))
    assert caught.value.error.kind == "preempted"
    assert "3 containers died one after the other" in caught.value.error.message
    assert "more than its 512 MiB" in caught.value.error.message
    assert (starts(journal), spawned()) == (3, 1)
    assert modal_backend.is_at_rest(within_s=60)


def test_a_container_that_does_not_start_is_an_error_with_its_last_words(
    modal_backend: ModalBackend, spawned: Callable[[], int]
) -> None:
    modal_backend.loopback.fault("broken_start", on=1)
    try:
        with pytest.raises(CallFailed) as caught:
            run_call(modal_backend.open(), "double", {"do": "return"})
    finally:
        modal_backend.loopback.fault("broken_start", on=0)
    assert caught.value.error.kind == "internal"
    assert "at start" in caught.value.error.message
    assert spawned() == 1
    _, record = run_call(modal_backend.open(), "double", {"do": "return"})
    assert record.status == "ok"


def test_a_transient_error_is_retried_by_the_caller_with_a_second_spawn(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    events: list[Event] = []
    request = {"do": "transient_once", "journal": str(journal)}
    _, record = run_call(modal_backend.open(), "double", request, on_event=events.append)
    assert record.status == "ok"
    assert (starts(journal), record.attempt, spawned()) == (2, 2, 2)
    assert [event.data["kind"] for event in events if event.name == "retry"] == ["transient"]


def test_a_call_outlives_an_outage_of_modals_service(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    job = Job(modal_backend, journal, seconds=3.0).claimed()
    modal_backend.loopback.fault("outage", seconds=8)
    record = job.end()
    assert record.status == "ok"
    assert (starts(journal), spawned(), job.retries()) == (1, 1, 0)
    modal_backend.loopback.fault("outage", seconds=0)


def test_a_call_outlives_a_service_that_hangs(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    job = Job(modal_backend, journal, seconds=4.0).claimed()
    modal_backend.loopback.pause()
    try:
        time.sleep(4)
    finally:
        modal_backend.loopback.resume()
    assert job.end().status == "ok"
    assert (starts(journal), spawned()) == (1, 1)


def test_an_outage_that_lasts_ends_the_wait_and_not_the_call(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video_pipeline.compute.modal_state.AWAY_LIMIT_S", 1.0)
    job = Job(modal_backend, journal, seconds=12.0).claimed()
    modal_backend.loopback.fault("outage", seconds=60)
    with pytest.raises(Transient, match="Modal cannot be reached"):
        job.end()
    modal_backend.loopback.fault("outage", seconds=0)
    handle, record = run_call(modal_backend.open(), "double", job.request)
    assert handle.attached
    assert record.status == "ok"
    assert (starts(journal), spawned()) == (1, 1)


def test_no_service_at_submission_is_transient_and_the_next_submission_spawns(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    request = {"do": "return", "journal": str(journal)}
    modal_backend.loopback.fault("outage", seconds=60)
    with pytest.raises(Transient, match="Modal cannot be reached"):
        modal_backend.open().submit("double", request)
    modal_backend.loopback.fault("outage", seconds=0)
    _, record = run_call(modal_backend.open(), "double", request)
    assert record.status == "ok"
    assert starts(journal) == 1


def test_a_call_that_modal_does_not_know_is_spawned_again(modal_backend: ModalBackend, journal: Path) -> None:
    compute, handle, request = submitted(modal_backend, journal, do="return")
    follow(compute, handle)
    found = read_note(modal_backend.store, handle.tenant, handle.key)
    assert found is not None
    forged = found[0].model_copy(update={"call_id": "fc-unknown", "after_attempt": 1})
    assert take_note(modal_backend.store, handle.tenant, forged, instead_of=found[1])
    modal_backend.store.delete(keys.result_key(handle.tenant, handle.key))
    other = modal_backend.open()
    lost = other.poll(handle)
    assert (lost.state, lost.died) == ("lost", "preempted")
    assert "does not know" in lost.detail
    again, record = run_call(other, "double", request)
    assert not again.attached
    assert record.status == "ok"
    assert starts(journal) == 2


def test_a_call_whose_result_expired_everywhere_is_spawned_again(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    compute, handle, request = submitted(modal_backend, journal, do="return")
    follow(compute, handle)
    found = read_note(modal_backend.store, handle.tenant, handle.key)
    assert found is not None
    modal_backend.loopback.fault("expire", call=found[0].call_id)
    _, record = run_call(modal_backend.open(), "double", request)
    assert (record.status, starts(journal), spawned()) == ("ok", 1, 1)
    modal_backend.store.delete(keys.result_key(handle.tenant, handle.key))
    lost = modal_backend.open().poll(handle)
    assert lost.state == "lost"
    assert "no longer keeps" in lost.detail
    again, record = run_call(modal_backend.open(), "double", request)
    assert not again.attached
    assert (record.status, starts(journal), spawned()) == ("ok", 2, 2)


def test_many_submissions_at_once_spawn_one_call(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    request = {"do": "sleep", "seconds": 1.0, "journal": str(journal)}
    handles: list[Handle] = []
    threads = [
        threading.Thread(target=lambda: handles.append(modal_backend.open().submit("double", request)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(handle.attached for handle in handles) == [False] + [True] * 7
    assert follow(modal_backend.open(), handles[0]).status == "ok"
    assert (starts(journal), spawned()) == (1, 1)


def test_a_submission_during_the_spawn_of_another_waits_and_one_after_it_was_killed_spawns(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, handle, request = submitted(modal_backend, journal, do="return", number=7)
    follow(compute, handle)
    for item in list(modal_backend.store.list("acme/")):
        modal_backend.store.delete(item.key)
    taken = SpawnNote(key=handle.key, task="double", app="video-pipeline", after_attempt=0)
    assert take_note(modal_backend.store, handle.tenant, taken, instead_of=None)
    other = modal_backend.open()
    assert other.submit("double", request).attached
    assert other.poll(handle).state == "waiting"
    monkeypatch.setattr("video_pipeline.compute.modal_spawns.SPAWN_LIMIT_S", 0.0)
    again, record = run_call(modal_backend.open(), "double", request)
    assert not again.attached
    assert record.status == "ok"
    assert (starts(journal), spawned()) == (2, 2)


def test_a_worker_spawned_by_a_caller_that_died_before_noting_it_is_attached_to(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    _, handle, request = submitted(modal_backend, journal, seconds=4.0)
    wait_until_claimed(modal_backend.store, handle.tenant, handle.key)
    found = read_note(modal_backend.store, handle.tenant, handle.key)
    assert found is not None
    unnoted = found[0].model_copy(update={"state": "spawning", "call_id": None, "at": 0.0})
    assert take_note(modal_backend.store, handle.tenant, unnoted, instead_of=found[1])
    again, record = run_call(modal_backend.open(), "double", request)
    assert again.attached
    assert record.status == "ok"
    assert (starts(journal), spawned()) == (1, 1)


def test_a_cancel_before_a_worker_has_claimed_the_call_ends_it_with_modal(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    compute, handle, request = submitted(modal_backend, journal, seconds=60.0)
    compute.cancel(handle, "a test asked")
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "cancelled"
    assert "a test asked" in record.error.message
    assert modal_backend.is_at_rest(within_s=60)
    assert spawned() == 1
    request["seconds"] = 60.0
    assert not modal_backend.open().submit("double", request).attached


def test_a_cancel_during_the_spawn_ends_the_call_that_is_being_spawned(
    modal_backend: ModalBackend, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, other = modal_backend.open(), modal_backend.open()
    real = DeployedApp.spawn
    handles: list[Handle] = []

    def spawn_and_be_cancelled(app: DeployedApp, *arguments: Any, **options: Any) -> str:
        call_id = real(app, *arguments, **options)
        handles.append(other.submit("double", request))
        other.cancel(handles[0], "a test asked")
        return call_id

    request = {"do": "sleep", "seconds": 60.0, "journal": str(journal)}
    monkeypatch.setattr(DeployedApp, "spawn", spawn_and_be_cancelled)
    handle = compute.submit("double", request)
    assert handles[0].attached
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "cancelled"
    assert modal_backend.is_at_rest(within_s=60)


@pytest.mark.parametrize("terminate", [False, True])
def test_a_cancel_that_somebody_made_at_modal_is_a_cancel_here(
    modal_backend: ModalBackend, journal: Path, terminate: bool
) -> None:
    job = Job(modal_backend, journal, seconds=60.0).claimed()
    DeployedApp("video-pipeline").cancel(job.call_id(), terminate=terminate)
    error = job.failed().error
    assert error.kind == "cancelled"
    assert terminate or "on Modal, not by this pipeline" in error.message
    assert modal_backend.is_at_rest(within_s=60)


def test_a_caller_of_another_version_is_told_to_deploy(
    modal_backend: ModalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tuple(dataclasses.replace(task, version=2) for task in doubles.TASKS)
    monkeypatch.setattr(doubles, "TASKS", newer)
    with pytest.raises(CallFailed) as caught:
        run_call(modal_backend.open(), "double", {"do": "return"})
    assert caught.value.error.kind == "version_mismatch"
    assert "deploy" in (caught.value.error.what_to_do or "")


def test_an_app_that_is_not_deployed_is_said_before_anything_is_spawned(
    modal_backend: ModalBackend, spawned: Callable[[], int]
) -> None:
    settings = load_settings(env="staging")
    with pytest.raises(
        VersionMismatch, match="video-pipeline-staging on Modal has no function double"
    ) as caught:
        open_compute(settings, modal_backend.store).submit("double", {"do": "return"})
    assert "modal_ops.deploy" in (caught.value.what_to_do or "")
    assert spawned() == 0


def test_an_unknown_gpu_and_a_call_above_the_limit_of_cost_are_refused(
    modal_backend: ModalBackend, spawned: Callable[[], int]
) -> None:
    with pytest.raises(BadInput, match="Z9"):
        modal_backend.open().submit("run_inference", _inference(), CallOptions(gpu="Z9"))
    thrifty = load_settings(max_usd_per_call=0.0001)
    with pytest.raises(BadInput, match="above the limit"):
        open_compute(thrifty, modal_backend.store).submit("double", {"do": "return"})
    compute = modal_backend.open()
    compute.check("double", 20)
    with pytest.raises(BadInput, match=r"for 200000 calls.*above the limit of .* per run"):
        compute.check("double", 200_000)
    assert spawned() == 0


def test_another_gpu_is_asked_of_modal_for_this_call_only(modal_backend: ModalBackend) -> None:
    compute = modal_backend.open()
    handle = compute.submit("run_inference", _inference(), CallOptions(gpu="T4"))
    compute.cancel(handle, "only asked for")
    functions = modal_backend.loopback.state()["functions"].values()
    # The function behind a class has this name with Modal's client.
    found = {(item["gpu"], bool(item["base"])) for item in functions if item["name"] == "run_inference.*"}
    assert found == {("B200", False), ("T4", True)}
    assert compute.describe(handle)["gpu"] == "T4"


def _inference() -> dict[str, Any]:
    return {"tenant_id": "acme", "sample_id": "look", "video_urls": ["http://127.0.0.1:9/none.mp4"]}


def test_a_wrong_token_is_named(modal_backend: ModalBackend) -> None:
    script = textwrap.dedent("""
        import json
        from video_pipeline.compute import open_compute
        from video_pipeline.errors import BadInput
        from video_pipeline.settings import load_settings
        from video_pipeline.store import open_store
        settings = load_settings()
        try: open_compute(settings, open_store(settings)).submit("double", {"do": "return"})
        except BadInput as error: print(json.dumps([error.input, str(error)]))
    """)
    environment = {**os.environ, **modal_backend.environment, "MODAL_TOKEN_SECRET": "as-wrong"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    named, message = json.loads(done.stdout.splitlines()[-1])
    assert named == "MODAL_TOKEN_ID"
    assert "as-wrong" not in message


def test_a_caller_killed_while_it_waits_leaves_one_spawned_call(
    modal_backend: ModalBackend, journal: Path, spawned: Callable[[], int]
) -> None:
    request = {"do": "sleep", "seconds": 5.0, "journal": str(journal)}
    script = textwrap.dedent(f"""
        from video_pipeline.compute import open_compute
        from video_pipeline.compute.follow import run_call
        from video_pipeline.settings import load_settings
        from video_pipeline.store import open_store
        settings = load_settings()
        run_call(open_compute(settings, open_store(settings)), "double", {request!r})
    """)
    environment = {**os.environ, **modal_backend.environment}
    caller = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=environment)
    while not journal.exists():
        assert caller.poll() is None
        time.sleep(0.05)
    caller.kill()
    caller.wait()
    events: list[Event] = []
    handle, record = run_call(modal_backend.open(), "double", request, on_event=events.append)
    assert handle.attached
    assert record.status == "ok"
    assert (starts(journal), spawned()) == (1, 1)
    names = [event.name for event in events]
    assert (names.count("claimed"), names.count("ended")) == (1, 1)
    assert "progress" in names
    found = read_call(modal_backend.store, handle.tenant, handle.key)
    assert found is not None
    assert found[0].worker.backend == "modal"
    note = read_note(modal_backend.store, handle.tenant, handle.key)
    assert note is not None
    assert found[0].worker.call_id == note[0].call_id
