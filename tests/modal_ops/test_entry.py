"""What a Modal function does with a call, run in this process: only Modal's ids are set by hand."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Any

import modal
import pytest

from tests.doubles.tasks import Behaviour, Outcome
from video_pipeline.calls import (
    CallRecord,
    ErrorRecord,
    WorkerIdentity,
    change_call,
    failed_result,
    read_call,
    read_result,
    write_result,
)
from video_pipeline.claims import Claim
from video_pipeline.compute.modal_spawns import SpawnNote, take_note
from video_pipeline.errors import BadInput, Transient
from video_pipeline.modal_ops import entry
from video_pipeline.models import kept
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.task_context import TaskContext
from video_pipeline.tasks import call_key_of, find_task
from video_pipeline.telemetry.usage import Machine
from video_pipeline.worker import EXIT_TAKEN

DOUBLES = "tests.doubles.tasks"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The environment of a container, with a directory that stands for the bucket."""
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("VIDEO_PIPELINE_TASK_MODULES", DOUBLES)
    monkeypatch.setenv("MODAL_TASK_ID", "ta-1")
    as_call("fc-1", monkeypatch)
    return load_settings()


def as_call(call_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modal.current_function_call_id", lambda: call_id)


def call_for(settings: Settings, **behaviour: Any) -> dict[str, Any]:
    task = find_task("double", settings)
    request = task.parse_request({"tenant_id": "acme", **behaviour})
    return {
        "key": call_key_of(task, request, open_store(settings)),
        "task": task.name,
        "version": task.version,
        "request": request.model_dump(mode="json"),
        "timeout_s": 60.0,
    }


def error_of(settings: Settings, call: dict[str, Any]) -> ErrorRecord:
    """Runs the call; its error, as the store has it."""
    assert entry.run_call_file(call) == {"exit_code": 0}
    result = read_result(open_store(settings), "acme", call["key"])
    assert result is not None
    assert result.error is not None
    return result.error


def test_a_call_is_run_and_its_result_names_the_modal_call(settings: Settings) -> None:
    call = call_for(settings)
    assert entry.run_call_file(call) == {"exit_code": 0}
    result = read_result(open_store(settings), "acme", call["key"])
    assert result is not None
    assert result.status == "ok"
    assert (result.worker.backend, result.worker.call_id, result.worker.host) == ("modal", "fc-1", "ta-1")


def test_a_wrong_request_is_data_in_the_store_and_not_an_exception(settings: Settings) -> None:
    call = call_for(settings, do="bad_input")
    assert entry.run_call_file(call) == {"exit_code": 0}
    result = read_result(open_store(settings), "acme", call["key"])
    assert result is not None
    assert result.error is not None
    assert result.error.kind == "bad_input"


@pytest.mark.parametrize("attempt", [1, 4])
def test_a_call_that_another_worker_holds_is_left_to_it(attempt: int, settings: Settings) -> None:
    """However often that one's containers died: they are not of this function call."""
    call = call_for(settings)
    hold(settings, call, WorkerIdentity(backend="modal", call_id="fc-other", host="ta-0"))
    store = open_store(settings)
    change_call(store, "acme", call["key"], lambda now: now.model_copy(update={"attempt": attempt}))
    assert entry.run_call_file(call) == {"exit_code": EXIT_TAKEN}
    assert read_result(store, "acme", call["key"]) is None


def test_an_input_that_modal_runs_again_takes_the_call_over_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container that was taken away holds the claim, with a fresh heartbeat, under the same call id."""
    call = call_for(settings)
    lost = hold(settings, call, WorkerIdentity(backend="modal", call_id="fc-1", host="ta-0"))
    assert entry.run_call_file(call) == {"exit_code": 0}
    result = read_result(open_store(settings), "acme", call["key"])
    assert result is not None
    assert result.attempt == 2
    assert lost.heartbeat() is None
    assert not lost.owned, "the container that was taken away must stop and publish nothing"


def test_only_a_worker_of_the_same_modal_call_is_a_rerun() -> None:
    held = WorkerIdentity(backend="modal", call_id="fc-1", host="ta-0")
    assert WorkerIdentity(backend="modal", call_id="fc-1", host="ta-1").is_rerun_of(held)
    assert not held.is_rerun_of(held)
    assert not WorkerIdentity(backend="modal", call_id="fc-2", host="ta-1").is_rerun_of(held)
    assert not WorkerIdentity(backend="modal", host="ta-1").is_rerun_of(WorkerIdentity(backend="modal"))
    assert not WorkerIdentity(pid=2, call_id="fc-1").is_rerun_of(held)


def hold(settings: Settings, call: dict[str, Any], worker: WorkerIdentity) -> Claim:
    claim = Claim.take(
        open_store(settings),
        CallRecord(
            key=call["key"],
            task=call["task"],
            version=call["version"],
            tenant="acme",
            request=call["request"],
            worker=worker,
        ),
    )
    assert isinstance(claim, Claim)
    return claim


def test_a_call_of_another_versions_caller_says_deploy(settings: Settings) -> None:
    answer = entry.run_call_file({**call_for(settings), "priority": 1})
    assert answer["exit_code"] == 1
    assert (answer["error"]["kind"], answer["error"]["input"]) == ("version_mismatch", "double")
    assert "priority" in answer["error"]["message"]
    assert "deploy" in answer["error"]["what_to_do"]


def test_a_call_for_another_version_of_its_task_ends_with_what_to_do(settings: Settings) -> None:
    call = {**call_for(settings), "version": 2}
    assert entry.run_call_file(call) == {"exit_code": 0}
    result = read_result(open_store(settings), "acme", call["key"])
    assert result is not None
    assert result.error is not None
    assert (result.error.kind, result.version) == ("version_mismatch", 1)
    assert "expects version 2 of double, this worker has 1" in result.error.message


def test_a_container_lost_after_it_had_stored_its_result_does_not_work_again(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Modal runs the input of a lost container again; a defect would be no result to be had again."""
    journal = tmp_path / "journal"
    call = call_for(settings, do="crash", journal=str(journal))
    for _ in range(2):
        assert entry.run_call_file(call) == {"exit_code": 0}
    assert len(journal.read_text().splitlines()) == 1
    assert capsys.readouterr().out.count('"event": "ended"') == 2, "both tell that it has"


def test_a_result_says_what_was_done_other_than_asked_and_where_its_reports_are(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(request: Behaviour, context: TaskContext) -> Outcome:
        context.attach_report("page.txt", "what it saw")
        return Outcome(degraded=["no sound"])

    monkeypatch.setattr("tests.doubles.tasks.run", run)
    call = call_for(settings)
    assert entry.run_call_file(call) == {"exit_code": 0}
    store = open_store(settings)
    result = read_result(store, "acme", call["key"])
    assert result is not None
    assert result.degraded == ["no sound"]
    assert store.get(result.report_keys["page.txt"]) == b"what it saw"


class OutOfMemoryError(RuntimeError):
    """A double of torch's, which is loaded where a task needs it alone."""


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (modal.exception.InputCancellation("at Modal"), "cancelled"),
        (Transient("no answer"), "transient"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_library_raises_is_told_by_its_kind(
    raised: BaseException, kind: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(request: Behaviour, context: TaskContext) -> Outcome:
        raise raised

    monkeypatch.setattr("tests.doubles.tasks.run", run)
    assert error_of(settings, call_for(settings)).kind == kind


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (None, "preempted"),
        (RuntimeError("the stream was closed under it"), "preempted"),
        (BadInput("this input is wrong"), "bad_input"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_go_was_preempted_unless_its_input_is_wrong(
    number: signal.Signals,
    raised: Exception | None,
    kind: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(request: Behaviour, context: TaskContext) -> Outcome:
        signal.raise_signal(number)
        if raised is not None:
            raise raised
        context.cancel.raise_if_cancelled()
        return Outcome()

    monkeypatch.setattr("tests.doubles.tasks.run", run)
    assert error_of(settings, call_for(settings)).kind == kind


def test_a_report_that_cannot_be_stored_is_said_and_undoes_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put = DirectoryStore.put

    def refusing(store: DirectoryStore, key: str, *about: Any, **options: Any) -> Any:
        if key.endswith("first.txt"):
            raise Transient("the server is away")
        return put(store, key, *about, **options)

    def run(request: Behaviour, context: TaskContext) -> Outcome:
        context.attach_report("first.txt", "what it saw")
        context.attach_report("second.txt", "what else it saw")
        return Outcome()

    monkeypatch.setattr(DirectoryStore, "put", refusing)
    monkeypatch.setattr("tests.doubles.tasks.run", run)
    call = call_for(settings)
    assert entry.run_call_file(call) == {"exit_code": 0}
    result = read_result(open_store(settings), "acme", call["key"])
    assert result is not None
    assert (result.status, list(result.report_keys)) == ("ok", ["second.txt"])
    assert "the report first.txt could not be stored: the server is away" in capsys.readouterr().err


def test_a_record_and_its_result_name_the_caller_and_the_machine_that_is_charged_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[CallRecord] = []

    def run(request: Behaviour, context: TaskContext) -> Outcome:
        record = read_call(context.store, "acme", context.call_key)
        assert record is not None
        found.append(record[0])
        return Outcome()

    monkeypatch.setattr("tests.doubles.tasks.run", run)
    reserved = Machine(cpu_cores=4, memory_gib=8)
    call = {**call_for(settings), "parent": "cd" * 16, "reserved": reserved.model_dump()}
    assert entry.run_call_file(call) == {"exit_code": 0}
    assert [(record.parent, record.reserved) for record in found] == [("cd" * 16, reserved)]
    result = read_result(open_store(settings), "acme", call["key"])
    assert result is not None
    assert (result.parent, result.usage.cpu_cores, result.usage.memory_gib) == ("cd" * 16, 4, 8)


def test_a_call_that_cannot_begin_answers_with_the_error_as_data(settings: Settings) -> None:
    call = {**call_for(settings), "task": "no_such_task"}
    answer = entry.run_call_file(call)
    assert (answer["exit_code"], answer["error"]["kind"]) == (1, "bad_input")
    assert "no_such_task" in answer["error"]["message"]
    assert answer["error"]["input"] == "no_such_task"
    assert "Traceback" in answer["error"]["traceback"]
    assert read_call(open_store(settings), "acme", call["key"]) is None


def test_a_container_with_a_wrong_environment_says_which_variable(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = call_for(settings)
    monkeypatch.setenv("VIDEO_PIPELINE_ENV", "moon")
    answer = entry.run_call_file(call)
    assert answer["exit_code"] == 1
    assert "VIDEO_PIPELINE_ENV" in answer["error"]["message"]


def test_a_store_that_is_away_is_raised_for_a_retry(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = call_for(settings)

    def away(_: Settings) -> None:
        raise Transient("the store does not answer")

    monkeypatch.setattr(entry, "open_store", away)
    with pytest.raises(Transient, match="does not answer"):
        entry.run_call_file(call)


def test_a_container_keeps_its_own_signal_handlers_after_a_call(settings: Settings) -> None:
    """Modal ends a container by signal: a worker's handler left behind would ignore that."""

    def containers(number: int, frame: object) -> None:
        raise AssertionError("not in this test")

    before = {number: signal.signal(number, containers) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        entry.run_call_file(call_for(settings, number=1))
        assert [signal.getsignal(number) for number in before] == [containers, containers]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_call_that_the_store_leaves_in_the_middle_gives_the_signal_handlers_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised for a retry, and the container lives on."""

    def left(*_: object) -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Transient("the store does not answer")

    monkeypatch.setattr(entry, "execute", left)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Transient):
            entry.run_call_file(call_for(settings))
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_call_logs_from_the_level_that_was_deployed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A function that holds no network has nothing but its calls to set this up."""

    def run(request: Behaviour, context: TaskContext) -> Outcome:
        for level in ("info", "warning"):
            getattr(logging.getLogger("films"), level)("%s of the task", level)
        return Outcome()

    monkeypatch.setattr("tests.doubles.tasks.run", run)
    monkeypatch.setenv("LOGGER_LEVEL", "WARNING")
    assert entry.run_call_file(call_for(settings)) == {"exit_code": 0}
    told = capsys.readouterr()
    assert "WARNING films: warning of the task" in told.out + told.err
    assert "info of the task" not in told.out + told.err


def test_a_warm_container_runs_the_next_call(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = call_for(settings, number=1), call_for(settings, number=2)
    assert first["key"] != second["key"]
    for call_id, call in (("fc-1", first), ("fc-2", second)):
        as_call(call_id, monkeypatch)
        assert entry.run_call_file(call) == {"exit_code": 0}
        result = read_result(open_store(settings), "acme", call["key"])
        assert result is not None
        assert result.worker.call_id == call_id
        assert "worker-watch" not in {thread.name for thread in threading.enumerate()}


def test_a_container_whose_store_fails_at_a_calls_end_does_not_watch_that_call_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold the claim on, and at the time limit end the container over the next call's head."""

    def run(request: Behaviour, context: TaskContext) -> Outcome:
        context.cancel.cancel("SIGTERM")
        context.cancel.raise_if_cancelled()
        return Outcome()

    def away(_: Claim) -> None:
        raise Transient("the store does not answer")

    monkeypatch.setattr("tests.doubles.tasks.run", run)
    monkeypatch.setattr(Claim, "cancel_requested", away)
    with pytest.raises(Transient, match="does not answer"):
        entry.run_call_file(call_for(settings))
    assert "worker-watch" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> entry.Container:
    """A container that has just started."""
    fresh = entry.Container()
    monkeypatch.setattr(entry, "_container", fresh)
    monkeypatch.setattr("video_pipeline.models.kept._keeping", False)
    monkeypatch.setattr("video_pipeline.models.kept._shelf", {})
    return fresh


def test_each_call_says_how_its_container_started_and_how_many_it_served_before(
    settings: Settings, container: entry.Container, capsys: pytest.CaptureFixture[str]
) -> None:
    entry.warm_up("holding_double")
    for number in (1, 2):
        entry.run_call_file(call_for(settings, number=number))
    told = [line for line in capsys.readouterr().out.splitlines() if '"container"' in line]
    assert ['"calls_before": 0' in told[0], '"calls_before": 1' in told[1], len(told)] == [True, True, 2]
    assert container.warm_s is not None
    assert container.warm_error is None


def test_a_container_that_is_warm_keeps_its_network_for_its_calls(
    settings: Settings, container: entry.Container
) -> None:
    assert kept.detector("cpu") is not kept.detector("cpu")
    entry.warm_up("detect_players")
    assert kept.detector("cpu") is kept.detector("cpu")


def lost(settings: Settings, call: dict[str, Any], times: int, since: int = 0) -> None:
    """The call as `times` containers of its function call left it that died without a word, after `since`
    attempts that had ended."""
    worker = WorkerIdentity(backend="modal", call_id="fc-1", host="ta-0")
    claim = hold(settings, call, worker)
    store = open_store(settings)
    change_call(store, "acme", call["key"], lambda now: now.model_copy(update={"attempt": since + times}))
    if since:
        error = ErrorRecord(kind="preempted", message="the worker was told to stop by its machine")
        told = failed_result(claim.record.model_copy(update={"attempt": since}), error)
        write_result(store, "acme", told)


@pytest.mark.parametrize(("times", "since"), [(2, 0), (2, 5)])
def test_a_call_whose_containers_died_twice_is_worked_on(times: int, since: int, settings: Settings) -> None:
    """However often it was pre-empted before: a worker that is told to go says so."""
    call = call_for(settings)
    lost(settings, call, times, since)
    assert entry.run_call_file(call) == {"exit_code": 0}
    result = read_result(open_store(settings), "acme", call["key"])
    assert result is not None
    assert (result.status, result.attempt) == ("ok", since + times + 1)


def test_attempts_of_an_earlier_function_call_are_not_counted_to_this_one(settings: Settings) -> None:
    """It ended without a result, for its containers could not say what they died of; the note of the next
    spawn tells how far it had come."""
    call = call_for(settings)
    lost(settings, call, 3)
    store = open_store(settings)
    note = SpawnNote(
        key=call["key"], task="double", app="video-pipeline", state="spawned", call_id="fc-1", after_attempt=2
    )
    assert take_note(store, "acme", note, instead_of=None)
    assert entry.run_call_file(call) == {"exit_code": 0}
    result = read_result(store, "acme", call["key"])
    assert result is not None
    assert (result.status, result.attempt) == ("ok", 4)


@pytest.mark.parametrize("since", [0, 5])
def test_a_call_whose_containers_died_three_times_is_given_up_with_its_memory(
    since: int, settings: Settings
) -> None:
    call = call_for(settings)
    lost(settings, call, 3, since)
    assert entry.run_call_file(call) == {"exit_code": 0}
    store = open_store(settings)
    result = read_result(store, "acme", call["key"])
    assert result is not None
    assert result.error is not None
    assert (result.error.kind, result.error.input, result.attempt) == ("preempted", "double", since + 3)
    assert "more than its 512 MiB" in result.error.message
    found = read_call(store, "acme", call["key"])
    assert found is not None
    assert found[0].state == "finished"


@pytest.mark.parametrize("error", [BadInput("these weights are damaged"), RuntimeError("no CUDA")])
def test_a_warm_up_that_fails_is_told_and_raises_nothing(
    error: Exception,
    settings: Settings,
    container: entry.Container,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever it fails with: a driver that is not there is no error of ours."""

    def fail() -> None:
        raise error

    monkeypatch.setattr("tests.doubles.tasks.hold_damaged", fail)
    entry.warm_up("damaged_double")
    assert container.warm_error == f"{type(error).__name__}: {error}"
    assert "could not be loaded before its first call" in capsys.readouterr().err
