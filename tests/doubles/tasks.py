"""A double of a task: it does on request what real tasks do by accident. For the compute contract only."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from video_pipeline import errors
from video_pipeline.calls import CallRecord, WorkerIdentity
from video_pipeline.compute.fan_out import fan_out
from video_pipeline.task_context import TaskContext
from video_pipeline.tasks import Hardware, Task


class Behaviour(BaseModel):
    """What the double does. `journal` is a file that gets one line per start, so that tests count starts. It
    does nothing more before there is a file `after`."""

    model_config = ConfigDict(extra="forbid")

    tenant_id: str = "acme"
    number: int = 0
    do: Literal[
        "return",
        "sleep",
        "sleep_once",
        "bad_input",
        "transient",
        "transient_once",
        "crash",
        "die",
        "die_once",
        "ignore_cancel",
        "linger",
        "memory",
        "wrong_type",
    ] = "return"
    seconds: float = 0.0
    journal: str | None = None
    after: str | None = None
    video_key: str | None = None

    def input_keys(self) -> dict[str, str]:
        return {"video": self.video_key} if self.video_key else {}


class Outcome(BaseModel):
    starts: int = 0
    scratch: str = ""
    wait_policy: str = ""
    degraded: list[str] = []


def run(request: Behaviour, context: TaskContext) -> BaseModel:
    starts = 0
    if request.journal:
        with Path(request.journal).open("a") as journal:
            journal.write(f"{os.getpid()}\n")
        starts = len(Path(request.journal).read_text().splitlines())
    while request.after and not Path(request.after).exists():
        context.cancel.raise_if_cancelled()
        time.sleep(0.05)
    (context.scratch / "something").write_text("to be deleted")
    print("a line of log")
    match request.do:
        case "bad_input":
            raise errors.BadInput("this input is wrong", input="the input", what_to_do="bring another")
        case "transient":
            raise errors.Transient("the network was away")
        case "transient_once" if starts == 1:
            raise errors.Transient("the network was away")
        case "crash":
            raise ZeroDivisionError("a defect")
        case "memory":
            raise MemoryError
        case "wrong_type":
            return Behaviour()
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die_once" if starts == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case "ignore_cancel":
            time.sleep(request.seconds)
        case "linger" if request.journal:
            threading.Thread(target=time.sleep, args=(request.seconds,)).start()
            atexit.register(Path(request.journal).write_text, "told of the end")
        case "sleep" | "sleep_once" if request.do == "sleep" or starts == 1:
            started = time.monotonic()
            while (passed := time.monotonic() - started) < request.seconds:
                context.cancel.raise_if_cancelled()
                context.progress(
                    "sleeping", int(passed * 10), int(request.seconds * 10), unit="naps", started=started
                )
                time.sleep(0.05)
    sys.stdout.write("another line of log\n")
    wait_policy = os.environ.get("OMP_WAIT_POLICY", "")
    return Outcome(starts=starts, scratch=str(context.scratch), wait_policy=wait_policy)


def call_of(key: str, worker: WorkerIdentity, **fields: Any) -> CallRecord:
    """The record of a call of the double, running unless `fields` say otherwise."""
    double: dict[str, Any] = {"task": "double", "version": 1, "tenant": "acme", "request": {}}
    return CallRecord(key=key, worker=worker, **{**double, **fields})


class Orchestration(BaseModel):
    """What the orchestrating double runs: each behaviour as a call of its own. It begins when there is no
    file `pause`, and fails by itself after its first call if it is to `fail`."""

    model_config = ConfigDict(extra="forbid")

    tenant_id: str = "acme"
    children: list[Behaviour]
    at_once: int | None = None
    fail: bool = False
    pause: str | None = None


class Orchestrated(BaseModel):
    starts: list[int]
    attempts: list[int]


def orchestrate(request: Orchestration, context: TaskContext) -> Orchestrated:
    def progressed(done: int, total: int) -> None:
        if request.fail:
            raise ZeroDivisionError("a defect of the orchestrator")
        context.progress("children", done, total, unit="calls", started=started)

    while request.pause and Path(request.pause).exists():
        context.cancel.raise_if_cancelled()
        time.sleep(0.05)
    started = time.monotonic()
    records = fan_out(context, "double", request.children, at_once=request.at_once, on_progress=progressed)
    outcomes = [Outcome.model_validate(record.result) for record in records]
    return Orchestrated(
        starts=[outcome.starts for outcome in outcomes], attempts=[record.attempt for record in records]
    )


_loads = 0


def hold() -> None:
    """Loads what the holding double holds: a number, which says how often this process has loaded it."""
    global _loads
    _loads += 1


def run_holding(request: Behaviour, context: TaskContext) -> BaseModel:
    """As `run`; `starts` says how often the process has loaded what the task holds."""
    run(request, context)
    return Outcome(starts=_loads)


def hold_damaged() -> None:
    raise errors.BadInput("these weights are damaged", input="weights", what_to_do="bring others")


def run_damaged(request: Behaviour, context: TaskContext) -> BaseModel:
    hold_damaged()
    return Outcome()


def die_loading() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


TASKS = (
    Task(
        name="double",
        version=1,
        run_path="tests.doubles.tasks:run",
        request_path="tests.doubles.tasks:Behaviour",
        result_path="tests.doubles.tasks:Outcome",
        hardware=Hardware(gpu=None, cpu_cores=1, memory_mib=256, timeout_s=60),
        summary="a double for tests",
    ),
    Task(
        name="orchestrating_double",
        version=1,
        run_path="tests.doubles.tasks:orchestrate",
        request_path="tests.doubles.tasks:Orchestration",
        result_path="tests.doubles.tasks:Orchestrated",
        hardware=Hardware(gpu=None, cpu_cores=1, memory_mib=256, timeout_s=60),
        summary="a double for tests that runs others",
    ),
    *(
        Task(
            name=name,
            version=1,
            run_path=f"tests.doubles.tasks:{run_name}",
            request_path="tests.doubles.tasks:Behaviour",
            result_path="tests.doubles.tasks:Outcome",
            hardware=Hardware(gpu=None, cpu_cores=1, memory_mib=256, timeout_s=60),
            summary="a double for tests that holds something",
            warm_path=f"tests.doubles.tasks:{warm_name}",
        )
        for name, run_name, warm_name in (
            ("holding_double", "run_holding", "hold"),
            ("damaged_double", "run_damaged", "hold_damaged"),
            ("dying_double", "run", "die_loading"),
        )
    ),
)
