"""A double of a chunked task whose start-up and work are declared, and waited for instead of worked.

Belongs here: the two tasks for `chunk_choice`, which a worker finds through `VIDEO_PIPELINE_TASK_MODULES`.
Waiting needs no core, so a machine with two of them can show what eight workers side by side do.
"""

from __future__ import annotations

import time
from datetime import datetime

from pydantic import BaseModel, Field

from video_pipeline.compute.fan_out import fan_out
from video_pipeline.costs.predict import largest_chunk
from video_pipeline.tasks import Hardware, Task
from video_pipeline.worker import TaskContext

CLIP = "waiting_clip"
CHUNK = "waiting_chunk"


class WaitingClip(BaseModel):
    """A clip of `frames` in `chunks`: each waits its start-up and its frames, the clip then its join."""

    tenant_id: str = "bench"
    name: str
    frames: int = Field(ge=1)
    chunks: int = Field(ge=1)
    startup_s: float = 0.0
    s_per_frame: float = 0.0
    join_s: float = 0.0
    join_s_per_chunk: float = 0.0


class WaitingChunk(BaseModel):
    tenant_id: str = "bench"
    name: str
    number: int
    seconds: float


class Waited(BaseModel):
    """Seconds each chunk was busy."""

    busy_s: list[float]


class Done(BaseModel):
    began: datetime
    ended: datetime


def wait_clip(request: WaitingClip, context: TaskContext) -> Waited:
    count, largest = largest_chunk(request.frames, request.chunks, None)
    # The largest chunk first: no chunk holds the clip up that began after another.
    frames = [largest] + [request.frames // count] * (count - 1)
    chunks = [
        WaitingChunk(name=request.name, number=number, seconds=request.startup_s + some * request.s_per_frame)
        for number, some in enumerate(frames)
    ]
    records = fan_out(context, CHUNK, chunks, at_once=count)
    if count > 1:
        time.sleep(request.join_s + count * request.join_s_per_chunk)
    return Waited(busy_s=[(record.finished_at - record.started_at).total_seconds() for record in records])


def wait_chunk(request: WaitingChunk, context: TaskContext) -> Done:
    began = datetime.now().astimezone()
    until = time.monotonic() + request.seconds
    while (left := until - time.monotonic()) > 0:
        context.cancel.raise_if_cancelled()
        time.sleep(min(left, 0.2))
    return Done(began=began, ended=datetime.now().astimezone())


TASKS = (
    Task(
        name=CLIP,
        version=1,
        run_path="benchmarks.waiting_tasks:wait_clip",
        request_path="benchmarks.waiting_tasks:WaitingClip",
        result_path="benchmarks.waiting_tasks:Waited",
        hardware=Hardware(gpu=None, cpu_cores=1, memory_mib=256, timeout_s=600),
        summary="a double that waits for chunks",
    ),
    Task(
        name=CHUNK,
        version=1,
        run_path="benchmarks.waiting_tasks:wait_chunk",
        request_path="benchmarks.waiting_tasks:WaitingChunk",
        result_path="benchmarks.waiting_tasks:Done",
        hardware=Hardware(gpu=None, cpu_cores=1, memory_mib=256, timeout_s=600),
        summary="a double that waits",
    ),
)
