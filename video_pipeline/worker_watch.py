"""What watches a task while it runs: its claim, whether it should end, its time limit.

Belongs here: the thread beside a task, and the result it leaves where the task does not stop. Does not belong
here: the claim itself (`calls`), or what is done with a task that has ended (`worker`).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from video_pipeline.call_ends import error_in_its_place
from video_pipeline.calls import HEARTBEAT_S, failed_result, write_result
from video_pipeline.claims import Claim
from video_pipeline.errors import PipelineError, TimedOut
from video_pipeline.telemetry.usage import Usage

if TYPE_CHECKING:
    from video_pipeline.task_context import TaskContext

log = logging.getLogger(__name__)

CANCEL_POLL_S = 2.0
"""How often a worker looks whether it should stop: cancel works within a few seconds on any store."""
GRACE_S = 30.0
"""How long a task may take to stop after its time limit before the process ends itself."""
LONGER = "give it a longer timeout_s, or a shorter input"


class ClaimLost(PipelineError):
    """Another worker holds the call now: this one stops and publishes nothing."""


class Watch(threading.Thread):
    """Renews the claim, looks for a cancel request, and enforces the time limit."""

    def __init__(
        self, claim: Claim, context: TaskContext, timeout_s: float, usage: Callable[[], Usage]
    ) -> None:
        super().__init__(name="worker-watch", daemon=True)
        self._claim = claim
        self._usage = usage
        self._context = context
        self._timeout_s = timeout_s
        self._ended = threading.Event()
        self._wanted: str | None = None
        """Why somebody wants the call to end, from the moment this has read it."""
        self.outcome: PipelineError | None = None

    def run(self) -> None:
        started = time.monotonic()
        next_beat = started + HEARTBEAT_S
        while not self._ended.wait(CANCEL_POLL_S):
            now = time.monotonic()
            beats = now >= next_beat
            if beats:
                next_beat = now + HEARTBEAT_S
            self._look(beats)
            over_s = now - started - self._timeout_s
            if over_s > 0 and self._wanted is None:
                self._end(
                    TimedOut(
                        f"the task ran longer than its {self._timeout_s:.0f} s",
                        input=self._claim.record.task,
                        what_to_do=LONGER,
                    )
                )
            # Whatever else was asked of it, and whether or not the store answers: nothing else ends it.
            if over_s > GRACE_S:
                log.error("the task did not stop within %.0f s of its time limit", GRACE_S)
                self._leave_result()
                os._exit(1)

    def _look(self, beats: bool) -> None:
        """Renews the claim if a heartbeat is due, reads it if not, and tells the task what is found."""
        try:
            if beats:
                reason = self._claim.heartbeat(self._context.recorded_progress())
            else:
                reason = self._claim.cancel_requested()
        except Exception as error:
            # A store that is away for a moment must not end paid work; a claim that stays
            # unrenewed for a minute is taken over by its next caller, and then `owned` says so.
            log.warning("the claim could not be renewed: %s", error)
            return
        if not self._claim.owned:
            self._context.claim_lost = True
            self._end(ClaimLost("another worker took this call over", input=self._claim.record.key))
        elif reason:
            self._wanted = reason
            self._context.cancel.cancel(reason)

    def renew(self) -> None:
        """Writes what the context has to say into the record, from any thread; a failure waits for the next
        heartbeat, as in `run`."""
        try:
            self._claim.heartbeat(self._context.recorded_progress())
        except Exception as error:
            log.warning("the claim could not be renewed: %s", error)

    def _end(self, error: PipelineError) -> None:
        if self.outcome is None:
            self.outcome = error
            self._context.cancel.cancel(error.message)

    def _leave_result(self) -> None:
        """The time limit, or the cancel that the task did not hear, as the call's result, before the process
        goes: where nobody would bury it, as on Modal, the call would be run again. One that another worker
        holds now is that one's to end."""
        if not self._claim.owned:
            return
        error = error_in_its_place(
            self._claim.record.task,
            "timeout",
            f"the task ran longer than its {self._timeout_s:.0f} s and did not stop when told to",
            what_to_do=LONGER,
            cancelled=self._wanted,
        )
        try:
            record = failed_result(self._claim.record, error, self._usage())
            write_result(self._context.store, self._claim.record.tenant, record)
            self._claim.finish()
        except Exception as failure:
            log.error("the result could not be stored: %s", failure)

    def stop(self) -> None:
        self._ended.set()
        self.join(timeout=30)
