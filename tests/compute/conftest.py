from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from video_pipeline.calls import read_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore


@pytest.fixture
def task_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose task table has the double, here and in every worker."""
    monkeypatch.setenv("VIDEO_PIPELINE_TASK_MODULES", "tests.doubles.tasks")
    monkeypatch.syspath_prepend(str(ROOT))
    return load_settings(store=str(tmp_path / "store"))


@pytest.fixture
def store(task_settings: Settings) -> ObjectStore:
    return open_store(task_settings)


@pytest.fixture
def compute(task_settings: Settings, store: ObjectStore) -> Iterator[LocalCompute]:
    yield LocalCompute(task_settings, store)
    for process in workers_of(task_settings):
        process.kill()


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


def wait_until_claimed(store: ObjectStore, tenant: str, key: str, timeout_s: float = 30.0):
    import time

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = read_call(store, tenant, key)
        if found is not None and found[0].is_alive():
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"{key} was not claimed within {timeout_s} s")
