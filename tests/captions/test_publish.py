"""Publishing over a real directory store."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from video_pipeline import keys
from video_pipeline.captions import publish as module
from video_pipeline.captions.manifest import (
    BrokenObject,
    Kind,
    Manifest,
    put_object,
    read_manifest,
    write_manifest,
)
from video_pipeline.captions.publish import publish, read_current
from video_pipeline.errors import BadInput, Cancelled, Transient
from video_pipeline.keys import VideoId
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore, PreconditionFailed

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
    prefix = artefact(store, "frames", FRAMES)
    found = read_manifest(store, prefix)
    assert found is not None
    for item in found[0].objects:
        assert item.sha256 == hashlib.sha256(store.get(item.key)).hexdigest()
    assert found[1] == hashlib.sha256(store.get(prefix + "manifest.json")).hexdigest()


def test_what_is_published_says_what_it_is_and_replaces_what_was(store: ObjectStore) -> None:
    publish(store, VIDEO, {"chunks": artefact(store, "chunks", "a" * 16)})
    publication = publish(store, VIDEO, {"chunks": artefact(store, "chunks", "b" * 16, objects=5)})
    assert (publication.published, publication.kept, publication.dropped) == (["chunks"], [], {})
    assert publication.changed
    found = read_current(store, VIDEO)
    assert found is not None
    current = found[0]
    assert publication.current == current
    assert (current.tenant, current.video, current.source_version) == ("acme", "clip", "v1")
    assert current.source_key == "acme/client/videos/clip/video.mp4"
    assert (current.frames_recipe, current.frame_count, current.frame_rate) == (FRAMES, 10, "10")
    chunks = current.artefacts["chunks"]
    prefix = keys.chunks_prefix(VIDEO, "b" * 16)
    assert (chunks.recipe, chunks.frames_recipe) == ("b" * 16, FRAMES)
    assert chunks.manifest_key == prefix + "manifest.json"
    assert chunks.manifest_sha256 == hashlib.sha256(store.get(chunks.manifest_key)).hexdigest()
    assert (chunks.objects, chunks.bytes) == (5, 5 * len(b"chunks 0"))


def test_the_loser_of_a_race_looks_again_and_keeps_what_the_winner_published(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine: dict[Kind, str] = {"chunks": artefact(store, "chunks", "a" * 16)}
    theirs: dict[Kind, str] = {"extents": artefact(store, "extents", "b" * 16)}
    put = type(store).put
    races: list[str] = []

    def overtaken(self: Any, key: str, *arguments: Any, **options: Any) -> Any:
        if key == keys.current_key(VIDEO) and not races:
            races.append(key)
            publish(store, VIDEO, theirs)
        return put(self, key, *arguments, **options)

    monkeypatch.setattr(type(store), "put", overtaken)
    publication = publish(store, VIDEO, mine)
    assert races
    assert publication.kept == ["extents"]
    found = read_current(store, VIDEO)
    assert found is not None
    assert set(found[0].artefacts) == {"chunks", "extents"}


def test_who_loses_every_race_gives_up_and_may_try_again(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefixes: dict[Kind, str] = {"chunks": artefact(store, "chunks", "a" * 16)}

    def lose(*_: object, **__: object) -> None:
        raise PreconditionFailed("somebody was faster")

    monkeypatch.setattr(type(store), "put", lose)
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    with pytest.raises(Transient, match="too many at once"):
        publish(store, VIDEO, prefixes)


def test_a_server_without_conditional_writes_is_read_back(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefixes: dict[Kind, str] = {"chunks": artefact(store, "chunks", "a" * 16)}
    put, conditions = type(store).put, []

    def noting(self: Any, key: str, *arguments: Any, **options: Any) -> Any:
        conditions.append({name for name in ("if_match", "if_none_match") if options.get(name)})
        return put(self, key, *arguments, **options)

    monkeypatch.setattr(type(store), "put", noting)
    monkeypatch.setattr(type(store), "conditional_writes", lambda self: False)
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    assert publish(store, VIDEO, prefixes).changed
    assert conditions == [set()]

    def another_writes(_seconds: float) -> None:
        put(store, keys.current_key(VIDEO), b"another's")

    monkeypatch.setattr(module.time, "sleep", another_writes)
    with pytest.raises(Transient, match="no conditional writes") as caught:
        publish(store, VIDEO, {"chunks": artefact(store, "chunks", "c" * 16)})
    assert "one place only" in str(caught.value.what_to_do)


def test_publishing_can_be_cancelled_and_leaves_the_pointer(store: ObjectStore) -> None:
    publish(store, VIDEO, {"frames": artefact(store, "frames", FRAMES)})
    before = store.get(keys.current_key(VIDEO))

    def cancelled() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        publish(store, VIDEO, {"chunks": artefact(store, "chunks", "a" * 16)}, check_cancelled=cancelled)
    assert store.get(keys.current_key(VIDEO)) == before


def test_equal_sets_give_equal_bytes_in_whatever_order_they_came(store: ObjectStore) -> None:
    kinds: dict[Kind, str] = {
        "frames": artefact(store, "frames", FRAMES),
        "chunks": artefact(store, "chunks", "a" * 16),
    }
    publish(store, VIDEO, kinds)
    first = store.get(keys.current_key(VIDEO))
    store.delete(keys.current_key(VIDEO))
    for kind in reversed(kinds):
        publish(store, VIDEO, {kind: kinds[kind]})
    assert store.get(keys.current_key(VIDEO)) == first
