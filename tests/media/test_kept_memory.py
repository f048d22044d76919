from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PIECES = """
import resource, sys, threading
import numpy as np
from video_pipeline.media.kept_memory import keep_freed_memory

def fill():
    pieces = [np.ones(8 << 20, np.uint8) for _ in range(24)]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    if sys.argv[2] == "thread":
        thread = threading.Thread(target=fill)
        thread.start()
        thread.join()
    else:
        fill()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    assert keep_freed_memory()
faults()
print(min(faults() for _ in range(3)))
"""


def faults(*how: str) -> int:
    """Page faults of filling 192 MB in pieces of 8 MB, freed and filled before, in a process of its own."""
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0", "PATH": ""}
    command = [sys.executable, "-c", PIECES, *how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
@pytest.mark.parametrize("where", ["main", "thread"])
def test_memory_that_was_freed_is_used_again_without_the_kernel(where: str) -> None:
    """Of 49,152 pages. How many faults there are without it is the kernel's affair, which may give many pages
    at once: 6,146 were seen, and all."""
    kept, left = faults("keep", where), faults("leave", where)
    assert kept < min(192 * 256 / 20, left / 2)
