"""Cancellation: one token that anybody may set and everybody looks at.

Belongs here: the token. Does not belong here: who decides to cancel, or what stops because of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from video_pipeline.errors import Cancelled


class CancellationToken:
    """Set once, with a reason; never unset. Safe from any thread and from signal handlers."""

    def __init__(self) -> None:
        self._event = threading.Event()
        # Re-entrant: a signal handler may cancel while this very thread adds a callback.
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[], None]] = []
        self._reason = ""

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    @property
    def reason(self) -> str:
        """Why; empty while not cancelled."""
        return self._reason

    def cancel(self, reason: str) -> None:
        """Cancels and calls every callback once. Later calls change nothing, the reason included."""
        with self._lock:
            if self._event.is_set():
                return
            self._reason = reason
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def raise_if_cancelled(self) -> None:
        """Raises `Cancelled` with the reason."""
        if self._event.is_set():
            raise Cancelled(self._reason or "cancelled")

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until cancelled; whether it was."""
        return self._event.wait(timeout)

    def add_callback(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls `callback` on cancel, at once if that has been. Returns a function that removes it."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return lambda: self._remove(callback)
        callback()
        return lambda: None

    def _remove(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)
