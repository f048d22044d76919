"""Local compute: the worker in a detached subprocess, one call each, its output in a file.

Belongs here: starting, finding, signalling and burying local worker processes. Does not belong here: the
claim (`calls`), what a worker does (`worker`), or waiting (`compute.follow`).

The subprocess leads its own session, so it outlives its caller; its output goes to
`{state_dir}/calls/{key}/attempt-*/output.log`, which any later process reads by offset.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel

from video_pipeline.call_ends import end_in_its_place, error_in_its_place, never_began
from video_pipeline.calls import (
    CallRecord,
    ResultRecord,
    WorkerIdentity,
    read_call,
    read_result,
    request_cancel,
)
from video_pipeline.compute.base import CallOptions, Handle, Status
from video_pipeline.compute.children import end_children, left_by_a_killed_attempt
from video_pipeline.compute.local_output import FileReader, last_lines
from video_pipeline.settings import Settings
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import call_key_of, find_task, tenant_of
from video_pipeline.worker import EXIT_TAKEN, CallFile

LEAVING_S = 5.0
"""How long a finished worker's process is waited for; it ends in some 10 ms (`worker_end`)."""
CANCEL_GRACE_S = 8.0
"""How long a cancelled worker may take to stop in an orderly way before it is killed."""


class LocalCompute:
    """Calls as subprocesses of this machine."""

    backend = "local"
    unclaimed_limit_s = 120.0
    """Imports take seconds, a cold disk tens of them."""

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        self._settings = settings
        self._store = store
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._before: dict[str, CallRecord | None] = {}
        """The call's record when this started a worker for it: of an earlier attempt, whose log and result
        are not those of this one."""
        self._cancelled: dict[str, str] = {}
        """Why a worker was ended that had not claimed its call yet: no record says so."""

    def submit(
        self, task: str, request: BaseModel | Mapping[str, Any], options: CallOptions | None = None
    ) -> Handle:
        options = options or CallOptions()
        entry = find_task(task, self._settings)
        parsed = entry.parse_request(request)
        tenant = tenant_of(parsed)
        key = call_key_of(entry, parsed, self._store, repeat=options.repeat)
        result = read_result(self._store, tenant, key)
        call = read_call(self._store, tenant, key)
        alive = call is not None and call[0].is_alive()
        if alive or (result is not None and result.is_reusable(entry, self._store)):
            self._before.pop(key, None)
            return Handle(tenant, key, entry.name, self.backend, attached=True, ended=not alive)
        self._before[key] = call[0] if call is not None else None
        self._cancelled.pop(key, None)
        self._start(
            CallFile(
                key=key,
                task=entry.name,
                version=entry.version,
                request=parsed.model_dump(mode="json"),
                timeout_s=options.timeout_s or entry.hardware.timeout_s,
                submitted_at=time.time(),
                parent=options.parent,
            )
        )
        return Handle(tenant, key, entry.name, self.backend)

    def check(self, task: str, calls: int, options: CallOptions | None = None) -> None:
        """Nothing: local calls cost nothing."""

    def _start(self, call: CallFile) -> None:
        folder = self._settings.state_dir / "calls" / call.key
        folder.mkdir(parents=True, exist_ok=True)
        attempt = Path(tempfile.mkdtemp(prefix=f"attempt-{int(time.time())}-", dir=folder))
        output = attempt / "output.log"
        path = attempt / "call.json"
        path.write_text(call.model_copy(update={"log_path": str(output)}).model_dump_json(indent=2))
        with output.open("wb") as stdout:
            self._started[call.key] = subprocess.Popen(
                [sys.executable, "-m", "video_pipeline.worker", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment(),
                cwd=str(attempt),
            )

    def _environment(self) -> dict[str, str]:
        """The caller's environment with the settings made explicit: the worker runs in another directory."""
        environment = dict(os.environ)
        environment["VIDEO_PIPELINE_STORE"] = self._settings.store
        environment["VIDEO_PIPELINE_STATE"] = str(self._settings.state_dir)
        environment["VIDEO_PIPELINE_COMPUTE"] = "local"
        environment["PYTHONUNBUFFERED"] = "1"
        environment["PYTHONPATH"] = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        return environment

    def poll(self, handle: Handle) -> Status:
        process = self._started.get(handle.key)
        exit_code = process.poll() if process else None
        call = read_call(self._store, handle.tenant, handle.key)
        record = call[0] if call else None
        if record is not None and (record.is_alive() or _is_leaving(record)):
            return Status("running", progress=record.progress)
        claimed = record is not None and self._is_new(record)
        if process is not None and exit_code is None:
            if record is None or not claimed or record.worker.pid != process.pid:
                return Status("waiting")
        else:
            self._started.pop(handle.key, None)
        result = read_result(self._store, handle.tenant, handle.key)
        # One that ends well without a claim has found the result there.
        if result is not None and (
            record is None or exit_code == 0 or (claimed and self._is_of(record, result))
        ):
            self._before.pop(handle.key, None)
            return Status("done", result=result)
        if (
            record is None
            or not claimed
            or (process is not None and record.worker.pid != process.pid and exit_code != EXIT_TAKEN)
        ):
            detail = last_lines(self._latest_output(handle.key))
            return Status(
                "lost", detail=f"the worker did not claim the call: {_how_it_died(exit_code)}\n{detail}"
            )
        if exit_code == EXIT_TAKEN:
            # Ours has left the call to the one that is gone, of which no more is known.
            exit_code = None
        return Status(
            "lost",
            detail=_how_it_died(exit_code) + "\n" + last_lines(self._output_of(record)),
            died="internal" if exit_code is not None and exit_code > 0 else "preempted",
        )

    def _is_new(self, record: CallRecord) -> bool:
        """Whether it is of another attempt than the one that stood there when this started a worker."""
        before = self._before.get(record.key)
        return before is None or record.worker != before.worker

    @staticmethod
    def _is_of(record: CallRecord, result: ResultRecord) -> bool:
        """Whether the result is that of the record's attempt, and not of one before it."""
        return result.attempt >= record.attempt

    def bury(self, handle: Handle, status: Status) -> ResultRecord | None:
        """Writes the result that a dead worker could not; of one that had not claimed, only returns it. A
        result that is there by now stands: another caller was faster, and has perhaps started the call again.
        """
        call = read_call(self._store, handle.tenant, handle.key)
        if call is not None and call[0].is_alive():
            return None
        if call is None or not self._is_new(call[0]):
            cancelled = self._cancelled.get(handle.key)
            return never_began(handle.key, handle.task, status.detail, WorkerIdentity(), cancelled=cancelled)
        error = error_in_its_place(
            handle.task,
            status.died,
            f"the worker died: {status.detail.strip()}",
            what_to_do="look at the log; if memory ran out, give the machine more",
            cancelled=call[0].cancel_requested,
        )
        return end_in_its_place(self._store, call[0], error)

    def events(self, handle: Handle) -> FileReader:
        return FileReader(lambda: self._find_output(handle))

    def _find_output(self, handle: Handle) -> Path | None:
        """None until the worker that was started last, or one that was faster, has claimed the call."""
        call = read_call(self._store, handle.tenant, handle.key)
        return self._output_of(call[0]) if call is not None and self._is_new(call[0]) else None

    @staticmethod
    def _output_of(record: CallRecord) -> Path | None:
        path = record.worker.log_path
        return Path(path) if path and record.worker.on_this_machine and Path(path).exists() else None

    def _latest_output(self, key: str) -> Path | None:
        found = sorted((self._settings.state_dir / "calls" / key).glob("attempt-*/output.log"))
        return max(found, key=lambda path: path.stat().st_mtime) if found else None

    def cancel(self, handle: Handle, reason: str) -> None:
        record = request_cancel(self._store, handle.tenant, handle.key, reason)
        process = record.worker.process() if record is not None and record.state == "running" else None
        ours = self._started.get(handle.key)
        if process is not None:
            _stop_group(process.pid, process.wait if ours is None or ours.pid != process.pid else ours.wait)
        elif ours is not None and ours.poll() is None:
            # It has not claimed the call yet: nobody else knows of it.
            self._cancelled[handle.key] = reason
            _stop_group(ours.pid, ours.wait)
        self._cancel_left_behind(handle, reason)
        if process is not None:
            self.bury(handle, Status("lost", detail="killed after a cancel it did not answer"))

    def _cancel_left_behind(self, handle: Handle, reason: str) -> None:
        """Ends the calls that a killed call had started. One that ended by itself ended them before."""
        call = read_call(self._store, handle.tenant, handle.key)
        if call is not None and call[0].is_alive():
            return
        left = left_by_a_killed_attempt(self._store, handle.tenant, handle.key) or {}
        end_children(self, left.values(), reason)

    def describe(self, handle: Handle) -> dict[str, Any]:
        call = read_call(self._store, handle.tenant, handle.key)
        if call is None:
            return {"backend": self.backend, "key": handle.key, "task": handle.task, "state": "not claimed"}
        record = call[0]
        return {
            "backend": self.backend,
            "key": handle.key,
            "task": record.task,
            "state": record.state,
            "host": record.worker.host,
            "pid": record.worker.pid,
            "log": record.worker.log_path,
            "attempt": record.attempt,
            "heartbeat_age_s": round(time.time() - record.heartbeat_at, 1),
        }


def _is_leaving(record: CallRecord) -> bool:
    """Whether the worker has finished the call and its process is about to end: it still writes its log."""
    fresh = time.time() - record.heartbeat_at < LEAVING_S
    return record.state == "finished" and fresh and record.worker.process() is not None


def _stop_group(pid: int, wait: Callable[[float], object]) -> None:
    """SIGTERM to the worker, then SIGKILL to the whole session that it leads. `wait` waits for its end so
    many seconds: of a child that is `Popen.wait`, for whoever else waits takes its exit code away."""
    try:
        os.kill(pid, signal.SIGTERM)
        wait(CANCEL_GRACE_S)
        return
    except ProcessLookupError:
        return
    except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
        pass
    with contextlib.suppress(ProcessLookupError, psutil.Error, subprocess.TimeoutExpired):
        os.killpg(pid, signal.SIGKILL)
        wait(CANCEL_GRACE_S)


def _how_it_died(exit_code: int | None) -> str:
    if exit_code is None:
        return "its process is gone"
    if exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"
