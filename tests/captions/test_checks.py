"""The checks of finished artefacts: sound ones pass, and each defect a reader would meet is named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.captions.documents import caption, document
from video_pipeline import keys
from video_pipeline.captions.checks import check_captions, check_chunks, check_extents, check_frames
from video_pipeline.captions.chunks import all_chunks, pictures_in_window
from video_pipeline.captions.database import ExtentsDatabase
from video_pipeline.captions.inference import Direction, PairResult
from video_pipeline.captions.manifest import Kind, Manifest, ManifestObject, put_object, write_manifest
from video_pipeline.captions.subtitles import to_srt, to_vtt
from video_pipeline.keys import VideoId
from video_pipeline.store.base import ObjectStore

VIDEO = VideoId("acme", "clip")
RECIPE = "f" * 16
FRAMES = 85
SAME = Direction("same", 0.96, (0.96, 0.01, 0.01, 0.01, 0.01))


def artefact(
    store: ObjectStore, kind: Kind, prefix: str, objects: list[ManifestObject], frames: int, **summary: Any
) -> str:
    return write_manifest(
        store,
        prefix,
        Manifest(
            kind=kind,
            tenant="acme",
            video="clip",
            recipe=RECIPE,
            frames_recipe=RECIPE,
            source_key="acme/client/videos/clip/video.mp4",
            source_version="v1",
            frame_count=frames,
            frame_rate="10",
            count=len(objects),
            objects=tuple(objects),
            summary=summary,
        ),
    )


def frames(store: ObjectStore, pts: list[int], *, states: int | None = None, manifest: int = 3) -> str:
    prefix = keys.frames_prefix(VIDEO, RECIPE)
    text = json.dumps({"pts": pts, "count": len(pts) if states is None else states})
    made = [
        put_object(store, prefix + "frames.json", text.encode(), "application/json"),
        put_object(store, prefix + "contact_sheet.png", b"a picture", "image/png"),
    ]
    return artefact(store, "frames", prefix, made, manifest)


def extents(
    store: ObjectStore,
    folder: Path,
    change: str = "",
    *,
    frame_count: int = 4,
    labels: dict[str, int] | None = None,
) -> str:
    path = folder / "extents.db"
    with ExtentsDatabase(
        path, frames_recipe=RECIPE, model_version="m", model_checkpoint_path="c", run_id="r"
    ) as database:
        database.add(PairResult(index, index + 1, SAME, SAME, 1.0) for index in range(3))
        database.finish(4)
    connection = sqlite3.connect(path)
    connection.executescript(change)
    connection.close()
    key = keys.database_key(VIDEO, RECIPE)
    made = put_object(store, key, path.read_bytes(), "application/vnd.sqlite3")
    path.unlink()
    prefix = keys.extents_prefix(VIDEO, RECIPE)
    return artefact(store, "extents", prefix, [made], frame_count, labels=labels or {"same": 3})


def chunks(store: ObjectStore, change: Callable[[list[ManifestObject]], Any] = lambda made: None) -> str:
    made = [
        put_object(
            store,
            keys.chunk_key(VIDEO, RECIPE, level, window),
            b"a chunk",
            "video/webm",
            frames=len(pictures_in_window(level, window, FRAMES)),
        )
        for level, window in all_chunks(FRAMES)
    ]
    change(made)
    return artefact(store, "chunks", keys.chunks_prefix(VIDEO, RECIPE), made, FRAMES)


def captions(store: ObjectStore, change: Callable[[str, str], str] = lambda name, text: text) -> str:
    made = document(caption(1, 0, 5, text="one"), caption(2, 8, 12, text="two"))
    prefix = keys.captions_prefix(VIDEO, RECIPE)
    files = {
        "captions.json": made.model_dump_json(),
        "captions.srt": to_srt(made),
        "captions.vtt": to_vtt(made),
    }
    objects = [
        put_object(store, prefix + name, change(name, text).encode(), "text/plain")
        for name, text in files.items()
    ]
    return artefact(store, "captions", prefix, objects, 600)


def test_an_artefact_without_a_manifest_is_missing(store: ObjectStore) -> None:
    key = keys.manifest_key(keys.frames_prefix(VIDEO, RECIPE))
    for check in (check_frames, check_extents, check_chunks, check_captions):
        assert check(store, key) == [f"{key} is missing"]


def test_frames_in_order_pass_and_equal_ones_are_in_order(store: ObjectStore) -> None:
    assert check_frames(store, frames(store, [0, 40, 40])) == []


@pytest.mark.parametrize(
    ("pts", "states", "manifest", "says"),
    [
        ([0, 40], None, 3, "lists 2 samples and states 2, the manifest states 3"),
        ([0, 40, 80], 2, 3, "lists 3 samples and states 2"),
        ([0, 80, 40], None, 3, "not in presentation order"),
    ],
)
def test_frames_that_miscount_or_run_backwards_are_told(
    store: ObjectStore, pts: list[int], states: int | None, manifest: int, says: str
) -> None:
    (problem,) = check_frames(store, frames(store, pts, states=states, manifest=manifest))
    assert says in problem


def test_pairs_of_all_neighbours_pass(store: ObjectStore, tmp_path: Path) -> None:
    assert check_extents(store, extents(store, tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "frame_count", "says"),
    [
        ("DELETE FROM pair_results WHERE frame1_index = 1", 4, "the database has 2"),
        ("UPDATE pair_results SET frame2_index = 9 WHERE frame1_index = 1", 4, "2 of them neighbours"),
        (
            "UPDATE pair_results SET frame1_index = frame1_index + 7, frame2_index = frame2_index + 7",
            4,
            "from frame 7 to 10",
        ),
        ("", 5, "5 frames have 4 pairs"),
        (
            "UPDATE pair_results SET frame2_index = 3 WHERE frame1_index = 1",
            4,
            "has 3, 2 of them neighbours, from frame 0 to 3",
        ),
    ],
    ids=["one is lost", "one reaches too far", "all moved on", "the end is missing", "one leaves one out"],
)
def test_pairs_that_are_lost_or_no_neighbours_are_told(
    store: ObjectStore, tmp_path: Path, change: str, frame_count: int, says: str
) -> None:
    problems = check_extents(store, extents(store, tmp_path, change, frame_count=frame_count))
    assert any(says in problem for problem in problems)


@pytest.mark.parametrize("labels", [{"same": 2}, {"same": 3, "different": 1}])
def test_labels_that_do_not_add_up_are_told(
    store: ObjectStore, tmp_path: Path, labels: dict[str, int]
) -> None:
    (problem,) = check_extents(store, extents(store, tmp_path, labels=labels))
    assert problem == f"the labels add up to {sum(labels.values())}, not 3"


def test_a_video_of_one_frame_has_no_pairs_and_passes(store: ObjectStore, tmp_path: Path) -> None:
    key = extents(store, tmp_path, "DELETE FROM pair_results", frame_count=1, labels={"same": 0})
    assert check_extents(store, key) == []


def test_chunks_that_a_player_computes_pass(store: ObjectStore) -> None:
    assert check_chunks(store, chunks(store)) == []


def test_a_chunk_that_is_lost_foreign_or_holds_too_few_pictures_is_told(store: ObjectStore) -> None:
    last = keys.chunk_key(VIDEO, RECIPE, 1, 64)
    beyond = keys.chunk_key(VIDEO, RECIPE, 1, 96)

    def lose(made: list[ManifestObject]) -> None:
        made[:] = [item for item in made if item.key != last]

    def add(made: list[ManifestObject]) -> None:
        made.append(put_object(store, beyond, b"beyond", "video/webm", frames=1))

    def shorten(made: list[ManifestObject]) -> None:
        made[-1] = made[-1].model_copy(update={"frames": 1})

    assert check_chunks(store, chunks(store, lose)) == [f"{last} is missing from the manifest"]
    assert check_chunks(store, chunks(store, add)) == [f"{beyond} is not a chunk of this video"]
    held = len(pictures_in_window(1, 64, FRAMES))
    assert check_chunks(store, chunks(store, shorten)) == [
        f"{last} states 1 pictures, a player expects {held}"
    ]


def test_a_chunk_that_only_the_manifest_knows_is_told(store: ObjectStore) -> None:
    key = chunks(store)
    first = keys.chunk_key(VIDEO, RECIPE, 16, 0)
    store.delete(first)
    assert check_chunks(store, key) == [f"{first} is not in the store"]


@pytest.mark.parametrize(
    ("make", "check", "names"),
    [
        (lambda store, _: frames(store, [0, 40, 40]), check_frames, ("frames.json", "contact_sheet.png")),
        (extents, check_extents, ("caption_frame_extents.db",)),
        (
            lambda store, _: captions(store),
            check_captions,
            ("captions.json", "captions.srt", "captions.vtt"),
        ),
    ],
    ids=["frames", "extents", "captions"],
)
def test_a_file_that_only_the_manifest_knows_is_told(
    store: ObjectStore,
    tmp_path: Path,
    make: Callable[[ObjectStore, Path], str],
    check: Callable[[ObjectStore, str], list[str]],
    names: tuple[str, ...],
) -> None:
    key = make(store, tmp_path)
    lost: list[str] = []
    for name in names:
        lost.append(key.replace("manifest.json", name))
        store.delete(lost[-1])
        assert check(store, key) == [f"{gone} is not in the store" for gone in lost]


def test_captions_with_a_cue_each_pass(store: ObjectStore) -> None:
    assert check_captions(store, captions(store)) == []


@pytest.mark.parametrize("name", ["captions.srt", "captions.vtt"])
def test_a_subtitle_file_that_lost_a_cue_is_told(store: ObjectStore, name: str) -> None:
    def without_the_last(file: str, text: str) -> str:
        return text[: text.rindex("2\n00:")] if file == name else text

    problems = check_captions(store, captions(store, without_the_last))
    assert problems == [f"{name} has 1 cues, captions.json 2 captions"]


def test_captions_that_do_not_keep_their_schema_are_told(store: ObjectStore) -> None:
    def misspelt(file: str, text: str) -> str:
        return text.replace('"unread"', '"unred"') if file == "captions.json" else text

    (problem,) = check_captions(store, captions(store, misspelt))
    assert problem.startswith("captions.json does not keep its schema")
