"""The nightly backfills on real ephemeral instances, with real runs of a double of the assets."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import ScheduleExecutionError
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test
from dagster._utils.schedules import schedule_execution_time_iterator

from tests.doubles.assets import Outcomes, definitions, run
from tests.doubles.nights import BY_PRODUCT, NIGHT, asked, tick
from tests.doubles.nights import outcomes as outcomes
from video_pipeline import keys, schedules
from video_pipeline.clips.intake import ClipRequest, add_clip
from video_pipeline.definitions import build_definitions
from video_pipeline.demo.clips import FLIP, HIGHLIGHTS, bundled_request
from video_pipeline.errors import BadInput
from video_pipeline.keys import ClipId, VideoId
from video_pipeline.modal_ops.guard import cost_of
from video_pipeline.operations.states import CAPTIONS, CLIPS, JOINED, SAMPLES, Product, asked_of_clip
from video_pipeline.resources import history
from video_pipeline.resources.history import read_states
from video_pipeline.resources.store import StoreResource
from video_pipeline.schedules import night_of, nightly_backfills, usd_bound
from video_pipeline.settings import load_settings
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import BUILT_IN, find_task


def launch(instance: dg.DagsterInstance, product: Product, requests: list[dg.RunRequest]) -> None:
    """Makes the runs, as the daemon does."""
    for request in requests:
        create_run_for_test(
            instance,
            job_name=product.job,
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags={"dagster/partition": str(request.partition_key), **request.tags},
        )


def test_what_is_missing_or_failed_is_run_again_newest_first(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes
) -> None:
    outcomes.ends["captions/demo--broken"] = "a defect"
    instance.add_dynamic_partitions("videos", ["demo--first"])
    assert run(instance, outcomes, CAPTIONS, "demo--done").success
    assert not run(instance, outcomes, CAPTIONS, "demo--broken").success
    instance.add_dynamic_partitions("videos", ["demo--last"])
    requests = tick(instance)
    assert asked(requests) == ["demo--last", "demo--broken", "demo--first"]
    assert [request.tags["video_pipeline/why"] for request in requests] == ["missing", "failed", "missing"]


def test_a_partition_that_was_made_and_failed_since_is_run_again(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes
) -> None:
    assert run(instance, outcomes, CAPTIONS, "demo--a").success
    assert tick(instance) == []
    outcomes.ends["cropped_frames/demo--a"] = "a defect"
    assert not run(instance, outcomes, CAPTIONS, "demo--a").success
    assert asked(tick(instance)) == ["demo--a"]


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
def test_what_is_queued_or_running_is_left_alone_whoever_started_it(
    instance: dg.DagsterInstance, store: ObjectStore, status: dg.DagsterRunStatus
) -> None:
    instance.add_dynamic_partitions("videos", ["demo--a", "demo--b", "demo--c", "demo--d"])
    create_run_for_test(instance, job_name=CAPTIONS.job, status=status, tags={"dagster/partition": "demo--a"})
    create_run_for_test(
        instance,
        job_name="__ASSET_JOB",
        status=status,
        tags={
            "dagster/asset_partition_range_start": "demo--b",
            "dagster/asset_partition_range_end": "demo--c",
        },
        asset_selection=frozenset({dg.AssetKey("vp9_chunks")}),
    )
    # A clip of the same name is another partition.
    create_run_for_test(instance, job_name=CLIPS.job, status=status, tags={"dagster/partition": "demo--d"})
    assert asked(tick(instance)) == ["demo--d"]


def test_a_run_of_one_asset_keeps_its_own_product_and_a_foreign_one_keeps_all(
    instance: dg.DagsterInstance, store: ObjectStore
) -> None:
    clip = {"source_key": "demo/client/videos/film/video.mp4", "start": 0.0, "end": 1.0}
    joined = {"compilation": {"clips": [{"clip": "cut", "name": "Cut"}]}}
    for name in ("a", "b"):
        add_clip(store, ClipId("demo", name), clip | joined)
    instance.add_dynamic_partitions("clips", ["demo--a", "demo--b"])
    for job, key in (("framed_clip_only", "demo--a"), ("somebody_elses", "demo--b")):
        create_run_for_test(
            instance, job_name=job, status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": key}
        )
    assert asked(tick(instance, CLIPS)) == []
    assert asked(tick(instance, JOINED)) == ["demo--a"]


def test_what_a_backfill_has_not_asked_for_yet_is_left_to_it(
    instance: dg.DagsterInstance, store: ObjectStore
) -> None:
    instance.add_dynamic_partitions("videos", ["demo--a", "demo--b", "demo--c", "demo--d"])
    graph = definitions(Outcomes()).resolve_asset_graph()
    instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id="asset",
            asset_graph=graph,
            partition_names=["demo--b"],
            asset_selection=[dg.AssetKey(name) for name in CAPTIONS.assets],
            backfill_timestamp=NIGHT.timestamp(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
    ended = PartitionBackfill(
        backfill_id="ended",
        status=BulkActionStatus.COMPLETED_SUCCESS,
        from_failure=False,
        tags={},
        backfill_timestamp=NIGHT.timestamp(),
        partition_names=["demo--d"],
    )
    instance.add_backfill(ended)
    assert asked(tick(instance)) == ["demo--d", "demo--c", "demo--a"]


def test_a_failed_run_that_dagster_is_about_to_retry_is_left_to_it(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes.ends["captions/demo--a"] = "a defect"
    failed = run(instance, outcomes, CAPTIONS, "demo--a")
    assert asked(tick(instance)) == ["demo--a"]
    instance.add_run_tags(failed.run_id, {"dagster/will_retry": "true"})
    assert tick(instance) == []
    # The daemon was lost with the retry that it was about to start,
    with monkeypatch.context() as patched:
        patched.setattr(history, "RETRY_COMES_WITHIN_S", -1.0)
        assert asked(tick(instance)) == ["demo--a"]
    # or it was started, and is gone: it does not count for ever.
    instance.add_run_tags(failed.run_id, {"dagster/auto_retry_run_id": "gone"})
    assert asked(tick(instance)) == ["demo--a"]


def test_nothing_is_asked_for_twice_in_a_night_and_again_in_the_next(
    instance: dg.DagsterInstance, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_BACKFILL_MAX_RUNS", "2")
    instance.add_dynamic_partitions("videos", [f"demo--{name}" for name in "abcd"])
    first = tick(instance)
    assert asked(first) == ["demo--d", "demo--c"]
    assert len({request.run_key for request in first}) == 2
    # The same tick once more, as when it broke off: the same run keys.
    assert [request.run_key for request in tick(instance)] == [request.run_key for request in first]
    launch(instance, CAPTIONS, first)
    for record in instance.get_run_records():
        instance.report_run_failed(record.dagster_run)
    assert tick(instance, at=NIGHT + timedelta(hours=3)) == []
    monkeypatch.setenv("VIDEO_PIPELINE_BACKFILL_MAX_RUNS", "9")
    # What failed again within the night waits for the next, whatever there is room for.
    assert asked(tick(instance, at=NIGHT + timedelta(hours=3))) == ["demo--b", "demo--a"]
    again = tick(instance, at=NIGHT + timedelta(days=1))
    assert asked(again) == ["demo--d", "demo--c", "demo--b", "demo--a"]
    assert not {request.run_key for request in again} & {request.run_key for request in first}


def test_one_product_takes_no_room_from_another(
    instance: dg.DagsterInstance, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_BACKFILL_MAX_RUNS", "1")
    for partitions in ("videos", "samples"):
        instance.add_dynamic_partitions(partitions, ["demo--a"])
    launch(instance, SAMPLES, tick(instance, SAMPLES))
    assert asked(tick(instance, CAPTIONS)) == ["demo--a"]


def test_bad_input_waits_for_another_source_or_request(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes
) -> None:
    video = VideoId("demo", "a")
    store.put(keys.source_key(video, "mp4"), b"cut off")
    outcomes.ends["source_video/demo--a"] = "bad input"
    assert not run(instance, outcomes, CAPTIONS, "demo--a").success
    assert tick(instance) == []
    store.put(keys.caption_request_key(video), b"{}")
    assert asked(tick(instance)) == ["demo--a"]
    assert not run(instance, outcomes, CAPTIONS, "demo--a").success
    assert tick(instance) == []
    store.put(keys.source_key(video, "mp4"), b"whole")
    assert asked(tick(instance)) == ["demo--a"]
    # That it is gone does not help.
    store.delete(keys.source_key(video, "mp4"))
    assert tick(instance) == []


def test_a_clip_that_failed_for_want_of_its_film_is_tried_once_the_film_is_there(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes
) -> None:
    film = "demo/client/videos/film/video.mp4"
    add_clip(store, ClipId("demo", "goal"), {"source_key": film, "start": 0.0, "end": 1.0})
    outcomes.ends["clip/demo--goal"] = "bad input"
    assert not run(instance, outcomes, CLIPS, "demo--goal").success
    assert tick(instance, CLIPS) == []
    store.put(film, b"the film")
    assert asked(tick(instance, CLIPS)) == ["demo--goal"]


def test_clips_are_made_as_their_requests_ask(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes
) -> None:
    cut = {"source_key": "demo/client/videos/film/video.mp4", "start": 0.0, "end": 1.0}
    add_clip(store, ClipId("demo", "cut"), cut)
    add_clip(store, ClipId("demo", "done"), cut)
    add_clip(store, ClipId("demo", "joined"), {"compilation": {"clips": [{"clip": "cut", "name": "Cut"}]}})
    store.put(keys.clip_request_key(ClipId("demo", "wrong")), b"{}")
    names = ["demo--cut", "demo--done", "demo--joined", "demo--wrong"]
    instance.add_dynamic_partitions("clips", names)
    # Nothing asks for people or a frame: the run succeeds and leaves them out, which is done.
    outcomes.ends |= {"player_detections/demo--done": "left out", "framed_clip/demo--done": "left out"}
    assert run(instance, outcomes, CLIPS, "demo--done").success
    # A wrong request gets a run that says so, from one schedule and not from two.
    assert asked(tick(instance, CLIPS)) == ["demo--wrong", "demo--cut"]
    assert asked(tick(instance, JOINED)) == ["demo--joined"]


def test_samples_are_done_when_both_of_their_assets_are(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes
) -> None:
    outcomes.ends["frame_predictions/demo--half"] = "a defect"
    assert run(instance, outcomes, SAMPLES, "demo--whole").success
    assert not run(instance, outcomes, SAMPLES, "demo--half").success
    assert asked(tick(instance, SAMPLES)) == ["demo--half"]


@pytest.mark.slow
def test_what_an_older_version_made_is_taken_only_when_asked(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    older: dict[str, str] = {"captions": "0", "wasabi_upload": "0"}
    assert run(instance, outcomes, CAPTIONS, "demo--older", code_versions=older).success
    assert run(instance, outcomes, CAPTIONS, "demo--newer").success
    assert run(instance, outcomes, CAPTIONS, "demo--source").success
    # The source was looked at again by itself, and is another one now.
    outcomes.versions["source_video/demo--source"] = "another"
    defs = definitions(outcomes)
    dg.materialize(
        [defs.resolve_asset_graph().get(dg.AssetKey("source_video")).assets_def],
        partition_key="demo--source",
        instance=instance,
    )
    assert tick(instance) == []
    monkeypatch.setenv("VIDEO_PIPELINE_BACKFILL_STALE", "1")
    assert asked(tick(instance)) == ["demo--source", "demo--older"]


def test_on_modal_a_night_costs_no_more_than_its_limit_at_the_most(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", "s3://bucket")
    monkeypatch.setenv("VIDEO_PIPELINE_COMPUTE", "modal")
    bound = usd_bound(CAPTIONS, load_settings())
    assert bound > 1
    instance.add_dynamic_partitions("videos", [f"demo--{name}" for name in "abcdef"])
    monkeypatch.setenv("VIDEO_PIPELINE_BACKFILL_MAX_USD", str(3 * bound))
    first = tick(instance)
    assert len(first) == 3
    launch(instance, CAPTIONS, first[:2])
    assert len(tick(instance, at=NIGHT + timedelta(hours=1))) == 1
    monkeypatch.setenv("VIDEO_PIPELINE_BACKFILL_MAX_USD", str(0.5 * bound))
    said: list[str] = []
    assert tick(instance, at=NIGHT + timedelta(days=1), said=said) == []
    # A limit below one run's bound would have nothing run, night for night: the tick gives both numbers.
    assert f"a run counts {bound:.2f} USD" in said[0]
    assert f"VIDEO_PIPELINE_BACKFILL_MAX_USD is {0.5 * bound:g}" in said[0]


def test_a_run_is_counted_at_all_the_calls_that_it_may_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", "s3://bucket")
    monkeypatch.setenv("VIDEO_PIPELINE_COMPUTE", "modal")
    settings = load_settings()
    of = {task.name: cost_of(find_task(task.name, settings), settings).bound_usd for task in BUILT_IN}
    calls = {
        CAPTIONS: ["find_caption_layout", "crop_and_infer_caption_frame_extents", "read_captions"],
        SAMPLES: ["run_inference"],
        CLIPS: [
            "extract_clip",
            "detect_players_batch",
            "render_overlay",
            "process_framing_ai_parallel",
            *["process_framing_ai_chunk"] * 64,  # as many as a request may ask for
        ],
        JOINED: ["process_multi_clip", "create_annotated_compilation"],
    }
    for product, tasks in calls.items():
        assert usd_bound(product, settings) == pytest.approx(sum(of[task] for task in tasks)), product.name


@pytest.mark.parametrize(
    ("clip", "assets"),
    [
        (FLIP, {"clip", "overlay_clip", "player_detections", "framed_clip"}),
        (HIGHLIGHTS, {"multi_clip", "annotated_compilation"}),
    ],
)
def test_a_clips_request_asks_for_the_assets_of_its_sections(clip: ClipId, assets: set[str]) -> None:
    assert asked_of_clip(ClipRequest.model_validate(bundled_request(clip))) == assets


def test_a_run_request_is_for_the_schedules_job_and_carries_its_night(
    instance: dg.DagsterInstance, store: ObjectStore
) -> None:
    instance.add_dynamic_partitions("videos", ["demo--a"])
    (request,) = tick(instance, at=datetime(2026, 11, 21, 23, 30, tzinfo=UTC))
    assert request.tags["video_pipeline/night"] == "2026-11-21"
    jobs = {job.name for job in build_definitions().resolve_all_job_defs()}
    assert {product.job for product in BY_PRODUCT} <= jobs
    assert {schedule.job_name for schedule in nightly_backfills} == {product.job for product in BY_PRODUCT}


@pytest.mark.parametrize(
    ("variable", "value"),
    [("VIDEO_PIPELINE_BACKFILL_CRON", "at night"), ("VIDEO_PIPELINE_BACKFILL_TIMEZONE", "Mars/Olympus")],
)
def test_a_wrong_time_is_said_by_the_tick(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ScheduleExecutionError) as caught:
        tick(instance)
    assert isinstance(caught.value.__cause__, BadInput)
    assert value in str(caught.value.__cause__)


def test_products_name_the_assets_that_their_jobs_make(instance: dg.DagsterInstance) -> None:
    found = build_definitions()
    for product in BY_PRODUCT:
        made = found.resolve_job_def(product.job).asset_layer.executable_asset_keys
        assert {key.to_user_string() for key in made} == set(product.assets)
        assert set(product.ends) <= set(product.assets)


def test_states_of_a_partition_that_is_gone_are_forgotten(
    instance: dg.DagsterInstance, outcomes: Outcomes
) -> None:
    outcomes.ends["captions/demo--a"] = "a defect"
    run(instance, outcomes, CAPTIONS, "demo--a")
    instance.delete_dynamic_partition("videos", "demo--a")
    states = read_states(instance, CAPTIONS)
    assert not states.failed
    assert not states.registered


def test_a_night_is_from_noon_to_noon() -> None:
    assert night_of(datetime(2026, 1, 1, 22, 0)) == night_of(datetime(2026, 1, 2, 11, 59))
    assert night_of(datetime(2026, 1, 2, 12, 0)) != night_of(datetime(2026, 1, 2, 11, 59))


STATUSES = """
from video_pipeline.definitions import defs
for item in [*defs.schedules, *defs.sensors]:
    print(item.name, item.default_status.value)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "status"),
    [
        ({"VIDEO_PIPELINE_ENV": "prod"}, "RUNNING"),
        ({"VIDEO_PIPELINE_ENV": "prod", "VIDEO_PIPELINE_AUTOMATION": "stopped"}, "STOPPED"),
        ({"VIDEO_PIPELINE_ENV": "staging"}, "STOPPED"),
        ({"VIDEO_PIPELINE_ENV": "staging", "VIDEO_PIPELINE_AUTOMATION": "running"}, "RUNNING"),
        # A wrong environment loads, so that the UI can say what is wrong, and runs nothing.
        ({"VIDEO_PIPELINE_ENV": "prod", "VIDEO_PIPELINE_COMPUTE": "cloud"}, "STOPPED"),
    ],
)
def test_schedules_and_sensors_run_from_the_start_in_production_only(
    environment: dict[str, str], status: str
) -> None:
    given = {"PATH": os.environ["PATH"], "VIDEO_PIPELINE_STORE": "s3://bucket", **environment}
    done = subprocess.run(
        [sys.executable, "-c", STATUSES], env=given, capture_output=True, text=True, timeout=120, check=True
    )
    found = dict(line.split() for line in done.stdout.splitlines())
    assert set(found) >= {
        "nightly_backfill",
        "nightly_backfill_samples",
        "nightly_backfill_clips",
        "nightly_backfill_joined_clips",
        "daily_health",
        "new_uploads",
        "orphaned_calls",
        "failure_report",
    }
    # What takes away is switched on by a person, wherever.
    assert found.pop("weekly_clean_up") == "STOPPED"
    assert set(found.values()) == {status}


