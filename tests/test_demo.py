"""`make demo`'s command, as a new user starts it; killed, interrupted, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from video_pipeline.calls import CallRecord, list_calls
from video_pipeline.demo.run import VIDEO, job_command, store_demo_clip
from video_pipeline.keys import current_key
from video_pipeline.store.base import ObjectStore

DEMO = [str(Path(sys.executable).with_name("video-pipeline")), "demo"]

pytestmark = pytest.mark.timeout(900)
RUN_S = 400
"""What a run may take on a machine with much other work; 20 s on two idle cores."""


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, as a terminal would have it, from a directory without DAGSTER_HOME."""
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ.copy(),
        )


def workers(tmp_path: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            if (
                "video_pipeline.worker" in line
                and str(tmp_path) in line
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(condition, timeout_s: float = 180.0, every_s: float = 0.05):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(every_s)
    raise AssertionError("it did not happen in time")


def calls(store: ObjectStore) -> list[CallRecord]:
    """The call of the pass, and that of reading the captions; each was made once."""
    tasks = ["crop_and_infer_caption_frame_extents", "read_captions"]
    found = sorted(list_calls(store), key=lambda record: record.task)
    assert [record.task for record in found] == tasks
    return found


def running_call(store: ObjectStore):
    return next((call for call in list_calls(store) if call.is_alive()), None)


@contextmanager
def held(call: CallRecord) -> Iterator[None]:
    """The call's worker stands still: its work may take less time than Dagster takes to start or to end. Now
    and then it may tell that it lives: after a minute of silence, another one would take its call over."""
    over = threading.Event()
    os.kill(call.worker.pid, signal.SIGSTOP)

    def let_it_breathe() -> None:
        with suppress(ProcessLookupError):
            while not over.wait(15):
                os.kill(call.worker.pid, signal.SIGCONT)
                over.wait(0.5)
                os.kill(call.worker.pid, signal.SIGSTOP)
            os.kill(call.worker.pid, signal.SIGCONT)

    thread = threading.Thread(target=let_it_breathe)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
def test_the_demo_runs_the_whole_job_and_names_files_that_exist(store: ObjectStore, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert start(DEMO, log).wait(timeout=RUN_S) == 0, log.read_text()[-3000:]
    text = log.read_text()
    assert "registered the partition demo--street" in text
    assert "frames" in text
    assert " left" in text
    named = [line.split(":", 1)[1].strip() for line in text.split("Look at:")[1].splitlines() if ":" in line]
    assert len(named) == 10
    assert all(Path(path).is_file() for path in named)
    (subtitles,) = [Path(path) for path in named if path.endswith(".srt")]
    assert "00:00:00,000 --> 00:00:02,067\nMorning on the campus road.\n" in subtitles.read_text()
    assert workers(tmp_path) == []

    again = tmp_path / "again"
    assert start(DEMO, again).wait(timeout=RUN_S) == 0
    assert again.read_text().count("nothing to do") == 4
    assert len(list_calls(store)) == 2


@pytest.mark.slow
def test_an_interrupted_demo_leaves_no_process_and_no_half(store: ObjectStore, tmp_path: Path) -> None:
    log = tmp_path / "log"
    demo = start(DEMO, log)
    wait_for(lambda: running_call(store))
    # Ctrl-C: the terminal sends SIGINT to the whole foreground process group.
    os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait(timeout=180) != 0
    assert wait_for(lambda: workers(tmp_path) == [], 60)
    (call,) = list_calls(store)
    assert call.state == "finished"
    assert call.cancel_requested
    assert store.head(current_key(VIDEO)) is None
    assert [item.key for item in store.list("demo/client/") if item.key.endswith("manifest.json")] == []
    assert start(DEMO, log).wait(timeout=RUN_S) == 0


@pytest.mark.slow
def test_a_killed_job_is_attached_to_by_the_next_one(store: ObjectStore, tmp_path: Path) -> None:
    store_demo_clip(store)
    first = start(job_command(), tmp_path / "first")
    call = wait_for(lambda: running_call(store))
    log = tmp_path / "second"
    with held(call):
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        assert call.worker.process() is not None
        second = start(job_command(), log)
        wait_for(lambda: "attached to the known call" in log.read_text() or second.poll() is not None)
    assert second.wait(timeout=RUN_S) == 0, log.read_text()[-3000:]
    assert "attached to the known call" in log.read_text()
    record, _ = calls(store)
    assert record.attempt == 1
    assert record.worker.pid == call.worker.pid
    assert store.head(current_key(VIDEO)) is not None
    assert workers(tmp_path) == []


@pytest.mark.slow
def test_a_killed_worker_is_started_again_by_the_job_that_waits(store: ObjectStore, tmp_path: Path) -> None:
    store_demo_clip(store)
    log = tmp_path / "log"
    job = start(job_command(), log)
    call = wait_for(lambda: running_call(store))
    os.kill(call.worker.pid, signal.SIGKILL)
    assert job.wait(timeout=RUN_S) == 0, log.read_text()[-3000:]
    assert "starting again after preempted" in log.read_text()
    record, _ = calls(store)
    assert record.attempt == 2
    assert store.head(current_key(VIDEO)) is not None


@pytest.mark.slow
def test_two_jobs_for_one_video_at_once_run_one_worker(store: ObjectStore, tmp_path: Path) -> None:
    store_demo_clip(store)
    jobs = [start(job_command(), tmp_path / f"log-{number}") for number in range(2)]
    assert [job.wait(timeout=RUN_S) for job in jobs] == [0, 0]
    record, _ = calls(store)
    assert record.attempt == 1
    assert store.head(current_key(VIDEO)) is not None


@pytest.mark.slow
def test_a_terminated_job_detaches_and_the_call_goes_on(store: ObjectStore, tmp_path: Path) -> None:
    store_demo_clip(store)
    job = start(job_command(), tmp_path / "log")
    call = wait_for(lambda: running_call(store))
    with held(call):
        job.terminate()
        assert job.wait(timeout=180) != 0
        assert call.worker.process() is not None
    wait_for(lambda: not workers(tmp_path))
    (record,) = list_calls(store)
    assert (record.state, record.cancel_requested, record.attempt) == ("finished", None, 1)
