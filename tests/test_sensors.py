"""The sensors and the health check on real ephemeral instances, with real runs of a double of the assets."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.events import AssetObservationData
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test

from tests.doubles.assets import Outcomes, cancelled_run, plan, run
from video_pipeline import keys, report_sensor, sensors
from video_pipeline.assets.health import NAME, SHOWN
from video_pipeline.calls import CallRecord, ResultRecord, WorkerIdentity, read_call, write_result
from video_pipeline.clips.intake import add_clip
from video_pipeline.definitions import build_definitions
from video_pipeline.errors import Transient
from video_pipeline.keys import ClipId, VideoId
from video_pipeline.operations import inputs
from video_pipeline.operations.states import CAPTIONS, CLIPS, JOINED
from video_pipeline.resources import ended_runs
from video_pipeline.resources.store import StoreResource
from video_pipeline.sensors import failure_report, new_uploads, orphaned_calls
from video_pipeline.store.base import ObjectStore

KEY = "0123456789abcdef"


@pytest.fixture
def store(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    # These files come whole: nothing has to settle.
    monkeypatch.setattr(inputs, "SETTLED_S", 0.0)
    Path(store.uri).mkdir()
    return store


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions()


class Ticks:
    """A sensor's ticks one after the other, as the daemon does them: the cursor goes on, runs with a known
    key are left out."""

    def __init__(
        self, sensor: dg.SensorDefinition, instance: dg.DagsterInstance, definitions: dg.Definitions
    ) -> None:
        self.sensor = sensor
        self.instance = instance
        self.definitions = definitions
        self.cursor: str | None = None
        self.said = ""
        self.run_keys: set[str] = set()

    def __call__(self, *, breaks_off: bool = False) -> list[dg.RunRequest]:
        built = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={"store": StoreResource()},
            definitions=self.definitions,
        )
        # As the daemon does: a context that was built for a test brings no partitions.
        with built as context, partition_loading_context(dynamic_partitions_store=self.instance):
            data = self.sensor.evaluate_tick(context)
        self.said = data.skip_message or ""
        asked_for = [item.run_key for item in data.run_requests or []]
        assert len(asked_for) == len(set(asked_for)), "of two requests with one key, the second is dropped"
        if breaks_off:
            return list(data.run_requests or [])
        new = [item for item in data.run_requests or [] if item.run_key not in self.run_keys]
        self.run_keys |= {str(item.run_key) for item in new}
        self.cursor = data.cursor
        return new


def asked(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    return sorted((str(request.job_name), str(request.partition_key)) for request in requests)


def source(name: str) -> str:
    return keys.source_key(VideoId("demo", name), "mp4")


@pytest.fixture
def uploads(instance: dg.DagsterInstance, definitions: dg.Definitions) -> Ticks:
    return Ticks(new_uploads, instance, definitions)


def test_an_upload_is_registered_and_run_once(
    instance: dg.DagsterInstance, store: ObjectStore, uploads: Ticks
) -> None:
    store.put(source("a"), b"a film")
    store.put("demo/server/samples/look/request.json", b"{}")
    add_clip(store, ClipId("demo", "cut"), {"source_key": source("a"), "start": 0.0, "end": 1.0})
    both = {
        "source_key": source("a"),
        "start": 0.0,
        "end": 1.0,
        "compilation": {"clips": [{"clip": "cut", "name": "x"}]},
    }
    add_clip(store, ClipId("demo", "both"), both)
    store.put(keys.clip_request_key(ClipId("demo", "wrong")), b"{}")
    assert asked(uploads()) == [
        ("caption_video", "demo--a"),
        ("join_clips", "demo--both"),
        ("make_clip", "demo--both"),
        ("make_clip", "demo--cut"),
        ("make_clip", "demo--wrong"),
        ("sample_videos", "demo--look"),
    ]
    assert instance.get_dynamic_partitions("videos") == ["demo--a"]
    assert sorted(instance.get_dynamic_partitions("clips")) == ["demo--both", "demo--cut", "demo--wrong"]
    assert uploads() == []
    assert uploads.said == "nothing new"


def test_a_changed_video_or_request_is_a_new_run_and_so_is_one_that_is_put_back(
    store: ObjectStore, uploads: Ticks, tmp_path: Path
) -> None:
    path = store.local_path(source("a"))
    assert path is not None
    store.put(source("a"), b"first")
    first = path.stat()
    assert len(uploads()) == 1
    store.put(source("a"), b"second")
    assert asked(uploads()) == [("caption_video", "demo--a")]
    store.put(keys.caption_request_key(VideoId("demo", "a")), b'{"frame_rate": "5"}')
    assert len(uploads()) == 1
    store.delete(keys.caption_request_key(VideoId("demo", "a")))
    store.put(source("a"), b"first")
    os.utime(path, ns=(first.st_atime_ns, first.st_mtime_ns))
    assert len(uploads()) == 1  # the same fingerprint as at the beginning, and still a run
    assert uploads() == []


def test_a_tick_that_breaks_off_is_done_again_with_the_same_keys(store: ObjectStore, uploads: Ticks) -> None:
    store.put(source("a"), b"first")
    assert len(uploads()) == 1
    store.put(source("b"), b"another")
    lost = uploads(breaks_off=True)
    again = uploads()
    assert [item.run_key for item in lost] == [item.run_key for item in again]
    assert asked(again) == [("caption_video", "demo--b")]


def test_what_changes_while_it_runs_is_run_when_that_has_ended(
    instance: dg.DagsterInstance, store: ObjectStore, uploads: Ticks
) -> None:
    store.put(source("a"), b"first")
    (request,) = uploads()
    started = create_run_for_test(
        instance,
        job_name=CAPTIONS.job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": str(request.partition_key)},
    )
    store.put(source("a"), b"second")
    assert uploads() == []
    assert "changed while they run" in uploads.said
    instance.report_run_failed(started)
    assert asked(uploads()) == [("caption_video", "demo--a")]


def test_what_was_made_before_the_sensor_was_there_is_not_made_again(
    instance: dg.DagsterInstance, store: ObjectStore, uploads: Ticks
) -> None:
    store.put(source("done"), b"a film")
    store.put(source("new"), b"a film")
    assert run(instance, Outcomes(), CAPTIONS, "demo--done").success
    assert asked(uploads()) == [("caption_video", "demo--new")]
    store.put(source("done"), b"another film")
    assert asked(uploads()) == [("caption_video", "demo--done")]


def test_a_failed_listing_decides_nothing(store: ObjectStore, uploads: Ticks, tmp_path: Path) -> None:
    store.put(source("a"), b"first")
    assert len(uploads()) == 1
    cursor = uploads.cursor
    (tmp_path / "store").rename(tmp_path / "unmounted")
    assert uploads() == []
    assert uploads.cursor == cursor
    assert "could not be listed" in uploads.said
    (tmp_path / "unmounted").rename(tmp_path / "store")
    assert uploads() == []
    assert uploads.said == "nothing new"


def test_a_listing_that_fails_for_one_tenant_decides_nothing_about_it_and_all_about_the_others(
    store: ObjectStore, uploads: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(source("a"), b"x")
    store.put("other/client/videos/b/video.mp4", b"x")
    look = inputs.look

    def fails(objects, kind, tenant, **options):
        if tenant == "other":
            raise Transient("the server failed", input=tenant)
        return look(objects, kind, tenant, **options)

    with monkeypatch.context() as patched:
        patched.setattr(sensors, "look", fails)
        assert asked(uploads()) == [("caption_video", "demo--a")]
        patched.setenv("VIDEO_PIPELINE_TENANTS", "other")
        assert uploads() == []
        assert "could not be listed" in uploads.said
    assert asked(uploads()) == [("caption_video", "other--b")]


def test_a_tick_asks_for_no_more_runs_than_it_can_and_the_next_for_the_rest(
    store: ObjectStore, uploads: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "MAX_RUNS", 2)
    store.put(source("a"), b"x")
    store.put("demo/server/samples/look/request.json", b"{}")
    store.put("demo/server/samples/other/request.json", b"{}")
    assert len(uploads()) == 2
    assert len(uploads()) == 1
    assert uploads() == []


def test_an_emptied_cursor_asks_again_for_what_was_never_made(
    store: ObjectStore, uploads: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run keys must not be those of the sensor's earlier life: the daemon would leave the runs out."""
    store.put(source("a"), b"x")
    assert len(uploads()) == 1
    uploads.cursor = None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert asked(uploads()) == [("caption_video", "demo--a")]


