"""One task that runs many calls: start them, a few at a time, and end every one of them or none is left.

Belongs here: what an orchestrating task needs beside `compute.follow.run_call`: order, a limit, the first
failure, the calls' addresses in its own record. Does not belong here: how one call is followed and retried
(`compute.follow`), a backend, or what the calls do.

Each call is an ordinary call under its own key. So an orchestrator that was killed and runs again takes the
results of those that ended, attaches to those that still run, and starts only the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import BaseModel

from video_pipeline.calls import ResultRecord
from video_pipeline.compute.base import CallOptions, Event, Handle
from video_pipeline.compute.follow import CallFailed, Detached, Interruption, run_call
from video_pipeline.errors import (
    BadInput,
    Cancelled,
    ErrorKind,
    Internal,
    OutOfMemory,
    PipelineError,
    Preempted,
    TimedOut,
    Transient,
    VersionMismatch,
)
from video_pipeline.machine import usable_cores

if TYPE_CHECKING:
    from video_pipeline.task_context import TaskContext

LOOK_S = 0.1
"""How often the orchestrator looks whether it is cancelled while its calls run."""
AGAIN_AFTER_S = 2.0
"""How long a store that failed after its own retries is left alone before the call is looked at again."""
PROGRESS_EVERY_S = 1.0
"""A call's progress is passed on no more often than this: many calls at once would fill the log."""

_BY_KIND: dict[ErrorKind, type[PipelineError]] = {
    error.kind: error
    for error in (
        BadInput,
        Transient,
        Preempted,
        TimedOut,
        Cancelled,
        OutOfMemory,
        VersionMismatch,
        Internal,
    )
}


def fan_out(
    context: TaskContext,
    task: str,
    requests: Sequence[BaseModel],
    *,
    at_once: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    options: CallOptions | None = None,
) -> list[ResultRecord]:
    """Runs a call of `task` for each request and returns their results, in the order of the requests.

    At most `at_once` run at a time; by default as many as there are usable cores on the local backend, all
    of them elsewhere. Equal requests are one call. `on_progress(done, total)` is called in the caller's
    thread after each call that ended; without it the context's progress is told.

    More calls than the settings pay for are refused before the first (`Compute.check`). Every call is
    retried as in `run_call` (`options`). The first one that fails for good stops the rest, and
    its error is raised with its kind, message and advice as they were, the call named in `input`, and the
    worker's traceback as a note. A kind that callers retry (`transient`, `preempted`) stays one: the
    orchestrator's own caller may start it again, which redoes only what has not ended.

    Before this function returns or raises, every call that the orchestrator started, an earlier killed
    attempt of it included, has ended. Two exceptions: a call that another caller started is only left, and
    so is every call when another worker has taken the orchestrator's own call over, for it attached to them.

    Events: `fan_out` (task, child, of, call, tenant, attached, finished) when a call is submitted; the
    calls' `progress` and `retry` with `child`, `of` and `call`. Child numbers begin at 1. The calls in
    flight stand under `children` in the progress of the orchestrator's call record.
    """
    if at_once is not None and at_once < 1:
        raise BadInput(
            f"{at_once} calls at a time cannot end", input="at_once", what_to_do="allow at least one"
        )
    if not requests:
        return []
    return _FanOut(context, task, options or CallOptions()).run(requests, at_once, on_progress)


@dataclass(eq=False, slots=True)
class _Child:
    number: int
    request: BaseModel
    handle: Handle | None = None
    ours: bool = True
    """Whether this orchestrator's call started it, in this attempt or in one before."""
    told_at: float = float("-inf")


