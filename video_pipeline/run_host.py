"""What the process from which runs are forked has loaded, and what makes one of its forks a run's process.

Belongs here: imports that every run needs, and the bond between a run's process and its host. Does not belong
here: who asks for runs (`code_server`).

Importing this module changes the process: only `multiprocessing`'s fork server does it, before it serves.
Nothing is loaded that starts a thread or keeps a connection, which a fork would not have: no torch, no gRPC
channel.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import traceback

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the kernel sends to a process whose parent has ended."""

USED_BY_RUNS = (
    "dagster._grpc.impl",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "PIL.JpegImagePlugin",
    "video_pipeline.media.probe",
)
"""What the definitions import inside functions, and every run of captions calls."""

_host: int | None = os.getpid()


def _become_a_run() -> None:
    """In each fork of the host, before anything else; in forks of those, nothing.

    A host that dies takes its runs with it: the code server learns of a run's end from the host alone, and
    takes a run whose host is gone for dead. It must be, or its next run would work beside it.
    """
    global _host
    host, _host = _host, None
    if host is None:
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != host:
        os._exit(1)


def _load() -> None:
    """The definitions and the repository made of them, and what Dagster imports with its instance: 2 s."""
    import dagster as dg

    from video_pipeline.definitions import defs

    repository = defs.get_repository_def()
    for job in repository.job_names:
        repository.get_job(job)
    for name in USED_BY_RUNS:
        importlib.import_module(name)
    if "DAGSTER_HOME" in os.environ:
        # Its storages keep no connection: each of their reads and writes opens one.
        with dg.DagsterInstance.get() as instance:
            instance.get_runs_count()


try:
    _load()
except Exception:
    # A run can load it, too, and says in its own log what went wrong.
    traceback.print_exc()
# The host ends when the code server and the last run have. What is sent to all processes of a service that
# stops, as systemd does it, is for those.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.register_at_fork(after_in_child=_become_a_run)
# What is loaded stays: a run's garbage collector neither walks it nor copies its pages.
gc.collect()
gc.freeze()
