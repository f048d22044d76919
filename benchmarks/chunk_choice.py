"""Into how many chunks: how well the cost model foretells, and how good the counts are that it chooses.

Belongs here: two figures of error on a real task, and regret against a sweep of every count. Does not belong
here: the model (`video_pipeline.costs`).

The sweep's workers are real, started by the real fan-out, and wait for a declared start-up and a declared
time for each frame (`waiting_tasks`): two cores cannot show with real work what eight machines do. The error
is taken on `process_framing_ai_parallel` with its real network, one thread to a chunk, two chunks at once.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from unittest import mock

import pandas as pd

from benchmarks.clip_desk import TENANT, Desk, desk
from benchmarks.clip_media import sport_small
from benchmarks.harness import Figure
from benchmarks.waiting_tasks import CLIP, Waited, WaitingClip
from video_pipeline.clips.result import RenderResult
from video_pipeline.compute.base import CallOptions
from video_pipeline.compute.follow import run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.costs.model import Fit, fit
from video_pipeline.costs.plan import choose_chunks
from video_pipeline.costs.predict import Coefficients, Rates
from video_pipeline.machine import usable_cores

STARTUP_S, S_PER_FRAME, JOIN_S, JOIN_S_PER_CHUNK = 3.0, 0.12, 1.0, 0.25
"""Declared of every worker and of the join. What starting processes takes adds to it; the model is told of
neither."""
FITTED_FRAMES, FITTED_CHUNKS = (100, 400), (1, 2, 4, 8, 12)
SWEPT_FRAMES, SWEPT_CHUNKS = 240, tuple(range(1, 13))
"""A length and most of the counts that the model has not seen."""
WAITED_REPEATS, REAL_REPEATS = 2, 3
DEADLINE_FACTOR = 1.3
"""The deadline, by the fastest that the model foretells."""
RATES = Rates(
    chunk_usd_per_s=0.00023416,
    whole_usd_per_s=0.00023416,
    orchestrator_usd_per_s=0.00006128,
    as_of="2026-07-01",
)
"""As if each worker were a T4 with four cores, and the orchestrator four cores alone."""

REAL_SECONDS, REAL_CHUNKS, REAL_FPS = (4, 8, 16), (1, 2, 4), 10
SEED = 11


@dataclass(frozen=True)
class Run:
    """One run of a clip: seconds from submission to result, seconds its workers were busy."""

    frames: int
    chunks: int
    wall_s: float
    gpu_seconds: float

    @property
    def usd(self) -> float:
        return self.gpu_seconds * RATES.chunk_usd_per_s + self.wall_s * RATES.orchestrator_usd_per_s


def measure() -> list[Figure]:
    return [*fit_error(), *regret()]


# Regret


def regret(
    repeats: int = WAITED_REPEATS,
    fitted: tuple[Sequence[int], Sequence[int]] = (FITTED_FRAMES, FITTED_CHUNKS),
    swept: tuple[int, Sequence[int]] = (SWEPT_FRAMES, SWEPT_CHUNKS),
) -> list[Figure]:
    """Fit on some counts of two lengths, choose for a third, then run every count of it."""
    with desk() as place, mock.patch.dict(os.environ, VIDEO_PIPELINE_TASK_MODULES="benchmarks.waiting_tasks"):
        seen = _waited(place, fitted[0], fitted[1], repeats, "fitted")
        c = _fit_of(seen).coefficients
        frames, counts = swept
        sweep = _waited(place, (frames,), counts, repeats, "swept")
    return judge(c, sweep, frames, max(counts))


def judge(c: Coefficients, sweep: Iterable[Run], frames: int, most: int) -> list[Figure]:
    """What each goal's choice lost against the best count of the sweep, by medians of its runs."""
    seconds, usd = _medians(sweep, "wall_s"), _medians(sweep, "usd")
    fastest = choose_chunks(c, frames, "fastest", max_chunks=most)
    cheapest = choose_chunks(c, frames, "cheapest", max_chunks=most)
    deadline = DEADLINE_FACTOR * fastest.prediction.seconds
    kept = choose_chunks(c, frames, "deadline", deadline_s=deadline, max_chunks=most)
    in_time = [count for count in seconds if seconds[count] <= deadline] or [
        min(seconds, key=seconds.__getitem__)
    ]
    detail = {
        "seconds": {count: round(value, 2) for count, value in seconds.items()},
        "usd": {count: round(value, 6) for count, value in usd.items()},
        "coefficients": {name: round(found.value, 4) for name, found in c.estimates.items()},
        "deadline_s": round(deadline, 2),
    }
    what = "chosen chunks against an exhaustive sweep"
    return [
        _regret(
            f"{what}, fastest: time", fastest.chunks, seconds[fastest.chunks], min(seconds.values()), detail
        ),
        _regret(f"{what}, cheapest: cost", cheapest.chunks, usd[cheapest.chunks], min(usd.values()), detail),
        _regret(
            f"{what}, within a deadline: cost",
            kept.chunks,
            usd[kept.chunks],
            min(usd[count] for count in in_time),
            detail,
        ),
        _regret(
            f"{what}, within a deadline: time beyond it",
            kept.chunks,
            max(seconds[kept.chunks], deadline),
            deadline,
            detail,
        ),
    ]


