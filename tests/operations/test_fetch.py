"""`video-pipeline fetch`: what a person gets of a store as plain files, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.operations.retention_world import VIDEO, artefact, content, pointer, recipe
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.seaweedfs import seaweedfs as seaweedfs
from video_pipeline import keys
from video_pipeline.captions.publish import publish
from video_pipeline.cli import main
from video_pipeline.keys import ClipId
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.store.directory import DirectoryStore

FRAMES = recipe("frames")
CLIP = ClipId(VIDEO.tenant, VIDEO.video)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DirectoryStore:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return DirectoryStore(tmp_path / "store")


def publish_captions(store: ObjectStore) -> None:
    """A published set, and captions of an earlier recipe beside it."""
    artefact(store, "captions", recipe("earlier"), frames=FRAMES)
    publish(
        store,
        VIDEO,
        {
            "frames": artefact(store, "frames", FRAMES, frames=FRAMES),
            "chunks": artefact(store, "chunks", recipe("chunks"), frames=FRAMES),
            "captions": artefact(store, "captions", recipe("captions"), frames=FRAMES),
        },
    )


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expected(store: ObjectStore, kind: str, prefix: str) -> dict[str, bytes]:
    return {f"{kind}/{key.removeprefix(prefix)}": data for key, data in content(store, prefix).items()}


def published_files(store: ObjectStore) -> dict[str, bytes]:
    captions = keys.captions_prefix(VIDEO, recipe("captions"))
    return expected(store, "captions", captions) | expected(
        store, "frames", keys.frames_prefix(VIDEO, FRAMES)
    )


def test_a_partition_is_the_published_captions_and_frames_in_a_folder_of_its_name(
    store: DirectoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_captions(store)
    assert main(["fetch", VIDEO.partition_key]) == 0
    folder = tmp_path / VIDEO.partition_key
    assert files_below(folder) == published_files(store)
    printed = capsys.readouterr().out.splitlines()
    assert f"{VIDEO.partition_key}/captions/part_0" in printed
    size = sum(map(len, published_files(store).values()))
    assert printed[-1] == f"6 files, {size:,} bytes, in {folder}"


def test_a_clip_is_its_present_renders_by_kind(store: DirectoryStore, tmp_path: Path) -> None:
    old, new = (keys.clip_prefix(CLIP, recipe(name)) for name in ("old", "new"))
    store.put(f"{old}clip.mp4", b"old")
    store.put(f"{new}clip.mp4", b"new")
    render = {
        "recipe": recipe("new"),
        "output_key": f"{new}clip.mp4",
        "manifest_key": f"{new}manifest.json",
        "start_seconds": 0.0,
        "frames": 1,
        "duration_seconds": 1.0,
    }
    pointer(store, keys.clip_current_key(CLIP), {"renders": {"framed_clip": render}})
    assert main(["fetch", CLIP.partition_key, "--to", str(tmp_path / "here")]) == 0
    assert files_below(tmp_path / "here") == {"framed_clip/clip.mp4": b"new"}


@pytest.mark.parametrize("before", ["", "the store's URI"])
@pytest.mark.parametrize("ending", ["", "/"])
def test_the_beginning_of_keys_is_all_that_lies_below_it(
    store: DirectoryStore, tmp_path: Path, before: str, ending: str
) -> None:
    store.put("acme/client/a/one.txt", b"1")
    store.put("acme/client/a/b/two.txt", b"2")
    store.put("acme/client/ab.txt", b"a neighbour")
    wanted = f"{store.uri}/acme/client/a" if before else "acme/client/a"
    assert main(["fetch", wanted + ending, "--to", str(tmp_path / "here")]) == 0
    assert files_below(tmp_path / "here") == {"one.txt": b"1", "b/two.txt": b"2"}


def test_a_key_is_that_object_alone_and_replaces_an_older_copy(store: DirectoryStore, tmp_path: Path) -> None:
    store.put("acme/client/captions.srt", b"new")
    store.put("acme/client/captions.srt.txt", b"another")
    (tmp_path / "captions.srt").write_bytes(b"an older copy")
    assert main(["fetch", "acme/client/captions.srt"]) == 0
    assert (tmp_path / "captions.srt").read_bytes() == b"new"
    assert not (tmp_path / "captions.srt.txt").exists()


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ("acme--nothing", "nothing is published of this partition"),
        ("acme/client/nothing", "nothing is there in the store"),
        ("acme", "'acme' is not a partition key"),
        ("acme/../other/", "is not a clean object key"),
    ],
)
def test_what_is_not_there_is_refused_by_name(
    store: DirectoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], wanted: str, problem: str
) -> None:
    store.put("acme/client/a.txt", b"1")
    assert main(["fetch", wanted, "--to", str(tmp_path / "here")]) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "here").exists()


def test_a_folder_that_is_a_file_is_refused_and_nothing_is_left_half(
    store: DirectoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put("acme/client/a.txt", b"1")
    (tmp_path / "here").write_bytes(b"mine")
    assert main(["fetch", "acme/client/", "--to", str(tmp_path / "here")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert (tmp_path / "here").read_bytes() == b"mine"
    assert sorted(os.listdir(tmp_path)) == ["here", "store"]


@pytest.mark.slow
def test_a_bucket_gives_the_same_files(
    seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(load_settings())
    publish_captions(store)
    big = os.urandom(20_000_000)
    store.put(keys.captions_prefix(VIDEO, recipe("captions")) + "part_0", big)
    assert main(["fetch", VIDEO.partition_key, "--to", str(tmp_path / "here")]) == 0
    assert files_below(tmp_path / "here") == published_files(store)
    assert (tmp_path / "here" / "captions" / "part_0").read_bytes() == big
