"""Publishing over a real directory store."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from video_pipeline import keys
from video_pipeline.captions.manifest import BrokenObject, Kind, Manifest, put_object, write_manifest
from video_pipeline.captions.publish import publish, read_current
from video_pipeline.errors import BadInput
from video_pipeline.keys import VideoId
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

VIDEO = VideoId("acme", "clip")
FRAMES, OTHER_FRAMES = "f" * 16, "e" * 16


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return open_store(settings)


def artefact(store: ObjectStore, kind: Kind, recipe: str, frames: str = FRAMES, objects: int = 3) -> str:
    prefix = {"frames": keys.frames_prefix, "chunks": keys.chunks_prefix, "extents": keys.extents_prefix}[
        kind
    ](VIDEO, recipe)
    made = [
        put_object(store, f"{prefix}part_{i}", f"{kind} {i}".encode(), "text/plain") for i in range(objects)
    ]
    write_manifest(
        store,
        prefix,
        Manifest(
            kind=kind,
            tenant="acme",
            video="clip",
            recipe=recipe,
            frames_recipe=frames,
            source_key="acme/client/videos/clip/video.mp4",
            source_version="v1",
            frame_count=10,
            frame_rate="10",
            count=objects,
            objects=tuple(made),
        ),
    )
    return prefix


def test_what_was_verified_is_published_and_a_second_time_changes_nothing(store: ObjectStore) -> None:
    prefixes: dict[Kind, str] = {
        "frames": artefact(store, "frames", FRAMES),
        "chunks": artefact(store, "chunks", "a" * 16),
    }
    first = publish(store, VIDEO, prefixes)
    assert first.changed
    assert first.published == ["chunks", "frames"]
    version = store.head(keys.current_key(VIDEO))
    second = publish(store, VIDEO, prefixes)
    assert not second.changed
    assert store.head(keys.current_key(VIDEO)) == version


def test_other_artefacts_of_the_same_frames_are_kept_and_of_others_dropped_by_name(
    store: ObjectStore,
) -> None:
    publish(
        store,
        VIDEO,
        {"frames": artefact(store, "frames", FRAMES), "chunks": artefact(store, "chunks", "a" * 16)},
    )
    kept = publish(store, VIDEO, {"extents": artefact(store, "extents", "b" * 16)})
    assert kept.kept == ["chunks", "frames"]
    assert kept.dropped == {}
    moved = publish(
        store,
        VIDEO,
        {
            "frames": artefact(store, "frames", OTHER_FRAMES, OTHER_FRAMES),
            "extents": artefact(store, "extents", "c" * 16, OTHER_FRAMES),
        },
    )
    assert moved.kept == []
    assert list(moved.dropped) == ["chunks"]
    assert FRAMES in moved.dropped["chunks"]
    found = read_current(store, VIDEO)
    assert found is not None
    assert set(found[0].artefacts) == {"frames", "extents"}


@pytest.mark.parametrize("damage", ["missing", "shorter", "changed"])
def test_a_broken_object_is_named_and_the_pointer_stays(
    store: ObjectStore, settings: Settings, damage: str
) -> None:
    publish(store, VIDEO, {"frames": artefact(store, "frames", FRAMES)})
    before = store.get(keys.current_key(VIDEO))
    prefix = artefact(store, "chunks", "a" * 16)
    if damage == "missing":
        store.delete(prefix + "part_1")
    else:
        store.put(prefix + "part_1", b"chunks" if damage == "shorter" else b"chunks X")
    with pytest.raises(BrokenObject, match="part_1"):
        publish(store, VIDEO, {"chunks": prefix})
    assert store.get(keys.current_key(VIDEO)) == before


def test_an_artefact_without_a_manifest_is_not_published(store: ObjectStore) -> None:
    prefix = artefact(store, "chunks", "a" * 16)
    store.delete(prefix + "manifest.json")
    with pytest.raises(BadInput, match=r"manifest\.json"):
        publish(store, VIDEO, {"chunks": prefix})
    assert read_current(store, VIDEO) is None


def test_artefacts_of_different_frames_are_not_published_together(store: ObjectStore) -> None:
    with pytest.raises(BadInput, match="different frames"):
        publish(
            store,
            VIDEO,
            {
                "frames": artefact(store, "frames", FRAMES),
                "chunks": artefact(store, "chunks", "a" * 16, OTHER_FRAMES),
            },
        )


def test_racing_publishers_lose_no_artefact(store: ObjectStore) -> None:
    kinds: dict[Kind, str] = {
        "frames": artefact(store, "frames", FRAMES),
        "chunks": artefact(store, "chunks", "a" * 16),
        "extents": artefact(store, "extents", "b" * 16),
    }
    threads = [
        threading.Thread(target=publish, args=(store, VIDEO, {kind: prefix}))
        for kind, prefix in kinds.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    found = read_current(store, VIDEO)
    assert found is not None
    assert set(found[0].artefacts) == set(kinds)


def test_a_damaged_pointer_is_said_and_not_overwritten(store: ObjectStore) -> None:
    store.put(keys.current_key(VIDEO), b"{not json")
    with pytest.raises(BadInput, match=r"current\.json"):
        publish(store, VIDEO, {"frames": artefact(store, "frames", FRAMES)})
    assert store.get(keys.current_key(VIDEO)) == b"{not json"


def test_a_manifest_states_the_hash_of_every_byte(store: ObjectStore, tmp_path: Path) -> None:
    import hashlib

    from video_pipeline.captions.manifest import read_manifest

    prefix = artefact(store, "frames", FRAMES)
    found = read_manifest(store, prefix)
    assert found is not None
    for item in found[0].objects:
        assert item.sha256 == hashlib.sha256(store.get(item.key)).hexdigest()
    assert found[1] == hashlib.sha256(store.get(prefix + "manifest.json")).hexdigest()
