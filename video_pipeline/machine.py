"""Facts about this machine: cores that may be used, and which boot this is.

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
