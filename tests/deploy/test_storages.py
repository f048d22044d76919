"""One caption job on each storage that is offered: SQLite, as `make ui` has it, and PostgreSQL."""

from __future__ import annotations

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


@pytest.fixture(params=["sqlite", "postgres"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with the file that the deployment of that storage has."""
    home = tmp_path / "dagster_home"
    home.mkdir()
    if request.param == "sqlite":
        (home / "dagster.yaml").write_text((DEPLOY / "local" / "dagster.yaml").read_text())
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = urlparse(server.new_database())
        variables = {
            "DAGSTER_PG_HOST": url.hostname,
            "DAGSTER_PG_PORT": url.port,
            "DAGSTER_PG_DB": url.path.strip("/"),
            "DAGSTER_PG_USER": url.username,
            "DAGSTER_PG_PASSWORD": url.password,
            "DAGSTER_LOGS": tmp_path / "logs",
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        (home / "dagster.yaml").write_text((DEPLOY / "dagster.yaml").read_text())
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
