"""How a video and its wishes come into the store, and how a call's request is made from them.

Belongs here: `caption_request.json`, finding a video's source, adding a video. Does not belong here: media,
or Dagster. Nothing heavy is imported.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from video_pipeline import keys
from video_pipeline.captions.request import (
    CaptionRequest,
    CropAndInferRequest,
    FindLayoutRequest,
    ReadCaptionsRequest,
)
from video_pipeline.errors import BadInput, problems_of
from video_pipeline.keys import VideoId
from video_pipeline.media.geometry import CropRegion
from video_pipeline.store.base import ObjectMissing, ObjectStore


def find_source(store: ObjectStore, video: VideoId) -> str:
    """The key of the video's source: exactly one of the known extensions exists. `BadInput` otherwise."""
    found = [key for key in keys.source_keys(video) if store.head(key) is not None]
    if len(found) == 1:
        return found[0]
    if found:
        raise BadInput(
            f"the video has {len(found)} sources: {', '.join(found)}",
            input=video.partition_key,
            what_to_do="keep one and delete the others",
        )
    raise BadInput(
        "the video has no source in the store",
        input=f"{store.uri}/{keys.source_keys(video)[0]}",
        what_to_do="upload it there (or as .mov, .mkv, .webm, .avi): video-pipeline add-video FILE …",
    )


def load_caption_request(store: ObjectStore, video: VideoId) -> CaptionRequest:
    """The partition's own inputs, from the store; the defaults where nobody has written any. `BadInput` says
    which field is wrong."""
    where = keys.caption_request_key(video)
    try:
        text = store.get(where)
    except ObjectMissing:
        return CaptionRequest()
    try:
        return CaptionRequest.model_validate_json(text)
    except ValidationError as error:
        raise BadInput(
            f"caption_request.json is not valid: {problems_of(error, 'file')}",
            input=f"{store.uri}/{where}",
            what_to_do="correct the named fields",
        ) from None


def layout_request(store: ObjectStore, video: VideoId) -> FindLayoutRequest:
    """The request of `find_caption_layout` for a video."""
    return FindLayoutRequest(
        video_key=find_source(store, video),
        tenant_id=video.tenant,
        video_id=video.video,
        model_key=load_caption_request(store, video).model_key,
    )


def crop_of(store: ObjectStore, video: VideoId) -> CropRegion:
    """The video's crop region: a person's if one is given, else the one that was found. `BadInput` where
    neither is there."""
    wanted = load_caption_request(store, video).crop_region
    if wanted is not None:
        return wanted
    from video_pipeline.captions.plan import layout_prefix_of, source_of

    request = layout_request(store, video)
    version = source_of(store, request.video_key).version
    where = layout_prefix_of(store, request, source_version=version) + "layout.json"
    try:
        return CropRegion.model_validate(json.loads(store.get(where))["crop_region"])
    except ObjectMissing:
        raise BadInput(
            "where the video's captions stand is not known",
            input=f"{store.uri}/{keys.caption_request_key(video)}",
            what_to_do="materialise caption_layout, which looks for it, or write it: "
            '{"crop_region": {"left": 0.1, "top": 0.8, "width": 0.8, "height": 0.15}, "frame_rate": 10}',
        ) from None


def pass_request(store: ObjectStore, video: VideoId, stages: tuple[str, ...]) -> CropAndInferRequest:
    wanted = load_caption_request(store, video)
    return CropAndInferRequest(
        video_key=find_source(store, video),
        tenant_id=video.tenant,
        video_id=video.video,
        crop_region=crop_of(store, video),
        frame_rate=wanted.frame_rate,
        preset=wanted.preset,
        model_key=wanted.model_key,
        stages=stages,  # pyright: ignore[reportArgumentType]
    )


def reading_request(store: ObjectStore, video: VideoId, *, chunks: bool) -> ReadCaptionsRequest:
    """The request of `read_captions` for a video; `chunks`: with its chunks in the review page."""
    wanted = load_caption_request(store, video)
    return ReadCaptionsRequest(
        video_key=find_source(store, video),
        tenant_id=video.tenant,
        video_id=video.video,
        chunks=chunks,
        crop_region=crop_of(store, video),
        **wanted.model_dump(include={"frame_rate", "preset", "model_key"}),
    )


def parse_crop(text: str) -> CropRegion:
    """A crop region from `left,top,width,height`."""
    parts = text.split(",")
    try:
        left, top, width, height = (float(part) for part in parts)
        return CropRegion(left=left, top=top, width=width, height=height)
    except (ValueError, ValidationError) as error:
        raise BadInput(
            f"{text!r} is not a crop region: {_first_line(error)}",
            input="--crop",
            what_to_do="give left,top,width,height as parts of the picture, such as 0.1,0.75,0.8,0.2",
        ) from None


def add_video(
    store: ObjectStore,
    video: VideoId,
    path: Path,
    *,
    crop_region: CropRegion | None,
    frame_rate: object,
    preset: str,
) -> str:
    """Stores `path` as the video's source with its caption request. Returns the source's key.

    `BadInput` if the file is not there, has an extension the store does not take, or the video has a source
    under another extension already.
    """
    if not path.is_file():
        raise BadInput("there is no such file", input=str(path), what_to_do="check the path")
    key = keys.source_key(video, path.suffix.lstrip(".").lower())
    others = [other for other in keys.source_keys(video) if other != key and store.head(other) is not None]
    if others:
        raise BadInput(
            f"the video has a source already: {others[0]}",
            input=video.partition_key,
            what_to_do="delete it first",
        )
    try:
        request = CaptionRequest.model_validate(
            {"crop_region": crop_region, "frame_rate": frame_rate, "preset": preset}
        )
    except ValidationError as error:
        raise BadInput(
            f"the caption request is not valid: {_first_line(error)}", input=str(frame_rate)
        ) from None
    store.put(key, path)
    store.put(
        keys.caption_request_key(video),
        request.model_dump_json(indent=2, exclude_none=True).encode(),
        content_type="application/json",
    )
    return key


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return error.errors(include_url=False, include_context=False)[0]["msg"].removeprefix("Value error, ")
    return str(error)
