"""Compute as a Dagster resource: submit, follow into Dagster's log, cancel or detach on an interrupt.

Belongs here: what Dagster adds to a call. Does not belong here: backends and the waiting loop (`compute`).
"""

# No `from __future__ import annotations`: Dagster reads the annotation of the nested resource.

import time
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import BaseModel

from video_pipeline.calls import ResultRecord, read_result
from video_pipeline.compute import open_compute
from video_pipeline.compute.base import CallOptions, Event, Handle
from video_pipeline.compute.follow import (
    CallFailed,
    Detached,
    Interruption,
    Interrupts,
    progress_line,
    run_call,
)
from video_pipeline.errors import PipelineError
from video_pipeline.failures import to_failure
from video_pipeline.resources.store import StoreResource
from video_pipeline.tasks import call_key_of, find_task, tenant_of

PROGRESS_EVERY_S = 2.0
"""A log line more often than this drowns the run's page."""


class ComputeResource(dg.ConfigurableResource):
    """Runs tasks on the backend that `VIDEO_PIPELINE_COMPUTE` names."""

    store: StoreResource
    timeout_s: float | None = None

    def has_done(self, task: str, request: BaseModel) -> bool:
        """Whether this call has ended well, so that `run` would take its result and start nothing."""
        settings, store = self.store.settings(), self.store.open()
        entry = find_task(task, settings)
        result = read_result(store, tenant_of(request), call_key_of(entry, request, store))
        return result is not None and result.status == "ok" and result.is_reusable(entry, store)

    def run(
        self,
        context: dg.AssetExecutionContext,
        task: str,
        request: BaseModel,
        assets: Sequence[dg.AssetKey],
    ) -> tuple[Handle, ResultRecord]:
        """Runs the task to its end. Raises `dg.Failure` when it fails, and Dagster's interrupt otherwise.

        SIGINT, and any signal while a person cancels the run, cancels the call; SIGTERM (a dying host)
        detaches, and the next run for the same input attaches to the call instead of paying again.
        """
        settings = self.store.settings()
        compute = open_compute(settings, self.store.open())
        log = _DagsterLog(context, assets, compute.describe)
        with Interrupts.watched() as interrupts:
            try:
                return run_call(
                    compute,
                    task,
                    request,
                    CallOptions(timeout_s=self.timeout_s),
                    on_submit=log.submitted,
                    on_event=log.event,
                    interrupted=lambda: asked_of_run(context, interrupts),
                )
            except Detached as detached:
                context.log.warning(f"{detached}: call {detached.input} goes on without this run")
                raise dg.DagsterExecutionInterruptedError from None
            except CallFailed as failed:
                if failed.error.kind == "cancelled" and interrupts.asked is not None:
                    context.log.warning(f"call {failed.record.key} was cancelled")
                    raise dg.DagsterExecutionInterruptedError from None
                raise to_failure(context, failed) from None
            except PipelineError as error:
                raise to_failure(context, error) from error


def asked_of_run(context: dg.AssetExecutionContext, interrupts: Interrupts) -> Interruption | None:
    """What a signal to the run's worker means. SIGTERM alone is a dying host; with a run that is being
    cancelled it is a person."""
    if interrupts.asked != "detach":
        return interrupts.asked
    run = context.instance.get_run_by_id(context.run.run_id)
    cancelled = run is not None and run.status == dg.DagsterRunStatus.CANCELING
    return "cancel" if cancelled else "detach"


class _DagsterLog:
    """A call's events in Dagster's log; the call's key as an observation, stored before the first poll, and
    as another what it will cost, where its backend charges for it."""

    def __init__(self, context: dg.AssetExecutionContext, assets: Sequence[dg.AssetKey], describe) -> None:
        self._context = context
        self._assets = assets
        self._describe = describe
        self._last_progress = 0.0
        self._call: dict[str, str] = {}

    def submitted(self, handle: Handle) -> None:
        self._call = {"call": handle.key, "task": handle.task, "backend": handle.backend}
        self._observe({})
        how = "attached to the known call" if handle.attached else "started the call"
        self._context.log.info(f"{how} {handle.key} of {handle.task} on {handle.backend} compute")

    def _observe(self, further: Mapping[str, Any]) -> None:
        for asset in self._assets:
            self._context.log_event(
                dg.AssetObservation(
                    asset, partition=self._context.partition_key, metadata={**self._call, **further}
                )
            )

    def event(self, event: Event) -> None:
        data = event.data
        if event.name == "log":
            self._context.log.debug(str(data.get("line", "")))
        elif event.name == "progress":
            last = data.get("done") == data.get("total")
            if last or time.monotonic() - self._last_progress >= PROGRESS_EVERY_S:
                self._last_progress = time.monotonic()
                self._context.log.info(progress_line(data))
        elif event.name == "cost":
            self._context.log.info(f"cost: {data.get('cost')}")
            self._observe(data)
        elif event.name == "retry":
            self._context.log.warning(f"starting again after {data.get('kind')}: {data.get('message')}")
        else:
            self._context.log.debug(f"worker: {event.name} {dict(data)}")