def test_in_a_bucket_each_tick_says_what_is_known_and_whose_turn_it_is(
    store: ObjectStore, uploads: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[list[str], int]] = []

    def partly(objects, kind, tenant, *, known, turn, checks):
        seen = inputs.look(objects, kind, tenant, checks=checks)
        if kind.partitions == "videos":
            told.append((sorted(known), turn))
            seen.whole = False
        return seen

    monkeypatch.setattr(sensors, "look", partly)
    store.put(source("a"), b"x")
    for _ in range(3):
        uploads()
    assert told == [([], 0), (["demo--a"], 1), (["demo--a"], 2)]


def test_only_the_named_tenants_are_looked_at(
    store: ObjectStore, uploads: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(source("a"), b"x")
    store.put("other/client/videos/b/video.mp4", b"x")
    monkeypatch.setenv("VIDEO_PIPELINE_TENANTS", "other")
    assert asked(uploads()) == [("caption_video", "other--b")]


DEEP = b"[" * 100_000
"""Brackets within brackets: Python's JSON reader gives up with an error of its own."""


@pytest.mark.parametrize("content", [b"\xff\xfe", DEEP, b'{"a": ' * 100_000])
def test_one_damaged_request_keeps_nobody_elses_upload_waiting(
    store: ObjectStore, uploads: Ticks, content: bytes
) -> None:
    store.put(source("a"), b"a film")
    store.put(keys.clip_request_key(ClipId("demo", "wrong")), content)
    store.put(keys.sample_request_key("demo", "wrong"), content)
    assert asked(uploads()) == [
        ("caption_video", "demo--a"),
        ("make_clip", "demo--wrong"),
        ("sample_videos", "demo--wrong"),
    ]


def test_a_hundred_tenants_are_looked_at_in_one_tick_with_the_checks_of_a_few(
    store: ObjectStore, uploads: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "CHECKS", 40)
    monkeypatch.setattr(sensors, "THREADS", 3)
    asked_for: list[int] = []

    def counted(*args, checks: int, **kwargs):
        asked_for.append(checks)
        return inputs.look(*args, checks=checks, **kwargs)

    monkeypatch.setattr(sensors, "look", counted)
    for number in range(10):
        store.put(f"t{number}/client/videos/a/video.mp4", b"x")
    assert len(uploads()) == 10
    assert set(asked_for) == {4}
    monkeypatch.setattr(sensors, "CHECKS", 20)
    uploads()
    assert set(asked_for) == {4, 3}


def dead_run(
    instance: dg.DagsterInstance,
    *,
    tags: dict[str, str] | None = None,
    selection: list[str] | None = None,
    cancelled: bool = False,
    calls: Sequence[str] = (KEY,),
) -> str:
    """A run whose worker died in its first asset, after that had submitted the call `KEY`: run monitoring has
    marked it as failed or, where a person had cancelled it, as cancelled."""
    instance.add_dynamic_partitions("videos", ["demo--a"])
    made = create_run_for_test(
        instance,
        job_name=CAPTIONS.job if selection is None else "__ASSET_JOB",
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "demo--a", **(tags or {})},
        asset_selection=None if selection is None else frozenset(map(dg.AssetKey, selection)),
    )
    for call in calls:
        observation = dg.AssetObservation("vp9_chunks", partition="demo--a", metadata={"call": call})
        event = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_OBSERVATION.value,
            job_name=CAPTIONS.job,
            event_specific_data=AssetObservationData(observation),
        )
        instance.report_dagster_event(event, made.run_id)
    if cancelled:
        instance.report_run_canceling(made)
        instance.report_run_canceled(made)
    else:
        instance.report_run_failed(made, "the run's worker died")
    return made.run_id


