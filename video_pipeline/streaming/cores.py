"""The cores that the stages after the source share, so that one is left for the source.

Belongs here: who may work now, and waiting for it. Does not belong here: threads, queues, stages.

Why. Where the source takes nearly a core by itself it sets the pace: a moment in which the kernel runs two
later stages in its place is missing at the end, when those have nothing left to do. In a pass over 300 s of
video on two cores, decoding (11.9 s of CPU) was kept waiting for a core for 2.1 of 14.6 s, and of the cores'
29.3 s nobody used 2.0.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from video_pipeline.streaming.cancel import WAKE_S
from video_pipeline.streaming.channel import Stopped


class Cores:
    """As many items may be worked on at once as there are cores; one less while the source works, but one at
    least. The source works unless it waits for room or has ended.

    Its lock is re-entrant and its waits are short (`WAKE_S`), so that a signal handler may stop it.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._taken = 0
        self._source_works = True
        self._stopped = False
        self._condition = threading.Condition(threading.RLock())

    def take(self) -> float:
        """Waits for a core; returns the seconds waited. Raises `Stopped`. Each is given back by
        `give_back`."""
        with self._condition:
            waited = 0.0
            if self._none_free() and not self._stopped:
                began = time.monotonic()
                while self._none_free() and not self._stopped:
                    self._condition.wait(WAKE_S)
                waited = time.monotonic() - began
            if self._stopped:
                raise Stopped
            self._taken += 1
            return waited

    def give_back(self) -> None:
        with self._condition:
            self._taken -= 1
            self._condition.notify_all()

    @contextlib.contextmanager
    def source_waits(self) -> Iterator[None]:
        """Its core is the others' until this ends."""
        self._set_source(works=False)
        try:
            yield
        finally:
            self._set_source(works=True)

    def source_ended(self) -> None:
        self._set_source(works=False)

    def stop(self) -> None:
        """Wakes everybody."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def _none_free(self) -> bool:
        return self._taken >= max(1, self._cores - self._source_works)

    def _set_source(self, *, works: bool) -> None:
        with self._condition:
            self._source_works = works
            self._condition.notify_all()
