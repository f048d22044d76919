"""What a finished pass leaves: its artefacts in the store, each with its manifest last, and its result.

Belongs here: turning what the stages made into manifests, frames.json and the task's result. Does not belong
here: the stages (`streaming_pass`), a manifest's schema (`manifest`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from video_pipeline.captions.database import ExtentsDatabase
from video_pipeline.captions.manifest import Kind, Manifest, ManifestObject, put_object, write_manifest
from video_pipeline.captions.plan import CaptionPlan
from video_pipeline.captions.request import Artefact, CropAndInferResult
from video_pipeline.errors import BadInput, Internal
from video_pipeline.keys import database_key
from video_pipeline.media.probe import VideoProbe
from video_pipeline.store.base import ObjectStore


def write_artefacts(
    store: ObjectStore,
    plan: CaptionPlan,
    *,
    pts: Sequence[int],
    time_base: Fraction,
    probe: VideoProbe,
    contact_sheet: bytes,
    database: ExtentsDatabase | None,
    chunks: Sequence[ManifestObject],
) -> dict[Kind, Manifest]:
    """Writes what the plan misses, once every stage has ended well; returns the manifests it wrote.

    `pts` are the samples' source PTS in `time_base`; `contact_sheet` is a PNG, used where frames are missing;
    `chunks` lie in the store already, in any order; `database` is finished and closed here. `BadInput` for a
    video without pictures, `Internal` if something was lost on the way or other pictures were sampled than by
    an earlier pass over the same frames.
    """
    count = len(pts)
    if count == 0:
        raise BadInput(
            "the video has no pictures", input=plan.request.video_key, what_to_do="check the upload"
        )
    _check_same_frames(store, plan, pts)
    written: dict[Kind, Manifest] = {}
    if "frames" in plan.missing:
        objects = _put_frames(store, plan, pts, time_base, probe, contact_sheet)
        summary = {"crop": asdict(plan.crop), "time_base": str(time_base)}
        written["frames"] = _write(store, plan, "frames", count, objects, summary)
    if database is not None:
        objects, summary = _put_extents(store, plan, database, count)
        written["extents"] = _write(store, plan, "extents", count, objects, summary)
    if "chunks" in plan.missing:
        written["chunks"] = _write(store, plan, "chunks", count, *_chunks(plan, chunks, count))
    return written


def _check_same_frames(store: ObjectStore, plan: CaptionPlan, pts: Sequence[int]) -> None:
    """Two passes over one frames recipe must sample the same pictures; anything else is a defect."""
    existing = plan.existing.get("frames")
    if existing is None:
        return
    stored = json.loads(store.get(plan.prefix("frames") + "frames.json"))
    if stored["pts"] != list(pts) or existing.frame_count != len(pts):
        raise Internal(
            "this pass sampled other pictures than the one that wrote frames.json",
            input=plan.prefix("frames"),
            what_to_do="report it with the video: the sampling rule must not depend on the path",
        )


def _put_frames(
    store: ObjectStore,
    plan: CaptionPlan,
    pts: Sequence[int],
    time_base: Fraction,
    probe: VideoProbe,
    contact_sheet: bytes,
) -> list[ManifestObject]:
    document = {
        "schema_version": 1,
        "recipe": plan.recipes["frames"],
        "count": len(pts),
        "frame_rate": str(plan.request.frame_rate),
        "time_base": str(time_base),
        "first_picture_seconds": str(pts[0] * time_base),
        "crop": asdict(plan.crop),
        "display_width": probe.display_width,
        "display_height": probe.display_height,
        "rotation": probe.rotation,
        "source_key": plan.request.video_key,
        "source_version": plan.source.version,
        "note": "sample k shows the picture presented at k / frame_rate seconds after the first picture; "
        "its movie time is first_picture_seconds + k / frame_rate; pts are in time_base",
        "pts": list(pts),
    }
    data = json.dumps(document, separators=(",", ":")).encode()
    prefix = plan.prefix("frames")
    return [
        put_object(store, prefix + "frames.json", data, "application/json"),
        put_object(store, prefix + "contact_sheet.png", contact_sheet, "image/png"),
    ]


def _put_extents(
    store: ObjectStore, plan: CaptionPlan, database: ExtentsDatabase, count: int
) -> tuple[list[ManifestObject], dict[str, Any]]:
    pairs = database.finish(count)
    database.close()
    key = database_key(plan.request.video, plan.recipes["extents"])
    summary = {
        "pairs": pairs,
        "labels": dict(sorted(database.label_counts.items())),
        "weights_sha256": plan.weights_sha256,
        "model_key": plan.request.model_key,
    }
    return [put_object(store, key, database.path.read_bytes(), "application/vnd.sqlite3")], summary


def _chunks(
    plan: CaptionPlan, chunks: Sequence[ManifestObject], count: int
) -> tuple[list[ManifestObject], dict[str, Any]]:
    pictures = sum(item.frames or 0 for item in chunks)
    if pictures != count:
        raise Internal(f"{count} frames were sampled, the chunks hold {pictures}")
    objects = sorted(chunks, key=lambda item: item.key)
    levels = Counter(item.key.split("/modulo_")[1].split("/")[0] for item in objects)
    summary = {
        "preset": plan.request.preset,
        "chunks_per_level": {f"modulo_{level}": levels[level] for level in ("16", "4", "1")},
        "pictures": pictures,
        "width": plan.crop.width,
        "height": plan.crop.height,
    }
    return objects, summary


def _write(
    store: ObjectStore,
    plan: CaptionPlan,
    kind: Kind,
    count: int,
    objects: list[ManifestObject],
    summary: dict[str, Any],
) -> Manifest:
    manifest = Manifest(
        kind=kind,
        tenant=plan.request.tenant_id,
        video=plan.request.video_id,
        recipe=plan.recipes[kind],
        frames_recipe=plan.recipes["frames"],
        source_key=plan.request.video_key,
        source_version=plan.source.version,
        frame_count=count,
        frame_rate=str(plan.request.frame_rate),
        count=len(objects),
        objects=tuple(objects),
        summary=summary,
    )
    write_manifest(store, plan.prefix(kind), manifest)
    return manifest


def build_result(
    plan: CaptionPlan,
    written: dict[Kind, Manifest],
    *,
    wall_seconds: float,
    durations: dict[str, float] | None = None,
    decode: dict[str, int] | None = None,
) -> CropAndInferResult:
    """The result of a pass that wrote `written`; whatever it did not write was in the store before."""
    manifests = {**plan.existing, **written}
    leader = next(iter(manifests.values()))

    def artefact(kind: Kind) -> Artefact | None:
        if kind not in plan.recipes:
            return None
        manifest = manifests[kind]
        return Artefact(
            recipe=manifest.recipe,
            manifest_key=plan.prefix(kind) + "manifest.json",
            made=kind in written,
            objects=manifest.count,
            bytes=manifest.total_bytes,
        )

    frames = artefact("frames")
    assert frames is not None
    extents, chunks = manifests.get("extents"), manifests.get("chunks")
    return CropAndInferResult(
        source_version=plan.source.version,
        frame_count=leader.frame_count,
        frame_rate=plan.request.frame_rate,
        frame_width=plan.crop.width,
        frame_height=plan.crop.height,
        frames=frames,
        extents=artefact("extents"),
        chunks=artefact("chunks"),
        label_counts=extents.summary["labels"] if extents else {},
        chunk_counts=chunks.summary["chunks_per_level"] if chunks else {},
        contact_sheet_key=plan.prefix("frames") + "contact_sheet.png",
        durations=durations or {},
        decode=decode or {},
        wall_seconds=round(wall_seconds, 3),
    )
