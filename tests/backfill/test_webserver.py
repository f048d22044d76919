"""SIGKILL to the webserver in the middle of a backfill: what it answered to is kept, and it comes back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.backfill.films import store_films
from tests.backfill.place import Place
from tests.backfill.test_kills import PER_VIDEO_S, TASKS, executions, published
from tests.backfill.test_kills import place as place
from tests.backfill.test_kills import store as store
from tests.servers.dagster_graphql import launch
from video_pipeline.operations.states import CAPTIONS
from video_pipeline.partitions import VIDEOS
from video_pipeline.store.base import ObjectStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_killed_webserver_loses_no_run_and_shows_them_all_when_it_is_back(
    store: ObjectStore, place: Place, tmp_path: Path
) -> None:
    films = store_films(store, "acme", 3, tmp_path)
    place.register(VIDEOS, films)
    # Killed as soon as it has answered: what was asked of it has to be in the instance by then.
    backfill = place.backfill_of_job(CAPTIONS.job, films[:2])
    run_id = launch(f"http://127.0.0.1:{place.web_port}", CAPTIONS.job, 120, partition=films[2])
    place.kill("webserver")
    runs = place.wait_until_quiet(300 + 3 * PER_VIDEO_S, for_s=5.0)
    with pytest.raises(OSError, match="refused"):
        place.ask("{ version }")
    assert {record.dagster_run.tags["dagster/partition"] for record in runs} == set(films)
    assert Counter(record.dagster_run.status.value for record in runs) == {"SUCCESS": 3}
    assert published(store, films) == films
    assert executions(store) == {(film, task): ["ok"] for film in films for task in TASKS}

    place.start("webserver")
    place.wait_until_up("webserver")
    shown = place.ask(
        """query($id: String!) {
             runsOrError { ... on Runs { results { runId status } } }
             partitionBackfillOrError(backfillId: $id) {
               ... on PartitionBackfill { status numPartitions } } }""",
        id=backfill,
    )
    results = shown["runsOrError"]["results"]
    assert {row["runId"]: row["status"] for row in results} == {
        record.dagster_run.run_id: "SUCCESS" for record in runs
    }
    assert run_id in {row["runId"] for row in results}
    assert shown["partitionBackfillOrError"] == {"status": "COMPLETED_SUCCESS", "numPartitions": 2}
    # And it takes orders again.
    place.backfill_of_job(CAPTIONS.job, films[:1])
    assert len(place.wait_until_quiet(300, for_s=5.0)) == 4
