"""Timing spans: what took how long, where, inside what, and whether it failed.

Belongs here: `timed_operation`, spans and their recorder. Does not belong here: drawing (`waterfall`,
`perfetto`) or adding up (`table`). Free of heavy imports; a span costs a few microseconds.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import os
import threading
import time
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_SPANS = 20_000
"""Per recorder. An hour of video makes about 75,000 frame spans; of what is over the limit, only name and
times are kept (`Recorder.every`)."""

_recorder: contextvars.ContextVar[Recorder | None] = contextvars.ContextVar("recorder", default=None)
_parent: contextvars.ContextVar[int | None] = contextvars.ContextVar("parent_span", default=None)
_numbers = itertools.count(1)


@dataclass(slots=True)
class Span:
    """One operation. `start` and `end` are seconds since the epoch, measured by the monotonic clock."""

    name: str
    start: float
    end: float
    lane: str
    process: int
    number: int
    parent: int | None = None
    error: str | None = None
    cpu_s: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def duration(self) -> float:
        return self.end - self.start

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Span:
        return cls(**data)


class Recorder:
    """Collects spans from every thread, up to `limit`; what came later is counted in `dropped`, and has no
    more than a name, times and processor time."""

    def __init__(self, limit: int = MAX_SPANS) -> None:
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        self._limit = limit
        self.dropped = 0
        self._later: dict[str, array[float]] = {}
        # Durations come from the monotonic clock, their place in time from one reading of the wall clock.
        self._offset = time.time() - time.perf_counter()

    def add(self, span: Span) -> None:
        with self._lock:
            if len(self._spans) < self._limit:
                self._spans.append(span)
            else:
                self.dropped += 1
                kept = self._later.setdefault(span.name, array("d"))
                kept.extend((span.start, span.end, span.cpu_s or 0.0))

    def record(
        self,
        name: str,
        start: float,
        end: float,
        *,
        lane: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds a span from two `time.perf_counter()` readings."""
        self.add(
            Span(
                name=name,
                start=start + self._offset,
                end=end + self._offset,
                lane=lane or threading.current_thread().name,
                process=os.getpid(),
                number=next(_numbers),
                parent=_parent.get(),
                metadata=dict(metadata or {}),
            )
        )

    def spans(self) -> list[Span]:
        """A copy, in order of start."""
        with self._lock:
            return sorted(self._spans, key=lambda span: (span.start, -span.end))

    def every(self) -> list[Span]:
        """The spans, and those over the limit with what is kept of them: for sums, not for drawing."""
        with self._lock:
            later = [
                Span(name, start, end, lane="", process=0, number=0, cpu_s=cpu_s)
                for name, kept in self._later.items()
                for start, end, cpu_s in zip(kept[::3], kept[1::3], kept[2::3], strict=True)
            ]
        return self.spans() + later

    def to_epoch(self, reading: float) -> float:
        return reading + self._offset

    def merge(self, spans: list[Mapping[str, Any]]) -> None:
        """Adds spans of another process, given as dictionaries."""
        for data in spans:
            self.add(Span.from_dict(data))


def current_recorder() -> Recorder | None:
    return _recorder.get()


@contextlib.contextmanager
def use_recorder(recorder: Recorder) -> Iterator[Recorder]:
    """Spans inside go to `recorder`. Threads started inside need this context copied into them."""
    token = _recorder.set(recorder)
    try:
        yield recorder
    finally:
        _recorder.reset(token)


@contextlib.contextmanager
def timed_operation(name: str, metadata: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Times what is inside. Nests; works in any thread; records failures; free when nobody records."""
    recorder = _recorder.get()
    if recorder is None:
        yield
        return
    number = next(_numbers)
    parent = _parent.get()
    token = _parent.set(number)
    error: str | None = None
    cpu = time.thread_time()
    start = time.perf_counter()
    try:
        yield
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"
        raise
    finally:
        end = time.perf_counter()
        _parent.reset(token)
        recorder.add(
            Span(
                name=name,
                start=recorder.to_epoch(start),
                end=recorder.to_epoch(end),
                lane=threading.current_thread().name,
                process=os.getpid(),
                number=number,
                parent=parent,
                error=error,
                cpu_s=time.thread_time() - cpu,
                metadata=dict(metadata or {}),
            )
        )
