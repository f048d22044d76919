"""A call that Dagster follows, when somebody ends the run: who cancels it, who leaves it, what is told."""

# No `from __future__ import annotations`: Dagster reads an asset's annotations, not their text.

import contextlib
import logging
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from video_pipeline.calls import ErrorRecord, ResultRecord, WorkerIdentity
from video_pipeline.compute.base import CallOptions, Event, Handle, Status
from video_pipeline.errors import ErrorKind
from video_pipeline.machine_probe import ProbeRequest
from video_pipeline.operations.states import FAILURE_KIND_TAG
from video_pipeline.resources import compute as resource
from video_pipeline.resources.compute import ComputeResource
from video_pipeline.resources.store import StoreResource

KEY = "cd" * 16


class DoubleOfCompute:
    """In the place of a backend: a call that works until it is cancelled or has no more to tell. `errors` is
    what its first attempts end with."""

    backend = "local"
    unclaimed_limit_s = 60.0

    def __init__(
        self, events: list[Event], at_poll: Callable[[], None] | None, errors: list[ErrorKind]
    ) -> None:
        self.events_left, self.at_poll, self.errors = events, at_poll, errors
        self.cancelled: list[str] = []
        self.options: CallOptions | None = None

    def submit(self, task: str, request: Any, options: CallOptions | None = None) -> Handle:
        self.options = options
        return Handle("acme", KEY, task, self.backend)

    def events(self, handle: Handle) -> "DoubleOfCompute":
        return self

    def read(self) -> list[Event]:
        told, self.events_left = self.events_left, []
        return told

    def cancel(self, handle: Handle, reason: str) -> None:
        self.cancelled.append(reason)

    def poll(self, handle: Handle) -> Status:
        if self.at_poll is not None and not self.cancelled:
            self.at_poll()
            return Status("running")
        kind: ErrorKind | None = None
        if self.cancelled or self.errors:
            kind = "cancelled" if self.cancelled else self.errors.pop(0)
        error = None if kind is None else ErrorRecord(kind=kind, message=f"it ended: {kind}")
        now = datetime.now(UTC)
        return Status(
            "done",
            result=ResultRecord(
                key=KEY,
                task=handle.task,
                version=1,
                status="ok" if error is None else "error",
                result={} if error is None else None,
                error=error,
                worker=WorkerIdentity(backend="local"),
                started_at=now,
                finished_at=now,
            ),
        )

    def describe(self, handle: Handle) -> dict[str, Any]:
        return {}


Followed = tuple[DoubleOfCompute, dg.DagsterRun, list[str]]


@pytest.fixture
def follow(instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs an asset that follows such a call: the call, the run, and what was logged from INFO up."""

    def followed(
        *,
        events: tuple[Event, ...] = (),
        at_poll: Callable[[str], None] | None = None,
        errors: tuple[ErrorKind, ...] = (),
        timeout_s: float | None = None,
    ) -> Followed:
        runs: list[str] = []
        poll = None if at_poll is None else lambda: at_poll(runs[0])
        double = DoubleOfCompute(list(events), poll, list(errors))
        monkeypatch.setattr(resource, "open_compute", lambda settings, store: double)

        @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["acme--a"]))
        def made(context: dg.AssetExecutionContext, compute: ComputeResource) -> None:
            runs.append(context.run.run_id)
            compute.run(context, "probe", ProbeRequest(), [context.asset_key])

        store = StoreResource(uri=str(tmp_path / "store"))
        with contextlib.suppress(dg.DagsterExecutionInterruptedError):
            dg.materialize(
                [made],
                partition_key="acme--a",
                resources={
                    "store": store,
                    "compute": ComputeResource(store=store, timeout_s=timeout_s),
                },
                instance=instance,
                raise_on_error=False,
            )
        run = instance.get_run_by_id(runs[0])
        assert run is not None
        told = [
            entry.user_message for entry in instance.all_logs(runs[0]) if int(entry.level) >= logging.INFO
        ]
        return double, run, told

    return followed


def test_a_host_that_ends_leaves_the_call_alone(follow: Callable[..., Followed]) -> None:
    call, run, logged = follow(at_poll=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert call.cancelled == []
    assert any(f"call {KEY} goes on without this run" in line for line in logged)
    # No failure of the call is told: the run that follows attaches to it.
    assert FAILURE_KIND_TAG not in run.tags
    assert run.status is not dg.DagsterRunStatus.SUCCESS


def test_a_person_who_cancels_the_run_cancels_the_call(
    follow: Callable[..., Followed], instance: dg.DagsterInstance
) -> None:
    def terminate(run_id: str) -> None:
        # In the UI's order: the run is marked, then its process is told.
        run = instance.get_run_by_id(run_id)
        assert run is not None
        if run.status is not dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceling(run)
        os.kill(os.getpid(), signal.SIGTERM)

    call, run, logged = follow(at_poll=terminate)
    assert call.cancelled == ["cancelled by its caller"]
    assert f"call {KEY} was cancelled" in logged
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert FAILURE_KIND_TAG not in run.tags


def test_ctrl_c_cancels_the_call(follow: Callable[..., Followed]) -> None:
    call, _, logged = follow(at_poll=lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert call.cancelled == ["cancelled by its caller"]
    assert f"call {KEY} was cancelled" in logged


def test_a_call_that_somebody_else_cancelled_is_a_failure_of_that_kind(
    follow: Callable[..., Followed],
) -> None:
    _, run, _ = follow(errors=("cancelled",))
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert run.tags[FAILURE_KIND_TAG] == "cancelled"
    assert run.tags["dagster/retry_on_asset_or_op_failure"] == "false"


def test_of_much_progress_the_first_and_the_last_line_are_logged(follow: Callable[..., Followed]) -> None:
    told = [Event("progress", {"stage": "probe", "done": done, "total": 50}) for done in range(1, 51)]
    _, run, logged = follow(events=tuple(told))
    assert run.status is dg.DagsterRunStatus.SUCCESS
    lines = [line.split(" of ")[0] for line in logged if line.startswith("probe: ")]
    assert lines == ["probe: 1", "probe: 50"]


def test_a_call_gets_the_limit_that_the_resource_was_given(follow: Callable[..., Followed]) -> None:
    call, _, _ = follow(timeout_s=17.0)
    assert call.options is not None
    assert call.options.timeout_s == 17.0


def test_a_call_that_is_started_again_is_told_and_the_run_goes_on(follow: Callable[..., Followed]) -> None:
    _, run, logged = follow(errors=("transient", "preempted"))
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert [line for line in logged if line.startswith("starting again")] == [
        "starting again after transient: it ended: transient",
        "starting again after preempted: it ended: preempted",
    ]
    assert FAILURE_KIND_TAG not in run.tags


def test_what_may_pass_fails_the_run_after_three_attempts_and_dagster_may_try_once_more(
    follow: Callable[..., Followed],
) -> None:
    call, run, _ = follow(errors=("transient", "transient", "transient", "transient"))
    assert call.errors == ["transient"]
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert run.tags[FAILURE_KIND_TAG] == "transient"
    assert run.tags["dagster/retry_on_asset_or_op_failure"] == "true"
