"""The caption assets: one video per partition.

    source_video -> caption_layout -> cropped_frames, caption_frame_extents, vp9_chunks (one streaming pass)
                 -> captions -> wasabi_upload

Belongs here: what exists, of what it is made and what to show about it. Does not belong here: pixels, media
or models; those are tasks (`video_pipeline.tasks`), run by compute.
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

from collections.abc import Callable, Iterator
from fractions import Fraction

import dagster as dg

from video_pipeline import keys
from video_pipeline.assets.caption_files import CAPTIONS
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
from video_pipeline.assets.metadata import (
    link,
    links,
    seconds,
    stages_table,
    store_picture,
    table,
    usage_figures,
)
from video_pipeline.assets.plots import labels_over_time
from video_pipeline.captions.checks import check_chunks, check_extents, check_frames
from video_pipeline.captions.intake import find_source, load_caption_request, pass_request
from video_pipeline.captions.manifest import Kind
from video_pipeline.captions.request import STAGES, CropAndInferResult
from video_pipeline.errors import BadInput, PipelineError
from video_pipeline.failures import to_failure
from video_pipeline.partitions import video_of, video_partitions
from video_pipeline.resources.compute import ComputeResource
from video_pipeline.resources.store import StoreResource
from video_pipeline.store.base import ObjectMissing, ObjectStore
from video_pipeline.tasks import find_task

TASK = "crop_and_infer_caption_frame_extents"


@dg.asset(
    key=SOURCE,
    partitions_def=video_partitions,
    group_name=GROUP,
    kinds={"video", "s3"},
    owners=OWNERS,
    code_version="1",
    description=description(
        "source_video",
        "The video as it was uploaded. It is looked at before anything is spent: a file that is not a video, "
        "is cut off or has no pictures ends here, with what to do about it.",
        "its length, picture, codec and size.",
    ),
)
def source_video(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:
    from video_pipeline.captions.plan import open_source, source_of
    from video_pipeline.media.geometry import to_pixel_crop
    from video_pipeline.media.probe import probe_video

    try:
        objects = store.open()
        video = video_of(context)
        request = load_caption_request(objects, video)
        key = find_source(objects, video)
        info = source_of(objects, key)
        reader = open_source(objects, key)
        try:
            probe = probe_video(reader, name=key)
        finally:
            if hasattr(reader, "close"):
                reader.close()  # pyright: ignore[reportAttributeAccessIssue]
        given = request.crop_region
        crop = None if given is None else to_pixel_crop(given, probe.display_width, probe.display_height)
    except PipelineError as error:
        raise to_failure(context, error) from None
    length = seconds(probe.duration_seconds)
    rate = None if probe.average_rate is None else round(float(Fraction(probe.average_rate)), 3)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(info.version),
        metadata={
            **({} if length is None else {"duration_seconds": length}),
            "picture": f"{probe.display_width} x {probe.display_height}",
            **({} if rate is None else {"frames_per_second": rate}),
            "codec": probe.codec,
            "bytes": dg.MetadataValue.int(info.size),
            "caption_strip": f"{crop.width} x {crop.height} at ({crop.left}, {crop.top})"
            if crop
            else "to be found",
            "samples_per_second": float(request.frame_rate),
            "source": link(objects, key),
            "probe": table(("property", "value"), sorted(probe.model_dump(mode="json").items())),
        },
    )


def _spec(stage: str, what: str, look: str, kinds: set[str]) -> dg.AssetSpec:
    return dg.AssetSpec(
        PASS[stage],
        deps=[SOURCE, LAYOUT],
        group_name=GROUP,
        partitions_def=video_partitions,
        code_version=str(find_task(TASK).version),
        owners=OWNERS,
        kinds=kinds,
        description=description(stage, what, look),
        skippable=True,
    )


@dg.multi_asset(
    name="caption_pass",
    specs=[
        _spec(
            "cropped_frames",
            "The samples of the caption strip: which source picture each one shows, and the crop in pixels.",
            "`contact_sheet`, the strip through the whole video.",
            {"json", "image"},
        ),
        _spec(
            "caption_frame_extents",
            "For each pair of neighbouring samples: the same caption, another one, or none on one or both "
            "sides; five probabilities in each direction, in SQLite.",
            "`labels_over_time`, where captions stand and where they change, and how sure that is.",
            {"pytorch", "sqlite"},
        ),
        _spec(
            "vp9_chunks",
            "The caption strip as a pyramid of small VP9 files: a player computes where any frame lies, and "
            "scrubs without waiting.",
            "`levels`, how many files and frames each level of the pyramid has.",
            {"vp9"},
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "frame_count",
            asset=PASS["cropped_frames"],
            description="Every sample of the video is listed once, in order.",
        ),
        dg.AssetCheckSpec(
            "pair_count",
            asset=PASS["caption_frame_extents"],
            description="Each pair of neighbouring samples is there once, and their labels add up.",
        ),
        dg.AssetCheckSpec(
            "addressing", asset=PASS["vp9_chunks"], description="Every frame lies where a player computes it."
        ),
    ],
    can_subset=True,
    pool=POOL,
)
def caption_pass(
    context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
) -> Iterator[dg.MaterializeResult]:
    selected = tuple(stage for stage in STAGES if PASS[stage] in context.selected_asset_keys)
    try:
        objects = store.open()
        request = pass_request(objects, video_of(context), selected)
        # A run that died between two of its materialisations is made again with the others alone: what they
        # show is in the result of the call for all, and a call for them would start a machine for nothing.
        whole = request.model_copy(update={"stages": STAGES})
        if selected != STAGES and compute.has_done(TASK, whole):
            request = whole
    except PipelineError as error:
        raise to_failure(context, error) from None
    handle, record = compute.run(context, TASK, request, [PASS[stage] for stage in selected])
    result = CropAndInferResult.model_validate(record.result)
    made = [item for item in (result.frames, result.extents, result.chunks) if item is not None and item.made]
    if handle.attached and record.status == "ok":
        context.log.info(
            "nothing to do: this video, request and code have been run before; nothing was written"
        )
    elif not made:
        context.log.info(
            "nothing to do: every artefact asked for is in the store already; nothing was written"
        )
    for line in result.degraded:
        context.log.warning(f"done other than asked: {line}")

    rate = result.frame_count / result.wall_seconds if result.wall_seconds else 0.0
    figures = {
        "frames": result.frame_count,
        "wall_seconds": round(result.wall_seconds, 3),
        "speed_frames_per_second": round(rate, 1),
        **usage_figures(record),
        **stages_table(objects, record.report_keys),
    }
    files = {**links(objects, record.report_keys), "call": handle.key}
    try:
        if "cropped_frames" in selected:
            yield _frames_result(objects, result, figures, files)
        if "caption_frame_extents" in selected:
            yield _extents_result(objects, result, figures, files)
        if "vp9_chunks" in selected:
            yield _chunks_result(objects, result, figures, files)
    except PipelineError as error:
        raise to_failure(context, error) from None


def _shown(draw: Callable[[], dg.MetadataValue]) -> dg.MetadataValue:
    """What is drawn of an object in the store; or that it is missing, for which the asset's check fails."""
    try:
        return draw()
    except ObjectMissing as error:
        return dg.MetadataValue.text(str(error))


