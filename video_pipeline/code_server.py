"""Dagster's code server, whose runs begin in a process that has loaded everything already.

Belongs here: how the process of a run begins. Does not belong here: what that process has loaded
(`run_host`), or what a run does.

    python -m video_pipeline.code_server -h 127.0.0.1 -p 4000 -m video_pipeline.definitions

takes the options of `dagster api grpc` and is that command but for one thing. Dagster starts an interpreter
for each run, which imports Dagster, its storage and these definitions: 2 s of a core before a video's run
has begun. Here a run is forked from one process that did so once (`multiprocessing`'s fork server: one
thread, no connection, no run of its own), so it begins in some 50 ms and shares the memory of what is loaded.

All else stays as it was. A run has a process of its own, which can be killed, and outlives the code server.
It runs the code that the server has loaded and the UI shows: reload the location, or restart the server,
after a change. Where there is no Linux, Dagster's own way is kept: forking is not safe on a Mac. So it is in
`dagster dev` (`make ui`), which starts code servers itself and takes each run's code from the disk.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from multiprocessing import forkserver

HOST = "video_pipeline.run_host"


def serve(arguments: Sequence[str]) -> None:
    """`dagster api grpc ARGUMENTS`, with runs forked from the host. Does not return: the command exits."""
    from dagster._cli import ENV_PREFIX, cli
    from dagster._grpc import server

    class CodeServer(server.DagsterApiServer):
        """Dagster's servicer chooses how processes begin in its constructor, and nowhere else."""

        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            self._mp_ctx = multiprocessing.get_context("forkserver")
            # Now, and not when the first run asks for it: it loads while nobody waits.
            forkserver.ensure_running()

    if sys.platform == "linux":
        forkserver.set_forkserver_preload([HOST])
        server.DagsterApiServer = CodeServer
    cli(["api", "grpc", *arguments], prog_name="dagster", auto_envvar_prefix=ENV_PREFIX)


if __name__ == "__main__":
    serve(sys.argv[1:])
