"""The assets before and after the pass: where captions stand, and the files that people and players open.

Belongs here: what they are made of and what to show about them. Does not belong here: looking, reading or
file formats; those are the tasks `find_caption_layout` and `read_captions`.
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

import dagster as dg

from video_pipeline import keys
from video_pipeline.assets.common import (
    GROUP,
    LAYOUT,
    OWNERS,
    PASS,
    POOL,
    SOURCE,
    check_result,
    description,
)
from video_pipeline.assets.metadata import link, links, store_picture, usage_figures
from video_pipeline.captions.checks import check_captions
from video_pipeline.captions.intake import (
    layout_request,
    load_caption_request,
    pass_request,
    reading_request,
)
from video_pipeline.captions.request import STAGES, FindLayoutResult, ReadCaptionsResult
from video_pipeline.errors import PipelineError
from video_pipeline.failures import to_failure
from video_pipeline.media.geometry import CropRegion
from video_pipeline.partitions import video_of, video_partitions
from video_pipeline.resources.compute import ComputeResource
from video_pipeline.resources.store import StoreResource
from video_pipeline.tasks import find_task

CAPTIONS = dg.AssetKey("captions")
TASK = "read_captions"
LAYOUT_TASK = "find_caption_layout"


@dg.asset(
    key=LAYOUT,
    deps=[SOURCE],
    partitions_def=video_partitions,
    group_name=GROUP,
    kinds={"pytorch", "json"},
    owners=OWNERS,
    code_version=str(find_task(LAYOUT_TASK).version),
    pool=POOL,
    description=description(
        "caption_layout",
        "Where the captions stand: the band in which text stands still and changes. A `crop_region` in "
        "caption_request.json overrides it, and then nothing is looked at.",
        "`preview`, the band drawn over pictures of the video, and `reasons`.",
    ),
)
def caption_layout(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> dg.MaterializeResult:
    try:
        objects = store.open()
        video = video_of(context)
        given = load_caption_request(objects, video).crop_region
        if given is not None:
            context.log.info("nothing to do: caption_request.json says where the captions stand")
            return dg.MaterializeResult(
                data_version=dg.DataVersion(keys.recipe_hash(crop=given.model_dump_json())),
                metadata={
                    "band": _band(given),
                    "crop_region": dg.MetadataValue.json(given.model_dump()),
                    "given_by": "a person, in caption_request.json",
                    "request": link(objects, keys.caption_request_key(video)),
                },
            )
        request = layout_request(objects, video)
    except PipelineError as error:
        raise to_failure(context, error) from None
    handle, record = compute.run(context, LAYOUT_TASK, request, [LAYOUT])
    result = FindLayoutResult.model_validate(record.result)
    for line in result.degraded:
        context.log.warning(f"done other than asked: {line}")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(keys.recipe_hash(crop=result.crop_region.model_dump_json())),
        metadata={
            "preview": store_picture(objects, result.preview_key, "where the captions stand"),
            "band": _band(result.crop_region),
            "found": result.found,
            "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in result.reasons)),
            "moments": result.moments,
            **usage_figures(record),
            "crop_region": dg.MetadataValue.json(result.crop_region.model_dump()),
            "layout": link(objects, result.layout_key),
            "call": handle.key,
        },
    )


def _band(region: CropRegion) -> str:
    """A crop region in words; the exact numbers, to copy into a request, stand beside it."""
    return (
        f"{region.left:.1%} from the left, {region.top:.1%} from the top, {region.width:.1%} wide, "
        f"{region.height:.1%} high"
    )


@dg.asset(
    key=CAPTIONS,
    deps=[*PASS.values()],
    partitions_def=video_partitions,
    group_name=GROUP,
    kinds={"pytorch", "json"},
    owners=OWNERS,
    code_version=str(find_task(TASK).version),
    pool=POOL,
    check_specs=[
        dg.AssetCheckSpec(
            "files_agree",
            asset=CAPTIONS,
            description="captions.json keeps its schema, and SRT and WebVTT say the same.",
        )
    ],
    description=description(
        "captions",
        "The captions with exact times and text: captions.json, SRT, WebVTT, and a page to check them in, "
        "which shows the least certain boundaries first.",
        "`preview`, the first captions, and the file `review_page`.",
    ),
)
def captions(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> dg.MaterializeResult:
    from video_pipeline.captions.plan import plan_for

    try:
        objects = store.open()
        video = video_of(context)
        plan = plan_for(objects, pass_request(objects, video, STAGES))
        request = reading_request(objects, video, chunks="chunks" in plan.existing)
    except PipelineError as error:
        raise to_failure(context, error) from None
    handle, record = compute.run(context, TASK, request, [CAPTIONS])
    result = ReadCaptionsResult.model_validate(record.result)
    if not result.captions.made or (handle.attached and record.status == "ok"):
        context.log.info("nothing to do: these captions are in the store already; nothing was written")
    for line in result.degraded:
        context.log.warning(f"done other than asked: {line}")
    prefix = result.captions.manifest_key.removesuffix("manifest.json")
    try:
        problems = check_captions(objects, result.captions.manifest_key)
    except PipelineError as error:
        raise to_failure(context, error) from None
    return dg.MaterializeResult(
        data_version=dg.DataVersion(result.captions.recipe),
        metadata={
            "preview": dg.MetadataValue.md(
                "\n".join(f"- {line}" for line in result.preview) or "no captions"
            ),
            "captions": result.caption_count,
            "with_text": result.with_text,
            **{f"without_text_{reason}": count for reason, count in result.unread.items()},
            **({} if result.least_certain is None else {"least_certain_boundary": result.least_certain}),
            "wall_seconds": round(result.wall_seconds, 3),
            **usage_figures(record),
            **links(
                objects,
                {
                    "review_page": prefix + "review.html",
                    "srt": prefix + "captions.srt",
                    "vtt": prefix + "captions.vtt",
                    "json": prefix + "captions.json",
                    "manifest": prefix + "manifest.json",
                    **record.report_keys,
                },
            ),
            "call": handle.key,
        },
        check_results=[check_result("files_agree", CAPTIONS, problems)],
    )
