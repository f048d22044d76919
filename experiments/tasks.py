"""The tasks that only experiments call, as the table of tasks takes them.

Belongs here: the table, and the two tasks that do nothing. Does not belong here: the network's switches
(`network_task.py`), reading frames (`reading_task.py`).

Workers load this module because VIDEO_PIPELINE_TASK_MODULES names it. On Modal it must be named when the app
is deployed: `VIDEO_PIPELINE_TASK_MODULES=experiments.tasks python -m video_pipeline.modal_ops.deploy`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pydantic import Field

from video_pipeline.strict import StrictModel
from video_pipeline.tasks import Hardware, Task

if TYPE_CHECKING:
    from video_pipeline.worker import TaskContext

TRIVIAL, FAN_OUT = "experiment_trivial", "experiment_fan_out"
NETWORK, READING = "experiment_network", "experiment_reading"


class TrivialRequest(StrictModel):
    """`name` makes a call its own: equal requests are one call."""

    tenant_id: str
    name: str


class TrivialResult(StrictModel):
    name: str


class FanOutRequest(StrictModel):
    """So many calls of the trivial task; on this machine as many at a time as it has cores."""

    tenant_id: str
    name: str
    children: int = Field(ge=1, le=64)


class FanOutResult(StrictModel):
    """`fan_out_s`: from the first submission to the last result."""

    children: int
    fan_out_s: float


def trivial(request: TrivialRequest, context: TaskContext) -> TrivialResult:
    return TrivialResult(name=request.name)


def fan_out_trivially(request: FanOutRequest, context: TaskContext) -> FanOutResult:
    from video_pipeline.compute.fan_out import fan_out

    chunks = [
        TrivialRequest(tenant_id=request.tenant_id, name=f"{request.name}-{number}")
        for number in range(request.children)
    ]
    began = time.monotonic()
    records = fan_out(context, TRIVIAL, chunks)
    return FanOutResult(children=len(records), fan_out_s=round(time.monotonic() - began, 4))


TASKS = (
    Task(
        name=TRIVIAL,
        version=1,
        run_path="experiments.tasks:trivial",
        request_path="experiments.tasks:TrivialRequest",
        result_path="experiments.tasks:TrivialResult",
        hardware=Hardware(gpu=None, cpu_cores=1, memory_mib=512, timeout_s=300),
        summary="nothing: what a call costs by itself",
    ),
    Task(
        name=FAN_OUT,
        version=1,
        run_path="experiments.tasks:fan_out_trivially",
        request_path="experiments.tasks:FanOutRequest",
        result_path="experiments.tasks:FanOutResult",
        hardware=Hardware(gpu=None, cpu_cores=4, memory_mib=4_096, timeout_s=600),
        summary="calls that do nothing: what fanning out costs by itself",
    ),
    Task(
        name=NETWORK,
        version=1,
        run_path="experiments.network_task:run",
        request_path="experiments.network_task:NetworkRequest",
        result_path="experiments.network_task:NetworkResult",
        hardware=Hardware(gpu="T4", cpu_cores=8, memory_mib=8_192, timeout_s=1800),
        summary="the upscaling network with software switches on and off",
    ),
    Task(
        name=READING,
        version=1,
        run_path="experiments.reading_task:run",
        request_path="experiments.reading_task:ReadingRequest",
        result_path="experiments.reading_task:ReadingResult",
        hardware=Hardware(gpu=None, cpu_cores=2, memory_mib=4_096, timeout_s=1800),
        summary="pictures at given moments by several readers, against decoding everything",
    ),
)