def _regret(what: str, chunks: int, value: float, best: float, detail: dict) -> Figure:
    return Figure(
        what, 5.0, max(0.0, 100 * (value / best - 1)), unit="%", detail={"chosen": chunks, **detail}
    )


def _medians(runs: Iterable[Run], of: str) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for run in runs:
        found.setdefault(run.chunks, []).append(getattr(run, of))
    return {count: statistics.median(values) for count, values in sorted(found.items())}


def _waited(place: Desk, frames: Sequence[int], counts: Sequence[int], repeats: int, name: str) -> list[Run]:
    return [
        _wait(place, length, count, f"{name}-{turn}-{length}-{count}")
        for turn in range(repeats)
        for length, count in _mixed(frames, counts, turn)
    ]


def _mixed(frames: Sequence[int], counts: Sequence[int], turn: int) -> list[tuple[int, int]]:
    """Every configuration once, in an order of its own for each turn: drift hits all alike."""
    order = [(length, count) for length in frames for count in counts]
    random.Random(SEED + turn).shuffle(order)
    return order


def _wait(place: Desk, frames: int, chunks: int, name: str) -> Run:
    settings = place.settings.model_copy(update={"task_modules": "benchmarks.waiting_tasks"})
    request = WaitingClip(
        name=name,
        frames=frames,
        chunks=chunks,
        startup_s=STARTUP_S,
        s_per_frame=S_PER_FRAME,
        join_s=JOIN_S,
        join_s_per_chunk=JOIN_S_PER_CHUNK,
    )
    began = time.perf_counter()
    _, record = run_call(LocalCompute(settings, place.store), CLIP, request, CallOptions())
    wall = time.perf_counter() - began
    return Run(frames, chunks, wall, sum(Waited.model_validate(record.result).busy_s))


def _fit_of(runs: Sequence[Run], **options) -> Fit:
    table = pd.DataFrame([vars(run) for run in runs])
    fields = {"task": CLIP, "gpu": None, "backend": "local", "source": "experiments", "rates": RATES}
    return fit(table, **{**fields, **options})


# Error


def fit_error(
    repeats: int = REAL_REPEATS, lengths_s: Sequence[int] = REAL_SECONDS, counts: Sequence[int] = REAL_CHUNKS
) -> list[Figure]:
    """How far the model is from runs of the real task that it has not seen."""
    single = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with desk() as place, mock.patch.dict(os.environ, single):
        key = place.put(sport_small())
        runs = [
            _framed(place, key, seconds, count, f"{turn}-{seconds}-{count}")
            for turn in range(repeats)
            for seconds, count in _mixed(lengths_s, counts, turn)
        ]
    found = _fit_of(
        runs,
        task="process_framing_ai_parallel",
        segment_frames=2 * REAL_FPS,
        at_once=usable_cores(),
    )
    detail = {
        "runs": [{**vars(run), "wall_s": round(run.wall_s, 2)} for run in runs],
        "coefficients": {name: item.model_dump() for name, item in found.coefficients.estimates.items()},
        "not_determined": found.coefficients.not_determined,
        "left_out": found.coefficients.left_out,
    }
    figures = []
    for what, held in (("a configuration", found.by_configuration), ("a quarter of the runs", found.by_run)):
        assert held is not None
        errors = [100 * abs(predicted - wall) / wall for _, _, wall, predicted in held.rows]
        figures.append(
            Figure(
                f"cost model, framing in chunks: error on {what} held out",
                10.0,
                100 * held.mape,
                unit="%",
                runs=errors,
                detail=detail,
            )
        )
    return figures


def _framed(place: Desk, key: str, seconds: int, chunks: int, name: str) -> Run:
    request = {
        "tenant_id": TENANT,
        "clip_id": name,
        "source_key": key,
        "trim_end": seconds,
        "output_width": 200,
        "output_height": 356,
        "fps": str(REAL_FPS),
        "keyframes": [
            {"time": 0, "x": 60, "y": 130, "width": 50, "height": 89},
            {"time": 17, "x": 500, "y": 160, "width": 50, "height": 89},
        ],
        "encoding": {"preset": "veryfast"},
        "num_chunks": chunks,
    }
    began = time.perf_counter()
    _, record = run_call(
        LocalCompute(place.settings, place.store), "process_framing_ai_parallel", request, CallOptions()
    )
    wall = time.perf_counter() - began
    result = RenderResult.model_validate(record.result)
    assert result.made
    assert result.frames == result.enlarged_frames == seconds * REAL_FPS
    busy = sum(row.seconds for row in result.chunks) or float("nan")
    return Run(result.frames, chunks, wall, busy)
