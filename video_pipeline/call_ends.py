"""How a call ends that its own worker did not end: what is said in its place, and where it is written.

Belongs here: the error and the result that a caller, or the next worker, states for a worker that is gone.
Does not belong here: finding out that it is gone (`compute`), or the records themselves (`calls`).
"""

from __future__ import annotations

from datetime import UTC, datetime

from video_pipeline.calls import (
    CallRecord,
    ErrorRecord,
    ResultRecord,
    change_call,
    failed_result,
    read_result,
    write_result,
)
from video_pipeline.errors import ErrorKind
from video_pipeline.store.base import ObjectStore
from video_pipeline.worker_identity import WorkerIdentity


def error_in_its_place(
    task: str, kind: ErrorKind, message: str, *, what_to_do: str, cancelled: str | None = None
) -> ErrorRecord:
    """The error of a call of `task` whose worker has left none. One that somebody wanted to end has ended as
    wanted, whatever ended it: `cancelled` is their reason."""
    if cancelled:
        return ErrorRecord(kind="cancelled", message=f"cancelled: {cancelled}", input=task)
    return ErrorRecord(kind=kind, message=message, input=task, what_to_do=what_to_do)


def unclaimed_result(key: str, task: str, error: ErrorRecord, worker: WorkerIdentity) -> ResultRecord:
    """How a call ended that no worker has claimed: for its caller, and never stored. It would pass for the
    result of the next worker's attempt."""
    now = datetime.now(UTC)
    return ResultRecord(
        key=key,
        task=task,
        version=0,
        status="error",
        error=error,
        worker=worker,
        started_at=now,
        finished_at=now,
    )


def never_began(
    key: str, task: str, detail: str, worker: WorkerIdentity, *, cancelled: str | None = None
) -> ResultRecord:
    """The same of a call of which no more is known than that: `detail` says why it is given up."""
    error = error_in_its_place(
        task, "internal", detail, what_to_do="read the worker's log", cancelled=cancelled
    )
    return unclaimed_result(key, task, error, worker)


def end_in_its_place(store: ObjectStore, lost: CallRecord, error: ErrorRecord) -> ResultRecord:
    """Writes the result of an attempt whose worker is gone, then marks its record finished, so that nobody
    takes it for alive; a record that another worker holds by now is left alone. Where the attempt, or one
    after it, has left a result since it was taken for lost, that one stands and is returned."""
    result = read_result(store, lost.tenant, lost.key)
    if result is None or result.attempt < lost.attempt:
        result = failed_result(lost, error)
        write_result(store, lost.tenant, result)

    def end(now: CallRecord) -> CallRecord | None:
        return now.model_copy(update={"state": "finished"}) if now.worker == lost.worker else None

    change_call(store, lost.tenant, lost.key, end)
    return result
