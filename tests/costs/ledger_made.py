"""Entries of a ledger for tests of what is made of it: three weeks of framing, captions and local renders."""

from __future__ import annotations

import hashlib
import math
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from video_pipeline.costs.entries import LedgerEntry, write_entry
from video_pipeline.store.base import ObjectStore
from video_pipeline.telemetry.usage import Phase, Usage

FIRST = datetime(2026, 11, 2, 6, 30, tzinfo=UTC)

KINDS = ("timeout", "transient", "preempted", "out_of_memory", "lost", "internal")


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def entry(number: int, *, at: datetime = FIRST, wall_s: float = 10.0, **fields: Any) -> LedgerEntry:
    """One attempt on Modal. Names of `Usage` go there, all others into the entry."""
    usage = {name: fields.pop(name) for name in list(fields) if name in Usage.model_fields}
    cold = usage.setdefault("cold", True)
    usage = {"wall_s": wall_s, "machine_s": wall_s + (1.5 if cold else 0.0), **usage}
    usage.setdefault("gpu_seconds", usage["machine_s"] * usage.get("gpu_count", 0))
    made = {
        "key": key_of(number),
        "attempt": 1,
        "task": "process_framing_ai",
        "version": 1,
        "tenant": "acme",
        "status": "ok",
        "backend": "modal",
        "host": "ta-01",
        "started_at": at,
        "finished_at": at + timedelta(seconds=wall_s),
        "usage": Usage.model_validate(usage),
    }
    return LedgerEntry.model_validate({**made, **fields})


def made_entries(days: int = 21, seed: int = 7) -> list[LedgerEntry]:
    """A working ledger: jobs in 1, 2, 4 or 8 chunks that fail now and then and are tried again, caption
    passes, samples and local renders; most of them in the daytime and on weekdays."""
    draw = random.Random(seed)
    entries: list[LedgerEntry] = []
    number = iter(range(1, 10**6))
    t4 = {"gpu_type": "T4", "gpu_name": "Tesla T4", "gpu_count": 1, "cpu_cores": 4.0, "memory_gib": 16.0}
    for day in range(days):
        weekend = (FIRST + timedelta(days=day)).weekday() >= 5
        for _ in range(draw.randint(1, 3) if weekend else draw.randint(5, 11)):
            at = FIRST + timedelta(
                days=day, hours=min(15.0, abs(draw.gauss(5, 3))), minutes=draw.random() * 60
            )
            seconds = draw.lognormvariate(math.log(18), 0.7)
            entries += _framing(draw, number, at, seconds, t4)
        for _ in range(draw.randint(0, 4)):
            at = FIRST + timedelta(days=day, hours=draw.random() * 14)
            seconds = draw.lognormvariate(math.log(240), 0.9)
            entries.append(_captions(draw, next(number), at, seconds))
        for _ in range(draw.randint(1, 5)):
            at = FIRST + timedelta(days=day, hours=draw.random() * 12)
            entries.append(_local(draw, next(number), at))
    return entries


def fill(store: ObjectStore, entries: list[LedgerEntry]) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda made: write_entry(store, made), entries))


def _starting(draw: random.Random, cold: bool) -> dict[str, Any]:
    waited = draw.uniform(3, 9) if cold else draw.uniform(0.2, 1.5)
    load = draw.uniform(2, 4) if cold else None
    return {
        "cold": cold,
        "queued_ms": waited * 1000,
        "startup_overhead_ms": (waited + draw.uniform(0.3, 2.0)) * 1000,
        "model_load_time_ms": None if load is None else load * 1000,
    }


def _framing(draw: random.Random, number: Any, at: datetime, seconds: float, t4: dict) -> list[LedgerEntry]:
    chunks = next(count for below, count in ((8, 1), (18, 2), (60, 4), (1e9, 8)) if seconds < below)
    key, frames, clip = next(number), max(30, round(seconds * 30)), f"acme--goal-{draw.randint(1, 400)}"
    work = frames * 0.68 / chunks
    about = {
        "frames": frames,
        "video_seconds": seconds,
        "output_pixels": 810 * 1440,
        "bytes_read": frames * 9000,
    }
    if chunks == 1:
        wall = work * draw.lognormvariate(0, 0.1) + 8
        return [
            entry(
                key, at=at, wall_s=wall, partition=clip, predicted_s=work + 9, predicted_usd=wall * 3e-4,
                **about, **_starting(draw, draw.random() < 0.5), **t4,
            )
        ]  # fmt: skip
    entries: list[LedgerEntry] = []
    longest, failed = 0.0, False
    for _ in range(chunks):
        child, attempt, fails = next(number), 1, draw.random() < 0.02 * math.log2(chunks)
        wall = work * draw.lognormvariate(0, 0.12) + 6
        if fails:
            entries.append(
                entry(
                    child, at=at + timedelta(seconds=6), wall_s=wall * draw.random(), status="error",
                    error_kind=draw.choice(KINDS), task="process_framing_ai_chunk", parent=key_of(key),
                    **_starting(draw, True), **t4,
                )
            )  # fmt: skip
            attempt, failed = 2, failed or draw.random() < 0.3
        entries.append(
            entry(
                child, at=at + timedelta(seconds=7 + wall * (attempt - 1)), attempt=attempt, wall_s=wall,
                task="process_framing_ai_chunk", parent=key_of(key), frames=frames // chunks,
                **_starting(draw, draw.random() < 0.7), **t4,
            )
        )  # fmt: skip
        longest = max(longest, wall * attempt)
    predicted = work * 1.08 + 6.6 * chunks
    entries.append(
        entry(
            key, at=at, wall_s=longest + 4 + 2 * chunks, task="process_framing_ai_parallel", partition=clip,
            status="error" if failed else "ok", error_kind="internal" if failed else None, chunks=chunks,
            predicted_s=predicted, predicted_usd=predicted * chunks * 2.4e-4, cpu_cores=2.0, memory_gib=4.0,
            **about, **_starting(draw, draw.random() < 0.4),
        )
    )  # fmt: skip
    return entries


def _captions(draw: random.Random, key: int, at: datetime, seconds: float) -> LedgerEntry:
    wall = 12 + seconds * draw.uniform(0.09, 0.13) * (6 if draw.random() < 0.03 else 1)
    return entry(
        key, at=at, wall_s=wall, task="crop_and_infer_caption_frame_extents", partition=f"acme--match-{key}",
        gpu_type="A10", gpu_name="NVIDIA A10", gpu_count=1, cpu_cores=16.0, memory_gib=32.0,
        frames=round(seconds * 10), video_seconds=seconds, phases={"work": Phase(wall_ms=wall * 900)},
        **_starting(draw, draw.random() < 0.8),
    )  # fmt: skip


def _local(draw: random.Random, key: int, at: datetime) -> LedgerEntry:
    bad = draw.random() < 0.06
    wall = 0.2 if bad else draw.lognormvariate(1.3, 0.6)
    return entry(
        key, at=at, wall_s=wall, backend="local", host="laptop", partition=f"acme--clip-{key}",
        task=draw.choice(("render_overlay", "extract_clip", "process_multi_clip")),
        status="error" if bad else "ok", error_kind="bad_input" if bad else None,
        queued_ms=1700.0, startup_overhead_ms=1500.0 + draw.random() * 900, cpu_user_s=wall * 1.6,
        frames=None if bad else 300, video_seconds=None if bad else 10.0,
    )  # fmt: skip
