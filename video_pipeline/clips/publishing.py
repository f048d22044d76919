"""A clip's objects in the store: recipe, files, manifest last.

Belongs here: what makes two renders the same, writing and finding a finished one. Does not belong here:
rendering.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from video_pipeline import keys
from video_pipeline.clips.request_base import ClipTask
from video_pipeline.clips.result import ClipManifest, ClipObject, RenderResult
from video_pipeline.keys import ClipId, recipe_hash
from video_pipeline.store.base import ObjectMissing, ObjectStore

NOT_PART_OF_A_RECIPE = {"preview", "num_chunks", "start_frame", "end_frame"}
"""Fields that change how a clip is made, not what it is."""

CONTENT_TYPES = {".mp4": "video/mp4", ".png": "image/png", ".json": "application/json"}


def clip_recipe(kind: str, version: int, request: ClipTask, versions: Mapping[str, str]) -> str:
    """H(kind, version of its task, request, versions of its inputs and of what ships with the code).

    A parallel render and its chunks have the recipe of the sequential one, since they give the same clip.
    """
    fields = request.model_dump(mode="json", exclude=NOT_PART_OF_A_RECIPE)
    return recipe_hash(
        kind=kind,
        version=version,
        request=_plain(fields),
        inputs=dict(versions),
        shipped=dict(getattr(request, "shipped_inputs", dict)()),
    )


def input_versions(request: ClipTask, store: ObjectStore) -> dict[str, str]:
    """The store's version of each input, by key. Raises ObjectMissing."""
    versions: dict[str, str] = {}
    for key in request.input_keys().values():
        info = store.head(key)
        if info is None:
            raise ObjectMissing(
                "there is no such object in the store",
                input=f"{store.uri}/{key}",
                what_to_do="upload it, or correct the key",
            )
        versions[key] = info.version
    return versions


def _plain(value: Any) -> Any:
    """Floats as the shortest text that means them: a recipe takes no float."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


class ClipOutput:
    """Where one render of one clip is written."""

    def __init__(self, store: ObjectStore, kind: str, version: int, request: ClipTask) -> None:
        self._store = store
        self.clip = ClipId(request.tenant_id, request.clip_id)
        self.kind = kind
        self.versions = input_versions(request, store)
        """Of the inputs, by key: what is read later must be these."""
        self.recipe = clip_recipe(kind, version, request, self.versions)
        self.prefix = keys.clip_prefix(self.clip, self.recipe)
        self.parts_prefix = keys.clip_parts_prefix(self.clip, self.recipe)
        self._objects: list[ClipObject] = []

    def existing(self) -> RenderResult | None:
        """The finished clip of this recipe, if all of it is there in the sizes that were written."""
        try:
            manifest = ClipManifest.model_validate_json(self._store.get(keys.manifest_key(self.prefix)))
        except (ObjectMissing, ValidationError):  # the latter: damaged, or with another version's fields
            return None
        for item in manifest.objects:
            info = self._store.head(item.key)
            if info is None or info.size != item.size:
                return None
        return manifest.result.model_copy(update={"made": False})

    def put(self, name: str, data: bytes | Path) -> ClipObject:
        """Write one object of the clip."""
        item = put_checked(self._store, f"{self.prefix}{name}", data)
        self._objects.append(item)
        return item

    def finish(self, result: RenderResult) -> RenderResult:
        """Write the manifest: from here on the clip exists."""
        key = keys.manifest_key(self.prefix)
        result = result.model_copy(update={"manifest_key": key})
        manifest = ClipManifest(
            kind=self.kind,
            tenant=self.clip.tenant,
            clip=self.clip.clip,
            recipe=self.recipe,
            sources=self.versions,
            objects=tuple(self._objects),
            result=result,
        )
        self._store.put(key, manifest.model_dump_json(indent=1).encode(), content_type="application/json")
        return result


def put_checked(store: ObjectStore, key: str, data: bytes | Path) -> ClipObject:
    """Write an object; the store compares what it received with the SHA-256 taken here."""
    if isinstance(data, Path):
        with data.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = data.stat().st_size
    else:
        sha256, size = hashlib.sha256(data).hexdigest(), len(data)
    content_type = CONTENT_TYPES.get(Path(key).suffix)
    store.put(key, data, content_type=content_type, sha256=sha256)
    return ClipObject(key=key, size=size, sha256=sha256)
