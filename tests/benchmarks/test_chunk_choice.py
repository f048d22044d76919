"""What judges the choice of chunks must see a bad one."""

from __future__ import annotations

import pytest

from benchmarks.chunk_choice import RATES, Run, _mixed, judge
from tests.costs.runs_made import known
from video_pipeline.costs.predict import Coefficients, predict

COUNTS = range(1, 9)


def model(**fields) -> Coefficients:
    return known(**{"chunk_fixed_s": 4.0, "join_s": 2.0, "join_s_per_chunk": 1.0, "rates": RATES, **fields})


def sweep_of(c: Coefficients, frames: int, spread: tuple[float, ...] = (0.99, 1.0, 1.01)) -> list[Run]:
    runs = []
    for count in COUNTS:
        found = predict(c, frames, count)
        runs += [Run(frames, count, found.seconds * by, found.gpu_seconds) for by in spread]
    return runs


def test_a_model_that_is_right_has_no_regret() -> None:
    assert [figure.value for figure in judge(model(), sweep_of(model(), 500), 500, 8)] == pytest.approx(
        [0] * 4
    )


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
