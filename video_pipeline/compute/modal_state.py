"""How a Modal call stands: judged from its result, its record, its note, and what Modal says.

Belongs here: `CallWatch`, which one process keeps for each call it polls. Does not belong here: doing
anything about it (`compute.modal_calls`).

The truth about a call is its result record in the store; while there is none, its call record says whether a
worker is at it. Modal is asked what neither can say: whether a call still waits, or will run again.
"""

from __future__ import annotations

import logging
import time

from video_pipeline.calls import CallRecord, ResultRecord, read_call, read_result
from video_pipeline.compute.base import Handle, Status
from video_pipeline.compute.modal import PENDING, DeployedApp, Outcome
from video_pipeline.compute.modal_spawns import SpawnNote, read_note
from video_pipeline.errors import Transient
from video_pipeline.store.base import ObjectStore

log = logging.getLogger(__name__)

LOOK_S = (0.1, 1.0)
"""A call is looked at this often at first, and no less often than this later: store and Modal are far."""
LOOK_SHARE = 0.1
"""In between, a call is looked at after another tenth of the time that it has taken."""
ASK_MODAL_S = 1.0
AWAY_LIMIT_S = 300.0
"""How long Modal may be away while a call is waited for; the call itself goes on without it."""


class CallWatch:
    """One call, as this process has seen it. Not for several threads at once: each would only look more."""

    def __init__(self, store: ObjectStore, app: DeployedApp, handle: Handle) -> None:
        self._store = store
        self._app = app
        self._handle = handle
        self._since = time.monotonic()
        self._next_look = 0.0
        self.last: Status | None = None
        """What `status` said last."""
        self._outcome = PENDING
        self._outcome_of: str | None = None
        self._asked_at = float("-inf")
        self._away_since: float | None = None

    def status(self) -> Status:
        """As `Compute.poll`; between two looks, what the last one found."""
        now = time.monotonic()
        if self.last is None or now >= self._next_look:
            self.last = self._look()
            soonest, latest = LOOK_S
            pause_s = min(max((now - self._since) * LOOK_SHARE, soonest), latest)
            self._next_look = time.monotonic() + pause_s
        return self.last

    def _look(self) -> Status:
        tenant, key = self._handle.tenant, self._handle.key
        result = read_result(self._store, tenant, key)
        found, noted = read_call(self._store, tenant, key), read_note(self._store, tenant, key)
        record = found[0] if found is not None else None
        note = noted[0] if noted is not None else None
        if result is not None and _is_of(result, record, note):
            if not _may_be_rerun(result, note):
                return Status("done", result=result)
            if self._ask(note, at_once=True).state == "pending":
                return Status("waiting", detail="pre-empted; Modal runs it again by itself")
            if note is None or note.cancelled is None:
                return Status("done", result=result)
            return Status("lost", detail="cancelled before Modal ran it again", died="cancelled")
        alive = record is not None and record.is_alive()
        running = Status("running", progress=record.progress if record is not None else None)
        if note is None:
            return running if alive else Status("lost", detail="nobody has started the call on Modal")
        if record is not None and alive and record.worker.call_id != note.call_id:
            return running
        outcome = self._ask(note)
        if outcome.state == "pending":
            return running if alive else Status("waiting", detail=_why_it_waits(record, note))
        # It has ended with Modal, so what it wrote is there now; the first read may have been too early.
        last = read_result(self._store, tenant, key)
        if last is not None and (_is_of(last, record, note) or outcome.exit_code == 0):
            return Status("done", result=last)
        return Status("lost", detail=outcome.detail, died=outcome.kind)

    def _ask(self, note: SpawnNote | None, *, at_once: bool = False) -> Outcome:
        """What Modal says, asked about once a second; while it is away, what it said last, for a while."""
        if note is None or note.call_id is None:
            if note is not None and note.is_fresh():
                return PENDING
            detail = "its caller ended before it had started the call"
            return Outcome("failed", kind="preempted", detail=detail)
        now = time.monotonic()
        if self._outcome_of != note.call_id:
            self._outcome, self._outcome_of, self._asked_at = PENDING, note.call_id, float("-inf")
        if self._outcome.state != "pending" or (now - self._asked_at < ASK_MODAL_S and not at_once):
            return self._outcome
        self._asked_at = now
        try:
            self._outcome = self._app.outcome(note.call_id)
            self._away_since = None
        except Transient as error:
            self._away_since = self._away_since or now
            if now - self._away_since > AWAY_LIMIT_S:
                raise
            log.warning("%s; the call %s goes on meanwhile", error, note.key)
        return self._outcome


def _is_of(result: ResultRecord, record: CallRecord | None, note: SpawnNote | None) -> bool:
    """Whether the result is of the latest attempt, and not of one before this spawn."""
    latest = record is None or result.attempt >= record.attempt
    return latest and (note is None or result.attempt > note.after_attempt)


def _may_be_rerun(result: ResultRecord, note: SpawnNote | None) -> bool:
    """Whether Modal might run the call again although its worker wrote an end: its machine was taken."""
    preempted = result.error is not None and result.error.kind == "preempted"
    return preempted and note is not None and result.worker.call_id == note.call_id


def _why_it_waits(record: CallRecord | None, note: SpawnNote) -> str:
    if record is None or record.attempt <= note.after_attempt:
        return "Modal has not started it yet"
    age_s = time.time() - record.heartbeat_at
    return f"no heartbeat for {age_s:.0f} s, and Modal has not given it up: it will run it again"
