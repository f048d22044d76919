"""Runs one task from its request: the same envelope on every backend.

Belongs here: claim, error record, report and result record around a task's plain function. Does not belong
here: what tasks do, what they get (`task_context`), what watches them (`worker_watch`), or how a backend
starts a worker.

As a program it takes a call file (`CallFile` as JSON) and speaks on standard output: one JSON line per event,
each after `EVENT_PREFIX`; any other line is log. Exit codes: 0 the call ended and its result is stored;
3 another worker holds the call; 4 this worker lost its claim; 1 it could not even begin.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from video_pipeline import keys
from video_pipeline.calls import (
    CallRecord,
    ErrorRecord,
    ResultRecord,
    WorkerIdentity,
    read_result,
    write_result,
)
from video_pipeline.claims import Claim
from video_pipeline.compute.children import end_those_left, left_by_a_killed_attempt
from video_pipeline.costs.entries import partition_of
from video_pipeline.errors import ErrorKind, Internal, PipelineError
from video_pipeline.foretelling import foretell_in_background, note_prediction
from video_pipeline.models.cpu_threads import sleep_while_waiting
from video_pipeline.scratch import scratch_folder
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.task_context import TaskContext
from video_pipeline.tasks import Task, find_task, tenant_of
from video_pipeline.telemetry.logs import configure_logging
from video_pipeline.telemetry.timing import Recorder, timed_operation, use_recorder
from video_pipeline.telemetry.usage import Machine, Meter, Usage
from video_pipeline.tracking.addresses import without_signatures
from video_pipeline.worker_end import end_process
from video_pipeline.worker_watch import Watch

log = logging.getLogger(__name__)

EVENT_PREFIX = "@video_pipeline "
SAID_IN_FULL: tuple[ErrorKind, ...] = ("bad_input", "cancelled", "version_mismatch")
"""Errors whose message is all that a person needs; of others the log shows the traceback too."""

EXIT_TAKEN = 3
EXIT_CLAIM_LOST = 4


class CallFile(BaseModel):
    """What a backend hands to a worker."""

    model_config = ConfigDict(extra="forbid")

    key: str
    task: str
    version: int
    request: dict[str, Any]
    timeout_s: float
    log_path: str | None = None
    submitted_at: float | None = None
    """By the caller's clock, seconds since the epoch."""
    parent: str | None = None
    """The key of the call that starts this one, if one does."""
    reserved: Machine | None = None
    """What the backend charges for while the call runs; None where that is nothing."""


def execute(call: CallFile, settings: Settings, store: ObjectStore, identity: WorkerIdentity) -> int:
    """Claims the call and runs it. Returns the exit code; the outcome is in the store."""
    meter = Meter(submitted_at=call.submitted_at, spawned=identity.backend == "modal")
    emit = _Emitter()
    task = find_task(call.task, settings)
    request = task.parse_request(call.request)
    tenant = tenant_of(request)

    def served() -> bool:
        done = read_result(store, tenant, call.key)
        if done is None or not (done.is_reusable(task, store) or _has_run(done, identity)):
            return False
        emit({"event": "ended", "status": done.status})
        return True

    if served():
        return 0
    children = left_by_a_killed_attempt(store, tenant, call.key)
    claim = Claim.take(
        store,
        CallRecord(
            key=call.key,
            task=task.name,
            version=task.version,
            tenant=tenant,
            # What signs an address is for the task alone: records and logs are kept, and read by many.
            request=without_signatures(call.request),
            worker=identity,
            parent=call.parent,
            reserved=call.reserved,
            progress=None if children is None else {"children": list(children.values())},
        ),
        served,
    )
    if claim is None:
        return 0
    if isinstance(claim, CallRecord):
        emit({"event": "taken", "by": claim.worker.model_dump()})
        return EXIT_TAKEN
    meter.claimed(claim.record.claimed_at)
    emit({"event": "claimed", "key": call.key, "attempt": claim.record.attempt, "pid": identity.pid})

    folder = contextlib.ExitStack()
    context = TaskContext(
        store=store,
        settings=settings,
        scratch=folder.enter_context(scratch_folder()),
        cancel=CancellationToken(),
        recorder=Recorder(),
        emit=emit,
        call_key=call.key,
        children=children,
    )
    _stop_on_signals(context.cancel)
    foretold = None if task.foretells_itself else foretell_in_background(task, request, call.reserved, store)

    def usage(ended_well: bool) -> Usage:
        """What the attempt has used by now. A fan-out's children are calls of their own."""
        if foretold is not None:
            note_prediction(context.usage, foretold, ended_well=ended_well)
        return meter.fill(
            context.usage,
            context.recorder.every(),
            reserved=claim.record.reserved,
            with_children=context.children is None,
        )

    watch = Watch(claim, context, call.timeout_s, lambda: usage(ended_well=False))
    context.renew = watch.renew
    watch.start()
    result: BaseModel | None = None
    error: ErrorRecord | None = None
    try:
        with use_recorder(context.recorder), timed_operation(task.name):
            if call.version != task.version:
                raise _version_mismatch(call, task)
            run = task.load()
            context.began = time.monotonic()
            meter.task_begins()
            result = run(request, context)
            if not isinstance(result, task.result_model):
                raise Internal(f"{task.name} returned {type(result).__name__}, not {task.result_path}")
    except BaseException as raised:
        error = _error_record(watch.outcome or raised, raised, claim, context.cancel)
    finally:
        try:
            folder.close()
            if not context.claim_lost:
                end_those_left(context)
        finally:
            # Also where the store fails just now: a container goes on to the next call, and a watch left
            # behind would hold this one's claim and end the container at this one's time limit.
            watch.stop()
    if error is not None:
        # Whoever gave bad input reads what to do, not where in the code it was found; the record keeps both.
        log.error("%s failed (%s): %s", task.name, error.kind, error)
        log.log(logging.DEBUG if error.kind in SAID_IN_FULL else logging.ERROR, "%s", error.traceback)
    if not claim.owned:
        emit({"event": "claim_lost"})
        return EXIT_CLAIM_LOST

    report_keys = _store_reports(context, tenant, call.key)
    record = ResultRecord(
        key=call.key,
        task=task.name,
        version=task.version,
        status="ok" if result is not None and error is None else "error",
        result=result.model_dump(mode="json") if result is not None and error is None else None,
        error=error,
        degraded=list(getattr(result, "degraded", [])) if error is None else [],
        attempt=claim.record.attempt,
        worker=identity,
        started_at=datetime.fromtimestamp(claim.record.claimed_at, UTC),
        finished_at=datetime.now(UTC),
        usage=usage(ended_well=error is None),
        report_keys=report_keys,
        partition=partition_of(call.request),
        parent=claim.record.parent,
    )
    write_result(store, tenant, record)
    claim.finish()
    emit({"event": "ended", "status": record.status, "kind": error.kind if error else None})
    return 0