def put_call(store: ObjectStore, *, alive: bool, result: bool = False, **changes: object) -> None:
    worker = WorkerIdentity(backend="modal", host="ta-1", call_id="fc-1")
    record = CallRecord(
        key=KEY, task="t", version=1, tenant="demo", request={}, worker=worker,
        state="finished" if result else "running", heartbeat_at=time.time() - (0 if alive else 500),
    ).model_copy(update=changes)  # fmt: skip
    store.put(keys.call_key("demo", KEY), record.model_dump_json().encode())
    if result:
        now = datetime.now(UTC)
        ended = ResultRecord(
            key=KEY,
            task="t",
            version=1,
            status="ok",
            result={},
            worker=worker,
            started_at=now,
            finished_at=now,
        )
        write_result(store, "demo", ended)


@pytest.fixture
def orphans(instance: dg.DagsterInstance, definitions: dg.Definitions) -> Ticks:
    return Ticks(orphaned_calls, instance, definitions)


@pytest.mark.parametrize("result", [False, True])
def test_a_dead_runs_call_is_taken_over_once(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks, result: bool
) -> None:
    put_call(store, alive=True, result=result)
    dead_run(instance)
    (request,) = orphans()
    assert asked([request]) == [("caption_video", "demo--a")]
    assert request.tags["video_pipeline/reattached"] == "1"
    cursor = orphans.cursor
    assert orphans() == []
    assert orphans.said.startswith("0 runs ended badly")
    assert orphans.cursor == cursor
    orphans.cursor = None  # a lost cursor asks with the same run key
    assert orphans() == []
    # The run that took over may die as well, and is another one.
    dead_run(instance, tags=dict(request.tags))
    (second,) = orphans()
    assert second.tags["video_pipeline/reattached"] == "2"