def _frames_result(
    store: ObjectStore, result: CropAndInferResult, figures: dict, files: dict
) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        asset_key=PASS["cropped_frames"],
        data_version=dg.DataVersion(result.frames.recipe),
        metadata={
            "contact_sheet": _shown(lambda: store_picture(store, result.contact_sheet_key)),
            "strip": f"{result.frame_width} x {result.frame_height}",
            **figures,
            "bytes": result.frames.bytes,
            "manifest": link(store, result.frames.manifest_key),
            **files,
        },
        check_results=[
            check_result(
                "frame_count", PASS["cropped_frames"], check_frames(store, result.frames.manifest_key)
            )
        ],
    )


def _extents_result(
    store: ObjectStore, result: CropAndInferResult, figures: dict, files: dict
) -> dg.MaterializeResult:
    extents = result.extents
    assert extents is not None
    return dg.MaterializeResult(
        asset_key=PASS["caption_frame_extents"],
        data_version=dg.DataVersion(extents.recipe),
        metadata={
            "labels_over_time": _shown(
                lambda: labels_over_time(store, extents.manifest_key, float(result.frame_rate))
            ),
            **{f"pairs_{label}": count for label, count in result.label_counts.items()},
            **figures,
            "bytes": extents.bytes,
            "manifest": link(store, extents.manifest_key),
            **files,
        },
        check_results=[
            check_result(
                "pair_count", PASS["caption_frame_extents"], check_extents(store, extents.manifest_key)
            )
        ],
    )


