"""A store of a benchmark's own, and clip tasks run in this process.

Belongs here: what a worker would give to a task. Does not belong here: measuring, and workers (figures that
need them use `LocalCompute` on the same store).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.tasks import find_task
from video_pipeline.telemetry.timing import Recorder, use_recorder
from video_pipeline.worker import TaskContext

TENANT = "bench"


class Desk:
    """A directory store with films in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: Settings = load_settings(store=str(folder / "store"), state_dir=str(folder / "state"))
        self.store = open_store(self.settings)
        self.last: TaskContext | None = None

    def put(self, film: Path) -> str:
        """A film as an object of the store; its key."""
        key = f"{TENANT}/client/videos/{film.stem.replace('_', '-')}/video{film.suffix}"
        self.store.put(key, film)
        return key

    @contextmanager
    def context(self) -> Iterator[TaskContext]:
        scratch = Path(tempfile.mkdtemp(dir=self.folder))
        self.last = TaskContext(
            store=self.store,
            settings=self.settings,
            scratch=scratch,
            cancel=CancellationToken(),
            recorder=Recorder(),
            emit=lambda _event: None,
        )
        try:
            with use_recorder(self.last.recorder):
                yield self.last
        finally:
            shutil.rmtree(scratch)

    def run(self, task: str, clip: str, **fields: Any) -> Any:
        """A task's result."""
        found = find_task(task)
        request = found.parse_request({"tenant_id": TENANT, "clip_id": clip, **fields})
        with self.context() as context:
            return found.load()(request, context)

    def file(self, key: str | None) -> Path:
        """An object of the store as a local file."""
        assert key is not None
        path = self.store.local_path(key)
        assert path is not None
        return path


@contextmanager
def desk() -> Iterator[Desk]:
    with tempfile.TemporaryDirectory() as folder:
        yield Desk(Path(folder))