class _FanOut:
    def __init__(self, context: TaskContext, task: str, options: CallOptions) -> None:
        self._context = context
        self._task = task
        self._options = replace(options, parent=context.call_key or None)
        self._compute = context.compute
        self._stopping = threading.Event()
        self._noting = threading.Lock()
        self._total = 0

    def run(
        self,
        requests: Sequence[BaseModel],
        at_once: int | None,
        on_progress: Callable[[int, int], None] | None,
    ) -> list[ResultRecord]:
        identities = [request.model_dump_json() for request in requests]
        numbers: dict[str, int] = {}
        for identity in identities:
            numbers.setdefault(identity, len(numbers) + 1)
        by_number = {
            numbers[identity]: request for identity, request in zip(identities, requests, strict=True)
        }
        self._total = len(by_number)
        self._compute.check(self._task, self._total, self._options)
        started = time.monotonic()
        records: dict[int, ResultRecord] = {}
        limit = at_once or (usable_cores() if self._compute.backend == "local" else self._total)
        with ThreadPoolExecutor(min(limit, self._total), thread_name_prefix="fan-out") as pool:
            try:
                running: dict[Future[ResultRecord], int] = {
                    pool.submit(self._run_child, _Child(number, request)): number
                    for number, request in by_number.items()
                }
                while running:
                    ended, _ = wait(running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
                    self._context.cancel.raise_if_cancelled()
                    for future in sorted(ended, key=lambda future: running[future]):
                        records[running.pop(future)] = future.result()
                        if on_progress is not None:
                            on_progress(len(records), self._total)
                        else:
                            self._context.progress(
                                self._task, len(records), self._total, unit="calls", started=started
                            )
            except BaseException:
                self._stopping.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        _note_usage(self._context, list(records.values()), started)
        return [records[numbers[identity]] for identity in identities]

    def _run_child(self, child: _Child) -> ResultRecord:
        try:
            if self._stopping.is_set():
                raise Cancelled("another call failed before this one was started")
            record = self._follow(child)
            self._forget(child)
            return record
        except CallFailed as failed:
            self._forget(child)
            raise self._as_it_was(child, failed) from failed
        except Detached:
            raise
        except BaseException as error:
            # It was not followed to its end: the store stayed away, or a listener failed.
            if child.handle is not None and self._asked(child, stopping=True) == "cancel":
                self._compute.cancel(child.handle, "its orchestrator failed")
                self._forget(child)
            if isinstance(error, PipelineError):
                raise self._named(child, error.kind, error.message, error.input, error.what_to_do) from error
            raise

    def _follow(self, child: _Child) -> ResultRecord:
        """`run_call`, and again where the store was away for a moment: the call goes on meanwhile."""
        for attempt in range(1, self._options.max_attempts + 1):
            try:
                _, record = run_call(
                    self._compute,
                    self._task,
                    child.request,
                    self._options,
                    on_submit=lambda handle: self._submitted(child, handle),
                    on_event=lambda event: self._pass_on(child, event),
                    interrupted=lambda: self._asked(child, stopping=self._stopping.is_set()),
                )
                return record
            except Transient as error:
                if attempt == self._options.max_attempts or self._stopping.wait(AGAIN_AFTER_S):
                    raise
                self._tell(child, "retry", kind=error.kind, message=str(error), attempt=attempt)
        raise AssertionError("max_attempts is at least 1")

    def _asked(self, child: _Child, *, stopping: bool) -> Interruption | None:
        if not stopping:
            return None
        return "cancel" if child.ours and not self._context.claim_lost else "detach"

    def _submitted(self, child: _Child, handle: Handle) -> None:
        """Puts the call into the orchestrator's record before anything waits for it: whoever finds this
        process dead finds its calls."""
        child.handle = handle
        with self._noting:
            known = self._context.children or {}
            child.ours = not handle.attached or known.get(handle.key, {}).get("started", False)
            note = {"tenant": handle.tenant, "key": handle.key, "task": handle.task, "started": child.ours}
            self._context.children = {**known, handle.key: {**note, "child": child.number}}
            self._context.renew()
        self._tell(
            child,
            "fan_out",
            task=handle.task,
            tenant=handle.tenant,
            attached=handle.attached,
            finished=handle.ended,
        )

    def _forget(self, child: _Child) -> None:
        """Takes the ended call out of what the next heartbeat writes."""
        if child.handle is not None:
            with self._noting:
                known = dict(self._context.children or {})
                known.pop(child.handle.key, None)
                self._context.children = known

    def _pass_on(self, child: _Child, event: Event) -> None:
        if event.name == "retry":
            self._tell(child, "retry", **event.data)
        elif event.name == "progress":
            now = time.monotonic()
            if now - child.told_at >= PROGRESS_EVERY_S or event.data.get("done") == event.data.get("total"):
                child.told_at = now
                stage = f"{self._task} {child.number} of {self._total}, {event.data.get('stage')}"
                self._tell(child, "progress", **{**event.data, "stage": stage})

    def _tell(self, child: _Child, name: str, **data: object) -> None:
        call = child.handle.key if child.handle is not None else None
        self._context.emit({**data, "event": name, "child": child.number, "of": self._total, "call": call})

    def _as_it_was(self, child: _Child, failed: CallFailed) -> PipelineError:
        """The call's error as an exception of its own kind: `CallFailed` itself counts as a defect."""
        error = failed.error
        raised = self._named(child, error.kind, error.message, error.input, error.what_to_do)
        if error.traceback:
            raised.add_note(f"in the worker of call {failed.record.key}:\n{error.traceback}")
        return raised

    def _named(
        self, child: _Child, kind: ErrorKind, message: str, input: str | None, what_to_do: str | None
    ) -> PipelineError:
        call = f", call {child.handle.key}" if child.handle is not None else ""
        which = f"{self._task} {child.number} of {self._total}{call}"
        about = f"{which}: {input}" if input and input != self._task else which
        return _BY_KIND[kind](message, input=about, what_to_do=what_to_do)


def _note_usage(context: TaskContext, records: Sequence[ResultRecord], first_call: float) -> None:
    """What the fan-out itself took. A task that fans out again adds to it; start-up is the first one's."""
    usage, now = context.usage, time.monotonic()
    if usage.orchestrator_startup_ms is None:
        usage.orchestrator_startup_ms = round((first_call - context.began) * 1000, 3)
    usage.map_dispatch_ms = round((usage.map_dispatch_ms or 0.0) + (now - first_call) * 1000, 3)
    usage.chunks = (usage.chunks or 0) + len(records)
    overheads = [record.usage.chunk_download_overhead_ms for record in records]
    if any(overhead is not None for overhead in overheads):
        before = usage.chunk_download_overhead_ms or 0.0
        usage.chunk_download_overhead_ms = round(before + sum(overhead or 0.0 for overhead in overheads), 3)
