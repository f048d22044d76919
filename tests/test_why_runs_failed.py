"""What a run that failed outside its steps is said to have failed of, by what Dagster's services met."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.test_utils import create_run_for_test
from dagster._grpc.server import DagsterApiServer
from dagster_shared.error import SerializableErrorInfo

from video_pipeline.resources.ended_runs import why_a_run_failed


@pytest.fixture
def run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    return create_run_for_test(instance, job_name="caption_video", status=dg.DagsterRunStatus.STARTED)


def trouble(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str, error: str) -> None:
    met = SerializableErrorInfo(message=f"{error}\nand where it stood\n", stack=[], cls_name="OSError")
    instance.report_engine_event(message, run, EngineEventData.engine_error(met))


def test_a_run_that_ended_from_outside_says_what_became_of_its_process(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    trouble(instance, run, "Could not ask the code server", "connection refused")
    died = f"Run execution process for {run.run_id} unexpectedly exited with code -9."
    instance.report_engine_event(died, run, cls=DagsterApiServer)
    instance.report_engine_event("Started a process for nothing", run)
    trouble(instance, run, "Could not retry the run", "no such job")
    instance.report_run_failed(run)
    step, message, kind, advice = why_a_run_failed(instance, run.run_id)
    assert message == f"[DagsterApiServer] {died}"
    assert (step, kind, advice) == (None, None, None)


def test_without_such_an_event_the_last_trouble_is_told_but_for_that_with_a_retry(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    trouble(instance, run, "Could not start the run", "the disk is full")
    trouble(instance, run, "Could not ask the code server", "connection refused")
    trouble(instance, run, "Could not retry the run", "no such job")
    instance.report_run_failed(run)
    assert why_a_run_failed(instance, run.run_id)[1] == "Could not ask the code server: connection refused"


def test_whoever_ended_it_with_a_reason_is_believed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    trouble(instance, run, "Could not start the run", "the disk is full")
    instance.report_run_failed(run, "its worker died together with its code server")
    assert why_a_run_failed(instance, run.run_id)[1] == "its worker died together with its code server"


def test_where_nothing_is_known_dagsters_own_words_are_told(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    instance.report_run_failed(run)
    assert "from outside the execution context" in why_a_run_failed(instance, run.run_id)[1]
    started = create_run_for_test(instance, job_name="caption_video", status=dg.DagsterRunStatus.STARTED)
    assert why_a_run_failed(instance, started.run_id)[1] == "the run ended without saying why"