def test_a_run_whose_end_is_just_being_stored_is_looked_at_in_the_next_tick(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    orphans: Ticks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dagster stores the event of a failure, then the run's status, then whether it will retry it."""
    put_call(store, alive=True)
    storage, stored = type(instance.run_storage), []
    with monkeypatch.context() as patched:
        patched.setattr(storage, "handle_run_event", lambda _self, *event: stored.append(event))
        dead_run(instance)
    assert orphans() == []
    (event,) = stored
    instance.run_storage.handle_run_event(*event)
    assert len(orphans()) == 1


@pytest.mark.parametrize(("retried", "taken"), [("true", 0), ("false", 1)])
def test_a_dead_run_is_looked_at_when_dagster_has_decided_whether_it_will_retry_it(
    store: ObjectStore,
    definitions: dg.Definitions,
    monkeypatch: pytest.MonkeyPatch,
    retried: str,
    taken: int,
) -> None:
    put_call(store, alive=True)
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True}}) as instance:
        orphans = Ticks(orphaned_calls, instance, definitions)
        with monkeypatch.context() as patched:
            patched.setattr(dg.DagsterInstance, "add_run_tags", lambda *_: None)
            run_id = dead_run(instance)
        assert orphans() == []
        instance.add_run_tags(run_id, {"dagster/will_retry": retried})
        assert len(orphans()) == taken


