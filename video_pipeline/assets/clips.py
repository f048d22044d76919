"""The clip assets: one clip per partition, from what its request in the store asks for.

    clip -> overlay_clip -> framed_clip,  clip -> player_detections
    framed_clip of other partitions -> multi_clip, annotated_compilation

Belongs here: what exists, of what it is made, what to show and check. Does not belong here: pixels, requests'
forms (`clips.intake`, `clips.task_requests`). A part that the request does not ask for is skipped where
several assets run together, and an error where it was chosen alone.
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

from collections.abc import Callable, Iterator
from fractions import Fraction

import dagster as dg
from pydantic import BaseModel

from video_pipeline.assets.clip_checks import frame_problems, sound_problems
from video_pipeline.assets.common import OWNERS, check_result, description
from video_pipeline.assets.metadata import link, links, store_picture, usage_figures
from video_pipeline.calls import ResultRecord
from video_pipeline.clips import task_requests
from video_pipeline.clips.current import Stage, set_current
from video_pipeline.clips.detect_request import DetectPlayersResult
from video_pipeline.clips.intake import ClipRequest, load_clip_request
from video_pipeline.clips.result import RenderResult
from video_pipeline.errors import PipelineError
from video_pipeline.failures import to_failure
from video_pipeline.keys import ClipId
from video_pipeline.partitions import clip_of, clip_partitions
from video_pipeline.resources.compute import ComputeResource
from video_pipeline.resources.store import StoreResource
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import find_task

GROUP = "clips"
POOL = "clips"
CLIP, PLAYERS, OVERLAY, FRAMED, MULTI, COMPILATION = (
    dg.AssetKey(name)
    for name in (
        "clip",
        "player_detections",
        "overlay_clip",
        "framed_clip",
        "multi_clip",
        "annotated_compilation",
    )
)
OTHER_CLIPS = dg.AssetDep(FRAMED, partition_mapping=dg.AllPartitionMapping())

SOUND_CHECK, FRAMES_CHECK = "sound_fits", "frames_add_up"

Build = Callable[[ObjectStore, ClipId, ClipRequest], BaseModel]


LOOK = "`before_and_after` pictures, and the file `clip`, which any player opens."


def _asset(key: dg.AssetKey, task: str, deps: list, what: str) -> Callable:
    return dg.asset(
        key=key,
        deps=deps,
        partitions_def=clip_partitions,
        group_name=GROUP,
        kinds={"video", "pytorch"} if key in (FRAMED, MULTI) else {"video"},
        owners=OWNERS,
        code_version=str(find_task(task).version),
        pool=POOL,
        output_required=False,
        check_specs=[
            dg.AssetCheckSpec(
                FRAMES_CHECK, asset=key, description="Frames, chunks and length agree with each other."
            ),
            dg.AssetCheckSpec(
                SOUND_CHECK,
                asset=key,
                description="The sound begins and ends with the picture, to an AAC frame.",
            ),
        ],
        description=description(key.to_user_string(), what, LOOK),
    )


@_asset(CLIP, "extract_clip", [], "The part of the source video that the request names, cut at exact frames.")
def clip(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.MaterializeResult]:
    yield from _render(
        context,
        store,
        compute,
        "clip",
        "extract_clip",
        "source_key",
        lambda _store, clip, asked: task_requests.extract_request(clip, asked),
    )


@_asset(
    OVERLAY,
    "render_overlay",
    [CLIP],
    "The clip under spotlights that follow key frames; a copy of it where the request has none.",
)
def overlay_clip(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.MaterializeResult]:
    yield from _render(
        context, store, compute, "overlay_clip", "render_overlay", "source_key", task_requests.overlay_request
    )


@_asset(
    FRAMED,
    "process_framing_ai_parallel",
    [CLIP, OVERLAY],
    "The clip re-framed along key frames, enlarged by a network where it has too few pixels, with its trims "
    "and speed changes; in several calls side by side where that pays.",
)
def framed_clip(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.MaterializeResult]:
    yield from _render(
        context,
        store,
        compute,
        "framed_clip",
        "process_framing_ai_parallel",
        "framing",
        task_requests.framing_request,
    )


@_asset(MULTI, "process_multi_clip", [OTHER_CLIPS], "Several clips re-framed and joined with transitions.")
def multi_clip(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.MaterializeResult]:
    yield from _render(
        context,
        store,
        compute,
        "multi_clip",
        "process_multi_clip",
        "multi_clip",
        task_requests.multi_clip_request,
    )


@_asset(
    COMPILATION,
    "create_annotated_compilation",
    [OTHER_CLIPS],
    "Clips one after the other, each with its name, notes, rating and tags written over it.",
)
def annotated_compilation(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.MaterializeResult]:
    yield from _render(
        context,
        store,
        compute,
        "annotated_compilation",
        "create_annotated_compilation",
        "compilation",
        task_requests.compilation_request,
    )


@dg.asset(
    key=PLAYERS,
    deps=[CLIP],
    partitions_def=clip_partitions,
    group_name=GROUP,
    kinds={"pytorch", "json"},
    owners=OWNERS,
    code_version=str(find_task("detect_players_batch").version),
    pool=POOL,
    output_required=False,
    description=description(
        "player_detections",
        "Where people stand in frames of the clip: boxes with centre, size and confidence as JSON.",
        "`people`, the frame with the most of them, with the boxes drawn.",
    ),
)
def player_detections(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.MaterializeResult]:
    try:
        objects = store.open()
        which = clip_of(context)
        asked = load_clip_request(objects, which)
        if _skipped(context, asked, "players", which):
            return
        request = task_requests.players_request(objects, which, asked)
    except PipelineError as error:
        raise to_failure(context, error) from None
    handle, record = compute.run(context, "detect_players_batch", request, [PLAYERS])
    result = DetectPlayersResult.model_validate(record.result)
    for line in result.degraded:
        context.log.warning(f"done other than asked: {line}")
    fullest = max(result.frames, key=lambda frame: len(frame.detections), default=None)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(result.recipe),
        metadata={
            "people": store_picture(objects, fullest.picture_key if fullest else None, "the fullest frame"),
            "frames": len(result.frames),
            "detections": result.detections,
            "pictures_without": result.pictures_without,
            "wall_seconds": round(result.seconds_taken, 3),
            **usage_figures(record),
            "json": link(objects, result.detections_key),
            **links(objects, record.report_keys),
            "model_sha256": result.model_sha256,
            "call": handle.key,
        },
    )


def _render(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    compute: ComputeResource,
    stage: Stage,
    task: str,
    section: str,
    build: Build,
) -> Iterator[dg.MaterializeResult]:
    """One render: request from the store, call, present render, metadata and checks."""
    key = dg.AssetKey(stage)
    try:
        objects = store.open()
        which = clip_of(context)
        asked = load_clip_request(objects, which)
        if _skipped(context, asked, section, which):
            return
        request = build(objects, which, asked)
    except PipelineError as error:
        raise to_failure(context, error) from None
    handle, record = compute.run(context, task, request, [key])
    result = RenderResult.model_validate(record.result)
    for line in result.degraded:
        context.log.warning(f"done other than asked: {line}")
    try:
        set_current(objects, which, stage, result)
    except PipelineError as error:
        raise to_failure(context, error) from None
    yield _render_result(objects, key, result, handle.key, record)


def _skipped(context: dg.AssetExecutionContext, asked: ClipRequest, section: str, clip: ClipId) -> bool:
    """Whether the request has nothing for this asset; BadInput follows where it was chosen alone."""
    if getattr(asked, section) is not None:
        return False
    alone = context.job_name.endswith("_only") or len(context.run.asset_selection or ()) == 1
    if not alone:
        context.log.info(f"skipped: the request of {clip.partition_key} has no {section!r}")
    return not alone


def _render_result(
    store: ObjectStore, key: dg.AssetKey, result: RenderResult, call: str, record: ResultRecord
) -> dg.MaterializeResult:
    assert result.output_key is not None
    return dg.MaterializeResult(
        asset_key=key,
        data_version=dg.DataVersion(result.recipe),
        metadata={
            "before_and_after": store_picture(store, result.picture_key, "before and after"),
            "clip": link(store, result.output_key),
            "duration_seconds": round(result.duration_seconds, 3),
            "picture": f"{result.width} x {result.height}",
            "frames_per_second": round(float(Fraction(result.frame_rate)), 3),
            "frames": result.frames,
            "enlarged_frames": result.enlarged_frames,
            "bytes": result.size_bytes or 0,
            **({} if result.ms_per_frame is None else {"ms_per_frame": round(result.ms_per_frame, 2)}),
            **({} if result.start_seconds is None else {"start_seconds": round(result.start_seconds, 3)}),
            "chunks": len(result.chunks) or 1,
            "av_offset_ms": "no sound" if result.av_offset_ms is None else round(result.av_offset_ms, 2),
            "copied": result.copied,
            "made": result.made,
            "notes": dg.MetadataValue.md("\n".join(f"- {line}" for line in result.notes) or "none"),
            **usage_figures(record),
            **links(store, record.report_keys),
            "call": call,
        },
        check_results=[
            check_result(FRAMES_CHECK, key, frame_problems(result)),
            check_result(SOUND_CHECK, key, sound_problems(result)),
        ],
    )
