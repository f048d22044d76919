"""The sampling assets over a real store, a real worker, a real HTTP server and a real instance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.fixtures.media_factory import MediaFactory
from tests.servers.ranges import RangeServer
from video_pipeline import keys
from video_pipeline.definitions import build_definitions
from video_pipeline.errors import BadInput
from video_pipeline.keys import SampleId
from video_pipeline.partitions import SAMPLES
from video_pipeline.sampling.intake import add_sample, load_sample_request
from video_pipeline.store.base import ObjectStore

SAMPLE = SampleId("demo", "first-look")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RangeServer]:
    media = MediaFactory(tmp_path_factory.getbasetemp().parent / "media")
    for name in ("h264_b", "h264_fragmented_mfra"):
        media.path(name)
    with RangeServer(media.directory) as running:
        yield running


def run(instance: dg.DagsterInstance, *, raises: bool = True) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions(SAMPLES, [SAMPLE.partition_key])
    job = build_definitions().resolve_job_def("sample_videos")
    return job.execute_in_process(
        partition_key=SAMPLE.partition_key, instance=instance, raise_on_error=raises
    )


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    for event in result.all_events:
        if event.event_type_value == "ASSET_MATERIALIZATION":
            made = event.step_materialization_data.materialization
            if made.asset_key.to_user_string() == asset:
                return {name: value.value for name, value in made.metadata.items()}
    raise AssertionError(f"{asset} was not materialised")


def test_a_sample_becomes_pictures_predictions_and_reports_in_the_store(
    instance: dg.DagsterInstance, store: ObjectStore, server: RangeServer
) -> None:
    urls = [server.url("h264_b.mp4"), server.url("h264_fragmented_mfra.mp4"), server.url("gone.mp4")]
    add_sample(store, SAMPLE, urls, num_batches=2)
    result = run(instance)
    assert result.success

    frames = metadata_of(result, "frame_samples")
    assert (frames["requested"], frames["delivered"], frames["failed"]) == (6, 4, 2)
    assert str(frames["pictures"]).startswith("![sampled frames](data:image/jpeg;base64,")
    assert "gone.mp4" in str(frames["bandwidth_table"])
    predictions = metadata_of(result, "frame_predictions")
    assert str(predictions["predictions"]).count("\n") >= 6
    assert str(predictions["wandb_run"]).startswith("demo/server/samples/first-look/result/")

    for told in (frames, predictions):
        for name, file in (("timing_waterfall", "timing_waterfall"), ("bandwidth", "bandwidth_report")):
            assert Path(str(told[name])).read_text().lstrip().lower().startswith("<!doctype html"), file
            assert Path(str(told[name])).name == f"{file}.html"
    made = [
        event.step_materialization_data.materialization
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION"
    ]
    # The same call is the same data: what depends on it is not stale.
    assert [one.tags["dagster/data_version"] for one in made if one.tags] == [frames["call"]] * 2

    prefix = keys.samples_prefix("demo") + "first-look/result/"
    names = [item.key.rpartition("/")[2] for item in store.list(prefix)]
    assert sum(name.endswith(".png") for name in names if name.startswith("batch_")) == 4
    assert {"bandwidth_report.html", "timing_waterfall.html", "picture_grid.png"} <= set(names)
    assert [item.key for item in store.list(keys.indexes_prefix("demo"))]

    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert checks["accounted_for"].passed
    assert not checks["all_delivered"].passed
    assert checks["all_delivered"].severity == dg.AssetCheckSeverity.WARN


@pytest.mark.slow
def test_a_sample_that_was_run_before_asks_nobody_again(
    instance: dg.DagsterInstance, store: ObjectStore, server: RangeServer
) -> None:
    add_sample(store, SAMPLE, [server.url("h264_b.mp4")])
    assert run(instance).success
    server.log.clear()
    assert run(instance).success
    assert not server.log


def test_a_missing_request_fails_with_what_to_do(instance: dg.DagsterInstance, store: ObjectStore) -> None:
    result = run(instance, raises=False)
    assert not result.success
    failure = next(event for event in result.all_events if event.event_type_value == "STEP_FAILURE")
    assert "add-sample" in str(failure.event_specific_data)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "Expecting"),
        (b'{"video_urls": []}', "video_urls"),
        (b'{"video_urls": ["https://x/y.mp4"], "seeds": 1}', "seeds"),
        (b'{"video_urls": ["/etc/passwd"]}', "path"),
    ],
)
def test_a_request_that_is_wrong_is_refused_by_field(store: ObjectStore, content: bytes, said: str) -> None:
    store.put(keys.sample_request_key("demo", "first-look"), content)
    with pytest.raises(BadInput, match=said) as caught:
        load_sample_request(store, SAMPLE)
    assert "request.json" in str(caught.value)


def test_a_sample_reads_no_other_tenants_videos(store: ObjectStore) -> None:
    with pytest.raises(BadInput, match="does not lie under"):
        add_sample(store, SAMPLE, ["other/client/videos/a/video.mp4"])


def test_a_request_keeps_only_what_differs_from_the_defaults(store: ObjectStore) -> None:
    key = add_sample(store, SAMPLE, ["https://example.com/a.mp4"], num_batches=3)
    assert json.loads(store.get(key)) == {"num_batches": 3, "video_urls": ["https://example.com/a.mp4"]}
    assert load_sample_request(store, SAMPLE).return_frame_png
