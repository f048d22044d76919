"""Copies of what lies in the store, as plain files of this machine.

Belongs here: what is meant by a partition, a key or the beginning of keys, and copying it. Does not belong
here: the command (`fetch_command`), or any knowledge of what the files hold.

A person opens results with programs that read files: a browser, a player, an editor. In a directory store
they are files already. From a bucket this brings them, also where only the pipeline reaches the bucket.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from video_pipeline import keys
from video_pipeline.captions.publish import read_current
from video_pipeline.clips.current import current_renders
from video_pipeline.errors import BadInput
from video_pipeline.keys import ClipId, VideoId
from video_pipeline.store.base import ObjectStore, check_object_key, check_prefix

FOR_PEOPLE = ("captions", "frames")
"""What a person opens of a video's published set. Chunks and the pairs' database are for programs: by key."""

BLOCK = 8 * 1024 * 1024
"""Bytes held at once while copying: the largest piece that a bucket's reader fetches in one request."""


def objects_of(store: ObjectStore, wanted: str) -> dict[str, str]:
    """What `wanted` means: the keys of objects, each with the path that its copy gets within a folder.

    `wanted` is a partition `tenant--name` (the published captions and frames of the video and the present
    renders of the clip of that name, each in a subfolder), an object's key, or the beginning of keys up to a
    "/". A key may have the store's URI before it, as the UI shows it. `BadInput` where nothing is there.
    """
    if "/" not in wanted:
        return _of_partition(store, wanted)
    key = wanted.removeprefix(f"{store.uri}/")
    if not key.endswith("/") and store.head(key) is not None:
        return {key: key.rpartition("/")[2]}
    found = _below(store, check_prefix(key.rstrip("/") + "/"))
    if not found:
        raise BadInput(
            "nothing is there in the store",
            input=f"{store.uri}/{key}",
            what_to_do="take a key, or the beginning of one up to a '/'; docs/storage.md lists them",
        )
    return found


def _of_partition(store: ObjectStore, partition: str) -> dict[str, str]:
    video = VideoId.from_partition_key(partition)
    clip = ClipId(video.tenant, video.video)
    current = read_current(store, video)
    published = current[0].artefacts if current else {}
    prefixes = {
        kind: published[kind].manifest_key.removesuffix(keys.manifest_key(""))
        for kind in FOR_PEOPLE
        if kind in published
    }
    for stage, render in current_renders(store, clip).renders.items():
        prefixes[stage] = keys.clip_prefix(clip, render.recipe)
    if not prefixes:
        raise BadInput(
            "nothing is published of this partition",
            input=f"{partition} in {store.uri}",
            what_to_do=f"make it by video-pipeline captions {partition} or clip {partition}, or name a key",
        )
    return {
        key: f"{folder}/{path}"
        for folder, prefix in prefixes.items()
        for key, path in _below(store, prefix).items()
    }


def _below(store: ObjectStore, prefix: str) -> dict[str, str]:
    return {check_object_key(item.key): item.key.removeprefix(prefix) for item in store.list(prefix)}


def copy_object(store: ObjectStore, key: str, path: Path) -> int:
    """Copies one object to a file, whole or not at all, in place of one that is there. Returns its bytes.

    Raises `BadInput` where the file cannot be written, and what the store raises.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with store.open_reader(key) as reader, unfinished.open("wb") as file:
            shutil.copyfileobj(reader, file, BLOCK)
            size = file.tell()
        unfinished.replace(path)
    except OSError as error:
        raise BadInput(
            f"the file cannot be written: {error.strerror or error}",
            input=str(path),
            what_to_do="make room, or choose another folder by --to",
        ) from error
    finally:
        # Its folder may be missing, or be a file.
        if unfinished.is_file():
            unfinished.unlink()
    return size
