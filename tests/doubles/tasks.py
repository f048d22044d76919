"""A double of a task: it does on request what real tasks do by accident. For the compute contract only."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from video_pipeline import errors
from video_pipeline.tasks import Hardware, Task
from video_pipeline.worker import TaskContext


class Behaviour(BaseModel):
    """What the double does. `journal` is a file that gets one line per start, so that tests count starts."""

    model_config = ConfigDict(extra="forbid")

    tenant_id: str = "acme"
    do: Literal[
        "return",
        "sleep",
        "bad_input",
        "transient",
        "crash",
        "die",
        "die_once",
        "ignore_cancel",
        "memory",
        "wrong_type",
    ] = "return"
    seconds: float = 0.0
    journal: str | None = None
    video_key: str | None = None

    def input_keys(self) -> dict[str, str]:
        return {"video": self.video_key} if self.video_key else {}


class Outcome(BaseModel):
    starts: int = 0
    scratch: str = ""
    degraded: list[str] = []


def run(request: Behaviour, context: TaskContext) -> BaseModel:
    starts = 0
    if request.journal:
        with Path(request.journal).open("a") as journal:
            journal.write(f"{os.getpid()}\n")
        starts = len(Path(request.journal).read_text().splitlines())
    (context.scratch / "something").write_text("to be deleted")
    print("a line of log")
    match request.do:
        case "bad_input":
            raise errors.BadInput("this input is wrong", input="the input", what_to_do="bring another")
        case "transient":
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
        case "sleep":
            started = time.monotonic()
            while (passed := time.monotonic() - started) < request.seconds:
                context.cancel.raise_if_cancelled()
                context.progress(
                    "sleeping", int(passed * 10), int(request.seconds * 10), unit="naps", started=started
                )
                time.sleep(0.05)
    sys.stdout.write("another line of log\n")
    return Outcome(starts=starts, scratch=str(context.scratch))


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
)
