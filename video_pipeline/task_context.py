"""What a task gets beside its request.

Belongs here: what a task may use, and telling how far it is. Does not belong here: making one, and what
becomes of what a task puts into it (`worker`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from video_pipeline.settings import Settings
from video_pipeline.store.base import ObjectStore
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.telemetry.usage import Usage

if TYPE_CHECKING:
    from video_pipeline.compute.base import Compute

FORESEEN_AFTER_S = 5.0
"""From then on the rate says how long the rest takes, however little is done: loading is a part of it less
and less."""


@dataclass
class TaskContext:
    """One call, as its task sees it.

    `scratch` is an empty directory that is deleted afterwards. `cancel` ends the task when the call is
    cancelled, times out or loses its claim. `attach_report` stores a file beside the result. `compute` is for
    tasks that fan out (`compute.fan_out`).
    """

    store: ObjectStore
    settings: Settings
    scratch: Path
    cancel: CancellationToken
    recorder: Recorder
    emit: Callable[[dict[str, Any]], None]
    call_key: str = ""
    usage: Usage = field(default_factory=Usage)
    """What the attempt uses: the task puts in what only it knows (frames, chunks, bytes, seconds of video),
    the worker the rest when the task has ended."""
    began: float = field(default_factory=time.monotonic)
    """When the task began, by the monotonic clock."""
    reports: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    last_progress: dict[str, Any] | None = None
    children: dict[str, dict[str, Any]] | None = None
    """The calls this one waits for, by key, as `compute.fan_out` notes them; those of a killed attempt before
    this one stand here from the start. None in a task that has never fanned out."""
    renew: Callable[[], None] = lambda: None
    """Writes progress and children into the call's record now, not at the next heartbeat."""
    claim_lost: bool = False
    """Whether `cancel` was set because another worker holds the call now."""

    CONTENT_TYPES: ClassVar[dict[str, str]] = {
        ".html": "text/html",
        ".json": "application/json",
        ".txt": "text/plain",
        ".png": "image/png",
        ".mp4": "video/mp4",
    }

    @cached_property
    def compute(self) -> Compute:
        """The backend that the settings name, opened on first use: most tasks start no other."""
        from video_pipeline.compute import open_compute

        return open_compute(self.settings, self.store)

    def progress(self, stage: str, done: int, total: int | None, *, unit: str, started: float) -> None:
        """Tells how far the task is. `started` is from `time.monotonic()`; gives rate and time left.

        The latter from a hundredth or some seconds on: one frame of 840 foretold 13 minutes, it took one.
        """
        elapsed = max(time.monotonic() - started, 1e-6)
        rate = done / elapsed
        foreseeable = total and done and (done * 100 >= total or elapsed >= FORESEEN_AFTER_S)
        left = (total - done) / rate if total and foreseeable else None
        self.last_progress = {
            "stage": stage,
            "done": done,
            "total": total,
            "unit": unit,
            "rate_per_s": round(rate, 2),
            "seconds_left": None if left is None else round(max(left, 0.0), 1),
        }
        self.emit({"event": "progress", **self.last_progress})

    def recorded_progress(self) -> dict[str, Any] | None:
        """What the call's record says: the last progress, and under `children` the calls waited for."""
        if self.children is None:
            return self.last_progress
        return {**(self.last_progress or {}), "children": list(self.children.values())}

    def attach_report(self, name: str, content: str | bytes) -> None:
        data = content.encode() if isinstance(content, str) else content
        self.reports[name] = (data, self.CONTENT_TYPES.get(Path(name).suffix, "application/octet-stream"))
