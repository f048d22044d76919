"""The caption assets over a real store, real workers and a real instance, in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from video_pipeline import keys
from video_pipeline.calls import list_calls
from video_pipeline.definitions import build_definitions
from video_pipeline.demo.run import VIDEO, store_demo_clip
from video_pipeline.failures import STOP_RUN_RETRIES
from video_pipeline.partitions import CLIPS, SAMPLES, VIDEOS
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

PASS = ("cropped_frames", "caption_frame_extents", "vp9_chunks")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    return open_store(load_settings())


def run(
    instance: dg.DagsterInstance, *assets: str, partition: str = VIDEO.partition_key, raises: bool = True
) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions(VIDEOS, [partition])
    selection = [dg.AssetKey(asset) for asset in assets] or None
    job = build_definitions().resolve_job_def("caption_video")
    return job.execute_in_process(
        partition_key=partition, instance=instance, asset_selection=selection, raise_on_error=raises
    )


def made(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.materialization.asset_key.to_user_string() for event in _materialisations(result)}


def _materialisations(result: dg.ExecuteInProcessResult) -> list:
    return [
        event.event_specific_data
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.event_specific_data is not None
    ]


def logged(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))


@pytest.mark.slow
def test_one_video_becomes_a_published_set_and_a_second_run_does_no_work(
    store: ObjectStore, instance: dg.DagsterInstance
) -> None:
    store_demo_clip(store)
    first = run(instance)
    assert first.success
    assert made(first) == {"source_video", "caption_layout", *PASS, "captions", "wasabi_upload"}
    checks = first.get_asset_check_evaluations()
    assert {check.check_name for check in checks} == {
        "frame_count",
        "pair_count",
        "addressing",
        "files_agree",
        "checksums",
    }
    assert all(check.passed for check in checks)
    current = json.loads(store.get(keys.current_key(VIDEO)))
    assert set(current["artefacts"]) == {"frames", "extents", "chunks", "captions"}
    assert current["frame_count"] == 420

    metadata = {
        item.materialization.asset_key.to_user_string(): item.materialization.metadata
        for item in _materialisations(first)
    }
    assert "data:image/jpeg;base64," in metadata["cropped_frames"]["contact_sheet"].value
    assert Path(metadata["vp9_chunks"]["timing_waterfall.html"].value).exists()
    pairs = [
        int(value.value)
        for name, value in metadata["caption_frame_extents"].items()
        if name.startswith("pairs_")
    ]
    assert sum(pairs) == 419
    assert metadata["captions"]["captions"].value == 15
    assert "Morning on the campus road." in metadata["captions"]["preview"].value
    assert Path(metadata["captions"]["review_page"].value).exists()

    before = {item.key: item.version for item in store.list("demo/client/")}
    second = run(instance)
    assert second.success
    assert {item.key: item.version for item in store.list("demo/client/")} == before
    assert logged(instance, second).count("nothing to do") == 4

    # As when a run that died after its first materialisation is made again: nothing is left to pay for.
    calls = list_calls(store)
    rest = run(instance, "caption_frame_extents", "vp9_chunks")
    assert made(rest) == {"caption_frame_extents", "vp9_chunks"}
    assert list_calls(store) == calls

    # Only extents: a changed request of the encoder's must not infer again, and the other way round.
    request = json.loads(store.get(keys.caption_request_key(VIDEO)))
    store.put(keys.caption_request_key(VIDEO), json.dumps({**request, "preset": "small"}).encode())
    third = run(instance, "vp9_chunks", "wasabi_upload")
    assert made(third) == {"vp9_chunks", "wasabi_upload"}
    after = json.loads(store.get(keys.current_key(VIDEO)))
    assert after["artefacts"]["extents"] == current["artefacts"]["extents"]
    assert after["artefacts"]["frames"] == current["artefacts"]["frames"]
    assert after["artefacts"]["chunks"]["recipe"] != current["artefacts"]["chunks"]["recipe"]
    assert after["artefacts"]["captions"] == current["artefacts"]["captions"]


@pytest.mark.slow
def test_a_video_without_a_request_has_its_captions_found(
    store: ObjectStore, instance: dg.DagsterInstance
) -> None:
    store_demo_clip(store)
    store.delete(keys.caption_request_key(VIDEO))
    result = run(instance, "source_video", "caption_layout", "cropped_frames")
    assert result.success
    (layout,) = [
        item.materialization.metadata
        for item in _materialisations(result)
        if item.materialization.asset_key.to_user_string() == "caption_layout"
    ]
    assert layout["found"].value is True
    assert "data:image/" in layout["preview"].value
    assert 0.7 < layout["crop_region"].data["top"] < 0.85


@pytest.mark.slow
def test_choosing_only_extents_encodes_nothing(store: ObjectStore, instance: dg.DagsterInstance) -> None:
    store_demo_clip(store)
    result = run(instance, "source_video", "caption_frame_extents")
    assert made(result) == {"source_video", "caption_frame_extents"}
    assert [item.key for item in store.list("demo/client/videos/street/chunks/")] == []


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("no_video", "no source in the store"),
        ("bad_request", "crop_region"),
        ("not_a_video", "video.mp4"),
        ("truncated", "video.mp4"),
        ("two_sources", "2 sources"),
    ],
)
def test_bad_input_ends_at_the_source_and_is_not_retried(
    store: ObjectStore, instance: dg.DagsterInstance, damage: str, says: str
) -> None:
    key = store_demo_clip(store)
    match damage:
        case "no_video":
            store.delete(key)
        case "bad_request":
            store.put(keys.caption_request_key(VIDEO), b'{"crop_region": {"left": 2}}')
        case "not_a_video":
            store.put(key, b"hello " * 1000)
        case "truncated":
            store.put(key, store.get(key)[:200_000])
        case "two_sources":
            store.put(keys.source_key(VIDEO, "mov"), b"another")
    result = run(instance, raises=False)
    assert not result.success
    assert made(result) == set()
    failure = next(event for event in result.all_events if event.is_step_failure)
    message = failure.step_failure_data.error
    assert message is not None
    assert says in message.message + (message.cause.message if message.cause else "")
    run_record = instance.get_run_by_id(result.run_id)
    assert run_record is not None
    assert STOP_RUN_RETRIES.items() <= run_record.tags.items()
    assert [item.key for item in store.list("demo/server/calls/")] == []


@pytest.mark.slow
def test_a_damaged_object_fails_the_checksum_check_and_is_not_published(
    store: ObjectStore, instance: dg.DagsterInstance
) -> None:
    store_demo_clip(store)
    run(instance, "source_video", *PASS)
    chunk = next(
        item.key for item in store.list("demo/client/videos/street/chunks/") if item.key.endswith(".webm")
    )
    store.put(chunk, b"damaged")
    result = run(instance, "wasabi_upload", raises=False)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("checksums", False)
    assert chunk in (check.description or "")
    assert store.head(keys.current_key(VIDEO)) is None


@pytest.mark.slow
def test_files_that_are_gone_fail_the_checks_of_their_assets_and_not_the_run(
    store: ObjectStore, instance: dg.DagsterInstance
) -> None:
    store_demo_clip(store)
    run(instance, "source_video", *PASS)
    lost = ("/frames.json", "/contact_sheet.png", "/caption_frame_extents.db")
    gone = [item.key for item in store.list("demo/") if item.key.endswith(lost)]
    assert len(gone) == 3
    for key in gone:
        store.delete(key)
    result = run(instance, *PASS, raises=False)
    told = {
        check.check_name: check.description or ""
        for check in result.get_asset_check_evaluations()
        if not check.passed
    }
    assert set(told) == {"frame_count", "pair_count"}
    assert all(any(f"{key} is not in the store" in line for line in told.values()) for key in gone)
    assert made(result) == set(PASS)


def test_register_videos_finds_what_is_in_the_store(store: ObjectStore, instance: dg.DagsterInstance) -> None:
    store_demo_clip(store)
    store.put("demo/client/videos/Bad Name/video.mp4", b"x")
    store.put("demo/client/videos/other/video.txt", b"x")
    store.put("demo/server/clips/goal/request.json", b"{}")
    store.put("demo/server/clips/half/parts/0123456789abcdef/part", b"x")
    store.put("demo/server/samples/look/request.json", b"{}")
    job = build_definitions().resolve_job_def("register_videos")
    config = {"ops": {"find_videos": {"config": {"tenants": ["demo"]}}}}
    for _ in range(2):
        result = job.execute_in_process(run_config=config, instance=instance)
        assert result.success
        assert instance.get_dynamic_partitions(VIDEOS) == ["demo--street"]
        assert instance.get_dynamic_partitions(CLIPS) == ["demo--goal"]
        assert instance.get_dynamic_partitions(SAMPLES) == ["demo--look"]
    assert "Bad Name" in logged(instance, result)