def _has_run(done: ResultRecord, identity: WorkerIdentity) -> bool:
    """Whether this very Modal call has ended before: its container was lost after it had stored the result,
    and Modal runs it again. Only one that had to leave its machine has work left."""
    same = identity.call_id is not None and done.worker.call_id == identity.call_id
    return same and (done.error is None or done.error.kind != "preempted")


def _version_mismatch(call: CallFile, task: Task) -> PipelineError:
    from video_pipeline.errors import VersionMismatch

    return VersionMismatch(
        f"the caller expects version {call.version} of {task.name}, this worker has {task.version}",
        input=task.name,
        what_to_do="deploy the worker again, or update the caller",
    )


def _error_record(
    cause: BaseException, raised: BaseException, claim: Claim, cancel: CancellationToken
) -> ErrorRecord:
    """The error as data. A cancel is told from a lost machine by the call record, not by the signal."""
    text = without_signatures("".join(traceback.format_exception(raised)))
    kind = cause.kind if isinstance(cause, PipelineError) else "internal"
    if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
        kind = "out_of_memory"
    elif cancel.cancelled and kind in ("cancelled", "internal"):
        reason = claim.cancel_requested()
        kind = "cancelled" if reason else "preempted"
        message = f"cancelled: {reason}" if reason else "the worker was told to stop by its machine"
        return ErrorRecord(kind=kind, message=message, input=claim.record.task, traceback=text)
    if type(cause).__name__ == "InputCancellation":
        message = f"cancelled: {claim.cancel_requested() or 'on Modal, not by this pipeline'}"
        return ErrorRecord(kind="cancelled", message=message, input=claim.record.task, traceback=text)
    if isinstance(cause, PipelineError):
        return ErrorRecord(
            kind=kind, message=cause.message, input=cause.input, what_to_do=cause.what_to_do, traceback=text
        )
    return ErrorRecord(
        kind=kind,
        message=without_signatures(f"{type(cause).__name__}: {cause}"),
        input=claim.record.task,
        traceback=text,
    )


def _stop_on_signals(cancel: CancellationToken) -> None:
    """SIGTERM and SIGINT stop the task in an orderly way; only the main thread may install handlers."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signo, _frame: cancel.cancel(signal.Signals(signo).name))


def _store_reports(context: TaskContext, tenant: str, key: str) -> dict[str, str]:
    """Reports explain a call; a report that cannot be stored is said, and does not undo the call."""
    stored: dict[str, str] = {}
    for name, (data, content_type) in context.reports.items():
        where = keys.report_prefix(tenant, key) + name
        try:
            context.store.put(where, data, content_type=content_type)
            stored[name] = where
        except PipelineError as error:
            log.warning("the report %s could not be stored: %s", name, error)
    return stored


class _Emitter:
    """One line per event, whole lines only, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, event: dict[str, Any]) -> None:
        line = EVENT_PREFIX + json.dumps({"at": round(time.time(), 3), **event}, default=str) + "\n"
        with self._lock:
            sys.stdout.write(line)
            sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    """`python -m video_pipeline.worker CALL_FILE`."""
    (path,) = argv if argv is not None else sys.argv[1:]
    sleep_while_waiting()
    settings = load_settings()
    configure_logging(settings.logger_level)
    call = CallFile.model_validate_json(Path(path).read_text())
    # The file stays for people to look at; what signs an address has been read and is not kept.
    kept = call.model_copy(update={"request": without_signatures(call.request)})
    Path(path).write_text(kept.model_dump_json(indent=2))
    store = open_store(settings)
    return execute(call, settings, store, WorkerIdentity.of_this_process(call.log_path))


if __name__ == "__main__":
    end_process(main())