def _chunks_result(
    store: ObjectStore, result: CropAndInferResult, figures: dict, files: dict
) -> dg.MaterializeResult:
    chunks = result.chunks
    assert chunks is not None
    return dg.MaterializeResult(
        asset_key=PASS["vp9_chunks"],
        data_version=dg.DataVersion(chunks.recipe),
        metadata={
            "levels": table(
                ("level", "files"), [(level, count) for level, count in result.chunk_counts.items()]
            ),
            "chunks": chunks.objects,
            "bytes": chunks.bytes,
            "bytes_per_frame": round(chunks.bytes / max(1, result.frame_count), 1),
            **figures,
            "manifest": link(store, chunks.manifest_key),
            **files,
        },
        check_results=[
            check_result("addressing", PASS["vp9_chunks"], check_chunks(store, chunks.manifest_key))
        ],
    )


@dg.asset(
    key="wasabi_upload",
    deps=[*PASS.values(), CAPTIONS],
    partitions_def=video_partitions,
    group_name=GROUP,
    kinds={"s3", "json"},
    owners=OWNERS,
    code_version="1",
    check_specs=[
        dg.AssetCheckSpec(
            "checksums",
            asset="wasabi_upload",
            description="Every published object has the size and SHA-256 that its manifest states.",
        )
    ],
    description=description(
        "wasabi_upload",
        "The published set: current.json names one verified version of each artefact; every object of it was "
        "read back. Players and editors follow it and nothing else.",
        "`published`, `kept` and `not_made`, and the objects and bytes of the set.",
    ),
)
def wasabi_upload(
    context: dg.AssetExecutionContext, store: StoreResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    from video_pipeline.captions.manifest import BrokenObject
    from video_pipeline.captions.plan import find_captions, plan_for
    from video_pipeline.captions.publish import publish

    asset = dg.AssetKey("wasabi_upload")
    try:
        objects = store.open()
        video = video_of(context)
        plan = plan_for(objects, pass_request(objects, video, STAGES))
        if "frames" not in plan.existing:
            raise BadInput(
                "there is nothing to publish for the video and request as they are now",
                input=video.partition_key,
                what_to_do="materialise cropped_frames, caption_frame_extents or vp9_chunks first",
            )
        prefixes: dict[Kind, str] = {kind: plan.prefix(kind) for kind in plan.existing}
        found = find_captions(objects, plan)
        if found is not None:
            prefixes["captions"] = found
        publication = publish(objects, video, prefixes)
    except BrokenObject as error:
        # A failed check alone would not stop the run: the pointer stays where it is because this raises.
        yield check_result("checksums", asset, [str(error)])
        raise to_failure(context, error) from None
    except PipelineError as error:
        raise to_failure(context, error) from None
    for kind, why in publication.dropped.items():
        context.log.warning(f"{kind} are no longer published: {why}")
    if not publication.changed:
        context.log.info("nothing to do: exactly this set is published already")
    current = publication.current
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(keys.recipe_hash(**current.model_dump(mode="json"))),
        metadata={
            "published": ", ".join(publication.published),
            "kept": ", ".join(publication.kept) or "nothing",
            "dropped": ", ".join(publication.dropped) or "nothing",
            "not_made": ", ".join(sorted(plan.missing | ({"captions"} - {*prefixes}))) or "nothing",
            "objects": sum(item.objects for item in current.artefacts.values()),
            "bytes": sum(item.bytes for item in current.artefacts.values()),
            "changed": publication.changed,
            "current": link(objects, keys.current_key(video)),
        },
        check_results=[check_result("checksums", asset, [])],
    )
