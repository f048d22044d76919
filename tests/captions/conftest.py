from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from video_pipeline.demo.run import store_demo_clip
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.worker import TaskContext


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return open_store(settings)


@pytest.fixture
def demo_store(store: ObjectStore) -> ObjectStore:
    store_demo_clip(store)
    return store


@pytest.fixture
def make_context(settings: Settings, tmp_path: Path) -> Callable[..., TaskContext]:
    """A task context as the worker makes it, with its events in `context.recorder`'s place in a list."""

    def make(store: ObjectStore, events: list[dict[str, Any]] | None = None) -> TaskContext:
        scratch = tmp_path / f"scratch-{len(list(tmp_path.glob('scratch-*')))}"
        scratch.mkdir()
        return TaskContext(
            store=store,
            settings=settings,
            scratch=scratch,
            cancel=CancellationToken(),
            recorder=Recorder(),
            emit=(events if events is not None else []).append,
        )

    return make