def test_the_morning_looks_at_health_in_the_nights_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_BACKFILL_TIMEZONE", "Europe/Berlin")
    daily = schedules._daily_health()
    assert (daily.job_name, daily.execution_timezone) == ("check_health", "Europe/Berlin")


@pytest.mark.parametrize(
    ("environment", "config"),
    [
        ({}, {"remove": False, "older_than_days": 30.0}),
        (
            {"VIDEO_PIPELINE_CLEAN_UP_REMOVE": "true", "VIDEO_PIPELINE_CLEAN_UP_OLDER_THAN_DAYS": "7"},
            {"remove": True, "older_than_days": 7.0},
        ),
    ],
)
def test_the_weekly_clean_up_lists_unless_the_settings_have_it_remove(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    config: dict[str, object],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    weekly = schedules._weekly_clean_up()
    assert weekly.job_name == "clean_up"
    sunday = datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
    times = schedule_execution_time_iterator(
        NIGHT.timestamp(), str(weekly.cron_schedule), weekly.execution_timezone
    )
    assert [next(times) for _ in range(2)] == [sunday, sunday + timedelta(days=7)]
    with dg.build_schedule_context(
        instance=instance, scheduled_execution_time=sunday, resources={"store": StoreResource()}
    ) as context:
        (request,) = weekly.evaluate_tick(context).run_requests or []
    assert request.run_config["ops"]["clean_up_store"]["config"] == config
    assert request.run_key == "2026-11-22"
    # The job takes it: with a name misspelt, every Sunday's run would fail.
    job = build_definitions().resolve_job_def("clean_up")
    result = job.execute_in_process(
        run_config=request.run_config, resources={"store": StoreResource()}, instance=instance
    )
    assert result.output_for_node("clean_up_store") == 0


def test_the_weekly_clean_up_refuses_an_age_that_is_not_safe_and_a_wrong_time(
    instance: dg.DagsterInstance, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("VIDEO_PIPELINE_CLEAN_UP_OLDER_THAN_DAYS", "0.5"),
        ("VIDEO_PIPELINE_BACKFILL_TIMEZONE", "Mars/Olympus"),
    ):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            weekly = schedules._weekly_clean_up()
            with (
                dg.build_schedule_context(
                    instance=instance, scheduled_execution_time=NIGHT, resources={"store": StoreResource()}
                ) as context,
                pytest.raises(ScheduleExecutionError) as caught,
            ):
                weekly.evaluate_tick(context)
            assert isinstance(caught.value.__cause__, BadInput)
            assert name in str(caught.value.__cause__)


def test_one_tick_a_night_also_where_the_clock_is_put_forward_or_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """02:00 to 03:00 is not there on 2026-03-29 in Berlin, and twice on 2026-10-25."""
    monkeypatch.setenv("VIDEO_PIPELINE_BACKFILL_TIMEZONE", "Europe/Berlin")
    monkeypatch.setenv("VIDEO_PIPELINE_BACKFILL_CRON", "30 2 * * *")
    nightly = schedules._nightly("nightly", CAPTIONS, "videos")
    assert (nightly.cron_schedule, nightly.execution_timezone) == ("30 2 * * *", "Europe/Berlin")
    for begin in (datetime(2026, 3, 27, 12, tzinfo=UTC), datetime(2026, 10, 23, 12, tzinfo=UTC)):
        ticks = schedule_execution_time_iterator(
            begin.timestamp(), nightly.cron_schedule, nightly.execution_timezone
        )
        nights = [night_of(next(ticks)) for _ in range(4)]
        assert nights == [(begin + timedelta(days=number)).date() for number in range(4)]
