"""Retention over stores with a past: what goes, what stays, and what happens when others work meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.retention_world import (
    DAY_S,
    ELSEWHERE,
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
    temporary_file,
)
from video_pipeline import keys
from video_pipeline.calls import CallRecord, read_call
from video_pipeline.captions.publish import publish
from video_pipeline.claims import Claim
from video_pipeline.clips.current import current_renders, set_current
from video_pipeline.clips.result import RenderResult
from video_pipeline.errors import BadInput
from video_pipeline.keys import ClipId, VideoId
from video_pipeline.operations import retention_remove
from video_pipeline.operations.retention import clean, survey
from video_pipeline.operations.retention_report import KindReport, RetentionReport, limits_of
from video_pipeline.operations.retention_units import Kind
from video_pipeline.store.directory import DirectoryStore

OLD, NEW = recipe("old frames"), recipe("new frames")
KEY = recipe("a call") * 2
CLIP = ClipId("demo", "goal")


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def row(report: RetentionReport, kind: Kind) -> KindReport:
    (found,) = [item for item in report.kinds if item.kind == kind]
    return found


def found(report: RetentionReport) -> dict[Kind, int]:
    return {item.kind: item.units for item in report.kinds if item.units}


def clean_twice(store: DirectoryStore) -> RetentionReport:
    """Takes manifests away, and an hour and a half later what they named."""
    clean(store)
    return clean(store, now=later(1.5 * HOUR_S))


def test_a_survey_tells_what_is_old_and_changes_nothing(store: DirectoryStore) -> None:
    prefix = artefact(store, "frames", OLD, frames=OLD)
    call(store, KEY, wall_s=30.0)
    before = content(store)

    report = survey(store)

    assert content(store) == before
    assert found(report) == {"old recipes": 1, "calls": 1}
    frames = row(report, "old recipes")
    assert frames.objects == 3
    assert frames.bytes == sum(len(data) for key, data in before.items() if key.startswith(prefix))
    assert all(key.startswith(prefix) for key in frames.sample)
    assert frames.oldest is not None
    assert abs((report.at - frames.oldest).total_seconds() - OLD_S) < 60
    assert report.computed_s == 30.0
    assert not report.removed


def test_a_recipe_that_is_not_published_goes_in_two_runs_an_hour_apart(store: DirectoryStore) -> None:
    prefix = artefact(store, "frames", OLD, frames=OLD)

    first = clean(store)
    assert row(first, "old recipes").done == 1
    assert row(first, "old recipes").freed_bytes == 0
    assert store.head(f"{prefix}manifest.json") is None
    assert store.head(f"{prefix}part_0") is not None

    soon = clean(store, now=later(0.5 * HOUR_S))
    assert found(soon) == {}
    assert store.head(f"{prefix}part_0") is not None

    second = clean(store, now=later(1.5 * HOUR_S))
    assert row(second, "recipes being removed").done == 1
    assert row(second, "recipes being removed").freed_bytes > 0
    assert content(store) == {}


def test_a_published_set_stays_with_everything_it_is_made_of(store: DirectoryStore) -> None:
    chunks, extents = recipe("chunks"), recipe("extents")
    prefixes = {
        "chunks": artefact(store, "chunks", chunks, frames=NEW),
        "extents": artefact(store, "extents", extents, frames=NEW),
    }
    frames = artefact(store, "frames", NEW, frames=NEW)
    publish(store, VIDEO, prefixes)  # pyright: ignore[reportArgumentType]
    gone = artefact(store, "chunks", recipe("other chunks"), frames=OLD)
    age(store, keys.current_key(VIDEO), OLD_S)

    clean_twice(store)

    assert content(store, gone) == {}
    for prefix in (*prefixes.values(), frames):
        assert len(content(store, prefix)) == 3, prefix


def test_what_a_young_product_is_made_of_stays(store: DirectoryStore) -> None:
    frames = artefact(store, "frames", OLD, frames=OLD)
    chunks = artefact(store, "chunks", recipe("chunks"), frames=recipe("unknown"))
    page = f"{chunks}modulo_16/chunk_0000000000.webm"
    artefact(store, "captions", recipe("text"), frames=OLD, seconds=DAY_S, names=[page])

    clean_twice(store)

    assert len(content(store, frames)) == 3
    assert len(content(store, chunks)) == 3


def test_a_running_call_keeps_everything_of_its_video(store: DirectoryStore) -> None:
    frames = artefact(store, "frames", OLD, frames=OLD)
    half = artefact(store, "chunks", recipe("chunks"), frames=OLD, finished=False)
    other = artefact(store, "frames", OLD, frames=OLD, video=VideoId("demo", "park"))
    running_call(store, KEY, {"tenant_id": "demo", "video_id": "street"})

    clean_twice(store)

    assert len(content(store, frames)) == 3
    assert len(content(store, half)) == 2
    assert content(store, other) == {}


def test_a_running_call_keeps_the_parts_of_its_clip_and_the_calls_it_waits_for(store: DirectoryStore) -> None:
    child, parts = recipe("child") * 2, keys.clip_parts_prefix(CLIP, OLD)
    put_aged(store, f"{parts}00000000-00000030.part", b"pictures", OLD_S)
    call(store, child)
    running_call(store, KEY, {"tenant_id": "demo", "clip_id": "goal"})
    claimed = read_call(store, "demo", KEY)
    assert claimed is not None
    waiting = claimed[0].model_copy(update={"progress": {"children": [{"key": child}]}})
    store.put(keys.call_key("demo", KEY), waiting.model_dump_json().encode())
    before = content(store)

    clean_twice(store)

    assert content(store) == before


def test_parts_go_once_no_call_works_on_their_clip_even_where_the_clip_is_published(
    store: DirectoryStore,
) -> None:
    parts = keys.clip_parts_prefix(CLIP, OLD)
    put_aged(store, f"{parts}00000000-00000030.part", b"pictures", OLD_S)
    shown = render(store, OLD)

    report = clean_twice(store)

    assert content(store, parts) == {}
    assert len(content(store, shown)) == 2
    assert found(report) == {}


def test_a_call_whose_worker_was_lost_minutes_ago_still_keeps_its_video(store: DirectoryStore) -> None:
    prefix = artefact(store, "chunks", OLD, frames=OLD, finished=False)
    request: dict[str, object] = {"tenant_id": "demo", "video_id": "street"}
    call(store, KEY, state="running", silent_s=600.0, seconds=600.0, request=request, wall_s=None)

    assert row(clean(store), "unfinished recipes").units == 0
    assert len(content(store, prefix)) == 2

    call(store, KEY, state="running", silent_s=2 * HOUR_S, seconds=600.0, request=request, wall_s=None)
    assert row(clean(store), "unfinished recipes").done == 1
    assert content(store, prefix) == {}


def test_what_another_clips_request_names_stays(store: DirectoryStore) -> None:
    named, other = render(store, OLD, current=False), render(store, NEW, current=False)
    request = {"compilation": {"clips": [{"source_key": f"{named}clip.mp4"}]}}
    pointer(store, keys.clip_request_key(ClipId("demo", "best_of")), request)

    clean_twice(store)

    assert len(content(store, named)) == 2
    assert content(store, other) == {}


def test_an_unreadable_pointer_keeps_everything_of_its_video(store: DirectoryStore) -> None:
    prefix = artefact(store, "frames", OLD, frames=OLD)
    put_aged(store, keys.current_key(VIDEO), b"{half", OLD_S)

    report = clean(store)

    assert len(content(store, prefix)) == 3
    assert any(keys.current_key(VIDEO) in note for note in report.notes)


def test_brackets_within_brackets_in_one_request_stop_no_clean_up(store: DirectoryStore) -> None:
    prefix = artefact(store, "frames", OLD, frames=OLD)
    store.put(keys.sample_request_key("demo", "deep"), b"[" * 100_000)
    store.put(keys.clip_request_key(ClipId("demo", "deep")), b'{"a":' * 990 + b"1" + b"}" * 990)

    report = clean_twice(store)

    assert content(store, prefix) == {}
    assert any("deep" in note for note in report.notes)


def test_an_unreadable_call_record_is_left_and_told(store: DirectoryStore) -> None:
    put_aged(store, keys.call_key("demo", KEY), b"{half", OLD_S)

    report = clean(store)

    assert store.head(keys.call_key("demo", KEY)) is not None
    assert any(KEY in note for note in report.notes)


def test_an_old_call_goes_with_its_result_and_reports_and_leaves_its_costs_in_the_ledger(
    store: DirectoryStore,
) -> None:
    call(store, KEY)
    text = store.get(keys.result_key("demo", KEY)).replace(b'"buried":false', b'"an_old_field":false')
    put_aged(store, keys.result_key("demo", KEY), text, OLD_S)

    report = clean(store)

    assert row(report, "calls").done == 1
    left = content(store)
    assert [key for key in left if not key.startswith(keys.ledger_entries_prefix())] == []
    (entry,) = left.values()
    assert b'"wall_s":12.0' in entry


@pytest.mark.parametrize("seconds", [0.0, 29 * DAY_S])
def test_young_calls_and_recipes_stay(store: DirectoryStore, seconds: float) -> None:
    call(store, KEY, seconds=seconds)
    artefact(store, "frames", OLD, frames=OLD, seconds=seconds)
    before = content(store)

    assert found(clean(store)) == {}
    assert content(store) == before


def test_one_fresh_object_makes_a_whole_recipe_young(store: DirectoryStore) -> None:
    prefix = artefact(store, "chunks", OLD, frames=OLD, finished=False)
    store.put(f"{prefix}part_1", b"written again")

    assert found(clean(store)) == {}
    assert len(content(store, prefix)) == 2


def test_what_was_begun_and_never_finished_has_an_age_of_its_own(
    store: DirectoryStore, tmp_path: Path
) -> None:
    artefact(store, "chunks", OLD, frames=OLD, finished=False, seconds=5 * HOUR_S)
    left = temporary_file(tmp_path / "store", "left", 5 * HOUR_S)
    artefact(store, "frames", NEW, frames=NEW, seconds=5 * HOUR_S)

    assert found(survey(store)) == {}
    limits = limits_of(days=30, partial_hours=4)
    assert found(survey(store, limits)) == {"unfinished recipes": 1, "uploads": 1}
    clean(store, limits)
    assert not left.exists()
    assert len(content(store)) == 3


@pytest.mark.parametrize(("days", "hours"), [(0.5, None), (30, 0.5), (0, 0), (float("nan"), None)])
def test_ages_that_are_not_safe_are_refused(days: float, hours: float | None) -> None:
    with pytest.raises(BadInput, match="not safe"):
        limits_of(days, hours)


def test_a_tenant_is_cleaned_alone(store: DirectoryStore, tmp_path: Path) -> None:
    mine = artefact(store, "chunks", OLD, frames=OLD, finished=False)
    theirs = artefact(store, "chunks", OLD, frames=OLD, finished=False, video=VideoId("demo-2", "street"))
    left = temporary_file(tmp_path / "store", "left", OLD_S)

    report = clean(store, tenant="demo")

    assert found(report) == {"unfinished recipes": 1}
    assert content(store, mine) == {}
    assert len(content(store, theirs)) == 2
    assert left.exists()
    with pytest.raises(BadInput, match="not a valid tenant"):
        survey(store, tenant="../x")


def test_ledger_requests_sources_and_results_of_samples_are_never_listed(store: DirectoryStore) -> None:
    for key in (
        f"{keys.ledger_entries_prefix()}2020-01-01/20200101T000000000000Z_{KEY}_1.json",
        "system/server/cost_model/model.json",
        keys.deployment_key("video-pipeline", later(0)),
        keys.source_key(VIDEO, "mp4"),
        keys.caption_request_key(VIDEO),
        keys.clip_request_key(CLIP),
        f"{keys.sample_result_prefix('demo', 'sample', KEY)}frame.png",
        "somebody/elses/file.bin",
    ):
        put_aged(store, key, b"{}", OLD_S)
    before = content(store)

    assert found(clean_twice(store)) == {}
    assert content(store) == before


def test_the_layout_of_the_present_source_stays_and_that_of_an_earlier_one_goes(
    store: DirectoryStore,
) -> None:
    source = keys.source_key(VIDEO, "mp4")
    version = store.put(source, b"film").version
    for name, of in (("present", version), ("earlier", "sha256:0")):
        prefix = keys.layout_prefix(VIDEO, recipe(name))
        put_aged(store, f"{prefix}preview.png", b"png", OLD_S)
        pointer(store, f"{prefix}layout.json", {"source_key": source, "source_version": of})

    clean_twice(store)

    assert len(content(store, keys.layout_prefix(VIDEO, recipe("present")))) == 2
    assert content(store, keys.layout_prefix(VIDEO, recipe("earlier"))) == {}


def test_the_newest_detections_of_a_clip_stay_as_long_as_the_clip_they_were_made_of(
    store: DirectoryStore,
) -> None:
    shown, gone = render(store, NEW), render(store, OLD, current=False)
    kept = detections(store, "kept", f"{shown}clip.mp4", OLD_S)
    outdated = detections(store, "outdated", f"{shown}clip.mp4", OLD_S + DAY_S)
    of_gone = detections(store, "of gone", f"{gone}clip.mp4", OLD_S)

    clean_twice(store)

    assert len(content(store, kept)) == 1
    assert content(store, outdated) == content(store, of_gone) == content(store, gone) == {}


def test_an_index_stays_while_a_sample_names_its_video(store: DirectoryStore) -> None:
    from video_pipeline.sampling.indexes import stored_name

    film = "demo/client/videos/street/video.mp4"
    addresses = ["https://example.com/film.mp4", f"{store.uri}/{film}", "https://example.com/gone.mp4"]
    for address in addresses:
        put_aged(store, keys.indexes_prefix("demo") + stored_name(address), b"index", OLD_S)
    signed = "https://example.com/film.mp4?X-Amz-Signature=abc"
    pointer(store, keys.sample_request_key("demo", "sample"), {"video_urls": [signed, film]})

    clean(store)

    left = set(content(store, keys.indexes_prefix("demo")))
    assert left == {keys.indexes_prefix("demo") + stored_name(address) for address in addresses[:2]}


# Others who work meanwhile


def test_a_pointer_that_moves_between_survey_and_removal_is_seen(store: DirectoryStore) -> None:
    kept = artefact(store, "frames", OLD, frames=OLD)
    artefact(store, "chunks", recipe("a first unit"), frames=OLD)

    def publish_the_second(done: int, _total: int) -> None:
        if done == 1:
            publish(store, VIDEO, {"frames": kept})

    report = clean(store, on_progress=publish_the_second)

    assert row(report, "old recipes").done == 1
    assert [line for line in report.held_back if kept in line]
    assert len(content(store, kept)) == 3


@contextlib.contextmanager
def publisher_that_has_verified(store: DirectoryStore, prefix: str) -> Iterator[threading.Event]:
    """A publisher that stands between its verifying and its pointer until it is told to go on."""
    at_the_pointer, go_on = threading.Event(), threading.Event()
    looks = 0

    def wait() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:  # once per object, then before the pointer
            at_the_pointer.set()
            assert go_on.wait(120)

    thread = threading.Thread(
        target=publish, args=(store, VIDEO, {"frames": prefix}), kwargs={"check_cancelled": wait}
    )
    thread.start()
    assert at_the_pointer.wait(120)
    try:
        yield go_on
    finally:
        go_on.set()
        thread.join(120)


def test_a_publisher_that_had_verified_before_gets_its_manifest_back_in_the_same_run(
    store: DirectoryStore,
) -> None:
    prefix = artefact(store, "frames", OLD, frames=OLD)
    before = content(store, prefix)
    with publisher_that_has_verified(store, prefix) as go_on:

        def move_the_pointer(_done: int, _total: int) -> None:
            assert store.head(f"{prefix}manifest.json") is None
            go_on.set()
            while store.head(keys.current_key(VIDEO)) is None:
                time.sleep(0.01)

        report = clean(store, on_progress=move_the_pointer)

    assert content(store, prefix) == before
    assert row(report, "old recipes").done == 0
    assert len(report.restored) == 1


def test_a_publisher_that_moves_its_pointer_after_the_run_gets_its_manifest_back_in_the_next(
    store: DirectoryStore,
) -> None:
    prefix = artefact(store, "frames", OLD, frames=OLD)
    before = content(store, prefix)
    with publisher_that_has_verified(store, prefix):
        clean(store)
        assert store.head(f"{prefix}manifest.json") is None

    report = clean(store, now=later(2 * HOUR_S))

    assert content(store, prefix) == before
    assert len(report.restored) == 1
    assert publish(store, VIDEO, {"frames": prefix}).changed is False


def test_a_publisher_that_comes_after_is_told_to_make_it_again_and_a_second_making_is_left_alone(
    store: DirectoryStore,
) -> None:
    prefix = artefact(store, "frames", OLD, frames=OLD)
    clean(store)
    with pytest.raises(BadInput, match="there are no frames to publish"):
        publish(store, VIDEO, {"frames": prefix})

    artefact(store, "frames", OLD, frames=OLD, seconds=0.0)
    clean(store, now=later(2 * HOUR_S))

    assert {f"{prefix}part_0", f"{prefix}part_1", f"{prefix}manifest.json"} <= set(content(store, prefix))


def test_objects_written_again_after_the_manifest_was_taken_away_are_left_alone(
    store: DirectoryStore,
) -> None:
    prefix = artefact(store, "frames", OLD, frames=OLD)
    clean(store)
    age(store, f"{prefix}removed.json", 2 * HOUR_S)
    store.put(f"{prefix}part_0", b"a call that makes it again")

    clean(store)

    assert store.head(f"{prefix}part_0") is not None
    assert store.head(f"{prefix}part_1") is not None


def test_a_render_that_becomes_current_again_gets_its_manifest_back(store: DirectoryStore) -> None:
    prefix = render(store, OLD, current=False)
    before = content(store, prefix)
    clean(store)
    set_current(store, CLIP, "clip", render_result(prefix, OLD))

    clean(store, now=later(2 * HOUR_S))

    assert content(store, prefix) == before
    assert current_renders(store, CLIP).need("clip", CLIP).manifest_key in before


def test_a_worker_that_comes_while_its_old_call_is_removed_finds_the_claim_held(
    tmp_path: Path,
) -> None:
    held: list[object] = []

    class WithAWorker(DirectoryStore):
        def delete(self, key: str) -> None:
            if key == keys.result_key("demo", KEY):
                mine = CallRecord(key=KEY, task="t", version=1, tenant="demo", request={}, worker=ELSEWHERE)
                held.append(Claim.take(DirectoryStore(tmp_path), mine))
            super().delete(key)

    store = WithAWorker(tmp_path)
    call(store, KEY)

    clean(store)

    assert len(held) == 1
    assert isinstance(held[0], CallRecord)
    assert content(store, "demo/") == {}


def test_a_call_that_begins_after_the_survey_keeps_its_records(store: DirectoryStore) -> None:
    call(store, KEY)
    artefact(store, "chunks", OLD, frames=OLD, finished=False, video=VideoId("aaa", "first"))

    def begin(done: int, _total: int) -> None:
        if done == 1:
            running_call(store, KEY, {})

    report = clean(store, on_progress=begin)

    assert [line for line in report.held_back if KEY in line]
    assert store.head(keys.result_key("demo", KEY)) is not None


def test_objects_written_between_survey_and_removal_are_left_alone(store: DirectoryStore) -> None:
    late = artefact(store, "frames", OLD, frames=OLD, finished=False)
    artefact(store, "chunks", OLD, frames=OLD, finished=False)

    def write(done: int, _total: int) -> None:
        if done == 1:
            store.put(f"{late}part_0", b"a maker without a call")

    report = clean(store, on_progress=write)

    assert [line for line in report.held_back if late in line]
    assert len(content(store, late)) == 2


@pytest.mark.parametrize("taken", [False, True])
def test_a_recipe_written_to_between_survey_and_removal_is_left_alone(
    store: DirectoryStore, taken: bool
) -> None:
    late = artefact(store, "frames", OLD, frames=OLD)
    artefact(store, "chunks", OLD, frames=OLD)
    if taken:
        clean(store)
        for prefix in (late, keys.chunks_prefix(VIDEO, OLD)):
            age(store, f"{prefix}removed.json", 2 * HOUR_S)
    before = set(content(store, late))

    def write(done: int, _total: int) -> None:
        if done == 1:
            store.put(f"{late}part_0", b"written again")

    report = clean(store, on_progress=write)

    assert [line for line in report.held_back if late in line]
    assert set(content(store, late)) == before


def test_a_call_that_begins_in_the_middle_of_a_large_recipe_ends_its_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_remove, "FRESH_S", 0.0)

    class WithACall(DirectoryStore):
        def delete(self, key: str) -> None:
            if key.endswith("part_0"):
                running_call(self, KEY, {"tenant_id": "demo", "video_id": "street"})
            super().delete(key)

    store = WithACall(tmp_path)
    prefix = artefact(store, "chunks", OLD, frames=OLD, finished=False)
    for number in range(100):
        put_aged(store, f"{prefix}part_1_{number:03d}", b"chunk", OLD_S)

    report = clean(store)

    assert [line for line in report.held_back if prefix in line and "64 of 102" in line]
    assert len(content(store, prefix)) == 102 - 64
    assert row(report, "unfinished recipes").done == 0
    assert row(report, "unfinished recipes").freed_bytes > 0


def test_one_unit_that_cannot_be_removed_is_told_and_keeps_no_other(tmp_path: Path) -> None:
    class WithADamagedFolder(DirectoryStore):
        def delete(self, key: str) -> None:
            if "/chunks/" in key:
                raise BadInput("the file system does not let this user do that", input=key)
            super().delete(key)

    store = WithADamagedFolder(tmp_path)
    bad = artefact(store, "chunks", OLD, frames=OLD, finished=False)
    good = artefact(store, "frames", OLD, frames=OLD, finished=False)

    report = clean(store)

    assert [line for line in report.failed if bad in line]
    assert content(store, good) == {}
    assert row(report, "unfinished recipes").done == 1


# Things in the store


def render_result(prefix: str, name: str) -> RenderResult:
    return RenderResult(
        kind="extract_clip",
        recipe=name,
        width=64,
        height=64,
        frame_rate="25",
        frames=25,
        duration_seconds=1.0,
        output_key=f"{prefix}clip.mp4",
        manifest_key=f"{prefix}manifest.json",
    )


def render(store: DirectoryStore, name: str, *, current: bool = True) -> str:
    """A finished render of the clip, present or not."""
    prefix = keys.clip_prefix(CLIP, name)
    put_aged(store, f"{prefix}clip.mp4", b"film", OLD_S)
    put_aged(store, f"{prefix}manifest.json", b'{"sources": {}}', OLD_S)
    if current:
        set_current(store, CLIP, "clip", render_result(prefix, name))
    return prefix


def detections(store: DirectoryStore, name: str, source: str, seconds: float) -> str:
    prefix = keys.clip_prefix(CLIP, recipe(name))
    pointer(store, f"{prefix}detections.json", {"source_key": source}, seconds)
    return prefix
