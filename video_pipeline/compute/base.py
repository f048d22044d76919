"""The contract of compute: what every backend can do with a call.

Belongs here: options, handles, statuses, events and the `Compute` protocol. Does not belong here: any
backend, or the loop that waits for a call (`compute.follow`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from video_pipeline.calls import ResultRecord
from video_pipeline.errors import ErrorKind

State = Literal["waiting", "running", "done", "lost"]
"""`waiting`: started, not claimed yet. `lost`: its worker died without a result."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How to run a call, beside its request.

    `repeat` makes an otherwise equal call a new one (experiments count it up). `timeout_s` overrides the
    task's. `max_attempts` bounds how often a transient or preempted call is started, the first included.
    `parent` is the key of the call that starts this one, for the ledger.
    """

    repeat: int = 0
    timeout_s: float | None = None
    max_attempts: int = 3
    gpu: str | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Handle:
    """A call's address: enough to poll, follow and cancel it from any process."""

    tenant: str
    key: str
    task: str
    backend: str
    attached: bool = False
    """Whether the call was already known (running or finished) when it was submitted."""
    ended: bool = False
    """Whether it was at its end then: its result is of another time, and what its log tells is old news."""


@dataclass(frozen=True, slots=True)
class Status:
    state: State
    result: ResultRecord | None = None
    progress: Mapping[str, Any] | None = None
    detail: str = ""
    """How a lost worker ended, and its last words."""
    died: ErrorKind = "preempted"
    """A lost worker's kind of error: `internal` when it crashed by itself."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a worker's output. `name` is `log` for anything the worker did not mark as an event."""

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)


class EventReader(Protocol):
    """A call's events from its first; each `read` returns those that are new, and never waits."""

    def read(self) -> list[Event]: ...


class Compute(Protocol):
    """One contract, one implementation per backend."""

    backend: str
    unclaimed_limit_s: float
    """How long a started call may wait for its worker to claim it, before its caller gives it up."""

    def submit(
        self, task: str, request: BaseModel | Mapping[str, Any], options: CallOptions | None = None
    ) -> Handle:
        """Starts the call, or attaches to one that runs or has run. `BadInput` if the request is wrong."""
        ...

    def check(self, task: str, calls: int, options: CallOptions | None = None) -> None:
        """Refuses (`BadInput`, with the figures) as many calls together as the settings do not pay for."""
        ...

    def poll(self, handle: Handle) -> Status:
        """Where the call stands. Cheap; never waits."""
        ...

    def events(self, handle: Handle) -> EventReader: ...

    def cancel(self, handle: Handle, reason: str) -> None:
        """Asks the call to end and makes sure that it does. Returns when it has ended, or was not running."""
        ...

    def bury(self, handle: Handle, status: Status) -> ResultRecord | None:
        """Writes the result that a lost worker could not. None if the call turns out to be alive."""
        ...

    def describe(self, handle: Handle) -> dict[str, Any]:
        """Where it runs: backend, host, process or call id, log, heartbeat; for people and metadata."""
        ...
