"""What the stand-in knows: apps, functions, calls, inputs, containers, uploaded files. No RPCs here.

Belongs here: the records that the parts share, their ids, waking whoever waits for them. Does not belong
here: answering a request (`deploy`, `lookup`, `calls`, `containers`, `logs`, `blobs`).
"""

from __future__ import annotations

import asyncio
import collections
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modal_proto import api_pb2

Result = api_pb2.GenericResult

MAIN = "main"
"""The environment of a new Modal account."""

WAKE_S = 0.5
"""Waiters look again this often in any case, so that no lost wake-up can hang a test."""


@dataclass(eq=False)
class App:
    id: str
    name: str
    environment: str
    state: int
    functions: dict[str, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Function:
    """A deployed function, or one bound to options (`base` is then the id of the function it came from)."""

    id: str
    app_id: str
    definition: Any = None
    """api_pb2.Function, once it was created."""
    handle: Any = None
    """api_pb2.FunctionHandleMetadata."""
    parameters: bytes = b""
    base: str = ""
    queue: collections.deque[Input] = field(default_factory=collections.deque)
    containers: dict[str, Container] = field(default_factory=dict)
    crashes_at_start: int = 0


@dataclass(eq=False)
class Call:
    id: str
    function_id: str
    invocation: Any
    inputs: dict[int, Input] = field(default_factory=dict)
    outputs: list[Any] = field(default_factory=list)
    """api_pb2.FunctionGetOutputsItem, in the order in which they came."""
    expired: bool = False

    def unfinished(self) -> int:
        return 0 if self.expired else sum(not item.done for item in self.inputs.values())


@dataclass(eq=False)
class Input:
    id: str
    call: Call
    index: int
    body: Any
    retries: int = 0
    """Of the function's own `retries=`."""
    containers_lost: int = 0
    container: Container | None = None
    done: bool = False


@dataclass(eq=False)
class Container:
    """One run of Modal's container entrypoint. Its output lies in one file; `marks` say from which offset on
    it belongs to which input (None: to none)."""

    id: str
    function_id: str
    folder: Path
    process: asyncio.subprocess.Process | None = None
    running: dict[str, Input] = field(default_factory=dict)
    cancels: list[str] = field(default_factory=list)
    marks: list[tuple[int, Input | None]] = field(default_factory=list)
    read_to: int = 0
    asked_for_work: bool = False
    draining: bool = False
    gone: bool = False
    ended_by: str = ""
    """Why the stand-in ended it: preempted, cancelled, timeout."""
    idle_since: float = 0.0

    @property
    def output(self) -> Path:
        return self.folder / "output.log"


@dataclass(eq=False)
class LogLine:
    app_id: str
    function_id: str
    call_id: str
    input_id: str
    container_id: str
    text: str
    at_ns: int


class State:
    """All of it, in one event loop: no locks."""

    def __init__(self, root: Path, secrets: dict[str, dict[str, str]]) -> None:
        self.root = root
        self.python = sys.executable
        self.url = ""
        self.http_url = ""
        self.apps: dict[str, App] = {}
        self._deployed: dict[tuple[str, str], str] = {}
        self.functions: dict[str, Function] = {}
        self.bound: dict[bytes, str] = {}
        self.images: dict[str, Any] = {}
        self.files = root / "uploads"
        """Uploaded files, named by the SHA-256 of their content."""
        self.files.mkdir(parents=True, exist_ok=True)
        self.mounts: dict[str, list[Any]] = {}
        self.named: dict[tuple[str, str], str] = {}
        self.secrets = dict(secrets)
        self.secret_values: dict[str, dict[str, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.calls: dict[str, Call] = {}
        self.inputs: dict[str, Input] = {}
        self.containers: dict[str, Container] = {}
        self.log: list[LogLine] = []
        self.rpcs: collections.Counter[str] = collections.Counter()
        self.refused: collections.Counter[str] = collections.Counter()
        """RPCs that were asked for and that the stand-in does not have."""
        self.outage_until = 0.0
        self.background: set[asyncio.Task[Any]] = set()
        self._ids: collections.Counter[str] = collections.Counter()
        self._waiting: set[asyncio.Future[None]] = set()

    def new_id(self, prefix: str) -> str:
        self._ids[prefix] += 1
        return f"{prefix}-{self._ids[prefix]:08d}"

    def start(self, work: Awaitable[Any]) -> None:
        """Runs it beside the requests; an exception in it ends the server loudly."""
        task = asyncio.ensure_future(work)
        self.background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            task.get_loop().call_exception_handler(
                {"message": "the stand-in has a defect", "exception": task.exception(), "task": task}
            )

    async def changed(self) -> None:
        """Wakes everybody who waits."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for(self, ready: Callable[[], Any], timeout_s: float) -> bool:
        """Whether `ready` came true in time. A future for each who waits, and no lock: a client that resets
        its stream cancels its waiter, and `asyncio.Condition` can then stay locked for good (CPython before
        3.12: a `wait` under `wait_for` takes the lock again after its owner has left)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not ready():
            left = deadline - loop.time()
            if left <= 0:
                return False
            waiter = loop.create_future()
            self._waiting.add(waiter)
            try:
                await asyncio.wait({waiter}, timeout=min(left, WAKE_S))
            finally:
                self._waiting.discard(waiter)
        return True

    def deploy(self, environment: str, name: str, app_id: str) -> None:
        self._deployed[(environment or MAIN, name)] = app_id

    def deployed(self, environment: str, name: str) -> App | None:
        """A client without a configured environment says none, a container says `main`."""
        app_id = self._deployed.get((environment or MAIN, name))
        return None if app_id is None else self.apps[app_id]

    def app_of(self, function_id: str) -> App:
        return self.apps[self.functions[function_id].app_id]
