"""What the run launcher tells monitoring: a run is dead only where that is certain."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from tests.servers.seaweedfs import free_ports
from video_pipeline import run_launcher
from video_pipeline.run_launcher import WatchedRunLauncher


@dg.op
def nothing() -> None: ...


@dg.job
def idle() -> None:
    nothing()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    launcher = {"module": "video_pipeline.run_launcher", "class": "WatchedRunLauncher"}
    with dg.instance_for_test(overrides={"run_launcher": launcher}) as made:
        yield made


@pytest.fixture
def launcher(instance: dg.DagsterInstance) -> WatchedRunLauncher:
    assert isinstance(instance.run_launcher, WatchedRunLauncher)
    return instance.run_launcher


def started_by(instance: dg.DagsterInstance, server: dict[str, object] | None) -> dg.DagsterRun:
    tags = {} if server is None else {GRPC_INFO_TAG: json.dumps(server)}
    return instance.create_run_for_job(idle, tags=tags)


def says_its_process(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int) -> None:
    data = EngineEventData({"pid": dg.MetadataValue.text(str(pid))})
    instance.report_engine_event(f"Started process for run (pid: {pid}).", run, data)


def gone_here() -> dict[str, object]:
    """Where a code server of this machine was, and is no more."""
    return {"host": "localhost", "port": free_ports(1)[0]}


def test_a_run_that_no_code_server_started_is_left_alone(
    instance: dg.DagsterInstance, launcher: WatchedRunLauncher
) -> None:
    run = started_by(instance, None)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING


def test_a_run_whose_process_lives_goes_on_without_its_code_server(
    instance: dg.DagsterInstance, launcher: WatchedRunLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_launcher, "PATIENCE_S", -1.0)
    run = started_by(instance, gone_here())
    says_its_process(instance, run, os.getpid())
    answer = launcher.check_run_worker_health(run)
    assert (answer.status, answer.msg) == (
        WorkerStatus.RUNNING,
        "its process lives, without a code server",
    )


def test_a_run_is_dead_where_process_and_server_are_gone_and_patience_has_ended(
    instance: dg.DagsterInstance, launcher: WatchedRunLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    run = started_by(instance, gone_here())
    says_its_process(instance, run, ended.pid)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    monkeypatch.setattr(run_launcher, "PATIENCE_S", -1.0)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.FAILED


def test_another_process_with_the_number_of_the_dead_one_does_not_keep_a_run_alive(
    instance: dg.DagsterInstance, launcher: WatchedRunLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_launcher, "PATIENCE_S", -1.0)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _self: time.time() + 3600)
    run = started_by(instance, gone_here())
    says_its_process(instance, run, os.getpid())
    assert launcher.check_run_worker_health(run).status == WorkerStatus.FAILED


def test_of_another_machine_silence_says_nothing(
    instance: dg.DagsterInstance, launcher: WatchedRunLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_launcher, "PATIENCE_S", -1.0)
    run = started_by(instance, {"host": "code-location.invalid", "port": 4000})
    answer = launcher.check_run_worker_health(run)
    assert (answer.status, answer.msg) == (WorkerStatus.RUNNING, "its code server does not answer")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def code_server(tmp_path: Path) -> Iterator[dict[str, object]]:
    """A real code server that has started no run."""
    from dagster._grpc.client import DagsterGrpcClient

    (tmp_path / "empty.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen([*command, "-f", str(tmp_path / "empty.py")], stderr=subprocess.DEVNULL)
    client = DagsterGrpcClient(host="127.0.0.1", port=port)
    try:
        deadline = time.monotonic() + 240
        # It listens a moment before it says that it serves.
        while not listens(port) or client.health_check_query() != "SERVING":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield {"host": "127.0.0.1", "port": port}
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_code_server_that_does_not_know_the_run_settles_it_at_once(
    instance: dg.DagsterInstance, launcher: WatchedRunLauncher, code_server: dict[str, object]
) -> None:
    run = started_by(instance, code_server)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.FAILED
    says_its_process(instance, run, os.getpid())
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
