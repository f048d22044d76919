"""Operating it: how long a tick takes with 10,000 registered videos, and what a backfill costs (`backfill`).

For the ticks, the instance is SQLite and the store a directory with as many small files, as on one machine.
Every partition was attempted: most were made, some failed, some are running. The events are those that
Dagster writes, without the runs' work. A tick is what a daemon waits for: the evaluation of the sensor or the
schedule.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent, DagsterEventType
from dagster._core.test_utils import create_run_for_test

from benchmarks.backfill import backfill
from benchmarks.harness import Figure, figure_of
from video_pipeline.definitions import build_definitions
from video_pipeline.keys import VideoId, source_key
from video_pipeline.operations.states import CAPTIONS
from video_pipeline.resources.store import StoreResource
from video_pipeline.schedules import default_schedules
from video_pipeline.sensors import failure_report, new_uploads, orphaned_calls

VIDEOS = 10_000
FAILED, RUNNING = 20, 20
REPEATS = 5
TARGET_S = 2.0
END = dg.AssetKey(CAPTIONS.ends[0])


def measure() -> list[Figure]:
    return [*ticks(), backfill()]


def ticks() -> list[Figure]:
    """Seconds a tick: of the sensors and of the nightly schedule."""
    logging.getLogger("dagster").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        home, root = Path(folder, "home"), Path(folder, "store")
        home.mkdir()
        _make_store(root)
        with dg.instance_for_test(temp_dir=str(home)) as instance:
            _make_history(instance, home)
            store = StoreResource(uri=str(root))
            return [
                _figure("new_uploads, nothing new", _uploads(instance, store, lambda: None)),
                _figure("new_uploads, one changed video", _uploads(instance, store, lambda: _touch(root))),
                _figure("nightly_backfill", _nightly(instance, store)),
                _figure("orphaned_calls", _sensor(orphaned_calls, instance, store)),
                _figure("failure_report", _sensor(failure_report, instance, store)),
            ]


def _figure(what: str, tick: Callable[[], object]) -> Figure:
    tick()
    runs: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        tick()
        runs.append(time.perf_counter() - began)
    return figure_of(f"{what}: a tick with {VIDEOS:,} videos", TARGET_S, runs, unit="s")


def _uploads(
    instance: dg.DagsterInstance, store: StoreResource, change: Callable[[], None]
) -> Callable[[], object]:
    cursor: list[str | None] = [None]
    definitions = build_definitions()

    def tick() -> None:
        change()
        with dg.build_sensor_context(
            instance=instance, cursor=cursor[0], resources={"store": store}, definitions=definitions
        ) as context:
            cursor[0] = new_uploads.evaluate_tick(context).cursor

    return tick


def _sensor(
    sensor: dg.SensorDefinition, instance: dg.DagsterInstance, store: StoreResource
) -> Callable[[], object]:
    """From the beginning of all events: the most that a tick reads."""

    definitions = build_definitions()

    def tick() -> None:
        with dg.build_sensor_context(
            instance=instance, cursor="0", resources={"store": store}, definitions=definitions
        ) as context:
            sensor.evaluate_tick(context)

    return tick


def _nightly(instance: dg.DagsterInstance, store: StoreResource) -> Callable[[], object]:
    repository = build_definitions().get_repository_def()

    def tick() -> None:
        with dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime.now(UTC),
            resources={"store": store},
            repository_def=repository,
        ) as context:
            if not default_schedules[0].evaluate_tick(context).run_requests:
                raise RuntimeError("the schedule found nothing to do")

    return tick


def _names() -> list[str]:
    return [f"video-{number:05d}" for number in range(VIDEOS)]


def _make_store(root: Path) -> None:
    """A file per video, with results beside it that a look must not read."""
    long_ago = time.time() - 3600
    for name in _names():
        path = root / source_key(VideoId("bench", name), "mp4")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
        os.utime(path, (long_ago, long_ago))
        (path.parent / "current.json").write_bytes(b"{}")


def _touch(root: Path) -> None:
    """Replaces the middle video, as of an hour ago, with other content."""
    path = root / source_key(VideoId("bench", _names()[VIDEOS // 2]), "mp4")
    path.write_bytes(path.read_bytes() + b"x")


def _make_history(instance: dg.DagsterInstance, home: Path) -> None:
    """One planned and one made partition as Dagster writes them, and rows like theirs for all the others:
    20,000 events one by one, in a transaction each, take longer than everything else here."""
    keys = [VideoId("bench", name).partition_key for name in _names()]
    instance.add_dynamic_partitions(CAPTIONS.partitions, keys)
    first, made = keys[0], keys[: VIDEOS - FAILED - RUNNING]
    run = create_run_for_test(instance, job_name=CAPTIONS.job, tags={"dagster/partition": first})
    _plan(instance, run.run_id, first)
    runs = dict.fromkeys(made, run.run_id)
    for key in keys[len(made) :]:
        tags = {"dagster/partition": key}
        runs[key] = create_run_for_test(instance, job_name=CAPTIONS.job, tags=tags).run_id
    _repeat(home, DagsterEventType.ASSET_MATERIALIZATION_PLANNED, first, runs)
    instance.report_runless_asset_event(dg.AssetMaterialization(END, partition=first))
    _repeat(home, DagsterEventType.ASSET_MATERIALIZATION, first, dict.fromkeys(made, ""))
    for key in keys[len(made) : -RUNNING]:
        failed = instance.get_run_by_id(runs[key])
        assert failed is not None
        instance.report_run_failed(failed)
    for key in keys[-RUNNING:]:
        instance.report_dagster_event(_event(DagsterEventType.RUN_START), runs[key])


def _repeat(home: Path, kind: DagsterEventType, first: str, runs: dict[str, str]) -> None:
    """The newest event of the kind, which is of the partition `first`, once more for each other partition."""
    columns = "run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition"
    with contextlib.closing(sqlite3.connect(home / "history" / "runs" / "index.db")) as database, database:
        row = database.execute(
            f"SELECT {columns} FROM event_logs WHERE dagster_event_type = ? ORDER BY id DESC", (kind.value,)
        ).fetchone()
        run_id, event, *same, _ = row
        database.executemany(
            f"INSERT INTO event_logs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (run or run_id, event.replace(first, key).replace(run_id, run or run_id), *same, key)
                for key, run in runs.items()
                if key != first
            ],
        )


def _event(kind: DagsterEventType) -> DagsterEvent:
    return DagsterEvent(event_type_value=kind.value, job_name=CAPTIONS.job)


def _plan(instance: dg.DagsterInstance, run_id: str, partition: str) -> None:
    planned = AssetMaterializationPlannedData(END, partition=partition)
    instance.report_dagster_event(
        DagsterEvent.build_asset_materialization_planned_event(
            job_name=CAPTIONS.job, step_key=END.to_user_string(), asset_materialization_planned_data=planned
        ),
        run_id,
    )
