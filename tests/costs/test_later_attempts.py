"""What an attempt that found work done tells of the time that work takes: nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.costs.test_ledger import entry
from video_pipeline.costs.drift import drift
from video_pipeline.costs.entries import write_entry
from video_pipeline.costs.ledger import load
from video_pipeline.costs.refit import ledger_runs
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.telemetry.usage import Usage


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """Six renders of 100 s in two chunks, the last three of them second attempts that took 5 s."""
    made = DirectoryStore(tmp_path / "store")
    for number in range(6):
        second = number >= 3
        usage = Usage(
            wall_s=5.0 if second else 100.0,
            frames=600,
            chunks=2,
            video_seconds=20.0,
            map_dispatch_ms=1.0,
            predicted_s=100.0,
        )
        attempt = 2 if second else 1
        write_entry(made, entry(number, task="process_framing_ai_parallel", attempt=attempt, usage=usage))
    return made


def test_a_fan_out_that_found_chunks_made_is_no_run_of_the_model(store: DirectoryStore) -> None:
    assert ledger_runs(load(store))["wall_s"].tolist() == [100, 100, 100]


def test_a_later_attempt_is_not_held_against_the_prediction(store: DirectoryStore) -> None:
    assert drift(load(store)).calls == 3


def test_a_call_without_chunks_counts_at_any_attempt(store: DirectoryStore) -> None:
    usage = Usage(wall_s=50.0, frames=600, video_seconds=20.0)
    write_entry(store, entry(9, task="render_overlay", attempt=2, usage=usage))
    assert 50 in ledger_runs(load(store))["wall_s"].tolist()
