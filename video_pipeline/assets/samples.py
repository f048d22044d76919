"""The sampling assets: one sample (a batch over many videos) per partition.

    frame_samples, frame_predictions (one run of the task `run_inference`)

Belongs here: what exists, of what it is made and what to show about it. Does not belong here: pixels,
networks, reports; those are the task's.
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

from collections.abc import Iterator

import dagster as dg

from video_pipeline.assets.common import OWNERS, check_result, description
from video_pipeline.assets.metadata import links, store_picture, usage_figures
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


def _spec(key: dg.AssetKey, deps: list[dg.AssetKey], kinds: set[str], what: str, look: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=deps,
        group_name=GROUP,
        partitions_def=sample_partitions,
        code_version=str(find_task(TASK).version),
        owners=OWNERS,
        kinds=kinds,
        description=description(key.to_user_string(), what, look),
    )


@dg.multi_asset(
    name="sample_pass",
    specs=[
        _spec(
            FRAMES,
            [],
            {"video", "image"},
            "The frames that the sample's request chooses of each remote video, decoded from little more "
            "than the bytes they need, as pictures in the store.",
            "`pictures`, and `bandwidth_table`: what was fetched of each video against what was needed.",
        ),
        _spec(
            PREDICTIONS,
            [FRAMES],
            {"pytorch"},
            "What the classifier sees in each frame, with its confidence.",
            "`predictions`, and `pictures` with the labels under them.",
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "accounted_for",
            asset=FRAMES,
            description="Every frame that was asked for was delivered or has an error.",
        ),
        dg.AssetCheckSpec(
            "all_delivered", asset=FRAMES, description="No frame of any video failed (a warning)."
        ),
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
    files = {
        **usage_figures(record),
        **links(objects, record.report_keys | result.report_keys),
        "call": handle.key,
    }
    yield _frames_result(objects, result, handle.key, files)
    yield _predictions_result(objects, result, handle.key, files)


def _frames_result(
    store: ObjectStore, result: RunInferenceResult, version: str, files: dict
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
            "pictures": store_picture(store, result.report_keys.get("picture_grid"), "sampled frames"),
            "bandwidth_table": dg.MetadataValue.md(markdown_tables(result)["bandwidth"]),
            "requested": result.requested,
            "delivered": result.delivered,
            "failed": result.failed,
            "megabytes_read": round(result.bandwidth_total_upstream_mb, 3),
            "read_over_needed": round(
                result.bandwidth_total_upstream_bytes / max(1, result.minimum_bytes), 3
            ),
            "requests": result.bandwidth_num_proxy_requests,
            "wall_seconds": round(result.total_pipeline_time_seconds, 3),
            "decoder": result.decoder,
            **files,
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
    store: ObjectStore, result: RunInferenceResult, version: str, files: dict
) -> dg.MaterializeResult:
    confident = sorted(result.confidences)
    return dg.MaterializeResult(
        asset_key=PREDICTIONS,
        data_version=dg.DataVersion(version),
        metadata={
            "predictions": dg.MetadataValue.md(markdown_tables(result)["predictions"]),
            "pictures": store_picture(store, result.report_keys.get("picture_grid"), "sampled frames"),
            "frames": result.delivered,
            **({"median_confidence": round(confident[len(confident) // 2], 4)} if confident else {}),
            "inference_seconds": round(result.inference_time_seconds, 3),
            "model": result.model,
            "device": result.device,
            "wandb_run": result.wandb_run or "not tracked",
            "model_sha256": result.model_sha256 or "unknown",
            **files,
        },
    )
