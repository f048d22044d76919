"""Retention where something is odd: damaged or unusual documents, a store that refuses, names that only look
like the pipeline's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.operations.retention_world import (
    DAY_S,
    HOUR_S,
    OLD_S,
    VIDEO,
    age,
    artefact,
    call,
    content,
    later,
    pointer,
    put_aged,
    recipe,
    running_call,
)
from video_pipeline import keys
from video_pipeline.calls import read_call
from video_pipeline.errors import BadInput, Transient
from video_pipeline.keys import ClipId, VideoId
from video_pipeline.operations import retention_remove
from video_pipeline.operations.retention import clean, survey
from video_pipeline.operations.retention_report import Limits, RetentionReport
from video_pipeline.sampling.indexes import stored_name
from video_pipeline.store.base import ObjectInfo, UnfinishedUpload
from video_pipeline.store.directory import DirectoryStore

OLD, NEW = recipe("old"), recipe("new")
KEY = recipe("a call") * 2
CLIP = ClipId("demo", "goal")
FILM = keys.source_key(VIDEO, "mp4")


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def clean_twice(store: DirectoryStore) -> RetentionReport:
    clean(store)
    return clean(store, now=later(1.5 * HOUR_S))


def done(report: RetentionReport) -> dict[str, int]:
    return {row.kind: row.done for row in report.kinds if row.done}


def test_what_only_begins_like_an_object_of_the_pipeline_is_somebody_elses(store: DirectoryStore) -> None:
    call(store, KEY)
    index = keys.indexes_prefix("demo") + stored_name("https://example.com/film.mp4")
    put_aged(store, index, b"index", OLD_S)
    mine = {f"{keys.call_key('demo', KEY)}.bak", f"{keys.result_key('demo', KEY)}~", f"{index}.copy"}
    for key in mine:
        put_aged(store, key, b"a person's copy", OLD_S)

    report = clean(store)

    assert done(report) == {"calls": 1, "indexes": 1}
    assert {key for key in content(store) if "/ledger/" not in key} == mine


@pytest.mark.parametrize(
    "document",
    [
        keys.current_key(VIDEO),
        keys.clip_current_key(CLIP),
        keys.clip_request_key(CLIP),
        keys.sample_request_key("demo", "look"),
        keys.caption_request_key(VideoId("demo", "other")),
    ],
)
@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_what_any_pointer_or_request_names_stays(store: DirectoryStore, document: str, slash: str) -> None:
    named = artefact(store, "chunks", OLD, frames=NEW)
    other = artefact(store, "extents", OLD, frames=NEW, video=VideoId("demo", "park"))
    text = f'{{"deep": [{{"er": ["{named}part_0"]}}]}}'.replace("/", slash)
    put_aged(store, document, text.encode(), OLD_S)

    clean_twice(store)

    assert len(content(store, named)) == 3
    assert content(store, other) == {}


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b'{"source_key": 7}'])
def test_a_layout_that_does_not_say_of_what_it_was_made_stays(store: DirectoryStore, text: bytes) -> None:
    prefix = keys.layout_prefix(VIDEO, OLD)
    put_aged(store, f"{prefix}layout.json", text, OLD_S)
    other = artefact(store, "chunks", NEW, frames=OLD, video=VideoId("demo", "park"))

    clean_twice(store)

    assert content(store, prefix) == {f"{prefix}layout.json": text}
    assert content(store, other) == {}


def detections(store: DirectoryStore, name: str, source: str, seconds: float = OLD_S) -> str:
    prefix = keys.clip_prefix(CLIP, recipe(name))
    pointer(store, f"{prefix}detections.json", {"source_key": source}, seconds)
    return prefix


def test_of_each_source_of_a_clip_the_newest_detections_stay_and_those_of_none_go(
    store: DirectoryStore,
) -> None:
    other = keys.source_key(VideoId("demo", "park"), "mp4")
    for key in (FILM, other):
        store.put(key, b"film")
    kept = [detections(store, "of one", FILM), detections(store, "of another", other, OLD_S + DAY_S)]
    outdated = detections(store, "outdated", FILM, OLD_S + DAY_S)
    gone = detections(store, "gone", keys.source_key(VideoId("demo", "nowhere"), "mp4"))

    clean_twice(store)

    assert [len(content(store, prefix)) for prefix in (*kept, outdated, gone)] == [1, 1, 0, 0]


def test_detections_of_a_render_that_only_another_kept_product_names_stay(store: DirectoryStore) -> None:
    """The detections are in use as long as the render is, however far from a pointer that is named."""
    rendered, joined = keys.clip_prefix(CLIP, OLD), keys.clip_prefix(ClipId("demo", "best_of"), NEW)
    put_aged(store, f"{rendered}clip.mp4", b"film", OLD_S)
    put_aged(store, f"{rendered}manifest.json", b"{}", OLD_S)
    put_aged(store, f"{joined}manifest.json", f'{{"of": "{rendered}clip.mp4"}}'.encode(), OLD_S)
    pointer(store, keys.clip_current_key(ClipId("demo", "best_of")), {"joined": {"recipe": NEW}})
    found = detections(store, "found", f"{rendered}clip.mp4")

    clean_twice(store)

    assert len(content(store, rendered)) == 2
    assert len(content(store, found)) == 1


def test_a_running_call_keeps_what_its_request_names_by_key_and_by_address(store: DirectoryStore) -> None:
    half = artefact(store, "chunks", OLD, frames=OLD, finished=False)
    others = artefact(store, "chunks", OLD, frames=OLD, finished=False, video=VideoId("demo", "park"))
    address = "https://example.com/film.mp4"
    index = keys.indexes_prefix("demo") + stored_name(address)
    put_aged(store, index, b"index", OLD_S)
    running_call(store, KEY, {"source_key": FILM, "urls": [address]})

    clean_twice(store)

    assert len(content(store, half)) == 2
    assert content(store, others) == {}
    assert store.head(index) is not None


def test_a_call_that_runs_here_keeps_its_video_however_old_its_heartbeat(store: DirectoryStore) -> None:
    half = artefact(store, "chunks", OLD, frames=OLD, finished=False)
    running_call(store, KEY, {"tenant_id": "demo", "video_id": "street"})
    found = read_call(store, "demo", KEY)
    assert found is not None
    silent = found[0].model_copy(update={"heartbeat_at": found[0].heartbeat_at - OLD_S})
    put_aged(store, keys.call_key("demo", KEY), silent.model_dump_json().encode(), OLD_S)

    clean_twice(store)

    assert len(content(store, half)) == 2
    assert store.head(keys.call_key("demo", KEY)) is not None


def test_a_call_that_has_ended_keeps_nothing(store: DirectoryStore) -> None:
    half = artefact(store, "chunks", OLD, frames=OLD, finished=False)
    call(store, KEY, seconds=60.0, silent_s=60.0, request={"tenant_id": "demo", "video_id": "street"})

    clean(store)

    assert content(store, half) == {}


class WithoutALedger(DirectoryStore):
    """Refuses entries of the ledger."""

    def put(self, key: str, *arguments: object, **named: object) -> ObjectInfo:
        if key.startswith(keys.ledger_entries_prefix()):
            raise Transient("the disk did not do it", input=key)
        return super().put(key, *arguments, **named)  # pyright: ignore[reportArgumentType]


def test_a_call_whose_costs_cannot_be_entered_stays_and_goes_once_they_can(tmp_path: Path) -> None:
    store = WithoutALedger(tmp_path)
    call(store, KEY)
    text = store.get(keys.result_key("demo", KEY)).replace(b'"buried":false', b'"an_old_field":false')
    put_aged(store, keys.result_key("demo", KEY), text, OLD_S)

    report = clean(store)

    assert [line for line in report.held_back if "could not be entered" in line]
    assert store.head(keys.result_key("demo", KEY)) is not None
    found = read_call(store, "demo", KEY)
    assert found is not None
    assert found[0].state == "finished", "nobody is kept waiting for the clean-up's claim"
    assert done(clean(DirectoryStore(tmp_path), now=later(31 * DAY_S))) == {"calls": 1}


def test_a_damaged_result_tells_the_ledger_nothing_and_goes(store: DirectoryStore) -> None:
    call(store, KEY, wall_s=None)
    put_aged(store, keys.result_key("demo", KEY), b"{half", OLD_S)

    assert done(clean(store)) == {"calls": 1}
    assert content(store) == {}


def test_a_call_that_cannot_be_removed_is_let_go_of(tmp_path: Path) -> None:
    class Refuses(DirectoryStore):
        def delete(self, key: str) -> None:
            raise BadInput("the file system does not let this user do that", input=key)

    store = Refuses(tmp_path)
    call(store, KEY)

    assert len(clean(store).failed) == 1
    found = read_call(store, "demo", KEY)
    assert found is not None
    assert found[0].state == "finished"


class WithUploads(DirectoryStore):
    """Has three uploads of which the first ended and the second cannot be discarded; or cannot list them."""

    listed = True

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        if not self.listed:
            raise BadInput("the server does not implement this", input=prefix)
        for name in ("ended", "stuck", "left"):
            yield UnfinishedUpload(f"demo/{name}", name, 5, later(-OLD_S))

    def discard_upload(self, upload: UnfinishedUpload) -> bool:
        if upload.id == "stuck":
            raise Transient("the server failed", input=upload.key)
        return upload.id != "ended"


def test_an_upload_that_ended_or_cannot_be_discarded_is_told_and_the_next_one_goes(tmp_path: Path) -> None:
    report = clean(WithUploads(tmp_path))
    assert done(report) == {"uploads": 1}
    assert [row.freed_bytes for row in report.kinds if row.kind == "uploads"] == [5]
    assert [line for line in report.held_back if line.startswith("demo/ended")]
    assert [line for line in report.failed if line.startswith("demo/stuck")]


def test_uploads_that_cannot_be_listed_are_told_and_keep_nothing_else(tmp_path: Path) -> None:
    store = WithUploads(tmp_path)
    store.listed = False
    half = artefact(store, "chunks", OLD, frames=OLD, finished=False)

    report = clean(store)

    assert content(store, half) == {}
    assert [note for note in report.notes if "uploads cannot be listed here" in note]


@pytest.mark.parametrize("ages", [{"minimum_age_s": 3600.0}, {"partial_minimum_age_s": 60.0}])
def test_no_limits_can_be_made_that_are_not_safe(ages: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Limits(**ages)  # pyright: ignore[reportArgumentType]


def test_an_age_of_its_own_for_the_unfinished_holds_for_them_alone(store: DirectoryStore) -> None:
    artefact(store, "chunks", OLD, frames=OLD, finished=False, seconds=10 * DAY_S)
    artefact(store, "frames", OLD, frames=OLD, seconds=10 * DAY_S)
    shorter = Limits(minimum_age_s=5 * DAY_S, partial_minimum_age_s=20 * DAY_S)
    report = survey(store, shorter)
    assert {row.kind: row.units for row in report.kinds if row.units} == {"old recipes": 1}


# Others who work meanwhile


def test_a_product_that_is_made_again_while_its_manifest_is_taken_away_keeps_the_new_one(
    tmp_path: Path,
) -> None:
    class MadeAgain(DirectoryStore):
        def delete(self, key: str) -> None:
            super().delete(key)
            if key == manifest:
                self.put(key, b'{"made": "again"}')
                pointer(self, keys.current_key(VIDEO), {"frames": {"recipe": OLD}})

    store = MadeAgain(tmp_path)
    manifest = f"{artefact(store, 'frames', OLD, frames=OLD)}manifest.json"

    report = clean(store)

    assert len(report.restored) == 1
    assert store.get(manifest) == b'{"made": "again"}'


def test_a_recipe_that_is_named_right_before_its_objects_go_gets_its_manifest_back(
    store: DirectoryStore,
) -> None:
    late = artefact(store, "frames", OLD, frames=OLD)
    first = artefact(store, "chunks", NEW, frames=OLD)
    before = content(store, late)
    clean(store)
    for prefix in (late, first):
        age(store, f"{prefix}removed.json", 2 * HOUR_S)

    def name_it(done: int, _total: int) -> None:
        if done == 1:
            pointer(store, keys.current_key(VIDEO), {"frames": {"recipe": OLD}})

    report = clean(store, on_progress=name_it)

    assert len(report.restored) == 1
    assert content(store, late) == before
    assert content(store, first) == {}


def test_a_call_that_begins_between_two_removals_keeps_the_second(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_remove, "FRESH_S", 0.0)
    first = artefact(store, "chunks", OLD, frames=OLD, finished=False, video=VideoId("demo", "park"))
    late = artefact(store, "chunks", OLD, frames=OLD, finished=False)

    def begin(done: int, _total: int) -> None:
        if done == 1:
            running_call(store, KEY, {"tenant_id": "demo", "video_id": "street"})

    report = clean(store, on_progress=begin)

    assert [line for line in report.held_back if late in line]
    assert len(content(store, late)) == 2
    assert content(store, first) == {}
