"""Manifests: they state what was written, and everything they state is checked byte by byte."""

from __future__ import annotations

import hashlib
import threading

import pytest

from video_pipeline.captions.manifest import (
    BrokenObject,
    Manifest,
    ManifestObject,
    put_object,
    read_manifest,
    verify_objects,
    write_manifest,
)
from video_pipeline.errors import BadInput, Cancelled, Internal
from video_pipeline.store.base import ObjectStore

PREFIX = "acme/client/videos/clip/frames/" + "f" * 16 + "/"


def manifest(*objects: ManifestObject, count: int | None = None) -> Manifest:
    return Manifest(
        kind="frames",
        tenant="acme",
        video="clip",
        recipe="f" * 16,
        frames_recipe="f" * 16,
        source_key="acme/client/videos/clip/video.mp4",
        source_version="v1",
        frame_count=10,
        frame_rate="10",
        count=len(objects) if count is None else count,
        objects=objects,
    )


def three(store: ObjectStore) -> list[ManifestObject]:
    return [put_object(store, f"{PREFIX}part_{k}", b"part" * k, "text/plain") for k in (1, 2, 3)]


def test_an_object_is_described_as_it_was_written(store: ObjectStore) -> None:
    made = put_object(store, PREFIX + "part", b"some bytes", "text/plain", frames=7)
    assert made == ManifestObject(
        key=PREFIX + "part", size=10, sha256=hashlib.sha256(b"some bytes").hexdigest(), frames=7
    )
    assert store.get(PREFIX + "part") == b"some bytes"


def test_a_manifest_is_read_back_with_the_hash_of_its_bytes(store: ObjectStore) -> None:
    written = manifest(*three(store))
    key = write_manifest(store, PREFIX, written)
    assert key == PREFIX + "manifest.json"
    found = read_manifest(store, PREFIX)
    assert found == (written, hashlib.sha256(store.get(key)).hexdigest())
    assert written.total_bytes == 4 + 8 + 12


def test_equal_artefacts_have_equal_manifests_to_the_byte(store: ObjectStore) -> None:
    write_manifest(store, PREFIX, manifest(*three(store)))
    first = store.get(PREFIX + "manifest.json")
    write_manifest(store, PREFIX, manifest(*three(store)))
    assert store.get(PREFIX + "manifest.json") == first


def test_without_a_manifest_there_is_no_artefact(store: ObjectStore) -> None:
    three(store)
    assert read_manifest(store, PREFIX) is None


def test_a_manifest_that_miscounts_is_a_defect_and_is_not_written(store: ObjectStore) -> None:
    with pytest.raises(Internal, match="3 objects states 2"):
        write_manifest(store, PREFIX, manifest(*three(store), count=2))
    assert read_manifest(store, PREFIX) is None


@pytest.mark.parametrize(
    ("whole", "changed", "problem"),
    [
        (b'"kind"', b'"colour": "blue", "kind"', "colour: Extra inputs are not permitted"),
        (b'"frame_count": 10', b'"frame_count": "many"', "frame_count: Input should be a valid integer"),
        (b"}", b"", "Invalid JSON"),
    ],
    ids=["of another version", "changed", "cut off"],
)
def test_a_manifest_that_cannot_be_read_is_named_with_what_is_wrong(
    store: ObjectStore, whole: bytes, changed: bytes, problem: str
) -> None:
    write_manifest(store, PREFIX, manifest())
    key = PREFIX + "manifest.json"
    store.put(key, store.get(key).replace(whole, changed))
    with pytest.raises(BrokenObject, match=f"a manifest is not readable: .*{problem}") as caught:
        read_manifest(store, PREFIX)
    assert caught.value.input == f"{store.uri}/{key}"


def test_whole_objects_are_verified_without_a_word(store: ObjectStore) -> None:
    verify_objects(store, manifest(*three(store)))
    verify_objects(store, manifest())


@pytest.mark.parametrize("place", [1, 2, 3], ids=["the first", "one amid", "the last"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("gone", "is missing"),
        ("longer", r"has \d+ bytes, its manifest says \d+"),
        ("shorter", r"has \d+ bytes, its manifest says \d+"),
        ("other", "another SHA-256"),
    ],
)
def test_each_damage_to_any_object_is_found_and_named(
    store: ObjectStore, place: int, damage: str, says: str
) -> None:
    written = manifest(*three(store))
    key = f"{PREFIX}part_{place}"
    if damage == "gone":
        store.delete(key)
    else:
        whole = store.get(key)
        store.put(key, {"longer": whole + b"x", "shorter": whole[:-1], "other": b"P" + whole[1:]}[damage])
    with pytest.raises(BrokenObject, match=says) as caught:
        verify_objects(store, written)
    assert caught.value.input == key
    assert caught.value.kind == "transient", "made again, or the store repaired, it is well"


def test_an_error_of_the_store_itself_is_not_taken_for_a_missing_object(store: ObjectStore) -> None:
    class Refuses:
        """A test double: a store whose credentials have been taken away."""

        def get(self, key: str) -> bytes:
            raise BadInput("access denied", input=key)

    with pytest.raises(BadInput, match="access denied"):
        verify_objects(Refuses(), manifest(*three(store)))  # pyright: ignore[reportArgumentType]


def test_verifying_can_be_cancelled_between_objects(store: ObjectStore) -> None:
    calls: list[str] = []
    lock = threading.Lock()

    def check() -> None:
        with lock:
            calls.append("looked")
            if len(calls) == 2:
                raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        verify_objects(store, manifest(*three(store)), check_cancelled=check, workers=1)
    assert 2 <= len(calls) <= 3
