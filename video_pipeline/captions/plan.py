"""What a caption request means for one video as it lies in the store: crop, recipes, what exists already.

Belongs here: resolving a request to recipes and manifests. Does not belong here: doing the work
(`streaming_pass`) or publishing it (`publish`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from video_pipeline import keys
from video_pipeline.captions.manifest import Kind, Manifest, read_manifest
from video_pipeline.captions.recipes import (
    chunks_recipe,
    extents_recipe,
    frames_recipe,
    layout_recipe,
    text_recipe,
)
from video_pipeline.captions.request import CropAndInferRequest, FindLayoutRequest
from video_pipeline.errors import BadInput
from video_pipeline.media.geometry import PixelCrop, to_pixel_crop
from video_pipeline.store.base import ObjectInfo, ObjectStore


def source_of(store: ObjectStore, video_key: str) -> ObjectInfo:
    """The source video's entry in the store. `BadInput` if it is not there or empty."""
    info = store.head(video_key)
    if info is None:
        raise BadInput(
            "the video is not in the store",
            input=f"{store.uri}/{video_key}",
            what_to_do="upload it, or correct the key",
        )
    if info.size == 0:
        raise BadInput(
            "the video is empty (0 bytes)", input=f"{store.uri}/{video_key}", what_to_do="upload it again"
        )
    return info


def open_source(store: ObjectStore, video_key: str) -> Path | BinaryIO:
    """A path where the store is a directory, else a reader that is pinned to the version it opened."""
    return store.local_path(video_key) or cast(BinaryIO, store.open_reader(video_key))


@dataclass(frozen=True)
class CaptionPlan:
    """A request, resolved. `existing` holds the manifests that are in the store already."""

    request: CropAndInferRequest
    source: ObjectInfo
    crop: PixelCrop
    recipes: dict[Kind, str]
    weights_sha256: str | None
    existing: dict[Kind, Manifest] = field(default_factory=dict)

    def prefix(self, kind: Kind) -> str:
        build = {"frames": keys.frames_prefix, "chunks": keys.chunks_prefix, "extents": keys.extents_prefix}[
            kind
        ]
        return build(self.request.video, self.recipes[kind])

    @property
    def missing(self) -> set[Kind]:
        return set(self.recipes) - set(self.existing)


def make_plan(
    store: ObjectStore,
    request: CropAndInferRequest,
    *,
    display_width: int,
    display_height: int,
    source: ObjectInfo,
) -> CaptionPlan:
    """Resolves `request` for a picture of the given displayed size. Reads three small objects at most."""
    from video_pipeline.media.vp9 import ENCODER_VERSION
    from video_pipeline.tasks import find_task

    crop = to_pixel_crop(request.crop_region, display_width, display_height)
    frames = frames_recipe(source_version=source.version, crop=crop, rate=request.frame_rate)
    recipes: dict[Kind, str] = {"frames": frames}
    weights: str | None = None
    if "caption_frame_extents" in request.stages:
        from video_pipeline.models.weights import weights_sha256

        weights = weights_sha256(None) if request.model_key is None else _sha256_of(store, request.model_key)
        version = find_task("crop_and_infer_caption_frame_extents").version
        recipes["extents"] = extents_recipe(frames=frames, weights_sha256=weights, task_version=version)
    if "vp9_chunks" in request.stages:
        recipes["chunks"] = chunks_recipe(
            frames=frames, preset=request.preset, encoder_version=ENCODER_VERSION
        )
    plan = CaptionPlan(request, source, crop, recipes, weights)
    existing: dict[Kind, Manifest] = {}
    for kind in recipes:
        found = read_manifest(store, plan.prefix(kind))
        if found is not None:
            existing[kind] = found[0]
    return CaptionPlan(request, source, crop, recipes, weights, existing)


def _sha256_of(store: ObjectStore, model_key: str) -> str:
    import hashlib

    return hashlib.sha256(read_model(store, model_key)).hexdigest()


def read_model(store: ObjectStore, model_key: str) -> bytes:
    """A user's own checkpoint. `BadInput` when it is not there."""
    if store.head(model_key) is None:
        raise BadInput(
            "the model checkpoint is not in the store",
            input=f"{store.uri}/{model_key}",
            what_to_do="upload it, or leave model_key out to use the shipped model",
        )
    return store.get(model_key)


def plan_for(store: ObjectStore, request: CropAndInferRequest) -> CaptionPlan:
    """The plan for the video as it lies in the store, from its header alone."""
    from video_pipeline.media.probe import probe_video

    source = source_of(store, request.video_key)
    reader = open_source(store, request.video_key)
    try:
        probe = probe_video(reader, name=request.video_key)
    finally:
        if not isinstance(reader, Path):
            reader.close()
    return make_plan(
        store, request, display_width=probe.display_width, display_height=probe.display_height, source=source
    )


def layout_prefix_of(store: ObjectStore, request: FindLayoutRequest, *, source_version: str) -> str:
    """Where the layout of a video's present source lies, found or not."""
    from video_pipeline.captions.layout import LAYOUT_VERSION
    from video_pipeline.models.weights import weights_sha256
    from video_pipeline.tasks import find_task

    weights = weights_sha256(None) if request.model_key is None else _sha256_of(store, request.model_key)
    recipe = layout_recipe(
        source_version=source_version,
        weights_sha256=weights,
        layout_version=LAYOUT_VERSION,
        task_version=find_task("find_caption_layout").version,
    )
    return keys.layout_prefix(request.video, recipe)


def text_recipe_of(plan: CaptionPlan, *, ocr_version: str | None, chunks: bool) -> str:
    """The recipe of the captions that `read_captions` makes of the plan's extents."""
    from video_pipeline.captions.narrow import NARROWING_VERSION
    from video_pipeline.tasks import find_task

    return text_recipe(
        extents=plan.recipes["extents"],
        ocr_version=ocr_version,
        narrowing_version=NARROWING_VERSION,
        chunks=plan.recipes["chunks"] if chunks else None,
        task_version=find_task("read_captions").version,
    )


def find_captions(store: ObjectStore, plan: CaptionPlan) -> str | None:
    """Where captions of the plan's extents lie in the store: with text before without, with the video's
    chunks in the review page before without. None if there are none."""
    from video_pipeline.captions.recognise import recogniser_version

    if "extents" not in plan.existing:
        return None
    for ocr_version in dict.fromkeys((recogniser_version(), None)):
        for chunks in (True, False):
            if chunks and "chunks" not in plan.recipes:
                continue
            recipe = text_recipe_of(plan, ocr_version=ocr_version, chunks=chunks)
            prefix = keys.captions_prefix(plan.request.video, recipe)
            if store.head(keys.manifest_key(prefix)) is not None:
                return prefix
    return None
