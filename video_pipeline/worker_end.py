"""How a worker's process ends.

Belongs here: leaving the interpreter. Does not belong here: what is stored before (`worker`).
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import NoReturn


def end_process(code: int) -> NoReturn:
    """Ends the process as `sys.exit` does, but leaves its memory to the kernel.

    To take torch apart object by object is half a second of a core, for which the caller waits. What
    registered itself for the end (`atexit`) is called. Threads that a task left behind are not waited for:
    its result is stored.
    """
    atexit._run_exitfuncs()  # pyright: ignore[reportAttributeAccessIssue]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
