"""What both instances' configurations, that of `make ui` and that of a deployment, must have in common."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.deploy.compose import DEPLOY

BOTH = ["local/dagster.yaml", "dagster.yaml"]


@pytest.fixture(params=BOTH)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / request.param).read_text())


def test_what_a_killed_run_held_is_let_go_and_nobody_resumes_it(config: dict[str, Any]) -> None:
    monitoring = config["run_monitoring"]
    assert monitoring["enabled"] is True
    # A killed `dagster job execute` keeps its place in the pool for ever (Dagster issues #28456, #32560).
    assert 0 < monitoring["free_slots_after_run_end_seconds"] <= 120
    # A resumed run would go on without its call (issue #33923); a new one attaches to it.
    assert monitoring.get("max_resume_run_attempts", 0) == 0
    assert config["run_launcher"]["class"] == "WatchedRunLauncher"
    # Dagster's own queue starts a backfill's first runs past their pool (tests/test_run_queue.py).
    assert config["run_coordinator"]["class"] == "PooledRunQueue"
    assert config["concurrency"]["pools"]["granularity"] == "run"
    assert (
        config["concurrency"]["pools"]["default_limit"]
        <= config["concurrency"]["runs"]["max_concurrent_runs"]
    )


def test_runs_are_started_again_only_where_their_job_asks_for_it(config: dict[str, Any]) -> None:
    assert config["run_retries"] == {"enabled": True, "max_retries": 0}


def test_nobody_is_told_about_the_instance_and_no_dialog_hides_its_pages(config: dict[str, Any]) -> None:
    assert config["telemetry"] == {"enabled": False}
    assert config["nux"] == {"enabled": False}


def test_a_deployments_database_is_reached_by_the_driver_that_is_installed() -> None:
    database = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())["storage"]["postgres"]["postgres_db"]
    assert database["scheme"] == "postgresql+psycopg2"
