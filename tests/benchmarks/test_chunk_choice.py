"""What judges the choice of chunks must see a bad one."""

from __future__ import annotations

import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import chunk_choice, waiting_tasks
from benchmarks.chunk_choice import RATES, Run, _mixed, judge
from benchmarks.waiting_tasks import CHUNK, Waited, WaitingChunk, WaitingClip
from tests.costs.runs_made import known
from video_pipeline.costs.model import HeldOut
from video_pipeline.costs.plan import choose_chunks
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


def test_each_choice_is_held_against_the_best_of_its_own_kind() -> None:
    """Chosen by a model that is wrong in both directions: what is lost is told by hand."""
    blind = model(s_per_frame=0.02, chunk_fixed_s=0.0, join_s=0.0, join_s_per_chunk=0.0)
    sweep = sweep_of(model(), 500, (1.0,))
    found = judge(blind, sweep, 500, 8)
    seconds = {run.chunks: run.wall_s for run in sweep}
    usd = {run.chunks: run.usd for run in sweep}
    deadline = found[0].detail["deadline_s"]
    fastest = choose_chunks(blind, 500, "fastest", max_chunks=8)
    assert deadline == pytest.approx(1.3 * fastest.prediction.seconds, abs=0.005)
    assert all(seconds[count] > deadline for count in seconds), (
        "no count keeps it: the fastest is held against"
    )
    quickest = min(COUNTS, key=seconds.__getitem__)
    asked = [choose_chunks(blind, 500, goal, max_chunks=8).chunks for goal in ("fastest", "cheapest")]
    kept = choose_chunks(
        blind, 500, "deadline", deadline_s=1.3 * fastest.prediction.seconds, max_chunks=8
    ).chunks
    assert [figure.detail["chosen"] for figure in found] == [*asked, kept, kept]
    lost = [
        seconds[asked[0]] / min(seconds.values()),
        usd[asked[1]] / min(usd.values()),
        usd[kept] / usd[quickest],
        seconds[kept] / (1.3 * fastest.prediction.seconds),
    ]
    assert [figure.value for figure in found] == pytest.approx([max(0.0, 100 * (one - 1)) for one in lost])
    assert [figure.unit for figure in found] == ["%"] * 4
    assert [figure.target for figure in found] == [5.0] * 4


def test_a_plan_within_a_deadline_is_judged_by_its_own_cost() -> None:
    """A choice that costs more than the cheapest in time, and is not the cheapest of all either."""
    sweep = sweep_of(model(), 500, (1.0,))
    kept = judge(model(), sweep, 500, 8)[2]
    cheapest = judge(model(), sweep, 500, 8)[1]
    assert kept.detail["chosen"] != cheapest.detail["chosen"]
    dearer = [
        Run(
            run.frames,
            run.chunks,
            run.wall_s,
            run.gpu_seconds * (2 if run.chunks == kept.detail["chosen"] else 1),
        )
        for run in sweep
    ]
    assert judge(model(), dearer, 500, 8)[2].value > 5
    assert judge(model(), dearer, 500, 8)[1].value == pytest.approx(0)


def test_one_run_that_took_long_does_not_condemn_a_choice() -> None:
    sweep = sweep_of(model(), 500)
    chosen = {figure.detail["chosen"] for figure in judge(model(), sweep, 500, 8)}
    slow = [Run(500, count, 10_000.0, 10_000.0) for count in chosen]
    assert all(figure.value <= 2.5 for figure in judge(model(), [*sweep, *slow], 500, 8))


def test_turns_of_waiting_clips_are_calls_of_their_own_in_orders_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int, str]] = []

    def wait(place: object, frames: int, chunks: int, name: str) -> Run:
        asked.append((frames, chunks, name))
        return Run(frames, chunks, 1.0, 1.0)

    monkeypatch.setattr(chunk_choice, "_wait", wait)
    found = chunk_choice._waited(cast("Any", None), (100, 400), (1, 2, 4, 8), 2, "fitted")
    assert len(found) == len({name for _, _, name in asked}) == 16
    first, second = [row[:2] for row in asked[:8]], [row[:2] for row in asked[8:]]
    assert sorted(first) == sorted(second)
    assert first != second


def test_the_error_is_of_runs_that_the_fit_left_out_in_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, str]] = []

    def framed(place: object, key: str, seconds: int, chunks: int, name: str) -> Run:
        asked.append((seconds, chunks, name))
        return Run(10 * seconds, chunks, 1.0, 1.0)

    def fitted(runs: list[Run], **options: Any) -> SimpleNamespace:
        assert len(runs) == len(asked) == 18
        assert options == {"task": "process_framing_ai_parallel", "segment_frames": 20, "at_once": 2}
        return SimpleNamespace(
            coefficients=model(),
            by_configuration=HeldOut(0.05, 0.1, ((40, 1, 2.0, 2.2), (40, 2, 4.0, 4.0))),
            by_run=HeldOut(0.125, 0.125, ((40, 1, 4.0, 3.5),)),
        )

    monkeypatch.setattr(chunk_choice, "desk", lambda: nullcontext(SimpleNamespace(put=lambda film: "key")))
    monkeypatch.setattr(chunk_choice, "sport_small", lambda: None)
    monkeypatch.setattr(chunk_choice, "_framed", framed)
    monkeypatch.setattr(chunk_choice, "_fit_of", fitted)
    monkeypatch.setattr(chunk_choice, "usable_cores", lambda: 2)
    by_configuration, by_run = chunk_choice.fit_error(repeats=2)
    assert len({name for _, _, name in asked}) == 18, "each run is a call of its own"
    assert by_configuration.what.endswith("error on a configuration held out")
    assert (by_configuration.value, by_configuration.runs) == (5.0, pytest.approx([10.0, 0.0]))
    assert by_run.what.endswith("error on a quarter of the runs held out")
    assert (by_run.value, by_run.runs) == (12.5, pytest.approx([12.5]))
    assert {figure.unit for figure in (by_configuration, by_run)} == {"%"}


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
