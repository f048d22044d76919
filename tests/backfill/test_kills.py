"""SIGKILL to what runs backfills, at random moments: nothing is lost, and nothing is done twice.

Every execution of a task leaves a row in the ledger, so that "twice" can be counted. Only Dagster's processes
are killed here: calls go on without them, and whoever comes next must find them. What becomes of a call whose
own worker dies is tested with the backends (`tests/compute`).

`BACKFILL_KILLS=30` makes it thirty kills, among thirty videos; `BACKFILL_SEED` makes it others.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import dagster as dg
import psutil
import pytest

from tests.backfill.films import cut_off, store_films
from tests.backfill.place import Place, running_place, wait_for
from video_pipeline.costs import ledger
from video_pipeline.keys import VideoId, current_key
from video_pipeline.operations.states import CAPTIONS
from video_pipeline.partitions import VIDEOS
from video_pipeline.resources.ended_runs import why_a_run_failed
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

KILLS = int(os.environ.get("BACKFILL_KILLS", "6"))
SEED = int(os.environ.get("BACKFILL_SEED", "35"))
FILMS = max(8, KILLS)
PER_VIDEO_S = 60
"""What a video may take on a machine with much other work; 10 s on two idle cores."""

TASKS = {"crop_and_infer_caption_frame_extents", "read_captions"}
VICTIMS = {
    "run worker": 3,
    "run host": 1,
    "daemon": 2,
    "code server": 1,
    "code server and workers": 2,
    "webserver": 1,
}
"""What is killed, and how often compared with the others."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 + KILLS * 120)]


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(load_settings(store=str(tmp_path / "store")))


@pytest.fixture
def place(store: ObjectStore, tmp_path: Path) -> Iterator[Place]:
    concurrency = {"runs": {"max_concurrent_runs": 2}, "pools": {"granularity": "run", "default_limit": 2}}
    pipeline = {"VIDEO_PIPELINE_STORE": str(tmp_path / "store")}
    with running_place(tmp_path, pipeline, config={"concurrency": concurrency}) as place:
        place.start_sensor("orphaned_calls")
        yield place


def executions(store: ObjectStore) -> dict[tuple[str, str], list[str]]:
    """How each execution of a task ended, by partition and task: the ledger's rows."""
    found: dict[tuple[str, str], list[str]] = {}
    rows = ledger.load(store)
    for film, task, status in zip(rows["partition"], rows["task"], rows["status"], strict=True):
        found.setdefault((film, task), []).append(status)
    return found


def told(store: ObjectStore, which: list[tuple[str, str]]) -> str:
    """All that the ledger has of these executions."""
    rows = ledger.load(store)
    chosen = [pair in which for pair in zip(rows["partition"], rows["task"], strict=True)]
    columns = ["partition", "task", "key", "attempt", "status", "error_kind", "started_at", "finished_at"]
    return str(rows.loc[chosen, columns].to_string())


def published(store: ObjectStore, films: list[str]) -> list[str]:
    return [film for film in films if store.head(current_key(VideoId.from_partition_key(film))) is not None]


def settled(place: Place, timeout_s: float) -> list[dg.RunRecord]:
    """Waits until all is quiet, also after the sensor has looked at the last run that ended. The runs."""
    deadline = time.monotonic() + timeout_s
    while True:
        runs = place.wait_until_quiet(deadline - time.monotonic())
        looked = partial(place.sensor_has_looked, "orphaned_calls", max(run.end_time or 0.0 for run in runs))
        wait_for(looked, 300, "the sensor has looked", 1.0)
        if len(place.runs()) == len(runs):
            return runs


def test_a_killed_code_server_takes_its_runs_with_it_and_another_run_takes_their_calls(
    store: ObjectStore, place: Place, tmp_path: Path
) -> None:
    films = store_films(store, "acme", 2, tmp_path)
    place.register(VIDEOS, films)
    # One as a job, which Dagster runs again; one as assets, for which the sensor looks.
    place.backfill_of_job(CAPTIONS.job, films[:1])
    place.backfill_of_assets(CAPTIONS.assets, films[1:])
    calls = place.hold_calls(store, 2)
    place.kill_with_workers()
    for call in calls:
        call.resume()
    place.start("code")

    runs = settled(place, 900)
    assert Counter(record.dagster_run.status.value for record in runs) == {"FAILURE": 2, "SUCCESS": 2}
    with place.instance() as instance:
        reasons = [
            why_a_run_failed(instance, record.dagster_run.run_id)[1]
            for record in runs
            if record.dagster_run.status == dg.DagsterRunStatus.FAILURE
        ]
    assert all("its worker died together with its code server" in reason for reason in reasons), reasons
    assert published(store, films) == films
    assert executions(store) == {(film, task): ["ok"] for film in films for task in TASKS}


