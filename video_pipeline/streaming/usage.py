"""What a thread has used: CPU time, and time it could have run but had no core.

Belongs here: reading it. Does not belong here: adding it up (`stats`).
"""

from __future__ import annotations

import time
from typing import NamedTuple


class ThreadUsage(NamedTuple):
    """Of the calling thread since it began, in seconds."""

    cpu_s: float
    wait_cpu_s: float

    def since(self, before: ThreadUsage) -> ThreadUsage:
        return ThreadUsage(self.cpu_s - before.cpu_s, self.wait_cpu_s - before.wait_cpu_s)


def thread_usage() -> ThreadUsage:
    """Reads both. Linux tells the second in `/proc/thread-self/schedstat` (nanoseconds on the run
    queue, Documentation/scheduler/sched-stats.rst); elsewhere it is 0. About 20 µs: not for every item."""
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as file:
            waited = int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        waited = 0.0
    return ThreadUsage(time.thread_time(), waited)
