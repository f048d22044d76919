"""Runs that are forked from a host, in a real code server: they end when they should, and nothing stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.backfill.films import store_films
from tests.backfill.place import Place, running_place, wait_for
from tests.test_run_host import is_gone
from video_pipeline.calls import list_calls
from video_pipeline.keys import VideoId, current_key
from video_pipeline.operations.states import CAPTIONS
from video_pipeline.partitions import VIDEOS
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

TERMINATE = (
    """mutation($id: String!) { terminateRun(runId: $id) { __typename ... on PythonError { message } } }"""
)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(load_settings(store=str(tmp_path / "store")))


@pytest.fixture
def place(store: ObjectStore, tmp_path: Path) -> Iterator[Place]:
    with running_place(tmp_path, {"VIDEO_PIPELINE_STORE": str(tmp_path / "store")}) as place:
        yield place


def test_a_cancel_reaches_a_forked_run_and_its_call(store: ObjectStore, place: Place, tmp_path: Path) -> None:
    films = store_films(store, "acme", 1, tmp_path)
    place.register(VIDEOS, films)
    place.backfill_of_job(CAPTIONS.job, films)
    (call,) = place.hold_calls(store, 1)
    (worker,) = place.run_workers()
    (run,) = place.runs()
    place.ask(TERMINATE, id=run.dagster_run.run_id)
    call.resume()
    (ended,) = place.wait_until_quiet(300)
    assert ended.dagster_run.status == dg.DagsterRunStatus.CANCELED
    wait_for(lambda: is_gone(worker) and not place.task_workers(), 120, "run and call have ended")
    assert all(call.cancel_requested for call in list_calls(store) if call.state == "running")
    assert store.head(current_key(VideoId.from_partition_key(films[0]))) is None


def test_a_killed_host_is_replaced_and_its_runs_start_again(
    store: ObjectStore, place: Place, tmp_path: Path
) -> None:
    films = store_films(store, "acme", 1, tmp_path)
    place.register(VIDEOS, films)
    place.backfill_of_job(CAPTIONS.job, films)
    (call,) = place.hold_calls(store, 1)
    (worker,) = place.run_workers()
    (host,) = place.run_hosts()
    assert worker.ppid() == host.pid
    host.kill()
    wait_for(lambda: is_gone(worker), 120, "the run has ended with its host")
    call.resume()

    runs = place.wait_until_quiet(600)
    ended = {run.dagster_run.status.value: run.dagster_run.run_id for run in runs}
    assert set(ended) == {"FAILURE", "SUCCESS"}
    with place.instance() as instance:
        records = instance.get_records_for_run(
            ended["FAILURE"], of_type=dg.DagsterEventType.ENGINE_EVENT
        ).records
        said = " ".join(record.event_log_entry.message for record in records)
    assert "[CodeServer] Run execution process for" in said
    assert store.head(current_key(VideoId.from_partition_key(films[0]))) is not None
    # The call that ran when its caller was killed went on, and was found.
    assert [call.attempt for call in list_calls(store)] == [1, 1]
    (other,) = place.run_hosts()
    assert other != host

    place.process("code").terminate()
    wait_for(lambda: is_gone(other), 120, "a host whose code server has ended ends, too")