def test_an_end_that_nobody_goes_on_storing_keeps_no_other_run_waiting(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    orphans: Ticks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_call(store, alive=True)
    with monkeypatch.context() as patched:
        patched.setattr(type(instance.run_storage), "handle_run_event", lambda *_: None)
        dead_run(instance, tags={"dagster/partition": "demo--b"})
    dead_run(instance)
    assert orphans() == []
    monkeypatch.setattr(ended_runs, "STORED_WITHIN_S", 0.0)
    assert len(orphans()) == 1


def test_a_damaged_call_record_keeps_no_other_orphan_waiting(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks
) -> None:
    store.put(keys.call_key("demo", KEY), b"{")
    dead_run(instance)
    assert orphans() == []
    put_call(store, alive=True)
    dead_run(instance)
    assert asked(orphans()) == [("caption_video", "demo--a")]


def test_a_call_whose_record_cannot_be_read_now_is_looked_at_again(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise Transient("the server failed", input=KEY)

    put_call(store, alive=True)
    dead_run(instance)
    with monkeypatch.context() as patched:
        patched.setattr(sensors, "read_call", fails)
        assert orphans() == []
        assert "nothing was decided" in orphans.said
    assert asked(orphans()) == [("caption_video", "demo--a")]


def test_of_several_calls_of_a_run_the_last_counts(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks
) -> None:
    put_call(store, alive=True)
    dead_run(instance, calls=["f" * 16, KEY])
    assert asked(orphans()) == [("caption_video", "demo--a")]
    dead_run(instance, calls=[KEY, "f" * 16])
    assert orphans() == []


def test_the_backfill_that_a_dead_run_came_from_does_not_count_as_its_partitions_next_run(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks
) -> None:
    """A backfill of assets is open until its last run has ended, and asks for each partition once."""
    put_call(store, alive=True)
    for name in ("own", "another"):
        instance.add_backfill(
            PartitionBackfill(
                backfill_id=name,
                status=BulkActionStatus.REQUESTED,
                from_failure=False,
                tags={},
                backfill_timestamp=0.0,
                partition_names=["demo--a"] if name == "own" else ["demo--b"],
            )
        )
    dead_run(instance, tags={"dagster/backfill": "another"})
    assert orphans() == []
    dead_run(instance, tags={"dagster/backfill": "own"})
    assert asked(orphans()) == [("caption_video", "demo--a")]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE])
def test_an_earlier_run_that_goes_on_and_a_later_one_that_ended_are_both_met(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks, status: dg.DagsterRunStatus
) -> None:
    put_call(store, alive=True)

    def other() -> None:
        create_run_for_test(
            instance, job_name=CAPTIONS.job, status=status, tags={"dagster/partition": "demo--a"}
        )
        time.sleep(1.1)  # Dagster tells when a run was made in seconds

    if status == dg.DagsterRunStatus.STARTED:
        other()
        dead_run(instance)
    else:
        dead_run(instance)
        time.sleep(1.1)
        other()
    assert orphans() == []


def test_of_more_ends_than_one_look_takes_none_is_passed_over(instance: dg.DagsterInstance) -> None:
    ended = [dead_run(instance, cancelled=number % 3 == 2) for number in range(8)]
    events = (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED)
    found: list[str] = []
    after: int | None = None
    for _ in range(9):
        records, after = ended_runs.ended_runs(instance, events, after, limit=2)
        found += [record.dagster_run.run_id for record in records]
    assert found == ended
    assert ended_runs.ended_runs(instance, events, after, limit=2) == ([], after)
    assert ended_runs.ended_runs(instance, events, None, since=time.time() + 60) == ([], None)


def test_a_run_of_some_assets_is_taken_over_with_just_those(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks
) -> None:
    put_call(store, alive=True)
    dead_run(instance, selection=["vp9_chunks", "cropped_frames"])
    (request,) = orphans()
    assert request.job_name == CAPTIONS.job
    assert {key.to_user_string() for key in request.asset_selection or ()} == {"vp9_chunks", "cropped_frames"}


