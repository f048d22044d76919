"""Call records: who works on a call, whether it is alive, whether it should stop, and how it ended.

Belongs here: the two objects a call leaves in the store (`calls/{key}.json`, which a worker claims;
`results/{key}.json`, the truth), reading and changing them. Does not belong here: which process a worker is
(`worker_identity`), how it takes, renews and loses a call (`claims`), what is said in the place of one that
is gone (`call_ends`), starting workers (`compute`) or running tasks (`worker`).

A call's record is created if absent and changed by compare-and-swap only. Its worker is lost when its
heartbeat is older than `LOST_AFTER_S`, or at once when it names a process of this machine that no longer
runs.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from video_pipeline import keys
from video_pipeline.costs.entries import LOST, LedgerEntry, partition_of, write_entry
from video_pipeline.errors import BadInput, ErrorKind, Transient
from video_pipeline.store.base import ObjectMissing, ObjectStore, PreconditionFailed
from video_pipeline.store.folders import folders
from video_pipeline.tasks import Task
from video_pipeline.telemetry.usage import Machine, Usage, of_a_dead_worker
from video_pipeline.worker_identity import WorkerIdentity

log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
LOST_AFTER_S = 60.0
REUSABLE_ERRORS: tuple[ErrorKind, ...] = ("bad_input",)
"""An error that would come again for the same key; any other error is worth another try."""


class Record(BaseModel):
    model_config = ConfigDict(extra="ignore")


class CallRecord(Record):
    """`calls/{key}.json`."""

    key: str
    task: str
    version: int
    tenant: str
    request: dict[str, Any]
    worker: WorkerIdentity
    state: Literal["running", "finished"] = "running"
    attempt: int = 1
    claimed_at: float = Field(default_factory=time.time)
    heartbeat_at: float = Field(default_factory=time.time)
    cancel_requested: str | None = None
    """Why the call should end, from the moment somebody asked."""
    progress: dict[str, Any] | None = None
    parent: str | None = None
    """The key of the call that started this one, if one did."""
    reserved: Machine | None = None
    """What its backend charges for while it runs; None where that is nothing."""

    def is_alive(self, now: float | None = None) -> bool:
        """Whether somebody still works on it."""
        if self.state != "running":
            return False
        if self.worker.on_this_machine:
            return self.worker.process() is not None
        return (time.time() if now is None else now) - self.heartbeat_at < LOST_AFTER_S


class ErrorRecord(Record):
    kind: ErrorKind
    message: str
    input: str | None = None
    what_to_do: str | None = None
    traceback: str = ""

    def __str__(self) -> str:
        about = f" [{self.input}]" if self.input else ""
        advice = f" What to do: {self.what_to_do}" if self.what_to_do else ""
        return f"{self.message}{about}{advice}"


class ResultRecord(Record):
    """`results/{key}.json`: the truth about a finished call."""

    key: str
    task: str
    version: int
    status: Literal["ok", "error"]
    result: dict[str, Any] | None = None
    error: ErrorRecord | None = None
    degraded: list[str] = Field(default_factory=list)
    attempt: int = 1
    worker: WorkerIdentity
    started_at: datetime
    finished_at: datetime
    usage: Usage = Field(default_factory=Usage)
    report_keys: dict[str, str] = Field(default_factory=dict)
    partition: str | None = None
    parent: str | None = None
    buried: bool = False
    """Whether another wrote it in the place of a worker that died."""

    def is_reusable(self, task: Task, store: ObjectStore) -> bool:
        """Whether the next equal call may have this result: it would come again, and its outputs exist."""
        if self.version != task.version:
            return False
        if self.status == "ok":
            return self.result is not None and task.outputs_exist(self.result, store)
        return self.error is not None and self.error.kind in REUSABLE_ERRORS


def read_call(store: ObjectStore, tenant: str, key: str) -> tuple[CallRecord, str] | None:
    """The call record and the ETag to change it by, or None."""
    try:
        data, etag = store.get_with_etag(keys.call_key(tenant, key))
    except ObjectMissing:
        return None
    return CallRecord.model_validate_json(data), etag


def read_result(store: ObjectStore, tenant: str, key: str) -> ResultRecord | None:
    try:
        return ResultRecord.model_validate_json(store.get(keys.result_key(tenant, key)))
    except ObjectMissing:
        return None


def write_result(store: ObjectStore, tenant: str, record: ResultRecord) -> None:
    """The attempt's entry in the ledger, then its result: an attempt that has a result has an entry.

    A store that refuses the entry is said in the log, and takes nothing from the result; the daily look
    (`costs.ledger_gaps`) makes it good.
    """
    enter_result(store, tenant, record)
    store.put(
        keys.result_key(tenant, record.key),
        record.model_dump_json(indent=2).encode(),
        content_type="application/json",
    )


def enter_result(store: ObjectStore, tenant: str, record: ResultRecord) -> None:
    """The entry of an attempt that has a result, unless it has one."""
    kind = record.error.kind if record.error is not None else None
    lived = timedelta(seconds=record.usage.wall_s)
    _enter(
        store,
        LedgerEntry(
            key=record.key,
            attempt=record.attempt,
            task=record.task,
            version=record.version,
            tenant=tenant,
            partition=record.partition,
            status=record.status,
            error_kind=LOST if record.buried and kind == "preempted" else kind,
            backend=record.worker.backend,
            host=record.worker.host,
            started_at=record.started_at,
            finished_at=record.started_at + lived if record.buried else record.finished_at,
            parent=record.parent,
            degraded=record.degraded,
            usage=record.usage,
        ),
    )


def _enter(store: ObjectStore, entry: LedgerEntry) -> None:
    try:
        write_entry(store, entry)
    except Exception as error:
        log.error("attempt %d of the call %s is missing from the ledger: %s", entry.attempt, entry.key, error)


def enter_lost(store: ObjectStore, record: CallRecord) -> None:
    """The entry of an attempt that nobody will write a result for, unless it has one."""
    _enter(
        store,
        LedgerEntry(
            key=record.key,
            attempt=record.attempt,
            task=record.task,
            version=record.version,
            tenant=record.tenant,
            partition=partition_of(record.request),
            status="error",
            error_kind=LOST,
            backend=record.worker.backend,
            host=record.worker.host,
            started_at=datetime.fromtimestamp(record.claimed_at, UTC),
            finished_at=datetime.fromtimestamp(record.heartbeat_at, UTC),
            parent=record.parent,
            usage=of_a_dead_worker(record.heartbeat_at - record.claimed_at, record.reserved),
        ),
    )


def change_call(
    store: ObjectStore, tenant: str, key: str, change: Callable[[CallRecord], CallRecord | None]
) -> CallRecord | None:
    """Compare-and-swap loop over `change`, which returns None to leave the record alone.

    Returns the record as it then stands, or None if there is none.
    """
    for _ in range(50):
        found = read_call(store, tenant, key)
        if found is None:
            return None
        record, etag = found
        changed = change(record.model_copy(deep=True))
        if changed is None:
            return record
        try:
            put_call(store, tenant, changed, if_match=etag)
        except PreconditionFailed:
            time.sleep(0.02)
            continue
        return changed
    raise Transient("the call record is being changed by too many at once", input=keys.call_key(tenant, key))


def put_call(
    store: ObjectStore,
    tenant: str,
    record: CallRecord,
    *,
    if_match: str | None = None,
    if_none_match: bool = False,
) -> None:
    """Writes the record where the condition holds. `PreconditionFailed` if another was faster."""
    conditional = store.conditional_writes()
    store.put(
        keys.call_key(tenant, record.key),
        record.model_dump_json(indent=2).encode(),
        content_type="application/json",
        if_match=if_match if conditional else None,
        if_none_match=if_none_match and conditional,
    )
    if not conditional:
        # Such a server lets both of two racing writers through: the last one stands, so look who it was.
        time.sleep(1.0)
        found = read_call(store, tenant, record.key)
        if found is None or found[0].worker != record.worker:
            raise PreconditionFailed("another worker wrote the call record", input=record.key)


def request_cancel(store: ObjectStore, tenant: str, key: str, reason: str) -> CallRecord | None:
    """Asks a running call to end. Returns its record, or None if there is none."""

    def ask(record: CallRecord) -> CallRecord | None:
        if record.state != "running" or record.cancel_requested:
            return None
        record.cancel_requested = reason
        return record

    return change_call(store, tenant, key, ask)


def failed_result(record: CallRecord, error: ErrorRecord, usage: Usage | None = None) -> ResultRecord:
    """The result of a call whose task did not end: by its worker, which states the `usage`, or by whoever
    buries it."""
    lived_s = record.heartbeat_at - record.claimed_at
    return ResultRecord(
        key=record.key,
        task=record.task,
        version=record.version,
        status="error",
        error=error,
        attempt=record.attempt,
        worker=record.worker,
        started_at=datetime.fromtimestamp(record.claimed_at, UTC),
        finished_at=datetime.now(UTC),
        usage=usage or of_a_dead_worker(lived_s, record.reserved),
        partition=partition_of(record.request),
        parent=record.parent,
        buried=usage is None,
    )


def list_calls(store: ObjectStore, tenant: str | None = None) -> list[CallRecord]:
    """Every call record of the tenant, or of all tenants, newest first. One that is deleted meanwhile is not
    among them."""
    records: list[CallRecord] = []
    for owner in [tenant] if tenant is not None else every_tenant(store):
        for item in store.list(keys.calls_prefix(owner)):
            with contextlib.suppress(ObjectMissing):
                records.append(CallRecord.model_validate_json(store.get(item.key)))
    return sorted(records, key=lambda record: record.claimed_at, reverse=True)


def every_tenant(store: ObjectStore) -> list[str]:
    """Whoever may have calls, the system itself included. One page for a thousand, whatever they store."""
    tenants: list[str] = []
    for name in folders(store, ""):
        with contextlib.suppress(BadInput):
            tenants.append(keys.check_name("tenant", name))
    return tenants
