"""The two backends for the compute tests: settings, store, compute, and a view on their processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from tests.conftest import ROOT
from tests.servers.modal_loopback.launch import ModalLoopback
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.seaweedfs import seaweedfs as seaweedfs
from video_pipeline.calls import CallRecord, read_call
from video_pipeline.compute import open_compute
from video_pipeline.compute.base import Compute
from video_pipeline.compute.local import LocalCompute
from video_pipeline.modal_ops.entry import MOST_LOST
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

DOUBLES = "tests.doubles.tasks"


@pytest.fixture
def task_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose task table has the double, here and in every worker."""
    monkeypatch.setenv("VIDEO_PIPELINE_TASK_MODULES", DOUBLES)
    monkeypatch.syspath_prepend(str(ROOT))
    return load_settings(store=str(tmp_path / "store"))


@pytest.fixture
def store(task_settings: Settings) -> ObjectStore:
    return open_store(task_settings)


@pytest.fixture
def compute(task_settings: Settings, store: ObjectStore) -> Iterator[LocalCompute]:
    yield LocalCompute(task_settings, store)
    kill_workers(task_settings)


def workers_of(settings: Settings) -> list[psutil.Process]:
    """The live worker processes that use this test's state directory."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            ours = "video_pipeline.worker" in line and str(settings.state_dir) in line[-1]
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill_workers(settings: Settings) -> None:
    """Ends what of them is left; one may end by itself just now."""
    for process in workers_of(settings):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def starts(journal: Path) -> int:
    """How often the double began its work."""
    return len(journal.read_text().splitlines()) if journal.exists() else 0


def wait_until_claimed(store: ObjectStore, tenant: str, key: str, timeout_s: float = 120.0) -> CallRecord:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = read_call(store, tenant, key)
        if found is not None and found[0].is_alive():
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"{key} was not claimed within {timeout_s} s")


def _comes_true(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return met


class Backend(Protocol):
    """One backend under test."""

    name: str
    settings: Settings
    store: ObjectStore
    environment: dict[str, str]
    """What another process needs to be a caller of the same backend."""

    def open(self) -> Compute:
        """A compute that knows nothing of the ones before, as in a new process."""
        ...

    lives: int
    """How often a worker may die on one submitted call before the backend says that it is lost."""

    def is_at_rest(self, within_s: float = 0.0) -> bool:
        """Whether no worker is on any call, at the latest after `within_s`."""
        ...


class LocalBackend:
    name = "local"
    lives = 1

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = open_store(settings)
        self.environment = {
            "VIDEO_PIPELINE_STORE": settings.store,
            "VIDEO_PIPELINE_STATE": str(settings.state_dir),
            "VIDEO_PIPELINE_TASK_MODULES": DOUBLES,
        }

    def open(self) -> Compute:
        return open_compute(self.settings, self.store)

    def is_at_rest(self, within_s: float = 0.0) -> bool:
        return _comes_true(lambda: not workers_of(self.settings), within_s)


class ModalBackend:
    """The deployed app on the stand-in; its containers are processes of this machine."""

    name = "modal"
    lives = MOST_LOST

    def __init__(self, loopback: ModalLoopback, environment: dict[str, str]) -> None:
        self.loopback = loopback
        self.environment = environment
        self.settings = load_settings()
        self.store = open_store(self.settings)

    def open(self) -> Compute:
        return open_compute(self.settings, self.store)

    def is_at_rest(self, within_s: float = 0.0) -> bool:
        # A result stands in the store a moment before its container says that it has ended.
        return _comes_true(lambda: not self._working(), max(within_s, 30.0))

    def _working(self) -> bool:
        state = self.loopback.state()
        return any(call["unfinished"] for call in state["calls"].values()) or any(
            container["calls"] for container in state["containers"].values() if not container["gone"]
        )


@pytest.fixture(scope="session")
def modal_loopback(
    seaweedfs: SeaweedFS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ModalLoopback, dict[str, str]]]:
    """The real app deployed on the stand-in, with the doubles among its tasks; and its callers' environment.

    Modal's client is one per process and keeps its server, so one stand-in serves the session.
    """
    credentials = {
        name: value for name, value in seaweedfs.environment.items() if name.endswith("_READWRITE")
    }
    folder = tmp_path_factory.mktemp("modal")
    with ModalLoopback(folder, {"wasabi": credentials, "wandb-secret": {}}) as server:
        environment = {
            **seaweedfs.environment,
            **server.environment,
            "VIDEO_PIPELINE_COMPUTE": "modal",
            "VIDEO_PIPELINE_TASK_MODULES": DOUBLES,
            "VIDEO_PIPELINE_MODAL_MAX_CONTAINERS": "6",
        }
        server.deploy("video_pipeline.modal_ops.app", environment)
        yield server, environment


@pytest.fixture
def modal_backend(
    modal_loopback: tuple[ModalLoopback, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModalBackend]:
    """Modal on the stand-in, with no calls in the store. Ends what a test leaves running."""
    server, environment = modal_loopback
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    backend = ModalBackend(server, environment)
    for item in list(backend.store.list("acme/")):
        backend.store.delete(item.key)
    yield backend
    server.fault("cancel_all")


@pytest.fixture(params=["local", pytest.param("modal", marks=pytest.mark.slow)])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend in turn."""
    if request.param == "modal":
        yield request.getfixturevalue("modal_backend")
        return
    local = LocalBackend(request.getfixturevalue("task_settings"))
    yield local
    kill_workers(local.settings)
