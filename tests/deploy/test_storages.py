"""One caption job on each storage that is offered: SQLite, as `make ui` has it, and PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import dagster as dg
import pytest
import yaml

from tests.deploy.clip import store_short_clip
from tests.deploy.compose import DEPLOY
from tests.servers.postgres import Postgres
from tests.servers.postgres import postgres as postgres
from video_pipeline.calls import list_calls
from video_pipeline.definitions import build_definitions
from video_pipeline.keys import VideoId
from video_pipeline.partitions import VIDEOS
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store

pytestmark = pytest.mark.slow

VIDEO = VideoId("acme", "short")
MISSING = VideoId("acme", "missing")


def deployed(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with the file of the deployment, and the variables it asks for."""
    parsed = urlparse(url)
    variables = {
        "DAGSTER_PG_HOST": parsed.hostname,
        "DAGSTER_PG_PORT": parsed.port,
        "DAGSTER_PG_DB": parsed.path.strip("/"),
        "DAGSTER_PG_USER": parsed.username,
        "DAGSTER_PG_PASSWORD": parsed.password,
        "DAGSTER_LOGS": home / "logs",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    home.mkdir()
    (home / "dagster.yaml").write_text((DEPLOY / "dagster.yaml").read_text())
    return home


@pytest.fixture(params=["sqlite", "postgres"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with the file that stands for that storage."""
    home = tmp_path / "dagster_home"
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        return deployed(home, server.new_database(), monkeypatch)
    home.mkdir()
    (home / "dagster.yaml").write_text((DEPLOY / "local" / "dagster.yaml").read_text())
    return home


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def run(instance: dg.DagsterInstance, video: VideoId, *, raises: bool = True) -> dg.ExecuteInProcessResult:
    return (
        build_definitions()
        .resolve_job_def("caption_video")
        .execute_in_process(partition_key=video.partition_key, instance=instance, raise_on_error=raises)
    )


def test_a_caption_job_and_its_failure_are_kept_and_read_back_by_another_process(
    instance: dg.DagsterInstance, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    store = open_store(load_settings())
    store_short_clip(store, VIDEO, tmp_path)
    instance.add_dynamic_partitions(VIDEOS, [VIDEO.partition_key, MISSING.partition_key])
    first = run(instance, VIDEO)
    failed = run(instance, MISSING, raises=False)
    again = run(instance, VIDEO)
    assert [result.success for result in (first, failed, again)] == [True, False, True]
    assert {call.attempt for call in list_calls(store, "acme")} == {1}

    # A second instance of the same file has nothing from this process's memory.
    with dg.DagsterInstance.from_config(str(home)) as other:
        kind = yaml.safe_load((home / "dagster.yaml").read_text()).get("storage", {"sqlite": None})
        assert all(name in type(other.event_log_storage).__name__.lower() for name in kind)
        assert set(other.get_dynamic_partitions(VIDEOS)) == {VIDEO.partition_key, MISSING.partition_key}
        statuses = {
            record.dagster_run.run_id: record.dagster_run.status for record in other.get_run_records()
        }
        assert statuses[first.run_id] is dg.DagsterRunStatus.SUCCESS
        assert statuses[failed.run_id] is dg.DagsterRunStatus.FAILURE
        published = dg.AssetKey("wasabi_upload")
        assert other.get_materialized_partitions(published) == {VIDEO.partition_key}
        event = other.get_latest_materialization_event(published)
        assert event is not None
        assert event.run_id == again.run_id
        (failure,) = [
            entry.dagster_event.step_failure_data.user_failure_data
            for entry in other.all_logs(failed.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
            if entry.dagster_event is not None
        ]
        assert failure is not None
        assert failure.metadata["kind"].value == "bad_input"
        assert "acme/client/videos/missing" in str(failure.metadata["input"].value)


def test_a_dump_restored_into_another_database_has_the_runs_and_the_partitions(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = postgres.new_database(), postgres.new_database()
    with dg.DagsterInstance.from_config(str(deployed(tmp_path / "first", first, monkeypatch))) as instance:
        instance.add_dynamic_partitions(VIDEOS, [VIDEO.partition_key])
        run_id = small_job.execute_in_process(instance=instance).run_id
    dump = tmp_path / "dagster.dump"
    postgres.tool("pg_dump", "-Fc", "-f", str(dump), database=first)
    home = deployed(tmp_path / "second", second, monkeypatch)
    postgres.tool("pg_restore", "--clean", "--if-exists", str(dump), database=second)
    dagster = str(Path(sys.executable).with_name("dagster"))
    migrated = subprocess.run(
        [dagster, "instance", "migrate"], env={**os.environ, "DAGSTER_HOME": str(home)}, capture_output=True
    )
    assert migrated.returncode == 0, migrated.stderr
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_dynamic_partitions(VIDEOS) == [VIDEO.partition_key]
        (record,) = instance.get_run_records()
        assert (record.dagster_run.run_id, record.dagster_run.is_success) == (run_id, True)
        assert instance.all_logs(run_id)


@dg.op
def say_nothing() -> None:
    """A double of work."""


@dg.job
def small_job() -> None:
    say_nothing()
