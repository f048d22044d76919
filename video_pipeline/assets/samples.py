"""The sampling assets: one sample (a batch over many videos) per partition.

    frame_samples, frame_predictions (one run of the task `run_inference`)

Belongs here: what exists, of what it is made and what to show about it. Does not belong here: pixels,
networks, reports; those are the task's.
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

from collections.abc import Iterator

import dagster as dg

from video_pipeline.assets.common import OWNERS, check_result
from video_pipeline.assets.metadata import link, store_picture
from video_pipeline.errors import PipelineError
from video_pipeline.failures import to_failure
from video_pipeline.partitions import sample_of, sample_partitions
from video_pipeline.resources.compute import ComputeResource
from video_pipeline.resources.store import StoreResource
from video_pipeline.sampling.bandwidth_report import markdown_tables
from video_pipeline.sampling.intake import load_sample_request
from video_pipeline.sampling.request import RunInferenceResult
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import find_task

GROUP = "sampling"
TASK = "run_inference"
FRAMES, PREDICTIONS = dg.AssetKey("frame_samples"), dg.AssetKey("frame_predictions")


def _spec(key: dg.AssetKey, deps: list[dg.AssetKey], kinds: set[str], description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=deps,
        group_name=GROUP,
        partitions_def=sample_partitions,
        code_version=str(find_task(TASK).version),
        owners=OWNERS,
        kinds=kinds,
        description=description,
    )


@dg.multi_asset(
    name="sample_pass",
    specs=[
        _spec(
            FRAMES,
            [],
            {"video", "python"},
            "The frames that the sample's request chooses, decoded from little more than the bytes they "
            "need, as pictures in the store; what was fetched of each video against what was needed.",
        ),
        _spec(
            PREDICTIONS,
            [FRAMES],
            {"pytorch"},
            "What the classifier sees in each frame, with its confidence.",
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "accounted_for", asset=FRAMES, description="every frame asked for was delivered or has an error"
        ),
        dg.AssetCheckSpec("all_delivered", asset=FRAMES, description="no frame of any video failed"),
    ],
    pool="sampling",
)
def sample_pass(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.MaterializeResult]:
    try:
        objects = store.open()
        request = load_sample_request(objects, sample_of(context))
    except PipelineError as error:
        raise to_failure(context, error) from None
    handle, record = compute.run(context, TASK, request, [FRAMES, PREDICTIONS])
    result = RunInferenceResult.model_validate(record.result)
    for line in result.degraded:
        context.log.warning(f"done other than asked: {line}")
    common = {
        "call": handle.key,
        **{name: link(objects, key) for name, key in (record.report_keys | result.report_keys).items()},
    }
    yield _frames_result(objects, result, handle.key, common)
    yield _predictions_result(objects, result, handle.key, common)


def _frames_result(
    store: ObjectStore, result: RunInferenceResult, version: str, common: dict
) -> dg.MaterializeResult:
    missing = [
        f"batch {row.batch}, {row.url}: {row.error.message if row.error else 'no error'}"
        for row in result.frames
        if not row.delivered
    ]
    lost = result.requested - len(result.frames)
    counts = result.delivered + result.failed
    return dg.MaterializeResult(
        asset_key=FRAMES,
        data_version=dg.DataVersion(version),
        metadata={
            **common,
            "frames": store_picture(store, result.report_keys.get("picture_grid"), "sampled frames"),
            "bandwidth_table": dg.MetadataValue.md(markdown_tables(result)["bandwidth"]),
            "requested": result.requested,
            "delivered": result.delivered,
            "failed": result.failed,
            "megabytes_read": result.bandwidth_total_upstream_mb,
            "read_over_needed": result.bandwidth_total_upstream_bytes / max(1, result.minimum_bytes),
            "requests": result.bandwidth_num_proxy_requests,
            "wall_seconds": result.total_pipeline_time_seconds,
            "decoder": result.decoder,
        },
        check_results=[
            check_result(
                "accounted_for",
                FRAMES,
                [] if not lost and counts == result.requested else [f"{lost} frames are in no row"],
            ),
            # A video that is gone is no reason to fail a run over a thousand: it is shown, and warned of.
            check_result("all_delivered", FRAMES, missing, dg.AssetCheckSeverity.WARN),
        ],
    )


def _predictions_result(
    store: ObjectStore, result: RunInferenceResult, version: str, common: dict
) -> dg.MaterializeResult:
    confident = sorted(result.confidences)
    return dg.MaterializeResult(
        asset_key=PREDICTIONS,
        data_version=dg.DataVersion(version),
        metadata={
            **common,
            "predictions": dg.MetadataValue.md(markdown_tables(result)["predictions"]),
            "frames": store_picture(store, result.report_keys.get("picture_grid"), "sampled frames"),
            "model": result.model,
            "model_sha256": result.model_sha256 or "unknown",
            "device": result.device,
            "median_confidence": confident[len(confident) // 2] if confident else float("nan"),
            "inference_seconds": result.inference_time_seconds,
            "wandb_run": result.wandb_run or "not tracked",
        },
    )
