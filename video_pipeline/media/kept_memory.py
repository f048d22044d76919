"""Memory that a process keeps for its next pictures instead of giving it back to the kernel.

Belongs here: telling the C library so. Does not belong here: what is allocated, and limits.

A 1080p encoder of two seconds takes about 200 MB and is closed after them. By default glibc gives that back,
and every page of the next one is a fault, which a virtual machine pays for dearly: of the processor time of a
1080p encode, 1.1 to 1.3 s of 8.4 s were the kernel's, and 0.2 to 0.3 s with the memory kept.
"""

from __future__ import annotations

import ctypes
import functools

# glibc's malloc.h; mallopt(3)
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_ALL = (1 << 31) - 1
_LARGEST_MMAP_THRESHOLD = 32 << 20
_HEAP = 64 << 20
"""Threads but the first have heaps of this size, which are kept if the pad is as large."""


@functools.cache
def keep_freed_memory() -> bool:
    """From now on the process's memory stays at its highest; pieces of 32 MB and more still go back.

    For processes that render; costs no memory that was not needed once. False where the C library has no such
    settings (musl, macOS): all works there too, at its own speed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = (
        (_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        (_TRIM_THRESHOLD, _ALL),
        (_TOP_PAD, _HEAP),
    )
    done = [mallopt(name, value) == 1 for name, value in settings]
    return all(done)
