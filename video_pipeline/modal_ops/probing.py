"""Asking the machines that tasks run on what they have: `probe` on each GPU type of the table, and on a CPU.

Belongs here: which machines, what each must have, all of them asked at once. Does not belong here: what a
probe looks at (`machine_probe`), deploying (`deploy`), showing it (`assets.machines`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import BaseModel, ConfigDict

from video_pipeline.calls import ResultRecord
from video_pipeline.compute.base import CallOptions
from video_pipeline.compute.follow import CallFailed, Interruption, run_call
from video_pipeline.errors import BadInput, PipelineError
from video_pipeline.machine_probe import Need, ProbeRequest
from video_pipeline.modal_ops.guard import CallCost, check_cost
from video_pipeline.modal_ops.specs import spec_for
from video_pipeline.settings import Settings
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import all_tasks, find_task

NEEDS: tuple[Need, ...] = ("encoders", "fonts")
NEEDS_OF_A_GPU: tuple[Need, ...] = ("gpu", "nvdec", "torch_cuda", *NEEDS)
CPU = "cpu"
PAGE = "probe.txt"


class Probed(BaseModel):
    """One probe: `gpu` is a GPU type or "cpu"; `error` says what the machine must have and has not."""

    model_config = ConfigDict(extra="ignore")

    gpu: str
    ok: bool
    call: str | None = None
    missing: list[str] = []
    error: str | None = None
    report_key: str | None = None


def machines_of_the_table(settings: Settings) -> list[str]:
    """Each GPU type that a task asks for, in the order of the table, then the CPU. On the local backend there
    is one machine, which is asked as a CPU: its tasks use a GPU where there is one, and need none."""
    if settings.compute != "modal":
        return [CPU]
    gpus = [spec_for(task, settings).gpu for task in all_tasks(settings).values()]
    return [*dict.fromkeys(gpu for gpu in gpus if gpu is not None), CPU]


def check_probes(wanted: Sequence[str], settings: Settings) -> list[CallCost]:
    """What probing each of `wanted` may cost on Modal. `BadInput` for a GPU type that is not known, for one
    whose probe is above the limit per call, and where all of them together are above the limit per run."""
    costs = [check_cost(find_task("probe"), _options(gpu), settings) for gpu in wanted]
    together = sum(cost.bound_usd for cost in costs)
    if together > settings.max_usd_per_run:
        raise BadInput(
            f"{'; '.join(map(str, costs))}: at most ${together:,.2f} together is above the limit of "
            f"${settings.max_usd_per_run:,.2f} per run",
            input="probe",
            what_to_do="probe fewer machines (--probe T4 cpu), or raise VIDEO_PIPELINE_MAX_USD_PER_RUN",
        )
    return costs


def probe_machines(
    wanted: Sequence[str],
    settings: Settings,
    store: ObjectStore,
    interrupted: Callable[[], Interruption | None] = lambda: None,
) -> list[Probed]:
    """Runs the task on each of `wanted`, all at once, and returns what came of it, in their order. A failure
    is told, not raised."""
    with ThreadPoolExecutor(len(wanted)) as pool:
        return list(pool.map(lambda gpu: _probe(gpu, settings, store, interrupted), wanted))


def _options(gpu: str) -> CallOptions:
    return CallOptions(gpu=None if gpu == CPU else gpu)


def _probe(
    gpu: str, settings: Settings, store: ObjectStore, interrupted: Callable[[], Interruption | None]
) -> Probed:
    from video_pipeline.compute import open_compute

    request = ProbeRequest(needs=NEEDS if gpu == CPU else NEEDS_OF_A_GPU)
    try:
        compute = open_compute(settings, store)
        _, record = run_call(compute, "probe", request, _options(gpu), interrupted=interrupted)
    except CallFailed as failed:
        return _probed(gpu, failed.record, error=str(failed))
    except PipelineError as error:
        return Probed(gpu=gpu, ok=False, error=str(error))
    return _probed(gpu, record, error=None)


def _probed(gpu: str, record: ResultRecord, *, error: str | None) -> Probed:
    return Probed(
        gpu=gpu,
        ok=error is None,
        call=record.worker.call_id,
        missing=list((record.result or {}).get("missing", [])),
        error=error,
        report_key=record.report_keys.get(PAGE),
    )
