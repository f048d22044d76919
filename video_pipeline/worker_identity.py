"""Which process works on a call, so that any other can tell whether it lives.

Belongs here: a worker's identity, on this machine and on Modal. Does not belong here: the call it works on
(`calls`), or how long it may be silent.
"""

from __future__ import annotations

import os
import socket
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict

from video_pipeline.machine import boot_id, started_since_boot


class WorkerIdentity(BaseModel):
    """A worker, so exactly that a recycled process id is not mistaken for it."""

    model_config = ConfigDict(extra="ignore")

    backend: Literal["local", "modal"] = "local"
    host: str = ""
    boot_id: str = ""
    pid: int = 0
    started: float = 0.0
    """The process's start, as the kernel states it (`machine.started_since_boot`)."""
    call_id: str | None = None
    """Modal's id of the function call (`fc-...`); the same when Modal runs a pre-empted input again."""
    log_path: str | None = None

    @classmethod
    def of_this_process(cls, log_path: str | None = None) -> WorkerIdentity:
        return cls(
            host=socket.gethostname(),
            boot_id=boot_id(),
            pid=os.getpid(),
            started=started_since_boot(os.getpid()),
            log_path=log_path,
        )

    @classmethod
    def of_modal_call(cls, call_id: str | None, container: str) -> WorkerIdentity:
        """This process as the worker of a Modal call; `container` is Modal's id of it (`ta-...`)."""
        return cls.of_this_process().model_copy(
            update={"backend": "modal", "host": container, "call_id": call_id}
        )

    def is_rerun_of(self, other: WorkerIdentity) -> bool:
        """Whether Modal started this worker in the place of `other`, whose container it took away.

        One function call runs in one container at a time, so the other is dead or about to be; if it still
        lives, its next heartbeat finds that it lost the claim.
        """
        same = self.backend == other.backend == "modal" and self.call_id is not None
        return same and self.call_id == other.call_id and self != other

    @property
    def on_this_machine(self) -> bool:
        return self.backend == "local" and self.host == socket.gethostname() and self.boot_id == boot_id()

    def process(self) -> psutil.Process | None:
        """The live process, or None if it is gone, a zombie, another process, or on another machine."""
        if not self.on_this_machine:
            return None
        try:
            process = psutil.Process(self.pid)
            recycled = abs(started_since_boot(self.pid) - self.started) > 0.05
            if recycled or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.Error:
            return None
        return process
