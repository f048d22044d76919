"""Ledgers made of entries as workers write them, with times from known coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tests.costs.runs_made import seconds_of
from video_pipeline.costs.entries import LedgerEntry, write_entry
from video_pipeline.costs.predict import Term
from video_pipeline.store.base import ObjectStore
from video_pipeline.telemetry.usage import Usage

MONDAY = datetime(2026, 11, 2, 9, tzinfo=UTC)
TRUTH: dict[Term, float] = {"s_per_frame": 0.05, "startup_s": 4.0}


def enter(
    store: ObjectStore, number: int, *, day: int = 0, task: str = "render_overlay", **fields: Any
) -> str:
    """One attempt on Modal; the fields of its usage go under `usage`. Its key."""
    usage = {"wall_s": 10.0, "cpu_cores": 4.0, "memory_gib": 8.0, **fields.pop("usage", {})}
    usage.setdefault("machine_s", usage["wall_s"])
    at = MONDAY + timedelta(days=day, minutes=number)
    entry = LedgerEntry.model_validate(
        {
            "key": f"{number:032x}",
            "attempt": 1,
            "task": task,
            "version": 1,
            "tenant": "acme",
            "status": "ok",
            "backend": "modal",
            "started_at": at,
            "finished_at": at + timedelta(seconds=usage["wall_s"]),
            "usage": Usage.model_validate(usage),
            **fields,
        }
    )
    write_entry(store, entry)
    return entry.key


def enter_runs(
    store: ObjectStore,
    lengths: Sequence[int] = (150, 300, 600, 900),
    *,
    repeats: int = 3,
    spread: float = 0.02,
    first: int = 0,
    **fields: Any,
) -> None:
    """One call of each length and repeat, on days of its own, as `TRUTH` has it and a little off."""
    noise = np.random.default_rng(first)
    for number in range(repeats * len(lengths)):
        frames = lengths[number % len(lengths)]
        wall = seconds_of(TRUTH, frames, 1) * (1 + spread * noise.normal())
        usage = {"wall_s": wall, "frames": frames, "video_seconds": frames / 30, **fields.get("usage", {})}
        rest = {name: value for name, value in fields.items() if name != "usage"}
        enter(store, first + number, day=number, usage=usage, **rest)
