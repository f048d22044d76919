"""A bounded queue between two stages: it can be closed at its end and stopped at any time.

Belongs here: waiting, waking and occupancy. Does not belong here: stages. `queue.Queue` cannot be closed or
stopped without polling, and polling costs either latency or CPU.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from video_pipeline.streaming.cancel import WAKE_S


class Stopped(Exception):
    """The stream has been stopped: whoever waits leaves."""


class Closed(Exception):
    """The stage before has ended and everything it sent has been taken."""


class Channel:
    """First in, first out, at most `capacity` items. Numbers items in the order in which they are taken.

    Its lock is re-entrant and its waits are short (`WAKE_S`), so that a signal handler may stop it.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[Any] = deque()
        self._condition = threading.Condition(threading.RLock())
        self._closed = False
        self._stopped = False
        self._taken = 0
        self._occupied_since = time.monotonic()
        self._began = self._occupied_since
        self._ended: float | None = None
        self._occupancy_seconds = 0.0
        self.maximum = 0

    @property
    def full(self) -> bool:
        """Whether a `put` would wait now."""
        return len(self._items) >= self._capacity

    def put(self, item: Any) -> float:
        """Waits for room; returns the seconds waited. Raises `Stopped`."""
        with self._condition:
            waited = 0.0
            if len(self._items) >= self._capacity and not self._stopped:
                began = time.monotonic()
                while len(self._items) >= self._capacity and not self._stopped:
                    self._condition.wait(WAKE_S)
                waited = time.monotonic() - began
            if self._stopped:
                raise Stopped
            self._count()
            self._items.append(item)
            self.maximum = max(self.maximum, len(self._items))
            self._condition.notify_all()
            return waited

    def get(self) -> tuple[int, Any, float]:
        """Waits for an item; returns its number, itself and the seconds waited.

        Raises `Closed` at the end and `Stopped` when the stream has been stopped.
        """
        with self._condition:
            waited = 0.0
            if not self._items and not self._closed and not self._stopped:
                began = time.monotonic()
                while not self._items and not self._closed and not self._stopped:
                    self._condition.wait(WAKE_S)
                waited = time.monotonic() - began
            if self._stopped:
                raise Stopped
            if not self._items:
                raise Closed
            self._count()
            item = self._items.popleft()
            number = self._taken
            self._taken += 1
            self._condition.notify_all()
            return number, item, waited

    def close(self) -> None:
        """No more items will come."""
        with self._condition:
            self._closed = True
            self._count()
            self._ended = time.monotonic()
            self._condition.notify_all()

    def stop(self) -> None:
        """Wakes everybody. What waits stays: this may interrupt a `get` of the very same thread."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def clear(self) -> None:
        """Drops what waits, once nobody uses the channel."""
        self._items.clear()

    @property
    def mean_occupancy(self) -> float:
        """Items waiting, averaged over time from the channel's beginning to its closing."""
        with self._condition:
            lived = (self._ended or time.monotonic()) - self._began
            return self._occupancy_seconds / lived if lived > 0 else 0.0

    def _count(self) -> None:
        now = time.monotonic()
        if self._ended is None:
            self._occupancy_seconds += len(self._items) * (now - self._occupied_since)
        self._occupied_since = now