def test_nothing_is_started_where_nothing_is_left_or_somebody_does_it_already(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks
) -> None:
    dead_run(instance)  # no call record
    assert orphans() == []
    put_call(store, alive=True, cancel_requested="by a person")
    dead_run(instance)
    assert orphans() == []
    put_call(store, alive=False)
    dead_run(instance)
    assert orphans() == []
    put_call(store, alive=True)
    dead_run(instance, tags={"dagster/will_retry": "true"})
    assert orphans() == []
    dead_run(instance, tags={"video_pipeline/reattached": "3"})
    assert orphans() == []
    dead_run(instance)
    create_run_for_test(
        instance,
        job_name=CAPTIONS.job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "demo--a"},
    )
    assert orphans() == []


def test_a_call_whose_run_a_person_cancelled_after_its_worker_died_is_cancelled_and_not_taken_over(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks
) -> None:
    put_call(store, alive=True)
    run_id = dead_run(instance, cancelled=True)
    assert orphans() == []
    found = read_call(store, "demo", KEY)
    assert found is not None
    assert found[0].cancel_requested == f"the run {run_id} was cancelled"

    # One that somebody else follows by now is not touched, and a finished one is left as it is.
    put_call(store, alive=True)
    dead_run(instance, cancelled=True)
    later = create_run_for_test(
        instance,
        job_name=CAPTIONS.job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "demo--a"},
    )
    assert orphans() == []
    found = read_call(store, "demo", KEY)
    assert found is not None
    assert found[0].cancel_requested is None
    instance.report_run_failed(later)
    put_call(store, alive=True, result=True)
    dead_run(instance, cancelled=True)
    assert orphans() == []


def test_a_call_whose_run_went_with_a_broken_backfill_is_taken_over(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks
) -> None:
    put_call(store, alive=True)
    instance.add_backfill(
        PartitionBackfill(
            backfill_id="broken",
            status=BulkActionStatus.FAILED,
            from_failure=False,
            tags={},
            backfill_timestamp=0.0,
            partition_names=["demo--a"],
        )
    )
    dead_run(instance, cancelled=True, tags={"dagster/backfill": "broken"})
    assert asked(orphans()) == [("caption_video", "demo--a")]


def test_a_run_that_failed_by_itself_leaves_no_orphan(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks
) -> None:
    put_call(store, alive=True, result=True)
    outcomes = Outcomes(ends={"vp9_chunks/demo--a": "a defect"}, calls={"vp9_chunks/demo--a": KEY})
    assert not run(instance, outcomes, CAPTIONS, "demo--a").success
    assert orphans() == []


def test_a_run_that_its_host_interrupted_leaves_one(
    instance: dg.DagsterInstance, store: ObjectStore, orphans: Ticks
) -> None:
    put_call(store, alive=True)
    outcomes = Outcomes(ends={"vp9_chunks/demo--a": "a dying host"}, calls={"vp9_chunks/demo--a": KEY})
    assert not run(instance, outcomes, CAPTIONS, "demo--a").success
    assert asked(orphans()) == [("caption_video", "demo--a")]


@pytest.fixture
def reports(
    instance: dg.DagsterInstance, definitions: dg.Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Ticks:
    monkeypatch.setenv("VIDEO_PIPELINE_FAILURE_FILE", str(tmp_path / "failures.jsonl"))
    monkeypatch.setenv("VIDEO_PIPELINE_UI_URL", "https://dagster.example.com/")
    return Ticks(failure_report, instance, definitions)


def told(tmp_path: Path) -> list[dict]:
    path = tmp_path / "failures.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_failures_are_reported_once_with_reason_advice_and_link(
    instance: dg.DagsterInstance, store: ObjectStore, reports: Ticks, tmp_path: Path
) -> None:
    outcomes = Outcomes(ends={"source_video/demo--a": "bad input", "captions/demo--b": "a defect"})
    assert not run(instance, outcomes, CAPTIONS, "demo--a").success
    assert reports() == []  # what failed before it was switched on is no news
    failed = run(instance, outcomes, CAPTIONS, "demo--a")
    assert run(instance, outcomes, CAPTIONS, "demo--c").success
    run(instance, outcomes, CAPTIONS, "demo--b")
    reports()
    reports()
    (report,) = told(tmp_path)
    assert report["total"] == 2
    first, second = report["failures"]
    assert (first["partition"], first["asset"], first["kind"]) == ("demo--a", "source_video", "bad_input")
    assert "cut off" in first["message"]
    assert first["what_to_do"] == "upload it again"
    assert first["link"] == f"https://dagster.example.com/runs/{failed.run_id}"
    assert (second["partition"], second["kind"]) == ("demo--b", "internal")