def test_kills_during_backfills_lose_no_video_and_do_nothing_twice(
    store: ObjectStore, place: Place, tmp_path: Path
) -> None:
    films = store_films(store, "acme", FILMS, tmp_path)
    broken, whole = films[1], [*films[:1], *films[2:]]
    cut_off(store, broken)
    place.register(VIDEOS, films)
    place.backfill_of_assets(CAPTIONS.assets, films[::2])
    place.backfill_of_job(CAPTIONS.job, films[1::2])
    killed = kill_now_and_then(place, random.Random(SEED))
    assert killed.total() > KILLS / 2, "a quick machine had done all before"
    runs = settled(place, 300 + FILMS * PER_VIDEO_S)
    print(f"killed: {dict(killed)}; runs: {Counter(record.dagster_run.status.value for record in runs)}")

    attempted = {record.dagster_run.tags["dagster/partition"] for record in runs}
    assert attempted == set(films), "every video had a run"
    made = published(store, films)
    reasons = {film: why_it_failed(place, runs, film) for film in films}
    print(reasons)
    assert all(film in made for film in films if not reasons[film])
    # A run may be killed when all but its own end is done.
    assert not [film for film in made if reasons[film] and not reasons[film].startswith("host: ")]
    again = [of for of, ends in executions(store).items() if ends != ["ok"]]
    assert not again, told(store, again)

    # What a kill has left failed is made by the next backfill, as every night, from what is there.
    left = [film for film in films if film not in made]
    place.backfill_of_job(CAPTIONS.job, left)
    runs = settled(place, 300 + len(left) * PER_VIDEO_S)
    assert published(store, films) == whole
    assert why_it_failed(place, runs, broken).startswith("bad_input: ")
    assert executions(store) == {(film, task): ["ok"] for film in whole for task in TASKS}


def why_it_failed(place: Place, runs: list[dg.RunRecord], film: str) -> str:
    """What the last run of a video says; empty where it went well."""
    own = [record for record in runs if record.dagster_run.tags["dagster/partition"] == film]
    last = max(own, key=lambda record: record.create_timestamp).dagster_run
    if last.status == dg.DagsterRunStatus.SUCCESS:
        return ""
    with place.instance() as instance:
        _, message, kind, _ = why_a_run_failed(instance, last.run_id)
    assert "without saying why" not in message, film
    assert "from outside the execution context" not in message, film
    return f"{kind or 'host'}: {message}"


def kill_now_and_then(place: Place, chance: random.Random) -> Counter[str]:
    """Kills one after the other while there is work; starts again what was killed, as a supervisor does."""
    killed: Counter[str] = Counter()
    names, weights = list(VICTIMS), list(VICTIMS.values())
    wait_for(place.run_workers, 180, "the first run has a worker")
    while killed.total() < KILLS and not place.is_quiet():
        time.sleep(chance.uniform(2.0, 15.0))
        (victim,) = chance.choices(names, weights)
        pause = chance.uniform(0.0, 4.0)
        if victim == "run worker":
            # Chosen by a number that does not depend on how many there are just now.
            number = chance.randrange(1000)
            wait_for(lambda: place.run_workers() or place.is_quiet(), 180, "a run has a worker")
            if not (workers := place.run_workers()):
                continue
            try:
                workers[number % len(workers)].kill()
            except psutil.NoSuchProcess:
                continue
        elif victim == "run host":
            for host in place.run_hosts():
                with suppress(psutil.NoSuchProcess):
                    host.kill()
        elif victim == "code server and workers":
            place.kill_with_workers()
        else:
            place.kill({"code server": "code"}.get(victim, victim))
        killed[victim] += 1
        print(f"{time.strftime('%H:%M:%S')} killed: {victim}")
        # The code server starts a host again by itself, and the queue a run.
        if victim not in ("run worker", "run host"):
            time.sleep(pause)
            place.start("code" if "code" in victim else victim)
    return killed
