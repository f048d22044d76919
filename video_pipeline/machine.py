"""Facts about this machine: cores that may be used, which boot this is, when its processes started.

Belongs here: reading them. Does not belong here: deciding anything from them.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def usable_cores() -> int:
    """The cores this process may use (its CPU affinity, not the machine's count)."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:
        return os.cpu_count() or 1


def boot_id() -> str:
    """This boot of this machine: Linux states one; elsewhere the boot time stands for it."""
    path = Path("/proc/sys/kernel/random/boot_id")
    try:
        return path.read_text().strip()
    except OSError:
        return f"booted-{int(psutil.boot_time())}"


def started_since_boot(pid: int) -> float:
    """When a process started, in seconds since the boot, to 10 ms (field 22 of /proc/PID/stat, proc(5)).

    The time of day of a start, which psutil states, is none that is kept: on Linux it is made of the boot's,
    which moves with every step of the clock, and is whole seconds. Elsewhere the kernel keeps it, and it
    stands for this. Raises `psutil.NoSuchProcess`.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return psutil.Process(pid).create_time()
