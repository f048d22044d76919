"""Cancellation: one token that anybody may set and everybody looks at.

Belongs here: the token. Does not belong here: who decides to cancel, or what stops because of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from video_pipeline.errors import Cancelled

WAKE_S = 0.2
"""Longest single sleep of anybody who waits. A signal handler runs in the main thread; between that thread's
last look and its sleep it wakes nobody: the sleeper is the handler's own thread. So everybody looks again."""


class CancellationToken:
    """Set once, with a reason; never unset. Safe from any thread and from signal handlers.

    Not a `threading.Event`: its lock is not re-entrant, so a handler that sets it while the same thread is
    inside `wait` would block for ever.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.RLock())
        self._cancelled = False
        self._callbacks: list[Callable[[], None]] = []
        self._reason = ""

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def reason(self) -> str:
        """Why; empty while not cancelled."""
        return self._reason

    def cancel(self, reason: str) -> None:
        """Cancels and calls every callback once, in this thread. Later calls change nothing, the reason
        included. If callbacks raise, the rest are still called and the first error is raised."""
        with self._condition:
            if self._cancelled:
                return
            self._reason = reason
            self._cancelled = True
            self._condition.notify_all()
            callbacks, self._callbacks = self._callbacks, []
        first: BaseException | None = None
        for callback in callbacks:
            try:
                callback()
            except BaseException as error:
                first = first or error
        if first is not None:
            raise first

    def raise_if_cancelled(self) -> None:
        """Raises `Cancelled` with the reason."""
        if self._cancelled:
            raise Cancelled(self._reason or "cancelled")

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until cancelled, or for `timeout` seconds; whether it was cancelled."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            while not self._cancelled:
                left = WAKE_S if deadline is None else min(WAKE_S, deadline - time.monotonic())
                if left <= 0:
                    break
                self._condition.wait(left)
            return self._cancelled

    def add_callback(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls `callback` on cancel, at once if that has been. Returns a function that removes it."""
        with self._condition:
            if not self._cancelled:
                self._callbacks.append(callback)
                return lambda: self._remove(callback)
        callback()
        return lambda: None

    def _remove(self, callback: Callable[[], None]) -> None:
        with self._condition:
            if callback in self._callbacks:
                self._callbacks.remove(callback)
