"""What a night makes of runs that a person cancelled or started again."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test, freeze_time

from tests.doubles.assets import Outcomes, cancelled_run, plan, run
from tests.doubles.nights import NIGHT, asked, tick
from tests.doubles.nights import outcomes as outcomes
from video_pipeline import keys
from video_pipeline.failures import ALLOW_RUN_RETRIES, STOP_RUN_RETRIES
from video_pipeline.keys import VideoId
from video_pipeline.operations.states import CAPTIONS, CLIPS, SAMPLES
from video_pipeline.resources.history import read_states
from video_pipeline.store.base import ObjectStore


@pytest.mark.slow
def test_what_a_person_cancelled_waits_until_it_changes_or_somebody_asks_for_it(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the UI while it waited in the queue, and by cancelling the call that a run followed."""
    store.put(keys.source_key(VideoId("demo", "a"), "mp4"), b"a film")
    store.put(keys.source_key(VideoId("demo", "b"), "mp4"), b"a film")
    time.sleep(0.01)
    cancelled_run(instance, CAPTIONS, "demo--a")
    outcomes.ends["captions/demo--b"] = "a cancelled call"
    assert not run(instance, outcomes, CAPTIONS, "demo--b").success
    said: list[str] = []
    assert tick(instance, said=said) == []
    assert "2 cancelled by a person and not changed since" in said[0]
    monkeypatch.setenv("VIDEO_PIPELINE_BACKFILL_CANCELLED", "1")
    requests = tick(instance)
    assert asked(requests) == ["demo--b", "demo--a"]
    assert {request.tags["video_pipeline/why"] for request in requests} == {"cancelled"}
    monkeypatch.delenv("VIDEO_PIPELINE_BACKFILL_CANCELLED")
    # Another source is another matter,
    store.put(keys.source_key(VideoId("demo", "a"), "mp4"), b"another film")
    assert asked(tick(instance)) == ["demo--a"]
    # and so is a run that a person starts, however it ends.
    outcomes.ends["captions/demo--b"] = "a defect"
    assert not run(instance, outcomes, CAPTIONS, "demo--b").success
    assert asked(tick(instance)) == ["demo--b", "demo--a"]


@pytest.mark.slow
def test_a_partition_that_was_made_stays_done_when_a_second_making_is_cancelled(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_BACKFILL_CANCELLED", "1")
    for key in ("demo--a", "demo--b"):
        assert run(instance, outcomes, CAPTIONS, key).success
    cancelled_run(instance, CAPTIONS, "demo--a")
    outcomes.ends["captions/demo--b"] = "a cancelled call"
    assert not run(instance, outcomes, CAPTIONS, "demo--b").success
    assert tick(instance) == []
    assert read_states(instance, CAPTIONS).done == {"demo--a", "demo--b"}


@pytest.mark.parametrize("cancelled_last", [True, False])
def test_the_later_of_a_failure_and_a_cancelling_counts(
    instance: dg.DagsterInstance, store: ObjectStore, cancelled_last: bool
) -> None:
    """A sample has two ends, so that each may have been tried last by another run."""
    instance.add_dynamic_partitions("samples", ["demo--a"])
    part = replace(SAMPLES, ends=("frame_predictions",))
    for number, product in enumerate((SAMPLES, part)):
        selection = None if product is SAMPLES else frozenset(map(dg.AssetKey, part.ends))
        with freeze_time(NIGHT + timedelta(minutes=number)):
            made = create_run_for_test(
                instance,
                job_name=SAMPLES.job if product is SAMPLES else "__ASSET_JOB",
                tags={"dagster/partition": "demo--a"},
                asset_selection=selection,
            )
            plan(instance, made.run_id, product, "demo--a")
            started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, made.job_name)
            instance.report_dagster_event(started, made.run_id)
            if (product is part) == cancelled_last:
                instance.report_run_canceled(made)
            else:
                instance.report_run_failed(made)
    assert asked(tick(instance, SAMPLES)) == ([] if cancelled_last else ["demo--a"])
    assert set(read_states(instance, SAMPLES).failed) == {"demo--a"}


def test_runs_that_a_broken_backfill_took_with_it_were_cancelled_by_nobody(
    instance: dg.DagsterInstance, store: ObjectStore
) -> None:
    for name, status in (
        ("broken", BulkActionStatus.FAILED),
        ("breaking", BulkActionStatus.FAILING),
        ("cancelled", BulkActionStatus.CANCELED),
    ):
        instance.add_backfill(
            PartitionBackfill(
                backfill_id=name,
                status=status,
                from_failure=False,
                tags={},
                backfill_timestamp=NIGHT.timestamp(),
                partition_names=[f"demo--{name}"],
            )
        )
        cancelled_run(instance, CAPTIONS, f"demo--{name}", tags={"dagster/backfill": name})
    cancelled_run(instance, CAPTIONS, "demo--forgotten", tags={"dagster/backfill": "that is not there"})
    assert asked(tick(instance)) == ["demo--breaking", "demo--broken"]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["bad input", "a cancelled call"])
def test_a_run_that_is_started_again_inherits_nothing_of_what_was_wrong_with_the_first(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes, end: str
) -> None:
    """Dagster copies the tags of a run to the one that a person starts again in the UI."""
    outcomes.ends["source_video/demo--a"] = outcomes.ends["source_video/demo--b"] = end
    for key in ("demo--a", "demo--b"):
        first = run(instance, outcomes, CAPTIONS, key)
        tags = {**instance.get_run_by_id(first.run_id).tags, "dagster/parent_run_id": first.run_id}  # pyright: ignore[reportOptionalMemberAccess]
        assert STOP_RUN_RETRIES.items() <= tags.items()
        if key == "demo--a":  # its host dies
            again = create_run_for_test(instance, job_name=CAPTIONS.job, tags=tags)
            plan(instance, again.run_id, CAPTIONS, key)
            instance.report_run_failed(again)
        else:
            outcomes.ends[f"source_video/{key}"] = "a defect"
            again = run(instance, outcomes, CAPTIONS, key, tags=tags)
            now = instance.get_run_by_id(again.run_id).tags  # pyright: ignore[reportOptionalMemberAccess]
            assert ALLOW_RUN_RETRIES.items() <= now.items()
    assert asked(tick(instance)) == ["demo--b", "demo--a"]


def test_of_two_failures_in_a_run_the_one_that_is_never_retried_counts(
    instance: dg.DagsterInstance, store: ObjectStore, outcomes: Outcomes
) -> None:
    outcomes.ends |= {"clip/demo--a": "bad input", "overlay_clip/demo--a": "a defect"}
    outcomes.ends |= {"clip/demo--b": "a defect", "overlay_clip/demo--b": "bad input"}
    for key in ("demo--a", "demo--b"):
        ended = instance.get_run_by_id(run(instance, outcomes, CLIPS, key).run_id)
        assert ended is not None
        assert ended.tags["video_pipeline/failure_kind"] == "bad_input"
        assert STOP_RUN_RETRIES.items() <= ended.tags.items()
    assert tick(instance, CLIPS) == []
