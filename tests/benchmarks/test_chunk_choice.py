"""What judges the choice of chunks must see a bad one."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import waiting_tasks
from benchmarks.chunk_choice import RATES, Run, _mixed, judge
from benchmarks.waiting_tasks import CHUNK, Waited, WaitingChunk, WaitingClip
from tests.costs.runs_made import known
from video_pipeline.costs.predict import Coefficients, predict
from video_pipeline.errors import Cancelled
from video_pipeline.streaming.cancel import CancellationToken

COUNTS = range(1, 9)


def model(**fields) -> Coefficients:
    return known(**{"chunk_fixed_s": 4.0, "join_s": 2.0, "join_s_per_chunk": 1.0, "rates": RATES, **fields})


def sweep_of(c: Coefficients, frames: int, spread: tuple[float, ...] = (0.99, 1.0, 1.01)) -> list[Run]:
    runs = []
    for count in COUNTS:
        found = predict(c, frames, count)
        runs += [Run(frames, count, found.seconds * by, found.gpu_seconds) for by in spread]
    return runs


def test_a_model_that_is_right_has_no_regret_beyond_what_passes_for_alike() -> None:
    fastest, *others = [figure.value for figure in judge(model(), sweep_of(model(), 500), 500, 8)]
    # Times are flat about the best count, and of those within 2 % of it the fewest is taken.
    assert 0 <= fastest <= 2
    assert others == pytest.approx([0] * 3)


def test_a_model_that_thinks_chunks_are_free_is_found_out() -> None:
    blind = model(chunk_fixed_s=0.0, join_s=0.0, join_s_per_chunk=0.0)
    fastest = judge(blind, sweep_of(model(), 200), 200, 8)[0]
    assert fastest.detail["chosen"] == 8
    assert fastest.value > 5
    assert not fastest.holds


def test_a_deadline_that_is_missed_shows_in_its_own_figure() -> None:
    hopeful = model(s_per_frame=0.05)
    late = judge(hopeful, sweep_of(model(), 500), 500, 8)[3]
    assert late.value > 5
    assert not late.holds


def test_every_turn_runs_each_configuration_once_in_an_order_of_its_own() -> None:
    turns = [_mixed((100, 400), (1, 2, 4, 8), turn) for turn in range(3)]
    assert all(sorted(turn) == sorted(turns[0]) for turn in turns)
    assert len({tuple(turn) for turn in turns}) == 3
    assert turns[0] == _mixed((100, 400), (1, 2, 4, 8), 0)


def waited(monkeypatch: pytest.MonkeyPatch, **fields) -> tuple[list[WaitingChunk], list[float], Waited]:
    """What a waiting clip asks of its chunks and waits itself, and its result; nothing is waited here."""
    asked: list[WaitingChunk] = []
    slept: list[float] = []
    began = datetime(2026, 1, 1, tzinfo=UTC)

    def started(context: object, task: str, chunks: list[WaitingChunk], *, at_once: int) -> list[Any]:
        assert (task, at_once) == (CHUNK, len(chunks)), "all of them side by side"
        asked.extend(chunks)
        ends = [began + timedelta(seconds=chunk.seconds) for chunk in chunks]
        return [SimpleNamespace(started_at=began, finished_at=end) for end in ends]

    monkeypatch.setattr(waiting_tasks, "fan_out", started)
    monkeypatch.setattr(waiting_tasks.time, "sleep", slept.append)
    request = WaitingClip(
        name="a", startup_s=3.0, s_per_frame=0.5, join_s=1.0, join_s_per_chunk=0.25, **fields
    )
    return asked, slept, waiting_tasks.wait_clip(request, cast("Any", None))


def test_a_waiting_clip_takes_what_the_model_says_of_its_declared_costs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    c = model(startup_s=0.0, chunk_fixed_s=3.0, s_per_frame=0.5, join_s=1.0, join_s_per_chunk=0.25)
    for frames, chunks in ((20, 4), (22, 4), (7, 1)):
        asked, slept, result = waited(monkeypatch, frames=frames, chunks=chunks)
        assert max(chunk.seconds for chunk in asked) + sum(slept) == predict(c, frames, chunks).seconds
        assert result.busy_s == [chunk.seconds for chunk in asked]
        assert [chunk.number for chunk in asked] == list(range(chunks))
    assert slept == [], "one call joins nothing"


def test_a_waiting_chunk_waits_its_seconds_and_ends_when_it_is_cancelled() -> None:
    context = cast("Any", SimpleNamespace(cancel=CancellationToken()))
    began = time.monotonic()
    done = waiting_tasks.wait_chunk(WaitingChunk(name="a", number=0, seconds=0.05), context)
    assert time.monotonic() - began >= 0.05
    assert done.ended - done.began >= timedelta(seconds=0.049)
    context.cancel.cancel("enough")
    with pytest.raises(Cancelled):
        waiting_tasks.wait_chunk(WaitingChunk(name="a", number=0, seconds=60.0), context)
