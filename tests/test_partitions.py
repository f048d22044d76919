"""How a partition comes to be registered: by its own run, and by the job that looks into the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from video_pipeline import keys
from video_pipeline.errors import BadInput
from video_pipeline.jobs import register_videos
from video_pipeline.keys import ClipId, SampleId, VideoId
from video_pipeline.partitions import CLIPS, SAMPLES, VIDEOS, clip_of, sample_of, video_of
from video_pipeline.resources.store import StoreResource
from video_pipeline.store.base import ObjectStore


@pytest.mark.parametrize(
    ("of", "definition", "identity"),
    [
        (video_of, VIDEOS, VideoId("acme", "one")),
        (sample_of, SAMPLES, SampleId("acme", "one")),
        (clip_of, CLIPS, ClipId("acme", "one")),
    ],
)
def test_a_run_registers_its_own_partition_unless_its_key_is_wrong(
    instance: dg.DagsterInstance, of: Callable[..., Any], definition: str, identity: Any
) -> None:
    # `dagster job execute` brings a key that nobody has registered, and would fail after all the work.
    for _ in range(2):
        with dg.build_asset_context(partition_key="acme--one", instance=instance) as context:
            assert of(context) == identity
    assert instance.get_dynamic_partitions(definition) == ["acme--one"]
    with (
        dg.build_asset_context(partition_key="acme", instance=instance) as context,
        pytest.raises(BadInput, match="is not a partition key"),
    ):
        of(context)
    every = [key for name in (VIDEOS, SAMPLES, CLIPS) for key in instance.get_dynamic_partitions(name)]
    assert every == ["acme--one"]


def register(instance: dg.DagsterInstance, store: ObjectStore, *tenants: str) -> dg.ExecuteInProcessResult:
    return register_videos.execute_in_process(
        resources={"store": StoreResource(uri=store.uri)},
        run_config={"ops": {"find_videos": {"config": {"tenants": list(tenants)}}}} if tenants else None,
        instance=instance,
        raise_on_error=False,
    )


def test_registering_takes_what_is_still_on_its_way_in_and_tells_which_names_it_refuses(
    instance: dg.DagsterInstance, store: ObjectStore
) -> None:
    # Written this very moment: the sensor would wait, but a person asked, and runs it when it is whole.
    store.put(keys.source_key(VideoId("acme", "new"), "mp4"), b"video")
    store.put(keys.clip_request_key(ClipId("acme", "goal")), b"{}")
    store.put(keys.source_key(VideoId("other", "one"), "mp4"), b"video")
    wrong = Path(store.uri) / "acme/client/videos/My Video"
    wrong.mkdir()
    (wrong / "video.mp4").write_bytes(b"video")

    first = register(instance, store, "acme")
    assert first.output_for_node("find_videos") == 2
    assert instance.get_dynamic_partitions(VIDEOS) == ["acme--new"]
    assert instance.get_dynamic_partitions(CLIPS) == ["acme--goal"]
    (output,) = [
        event.step_output_data.metadata
        for event in first.all_events
        if event.event_type_value == "STEP_OUTPUT"
    ]
    assert "use 'my-video'" in str(output["refused"].value)
    assert register(instance, store, "acme", "other").output_for_node("find_videos") == 1
    assert instance.get_dynamic_partitions(VIDEOS) == ["acme--new", "other--one"]


def test_without_a_tenant_registering_looks_for_those_of_the_settings_or_for_everybody(
    instance: dg.DagsterInstance, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tenant in ("acme", "other"):
        store.put(keys.source_key(VideoId(tenant, "one"), "mp4"), b"video")
    monkeypatch.setenv("VIDEO_PIPELINE_TENANTS", "other")
    assert register(instance, store).output_for_node("find_videos") == 1
    assert instance.get_dynamic_partitions(VIDEOS) == ["other--one"]
    monkeypatch.delenv("VIDEO_PIPELINE_TENANTS")
    assert register(instance, store).output_for_node("find_videos") == 1
    assert sorted(instance.get_dynamic_partitions(VIDEOS)) == ["acme--one", "other--one"]


def test_a_tenant_that_can_be_none_is_refused_and_registers_nothing(
    instance: dg.DagsterInstance, store: ObjectStore
) -> None:
    store.put(keys.source_key(VideoId("acme", "new"), "mp4"), b"video")
    failed = register(instance, store, "acme/../acme")
    assert not failed.success
    assert instance.get_dynamic_partitions(VIDEOS) == []
