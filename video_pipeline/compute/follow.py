"""Waiting for a call: follow its events, retry what may be retried, cancel or detach when interrupted.

Belongs here: the loop that every foreground caller uses (CLI, Dagster). Does not belong here: any backend's
way of doing the single steps.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from video_pipeline.call_ends import never_began
from video_pipeline.calls import ErrorRecord, ResultRecord, WorkerIdentity
from video_pipeline.compute.base import CallOptions, Compute, Event, Handle
from video_pipeline.errors import ErrorKind, PipelineError

RETRIED: tuple[ErrorKind, ...] = ("transient", "preempted")
POLL_S = 0.15

Interruption = Literal["cancel", "detach"]


class CallFailed(PipelineError):
    """A call ended with an error; `record` holds all of it, the traceback included."""

    def __init__(self, record: ResultRecord) -> None:
        error = record.error or ErrorRecord(kind="internal", message="the call failed without an error")
        super().__init__(error.message, input=error.input, what_to_do=error.what_to_do)
        self.record = record
        self.error = error


class Detached(PipelineError):
    """The caller was told to end; the call goes on, and the next submission attaches to it."""


@dataclass
class Interrupts:
    """What the process was asked to do while it waited: SIGINT cancels the call, SIGTERM detaches from it.

    Installed only for the time of the wait, and only in the main thread (others cannot have handlers).
    """

    asked: Interruption | None = None
    signal_name: str = ""
    _previous: dict[int, Any] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def watched(cls) -> Iterator[Interrupts]:
        interrupts = cls()
        if threading.current_thread() is not threading.main_thread():
            yield interrupts
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            interrupts._previous[number] = signal.signal(number, interrupts._note)
        try:
            yield interrupts
        finally:
            for number, handler in interrupts._previous.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        self.signal_name = signal.Signals(number).name
        if number == signal.SIGINT:
            self.asked = "cancel"
        elif self.asked is None:
            self.asked = "detach"


def run_call(
    compute: Compute,
    task: str,
    request: BaseModel | Mapping[str, Any],
    options: CallOptions | None = None,
    *,
    on_submit: Callable[[Handle], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
    interrupted: Callable[[], Interruption | None] = lambda: None,
) -> tuple[Handle, ResultRecord]:
    """Submits and follows a call to its end. Raises `CallFailed`, `Detached`, or what `submit` raises.

    Transient and pre-empted calls are started again, up to `options.max_attempts`; nothing else is.
    """
    options = options or CallOptions()
    for attempt in range(1, options.max_attempts + 1):
        handle = compute.submit(task, request, options)
        if on_submit is not None:
            on_submit(handle)
        record = follow(compute, handle, on_event=on_event, interrupted=interrupted)
        if record.status == "ok":
            return handle, record
        failed = CallFailed(record)
        if failed.error.kind not in RETRIED or attempt == options.max_attempts:
            raise failed
        if on_event is not None:
            on_event(
                Event(
                    "retry", {"kind": failed.error.kind, "message": failed.error.message, "attempt": attempt}
                )
            )
    raise AssertionError("max_attempts is at least 1")


def follow(
    compute: Compute,
    handle: Handle,
    *,
    on_event: Callable[[Event], None] | None = None,
    interrupted: Callable[[], Interruption | None] = lambda: None,
) -> ResultRecord:
    """Waits for the call's result, passing its events on. Raises `Detached` on a detaching interrupt.

    Of a known call that ended before no progress is passed on: its rate and time left are of another day."""
    reader = compute.events(handle)
    waiting_since = time.monotonic()
    while True:
        asked = interrupted()
        if asked == "detach":
            raise Detached("the caller was told to end; the call goes on", input=handle.key)
        if asked == "cancel":
            compute.cancel(handle, "cancelled by its caller")
        status = compute.poll(handle)
        if on_event is not None:
            for event in reader.read():
                if not (handle.ended and event.name == "progress"):
                    on_event(event)
        if status.state == "done" and status.result is not None:
            return status.result
        if status.state == "lost":
            buried = compute.bury(handle, status)
            if buried is not None:
                return buried
            if compute.poll(handle).state == "lost":
                return never_began(handle.key, handle.task, status.detail, WorkerIdentity())
        if status.state != "waiting":
            waiting_since = time.monotonic()
        elif time.monotonic() - waiting_since > (limit_s := compute.unclaimed_limit_s):
            compute.cancel(handle, "the worker never claimed the call")
            detail = f"the worker did not claim the call within {limit_s:.0f} s"
            return never_began(handle.key, handle.task, detail, WorkerIdentity())
        time.sleep(POLL_S)


def retry_line(data: Mapping[str, Any]) -> str:
    """`starting again after preempted: the machine was taken away`; of an orchestrator's call also which."""
    which = f" call {data['child']} of {data['of']}" if "child" in data else ""
    return f"starting{which} again after {data.get('kind')}: {data.get('message')}"


def progress_line(data: Mapping[str, Any]) -> str:
    """`captions: 120 of 400 frames, 80.5/s, 3 s left`."""
    total = data.get("total")
    of = f" of {total}" if total else ""
    left = data.get("seconds_left")
    tail = f", {left:.0f} s left" if isinstance(left, int | float) else ""
    rate = f", {data.get('rate_per_s')}/s" if data.get("done") else ""
    return f"{data.get('stage')}: {data.get('done')}{of} {data.get('unit')}{rate}{tail}"
