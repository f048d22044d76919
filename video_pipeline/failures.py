"""How errors become Dagster failures, and which of them Dagster may retry.

Belongs here: the one place that decides about retries above the backend. The layers, from the inside:

1. `compute.follow.run_call` starts `transient` and `preempted` calls again, three times in all.
2. The asset has no RetryPolicy: Dagster would restart a step that a person cancelled (issue #15026).
3. Run retries (`dagster/max_retries` on the job) start the run again from the failed assets. For `bad_input`,
   `cancelled` and `version_mismatch` that would pay twice for the same answer, so the run is stamped.

`Failure(allow_retries=False)` stops layer 2 only; the stamp is what stops layer 3. A run that is started
again inherits its parent's stamp, so a failure that may be retried takes it off.
"""

from __future__ import annotations

import dagster as dg

from video_pipeline.compute.follow import CallFailed
from video_pipeline.errors import ErrorKind, PipelineError
from video_pipeline.operations.states import FAILURE_KIND_TAG, FAILURE_OF_TAG

NEVER_RETRIED: tuple[ErrorKind, ...] = ("bad_input", "cancelled", "version_mismatch")
STOP_RUN_RETRIES = {"dagster/retry_on_asset_or_op_failure": "false"}
ALLOW_RUN_RETRIES = {"dagster/retry_on_asset_or_op_failure": "true"}


def to_failure(context: dg.AssetExecutionContext, error: PipelineError) -> dg.Failure:
    """The failure a person reads: one line, then kind, input, advice and the worker's traceback."""
    if isinstance(error, CallFailed):
        kind, traceback = error.error.kind, error.error.traceback
    else:
        kind, traceback = error.kind, ""
    retried = kind not in NEVER_RETRIED
    _stamp(context, kind, retried)
    metadata: dict[str, dg.MetadataValue] = {"kind": dg.MetadataValue.text(kind)}
    if error.input:
        metadata["input"] = dg.MetadataValue.text(error.input)
    if error.what_to_do:
        metadata["what_to_do"] = dg.MetadataValue.text(error.what_to_do)
    if traceback:
        metadata["worker_traceback"] = dg.MetadataValue.md(f"```\n{traceback[-8000:]}\n```")
    if isinstance(error, CallFailed) and error.record.worker.log_path:
        metadata["worker_log"] = dg.MetadataValue.path(error.record.worker.log_path)
    return dg.Failure(description=str(error), metadata=metadata, allow_retries=retried)


def _stamp(context: dg.AssetExecutionContext, kind: ErrorKind, retried: bool) -> None:
    """The kind as a tag too: schedules and the UI's list of runs tell failures apart without reading events.

    Of two assets of a run that fail, the one that is never retried counts: the run would pay for it again.
    """
    run = context.instance.get_run_by_id(context.run.run_id)
    tags = run.tags if run is not None else {}
    if tags.get(FAILURE_OF_TAG) == context.run.run_id and tags.get(FAILURE_KIND_TAG) in NEVER_RETRIED:
        return
    stamps = {FAILURE_KIND_TAG: kind, FAILURE_OF_TAG: context.run.run_id}
    context.instance.add_run_tags(
        context.run.run_id, {**stamps, **(ALLOW_RUN_RETRIES if retried else STOP_RUN_RETRIES)}
    )
