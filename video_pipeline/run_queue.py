"""Dagster's run queue, in which a pool holds from its first run on.

Belongs here: that pools are known before a run that needs them waits. Does not belong here: which runs go on
at once (the instance's `concurrency`), or what starts them (`run_launcher`).

Dagster 1.13 learns of a pool from the first queued run that names it, and gives it the instance's
`default_limit` in the very pass in which it has already decided that a pool without a limit has none
(`GlobalOpConcurrencyLimitsCounter.is_blocked`). So the first pass over a new pool, on a new instance or after
an upgrade that brings one, starts as many runs as `max_concurrent_runs` allows: of a backfill on a fresh
deployment 16 instead of 4.

The webserver and the daemon load this module: nothing of the pipeline is imported.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext


class PooledRunQueue(QueuedRunCoordinator):
    """`run_coordinator: {module: video_pipeline.run_queue, class: PooledRunQueue}` in dagster.yaml, with what
    `run_queue` takes as its `config`."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        needed = context.dagster_run.run_op_concurrency
        if needed is not None:
            storage = self._instance.event_log_storage
            # Only what has none: this call would put a limit that a person set in the UI back to the default.
            known = {pool.name for pool in storage.get_pool_limits()}
            for pool in sorted(set(needed.all_pools or ()) - known):
                storage.initialize_concurrency_limit_to_default(pool)
        return super().submit_run(context)
