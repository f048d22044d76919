"""Fixtures that every part's tests share: settings and stores of their own, the repository's root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

# One thread per worker, as in the product: torch's own two spin for each other when the cores are busy, and
# a test of 4 s took 90.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from video_pipeline.settings import Settings, load_settings

# An example is late when other workers have the cores: its time says nothing of the code.
hypothesis_settings.register_profile("any_machine", deadline=None)
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


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A directory store and a state directory of the test's own."""
    return load_settings(store=str(tmp_path / "store"))
