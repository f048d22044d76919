"""Fixtures that every part's tests share: settings and stores of their own, the repository's root."""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# One thread per worker, as in the product: torch's own two spin for each other when the cores are busy, and
# a test of 4 s took 90.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Started in the background of a shell, a process ignores SIGINT. Dagster gives SIGTERM the same meaning, and
# every worker that a test starts then inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

if TYPE_CHECKING:
    import dagster as dg

# An example is late, and slow to make, when other workers have the cores: its time says nothing of the code.
hypothesis_settings.register_profile(
    "any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("any_machine")

ROOT = Path(__file__).resolve().parent.parent

ACCOUNT = "modal_account"
"""Marks the tests that a Modal account pays for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--run-modal",
        action="store_true",
        help="run the suite against your own Modal account and bucket, and nothing else; it costs money "
        "(tests/compute/test_modal_account.py says how much, and what it needs)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{ACCOUNT}: runs on a real Modal account; only with --run-modal")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --run-modal those tests alone: Modal's client keeps the first server it meets, for the process."""
    if config.getoption("--run-modal"):
        others = [item for item in items if item.get_closest_marker(ACCOUNT) is None]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.get_closest_marker(ACCOUNT) is not None]
        return
    for item in items:
        if item.get_closest_marker(ACCOUNT) is not None:
            item.add_marker(pytest.mark.skip(reason="needs a Modal account: run with --run-modal"))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names of tests are printed, and stand in the environment of whatever a test starts: of a long value
    they have the beginning."""
    if isinstance(val, str | bytes) and len(val) > 100:
        return f"{val[:40]!r} and {len(val) - 40} more"
    return None


@pytest.fixture(autouse=True)
def _no_settings_leak_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the developer's own environment, and none writes to their home."""
    for name in list(os.environ):
        if name.startswith(("WASABI_", "WANDB_", "LOGGER_LEVEL", "DAGSTER_HOME")) or (
            name.startswith("VIDEO_PIPELINE_") and name != "VIDEO_PIPELINE_REQUIRE_BROWSER"
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("VIDEO_PIPELINE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> Iterator[None]:
    """Dagster asks alembic for its newest migration whenever it opens a database, one for each run too, and
    alembic then executes all of its scripts anew: a third of what a test of sensors took."""
    from alembic.script import ScriptDirectory

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", functools.cache(ScriptDirectory.from_config))
        yield


@pytest.fixture(scope="session", autouse=True)
def _databases_wait_for_no_disk() -> Iterator[None]:
    """SQLite waits at each commit until the disk has it, which is for machines that lose power."""
    from sqlalchemy import Engine, event

    def connected(connection: object, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", connected)
    yield
    event.remove(Engine, "connect", connected)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A directory store and a state directory of the test's own."""
    return load_settings(store=str(tmp_path / "store"))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A directory of the test's own, which the environment names: where runs and commands look, too."""
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    return open_store(load_settings())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's, with its files in a folder that goes at the end."""
    import dagster as dg

    with dg.instance_for_test() as instance:
        yield instance
