"""Backfills over many videos, asked for in each of the ways there are, with what runs them as processes.

`BACKFILL_FILMS=200` makes them as large as in earnest; on two idle cores that is twenty minutes each.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.backfill.films import cut_off, store_films
from tests.backfill.place import Place, overlap, running_place
from tests.servers.postgres import Postgres
from tests.servers.postgres import postgres as postgres
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.seaweedfs import seaweedfs as seaweedfs
from video_pipeline.keys import VideoId, current_key
from video_pipeline.operations.states import CAPTIONS
from video_pipeline.partitions import VIDEOS
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

FILMS = int(os.environ.get("BACKFILL_FILMS", "6"))
PER_VIDEO_S = 60
"""What a video may take on a machine with much other work; 10 s on two idle cores."""

AT_ONCE, IN_POOL = 3, 2
CONFIG = {
    "concurrency": {
        "runs": {"max_concurrent_runs": AT_ONCE},
        "pools": {"granularity": "run", "default_limit": IN_POOL},
    }
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + FILMS * PER_VIDEO_S)]

Ask = Callable[[Place, list[str]], str]


def by_command(place: Place, films: list[str]) -> str:
    return place.backfill_by_command(CAPTIONS.job)


def by_job(place: Place, films: list[str]) -> str:
    return place.backfill_of_job(CAPTIONS.job, films)


def by_assets(place: Place, films: list[str]) -> str:
    return place.backfill_of_assets(CAPTIONS.assets, films)


def backfilled(
    ask: Ask, store: ObjectStore, folder: Path, pipeline: dict[str, str], config: dict[str, Any] | None = None
) -> None:
    """Asks for all videos, of which one is cut off, and checks what becomes of them and what the health check
    says."""
    films = store_films(store, "acme", FILMS, folder)
    broken, whole = films[1], [*films[:1], *films[2:]]
    cut_off(store, broken)
    with running_place(folder, pipeline, config=CONFIG | (config or {})) as place:
        place.register(VIDEOS, films)
        backfill = ask(place, films)
        runs = place.wait_until_quiet(120 + FILMS * PER_VIDEO_S)

        own = [record for record in runs if record.dagster_run.tags.get("dagster/backfill") == backfill]
        assert len(own) == len(runs)
        ended = {status: set[str]() for status in ("SUCCESS", "FAILURE")}
        for record in runs:
            ended[record.dagster_run.status.value].add(record.dagster_run.tags["dagster/partition"])
        assert ended == {"SUCCESS": set(whole), "FAILURE": {broken}}
        # No video had more than one run, the broken one included: what is wrong with it does not pass.
        assert Counter(record.dagster_run.tags["dagster/partition"] for record in runs) == Counter(films)
        published = [film for film in films if store.head(current_key(VideoId.from_partition_key(film)))]
        assert published == whole

        worked = [(record.start_time or 0.0, record.end_time or 0.0) for record in runs]
        assert overlap(worked) == IN_POOL, "the pool's places are all used, and no more"
        the_health_check_names(place, broken)


def the_health_check_names(place: Place, broken: str) -> None:
    run_id = place.launch("check_health")
    place.wait_until_quiet(180)
    with place.instance() as instance:
        events = instance.get_records_for_run(
            run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ).records
        found = [record.event_log_entry.dagster_event for record in events]
        results = {
            event.asset_check_evaluation_data.asset_key.to_user_string(): event.asset_check_evaluation_data
            for event in found
            if event is not None
        }
    result = results[CAPTIONS.ends[0]]
    assert not result.passed
    assert result.metadata["failed"].value == 1
    table = str(result.metadata["partitions"].value)
    (row,) = [line for line in table.splitlines() if broken in line]
    assert [word for word in ("bad_input", "source_video", "upload") if word not in row] == [], row
    assert "correct it" in str(result.metadata["what_to_do"].value)
    assert all(other.passed for asset, other in results.items() if asset != CAPTIONS.ends[0])


@pytest.mark.parametrize("ask", [by_command, by_job, by_assets])
def test_a_backfill_makes_every_video_but_the_broken_one_within_its_pool(ask: Ask, tmp_path: Path) -> None:
    uri = str(tmp_path / "store")
    backfilled(ask, open_store(load_settings(store=uri)), tmp_path, {"VIDEO_PIPELINE_STORE": uri})


def test_a_backfill_runs_on_postgresql_and_a_bucket_as_in_a_deployment(
    postgres: Postgres, seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    storage = {"storage": {"postgres": {"postgres_url": postgres.new_database()}}}
    backfilled(by_assets, open_store(load_settings()), tmp_path, dict(seaweedfs.environment), storage)
