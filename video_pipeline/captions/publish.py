"""Publishing: `current.json`, the one pointer readers follow.

Belongs here: verifying what is about to be published and moving the pointer by compare-and-swap. Does not
belong here: making artefacts. A reader that follows the pointer never sees a half-published set, because
everything it names was verified before it was named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer

from video_pipeline.captions.manifest import Kind, Manifest, read_manifest, verify_objects
from video_pipeline.errors import BadInput, Transient
from video_pipeline.keys import VideoId, current_key, manifest_key
from video_pipeline.store.base import ObjectMissing, ObjectStore, PreconditionFailed


class PublishedArtefact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    frames_recipe: str
    manifest_key: str
    manifest_sha256: str
    objects: int
    bytes: int


class Current(BaseModel):
    """`current.json`: one recipe and manifest hash per artefact, all of the same frames."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    tenant: str
    video: str
    source_key: str
    source_version: str
    frames_recipe: str
    frame_count: int
    frame_rate: str
    artefacts: dict[Kind, PublishedArtefact] = Field(default_factory=dict)

    @field_serializer("artefacts")
    def _in_order(self, artefacts: dict[Kind, PublishedArtefact]) -> dict[Kind, PublishedArtefact]:
        """Equal sets give equal bytes."""
        return {kind: artefacts[kind] for kind in sorted(artefacts)}


class Publication(BaseModel):
    """What publishing did: the pointer, whether it moved, and what it dropped because its frames changed."""

    current: Current
    changed: bool
    published: list[Kind]
    kept: list[Kind]
    dropped: dict[Kind, str]


def read_current(store: ObjectStore, video: VideoId) -> tuple[Current, str] | None:
    """The published set and the ETag to replace it by, or None where nothing is published."""
    key = current_key(video)
    try:
        data, etag = store.get_with_etag(key)
    except ObjectMissing:
        return None
    try:
        return Current.model_validate_json(data), etag
    except ValidationError:
        raise BadInput(
            "the published pointer is not readable",
            input=f"{store.uri}/{key}",
            what_to_do="restore or delete it, then publish again",
        ) from None


def publish(
    store: ObjectStore,
    video: VideoId,
    prefixes: Mapping[Kind, str],
    *,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Publication:
    """Verifies the artefacts under `prefixes` and makes them current.

    Replaces what it verified, keeps the other artefacts if their frames are the same, drops them otherwise
    and says so. Raises `BadInput` when an artefact does not exist or the artefacts are of different frames.
    """
    fresh: dict[Kind, PublishedArtefact] = {}
    manifests: dict[Kind, Manifest] = {}
    for kind, prefix in prefixes.items():
        found = read_manifest(store, prefix)
        if found is None:
            raise BadInput(
                f"there are no {kind} to publish: the manifest is missing",
                input=f"{store.uri}/{manifest_key(prefix)}",
                what_to_do=f"materialise the {kind} of {video.partition_key} first",
            )
        manifest, sha256 = found
        verify_objects(store, manifest, check_cancelled=check_cancelled)
        manifests[kind] = manifest
        fresh[kind] = PublishedArtefact(
            recipe=manifest.recipe,
            frames_recipe=manifest.frames_recipe,
            manifest_key=manifest_key(prefix),
            manifest_sha256=sha256,
            objects=manifest.count,
            bytes=manifest.total_bytes,
        )
    if len({item.frames_recipe for item in fresh.values()}) != 1:
        raise BadInput(
            "the artefacts are of different frames: "
            + ", ".join(f"{kind} of {item.frames_recipe}" for kind, item in fresh.items()),
            input=video.partition_key,
            what_to_do="materialise all stages of the video again",
        )
    leader = next(iter(manifests.values()))

    for _ in range(50):
        check_cancelled()
        before = read_current(store, video)
        kept, dropped = _others(before[0] if before else None, leader.frames_recipe, fresh)
        artefacts: dict[Kind, PublishedArtefact] = {**kept, **fresh}
        current = Current(
            tenant=video.tenant,
            video=video.video,
            source_key=leader.source_key,
            source_version=leader.source_version,
            frames_recipe=leader.frames_recipe,
            frame_count=leader.frame_count,
            frame_rate=leader.frame_rate,
            artefacts=artefacts,
        )
        changed = before is None or before[0] != current
        if changed:
            try:
                _swap(store, video, current, before[1] if before else None)
            except PreconditionFailed:
                time.sleep(0.05)
                continue
        return Publication(
            current=current, changed=changed, published=sorted(fresh), kept=sorted(kept), dropped=dropped
        )
    raise Transient("the published pointer is being changed by too many at once", input=current_key(video))


def _others(
    before: Current | None, frames: str, fresh: Mapping[Kind, PublishedArtefact]
) -> tuple[dict[Kind, PublishedArtefact], dict[Kind, str]]:
    kept: dict[Kind, PublishedArtefact] = {}
    dropped: dict[Kind, str] = {}
    for kind, item in (before.artefacts if before else {}).items():
        if kind in fresh:
            continue
        if item.frames_recipe == frames:
            kept[kind] = item
        else:
            dropped[kind] = f"its frames {item.frames_recipe} are not the published {frames}"
    return kept, dropped


def _swap(store: ObjectStore, video: VideoId, current: Current, etag: str | None) -> None:
    key = current_key(video)
    data = current.model_dump_json(indent=2).encode()
    if store.conditional_writes():
        store.put(key, data, content_type="application/json", if_match=etag, if_none_match=etag is None)
        return
    # Without conditional writes one writer per video is needed; reading back finds a second one.
    store.put(key, data, content_type="application/json")
    time.sleep(1.0)
    if store.get(key) != data:
        raise Transient(
            "another writer changed the published pointer at the same time, and this server has no "
            "conditional writes",
            input=f"{store.uri}/{key}",
            what_to_do="publish one video from one place only",
        )