def test_a_report_that_is_not_taken_is_sent_again_at_the_next_tick(
    instance: dg.DagsterInstance, store: ObjectStore, reports: Ticks, tmp_path: Path
) -> None:
    reports()
    (tmp_path / "failures.jsonl").mkdir()
    dead_run(instance)
    reports()
    assert "not reported yet" in reports.said
    (tmp_path / "failures.jsonl").rmdir()
    reports()
    (report,) = told(tmp_path)
    assert "worker died" in report["failures"][0]["message"]


def test_a_place_that_takes_nothing_has_the_other_told_once(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    reports: Ticks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports()
    monkeypatch.setenv("VIDEO_PIPELINE_FAILURE_WEBHOOK", "http://127.0.0.1:9/T0K3N")
    dead_run(instance)
    reports()
    assert "not reported yet" in reports.said
    assert "reported 1 failed runs to the file" in reports.said
    second = dead_run(instance)
    reports()
    reports()
    first, other = told(tmp_path)
    assert (first["total"], [run["run_id"] for run in other["runs"]]) == (1, [second])
    sent: list[dict] = []
    monkeypatch.setattr(
        report_sensor, "deliver", lambda place, report, settings: sent.append({"place": place, **report})
    )
    reports()
    reports()
    assert [(item["place"], item["total"]) for item in sent] == [("webhook", 2)]


@pytest.mark.parametrize("cursor", ["", "x", "[]", '{"file": 3}', '{"file": 3, "webhook": null}'])
def test_a_cursor_that_is_none_reports_from_now_on(
    instance: dg.DagsterInstance, store: ObjectStore, reports: Ticks, tmp_path: Path, cursor: str
) -> None:
    dead_run(instance)
    reports.cursor = cursor
    reports()
    reports()
    assert told(tmp_path) == []
    dead_run(instance)
    reports()
    assert [report["total"] for report in told(tmp_path)] == [1]


def test_without_a_place_failures_are_passed_over_and_it_is_said_how_to_have_them(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    reports: Ticks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports()
    path = os.environ["VIDEO_PIPELINE_FAILURE_FILE"]
    monkeypatch.delenv("VIDEO_PIPELINE_FAILURE_FILE")
    dead_run(instance)
    reports()
    assert "set VIDEO_PIPELINE_FAILURE_WEBHOOK or VIDEO_PIPELINE_FAILURE_FILE" in reports.said
    monkeypatch.setenv("VIDEO_PIPELINE_FAILURE_FILE", path)
    reports()
    assert (told(tmp_path), reports.said) == ([], "no run failed for good")


def test_a_run_that_will_be_tried_again_is_not_reported(
    instance: dg.DagsterInstance, store: ObjectStore, reports: Ticks, tmp_path: Path
) -> None:
    reports()
    dead_run(instance, tags={"dagster/will_retry": "true"})
    reports()
    assert told(tmp_path) == []


def check(instance: dg.DagsterInstance, definitions: dg.Definitions, asset: str) -> dg.AssetCheckEvaluation:
    result = definitions.resolve_job_def("check_health").execute_in_process(instance=instance)
    assert result.success
    found = {item.asset_key.to_user_string(): item for item in result.get_asset_check_evaluations()}
    assert {item.check_name for item in found.values()} == {NAME}
    assert set(found) == {"wasabi_upload", "frame_samples", "frame_predictions", *CLIPS.ends, *JOINED.ends}
    return found[asset]


def test_the_health_check_says_which_failed_why_and_what_to_do(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    definitions: dg.Definitions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_UI_URL", "https://dagster.example.com/")
    outcomes = Outcomes()
    assert run(instance, outcomes, CAPTIONS, "demo--fine").success
    assert check(instance, definitions, "wasabi_upload").passed
    outcomes.ends |= {"source_video/demo--cut": "bad input", "captions/demo--odd": "a defect"}
    run(instance, outcomes, CAPTIONS, "demo--cut")
    run(instance, outcomes, CAPTIONS, "demo--odd")
    found = check(instance, definitions, "wasabi_upload")
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
    shows = {name: value.value for name, value in found.metadata.items()}
    assert (shows["failed"], shows["registered"], shows["waiting_for_another_input"]) == (2, 3, 1)
    assert (shows["failed_bad_input"], shows["failed_internal"]) == (1, 1)
    table = str(shows["partitions"])
    for part in ("demo--cut", "cut off", "upload it again", "demo--odd", "two and two made five"):
        assert part in table
    assert "](https://dagster.example.com/runs/" in table
    assert "until their source or request" in str(shows["what_to_do"])
    assert "1 failed for **another reason**" in str(shows["what_to_do"])
    # Once it is on its way again it is not left failed.
    create_run_for_test(
        instance,
        job_name=CAPTIONS.job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "demo--cut"},
    )
    again = check(instance, definitions, "wasabi_upload")
    assert (again.metadata["failed"].value, again.metadata["being_tried_again"].value) == (1, 1)


def test_what_a_person_cancelled_is_counted_and_is_no_failure(
    instance: dg.DagsterInstance, store: ObjectStore, definitions: dg.Definitions
) -> None:
    for key in ("demo--a", "demo--c"):
        cancelled_run(instance, CAPTIONS, key)
    create_run_for_test(
        instance,
        job_name=CAPTIONS.job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": "demo--c"},
    )
    assert not run(
        instance, Outcomes(ends={"captions/demo--b": "a cancelled call"}), CAPTIONS, "demo--b"
    ).success
    found = check(instance, definitions, "wasabi_upload")
    assert found.passed
    assert (found.metadata["cancelled"].value, found.metadata["failed"].value) == (2, 0)


@pytest.mark.slow
def test_a_check_lists_the_failures_of_its_own_asset(
    instance: dg.DagsterInstance, store: ObjectStore, definitions: dg.Definitions
) -> None:
    outcomes = Outcomes(ends={"framed_clip/demo--a": "a defect", "framed_clip/demo--b": "a cancelled call"})
    for key in ("demo--a", "demo--b"):
        assert not run(instance, outcomes, CLIPS, key).success
    for asset, failed in (("clip", 0), ("framed_clip", 1)):
        found = check(instance, definitions, asset)
        assert (found.metadata["failed"].value, found.metadata["cancelled"].value) == (failed, failed)


@pytest.mark.slow
def test_the_health_checks_table_is_cut_and_its_counts_are_not(
    instance: dg.DagsterInstance, store: ObjectStore, definitions: dg.Definitions
) -> None:
    names = [f"demo--v{number}" for number in range(SHOWN + 3)]
    instance.add_dynamic_partitions("videos", names)
    for name in names:
        made = create_run_for_test(instance, job_name=CAPTIONS.job, tags={"dagster/partition": name})
        plan(instance, made.run_id, CAPTIONS, name)
        instance.report_run_failed(made, "a | b")
    found = check(instance, definitions, "wasabi_upload")
    assert found.metadata["failed"].value == SHOWN + 3
    table = str(found.metadata["partitions"].value)
    assert table.count("demo--v") == SHOWN
    assert "… and 3 more" in table
    assert r"a \| b" in table


def test_health_checks_are_in_no_job_that_makes_something(
    instance: dg.DagsterInstance, definitions: dg.Definitions
) -> None:
    for job in definitions.resolve_all_job_defs():
        if job.name.startswith("__") or job.name == "check_health":
            continue
        assert not any(NAME in node.name for node in job.nodes), job.name
