"""Stores with a past: objects of chosen ages, artefacts as their makers write them, calls in any state."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from video_pipeline import keys
from video_pipeline.calls import CallRecord, ResultRecord, WorkerIdentity
from video_pipeline.captions.manifest import Kind, Manifest, put_object, write_manifest
from video_pipeline.keys import VideoId
from video_pipeline.store.base import ObjectStore

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
OLD_S = 40 * DAY_S

VIDEO = VideoId("demo", "street")
ELSEWHERE = WorkerIdentity(host="another-machine", boot_id="another", pid=1, started=1.0)


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def recipe(name: str) -> str:
    return keys.recipe_hash(name=name)


def age(store: ObjectStore, key: str, seconds: float) -> None:
    """Makes an object of a directory store older than it is."""
    path = store.local_path(key)
    assert path is not None
    then = time.time() - seconds
    os.utime(path, (then, then))


def put_aged(store: ObjectStore, key: str, data: bytes, seconds: float) -> None:
    store.put(key, data)
    if store.local_path(key) is not None:
        age(store, key, seconds)


def prefix_of(video: VideoId, kind: Kind, name: str) -> str:
    build = {
        "frames": keys.frames_prefix,
        "chunks": keys.chunks_prefix,
        "extents": keys.extents_prefix,
        "captions": keys.captions_prefix,
    }[kind]
    return build(video, name)


def artefact(
    store: ObjectStore,
    kind: Kind,
    name: str,
    *,
    frames: str,
    video: VideoId = VIDEO,
    seconds: float = OLD_S,
    finished: bool = True,
    names: Iterable[str] = (),
) -> str:
    """An artefact of two objects, with its manifest if it is finished; returns its prefix. `names`: keys that
    its manifest mentions."""
    prefix = prefix_of(video, kind, name)
    objects = [
        put_object(store, f"{prefix}part_{number}", f"{kind} {name} {number}".encode() * 9, "text/plain")
        for number in range(2)
    ]
    if finished:
        write_manifest(
            store,
            prefix,
            Manifest(
                kind=kind,
                tenant=video.tenant,
                video=video.video,
                recipe=name,
                frames_recipe=frames,
                source_key=keys.source_key(video, "mp4"),
                source_version="v1",
                frame_count=2,
                frame_rate="10",
                count=len(objects),
                objects=tuple(objects),
                summary={"names": list(names)},
            ),
        )
    for item in list(store.list(prefix)):
        if store.local_path(item.key) is not None:
            age(store, item.key, seconds)
    return prefix


def call(
    store: ObjectStore,
    key: str,
    *,
    tenant: str = "demo",
    state: str = "finished",
    worker: WorkerIdentity = ELSEWHERE,
    silent_s: float = OLD_S,
    seconds: float = OLD_S,
    request: dict[str, object] | None = None,
    progress: dict[str, object] | None = None,
    wall_s: float | None = 12.0,
) -> None:
    """A call's record and, with `wall_s`, its result and a report. `silent_s`: since its last heartbeat."""
    now = time.time()
    record = CallRecord(
        key=key,
        task="render_overlay",
        version=1,
        tenant=tenant,
        request=request or {},
        worker=worker,
        state=state,  # pyright: ignore[reportArgumentType]
        claimed_at=now - silent_s - 60,
        heartbeat_at=now - silent_s,
        progress=progress,
    )
    put_aged(store, keys.call_key(tenant, key), record.model_dump_json().encode(), seconds)
    if wall_s is not None:
        then = datetime.now(UTC) - timedelta(seconds=seconds)
        result = ResultRecord(
            key=key,
            task=record.task,
            version=1,
            status="ok",
            result={},
            worker=worker,
            started_at=then - timedelta(seconds=wall_s),
            finished_at=then,
            usage={"wall_s": wall_s},  # pyright: ignore[reportArgumentType]
        )
        put_aged(store, keys.result_key(tenant, key), result.model_dump_json().encode(), seconds)
        put_aged(store, f"{keys.report_prefix(tenant, key)}waterfall.html", b"<html>", seconds)


def running_call(store: ObjectStore, key: str, request: dict[str, object], *, tenant: str = "demo") -> None:
    """A call that this very process works on."""
    call(
        store,
        key,
        tenant=tenant,
        state="running",
        worker=WorkerIdentity.of_this_process(),
        silent_s=0.0,
        seconds=0.0,
        request=request,
        wall_s=None,
    )


def content(store: ObjectStore, prefix: str = "") -> dict[str, bytes]:
    """Every object under the prefix."""
    return {item.key: store.get(item.key) for item in list(store.list(prefix))}


def pointer(store: ObjectStore, key: str, document: object, seconds: float = OLD_S) -> None:
    put_aged(store, key, json.dumps(document).encode(), seconds)


def temporary_file(root: Path, name: str, seconds: float) -> Path:
    """What a writer that was killed left in a directory store."""
    path = root / ".store" / "tmp" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path
