"""Manifests: the last object a stage writes, naming every other one by key, size and SHA-256.

Belongs here: the manifest's schema, writing, reading and verifying it. Does not belong here: what the
objects mean. An artefact without a manifest does not exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from video_pipeline.errors import Internal, Transient, problems_of
from video_pipeline.keys import manifest_key
from video_pipeline.store.base import ObjectMissing, ObjectStore

Kind = Literal["frames", "chunks", "extents", "captions"]


class BrokenObject(Transient):
    """An object is not as its manifest says, or the manifest itself is damaged: making the artefact again,
    or a repaired store, cures it."""


class ManifestObject(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    size: int
    sha256: str
    frames: int | None = None
    """Pictures in a chunk; None for anything else."""


class Manifest(BaseModel):
    """`manifest.json`. Holds nothing that differs between two runs of one recipe but the extents' run id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    kind: Kind
    tenant: str
    video: str
    recipe: str
    frames_recipe: str
    source_key: str
    source_version: str
    frame_count: int
    frame_rate: str
    """Hz, as a fraction."""
    count: int
    objects: tuple[ManifestObject, ...]
    summary: dict[str, Any] = Field(default_factory=dict)
    """What this artefact is about in numbers and settings: labels, levels, preset, weights."""

    @property
    def total_bytes(self) -> int:
        return sum(item.size for item in self.objects)


def put_object(
    store: ObjectStore, key: str, data: bytes, content_type: str, *, frames: int | None = None
) -> ManifestObject:
    """Writes one object of an artefact; the store checks the SHA-256 of what it received."""
    sha256 = hashlib.sha256(data).hexdigest()
    store.put(key, data, content_type=content_type, sha256=sha256)
    return ManifestObject(key=key, size=len(data), sha256=sha256, frames=frames)


def write_manifest(store: ObjectStore, prefix: str, manifest: Manifest) -> str:
    """Writes the manifest and returns its key. Every object it names has been written before."""
    if manifest.count != len(manifest.objects):
        raise Internal(f"a manifest of {len(manifest.objects)} objects states {manifest.count}", input=prefix)
    key = manifest_key(prefix)
    store.put(key, manifest.model_dump_json(indent=1).encode(), content_type="application/json")
    return key


def read_manifest(store: ObjectStore, prefix: str) -> tuple[Manifest, str] | None:
    """The manifest under `prefix` and the SHA-256 of its bytes, or None where the artefact does not exist.

    Raises `BrokenObject` for one that is damaged, or has another version's fields.
    """
    try:
        data = store.get(manifest_key(prefix))
    except ObjectMissing:
        return None
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise BrokenObject(
            f"a manifest is not readable: {problems_of(error, 'manifest')}",
            input=f"{store.uri}/{manifest_key(prefix)}",
            what_to_do="delete it and materialise the artefact again",
        ) from None
    return manifest, hashlib.sha256(data).hexdigest()


def verify_objects(
    store: ObjectStore,
    manifest: Manifest,
    *,
    check_cancelled: Callable[[], None] = lambda: None,
    workers: int = 8,
) -> None:
    """Reads every object the manifest names and checks size and SHA-256. Raises `BrokenObject` for the
    first that is missing or different.
    """

    def verify(item: ManifestObject) -> None:
        check_cancelled()
        try:
            data = store.get(item.key)
        except ObjectMissing:
            raise _broken(item, "is missing") from None
        if len(data) != item.size:
            raise _broken(item, f"has {len(data)} bytes, its manifest says {item.size}")
        if hashlib.sha256(data).hexdigest() != item.sha256:
            raise _broken(item, "has another SHA-256 than its manifest says")

    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="verify") as pool:
        for _ in pool.map(verify, manifest.objects):
            pass


def _broken(item: ManifestObject, what: str) -> BrokenObject:
    return BrokenObject(
        f"an object of the artefact {what}",
        input=item.key,
        what_to_do="delete the artefact's manifest.json and materialise it again",
    )
