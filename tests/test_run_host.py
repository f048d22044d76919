"""The process from which runs are forked: what it has loaded, and how it and its forks end."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere Dagster starts runs in its own way"
)

SERVER = """
import multiprocessing, os, sys, time
from multiprocessing import forkserver


def run(said):
    loaded = [name for name in ("video_pipeline.definitions", "alembic", "torch") if name in sys.modules]
    said.put((os.getpid(), os.getppid(), " ".join(loaded)))
    time.sleep(600)


if __name__ == "__main__":
    forkserver.set_forkserver_preload(["video_pipeline.run_host"])
    context = multiprocessing.get_context("forkserver")
    said = context.Queue()
    process = context.Process(target=run, args=(said,))
    process.start()
    print(*said.get(), flush=True)
    process.join()
    print("ended", process.exitcode, flush=True)
    sys.stdin.read()
"""


class Started:
    """A process in the place of the code server, with a host and one run."""

    def __init__(self, folder: Path) -> None:
        script = folder / "server.py"
        script.write_text(SERVER)
        self.server = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        run, host, self.loaded = self.says().split(maxsplit=2)
        self.run, self.host = psutil.Process(int(run)), psutil.Process(int(host))

    def says(self) -> str:
        assert self.server.stdout is not None
        return self.server.stdout.readline()

    def end(self) -> None:
        for process in (self.run, self.host, self.server):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.server.wait()


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    started = Started(tmp_path)
    yield started
    started.end()


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def within(timeout_s: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.mark.slow
def test_a_run_has_all_it_needs_loaded_and_ends_alone(started: Started) -> None:
    assert started.loaded.split() == ["video_pipeline.definitions", "alembic"]
    assert started.host.num_threads() == 1
    started.run.send_signal(signal.SIGTERM)
    assert started.says() == "ended -15\n"
    assert not is_gone(started.host)


@pytest.mark.slow
def test_a_stop_that_all_processes_are_told_ends_the_host_only_after_its_runs(started: Started) -> None:
    started.host.send_signal(signal.SIGTERM)
    started.server.kill()
    started.server.wait()
    assert not within(1.0, lambda: is_gone(started.host))
    assert not is_gone(started.run)
    started.run.kill()
    assert within(60.0, lambda: is_gone(started.host))


@pytest.mark.slow
def test_a_host_that_is_killed_takes_its_runs_with_it(started: Started) -> None:
    started.host.kill()
    assert started.says() == "ended 255\n"
    assert within(60.0, lambda: is_gone(started.run))
