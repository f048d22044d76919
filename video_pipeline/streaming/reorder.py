"""Order again: what several workers made of numbered items leaves in the order of the numbers.

Belongs here: the bounded window and who sends. Does not belong here: threads, queues, stages.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from video_pipeline.streaming.cancel import WAKE_S
from video_pipeline.streaming.channel import Stopped


class Reorder:
    """Holds results that are ahead of their turn, of at most `window` items.

    A worker hands in its result and goes back to work; the one whose item is next sends for everybody. Only a
    worker that is `window` items ahead waits, and it never waits for itself: the next item is always with a
    worker that may hand in, so nothing can lock up.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._condition = threading.Condition(threading.RLock())
        self._ready: dict[int, Iterable[Any]] = {}
        self._next = 0
        self._sending = False
        self._stopped = False

    def hand_in(self, number: int, outputs: Iterable[Any], send: Callable[[Iterable[Any]], None]) -> float:
        """Gives the outputs of item `number`, and calls `send` for each item whose turn has come.

        Returns the seconds waited for the window. Raises `Stopped`, and what `send` raises.
        """
        waited = 0.0
        with self._condition:
            if number >= self._next + self._window and not self._stopped:
                began = time.monotonic()
                while number >= self._next + self._window and not self._stopped:
                    self._condition.wait(WAKE_S)
                waited = time.monotonic() - began
            if self._stopped:
                raise Stopped
            self._ready[number] = outputs
            if self._sending:
                return waited
            self._sending = True
        while True:
            with self._condition:
                if self._next not in self._ready:
                    self._sending = False
                    return waited
                outputs = self._ready.pop(self._next)
            send(outputs)
            with self._condition:
                self._next += 1
                self._condition.notify_all()

    def stop(self) -> None:
        """Wakes everybody."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def clear(self) -> None:
        """Drops what waits, once nobody uses it."""
        self._ready.clear()
