"""A pool holds from the first run on, also where Dagster has never heard of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

POOL, QUEUED = "caption_pass", 3
OURS = {"module": "video_pipeline.run_queue", "class": "PooledRunQueue"}
ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "all"), "pooled")
DAGSTERS = {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}


@dg.op(pool=POOL)
def work() -> None: ...


@dg.job
def pooled() -> None:
    work()


@contextmanager
def instance(queue: dict[str, Any], limit: int = 1) -> Iterator[dg.DagsterInstance]:
    concurrency = {
        "runs": {"max_concurrent_runs": QUEUED},
        "pools": {"granularity": "run", "default_limit": limit},
    }
    with dg.instance_for_test(overrides={"run_coordinator": queue, "concurrency": concurrency}) as made:
        yield made


def started_in_one_pass(instance: dg.DagsterInstance) -> int:
    """How many of QUEUED runs the daemon's next pass over the queue would start."""
    with WorkspaceProcessContext(instance, None) as workspace:
        for _ in range(QUEUED):
            run = instance.create_run_for_job(pooled, remote_job_origin=ORIGIN)
            context = SubmitRunContext(run, workspace=workspace.create_request_context())
            assert instance.run_coordinator.submit_run(context).status == dg.DagsterRunStatus.QUEUED
    queue = QueuedRunCoordinatorDaemon(interval_seconds=1)
    return len(queue._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None))


def test_the_first_pass_over_a_new_pool_starts_no_more_than_it_takes() -> None:
    with instance(OURS) as made:
        assert started_in_one_pass(made) == 1


def test_dagsters_own_queue_starts_all_of_them() -> None:
    # When this fails, Dagster has mended it and `video_pipeline.run_queue` has no reason any more.
    with instance(DAGSTERS) as made:
        assert started_in_one_pass(made) == QUEUED


def test_a_limit_that_a_person_set_stays() -> None:
    with instance(OURS) as made:
        made.event_log_storage.set_concurrency_slots(POOL, 2)
        assert started_in_one_pass(made) == 2
        (pool,) = made.event_log_storage.get_pool_limits()
        assert (pool.name, pool.limit) == (POOL, 2)
