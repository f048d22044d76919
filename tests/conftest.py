"""Fixtures that every part's tests share: settings and stores of their own, the repository's root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# One thread per worker, as in the product: torch's own two spin for each other when the cores are busy, and
# a test of 4 s took 90.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from video_pipeline.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parent.parent


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
