"""Dagster's default run launcher, which also tells run monitoring whether a run's worker still lives.

Belongs here: that one answer. Does not belong here: what follows from it: Dagster's run monitoring marks the
run as failed, its retries and the sensor `orphaned_calls` start a new one.

A code server notices a worker of its own that dies. When the server itself is killed, with its workers or
before them, nobody is left who would: Dagster 1.13's launcher has no health check, and such a run stays
STARTED for ever, keeps its slot in the queue and its partition from every backfill.

The webserver and the daemon load this module: nothing of the pipeline is imported.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import dagster as dg
import psutil
from dagster._core.events import DagsterEventType
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._serdes import ConfigurableClassData

ANSWER_WITHIN_S = 10
"""How long a code server may take to say whether it has a run: it only looks into a dictionary."""

CLOCK_STEP_S = 10.0
"""How far the clock may have been set since a run began: on Linux the time of a process's start moves with
it. Numbers of processes are given again after hours."""

PATIENCE_S = 120.0
"""How long a dead worker's run waits for its code server to be back. Dagster tries once to start a run again,
in the moment in which it is marked as failed, and needs the server for that: it takes 5 to 20 s to load. One
that `dagster dev` starts anew has another address, and never answers at the old one."""


class WatchedRunLauncher(DefaultRunLauncher):
    """`run_launcher: {module: video_pipeline.run_launcher, class: WatchedRunLauncher}` in dagster.yaml."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._silent_since: dict[str, float] = {}

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """FAILED where the worker is gone for certain; RUNNING where it lives, or where that cannot be told:
        the price of a wrong FAILED is a second run beside the first."""
        if GRPC_INFO_TAG not in run.tags:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "no code server has started this run")
        server = json.loads(run.tags[GRPC_INFO_TAG])
        knows = _knows(server, run.run_id)
        here = _is_here(server)
        if knows:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its code server executes it")
        if here and self._process_lives(run):
            # A worker may outlive its server, and then finishes the run.
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its process lives, without a code server")
        if knows is None and not (here and self._silent_for(run.run_id) > PATIENCE_S):
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its code server does not answer")
        self._silent_since.pop(run.run_id, None)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its worker died together with its code server")

    def _silent_for(self, run_id: str) -> float:
        """Seconds since this was first asked of the run."""
        now = time.monotonic()
        return now - self._silent_since.setdefault(run_id, now)

    def _process_lives(self, run: dg.DagsterRun) -> bool:
        """Whether the process that said "Started process for run (pid: N)" is there, and no later one with
        its number."""
        query = self._instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
        for record in query.records:
            event = record.event_log_entry.dagster_event
            pid = event.engine_event_data.metadata.get("pid") if event is not None else None
            if pid is None:
                continue
            try:
                process = psutil.Process(int(str(pid.value)))
                dead = process.status() == psutil.STATUS_ZOMBIE
                if not dead and process.create_time() <= record.event_log_entry.timestamp + CLOCK_STEP_S:
                    return True
            except psutil.NoSuchProcess:
                continue
        return False


def _knows(server: dict[str, Any], run_id: str) -> bool | None:
    """Whether the server executes the run; None where it does not answer."""
    from dagster._core.errors import DagsterUserCodeUnreachableError
    from dagster._grpc.client import DagsterGrpcClient
    from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
    from dagster._serdes import deserialize_value

    client = DagsterGrpcClient(
        port=server.get("port"),
        socket=server.get("socket"),
        host=server.get("host", "localhost"),
        use_ssl=bool(server.get("use_ssl", False)),
    )
    try:
        answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), ANSWER_WITHIN_S)
    except DagsterUserCodeUnreachableError:
        return None
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel


def _is_here(server: dict[str, Any]) -> bool:
    """Whether the server's processes are this machine's: a socket is, and so is loopback."""
    return "socket" in server or server.get("host") in {"localhost", "127.0.0.1", "::1", socket.gethostname()}
