"""Tables of figures: each figure in its column, of the runs that count."""

from __future__ import annotations

import pytest

from experiments.answers import cost_spread
from experiments.schema import Comparison
from experiments.statistics import summary
from experiments.tables import (
    comparisons_table,
    configurations_table,
    difference_of,
    spread,
    values_of,
)
from tests.experiments.series_made import cells, series


def test_a_configuration_is_told_by_its_own_runs_that_did_not_fail() -> None:
    made = series("x", {"a": [1.0, 2.0, 6.0, None], "b": [2.0] * 4, "c": [2.0] * 4, "d": [2.0] * 4})
    frames = {"c": lambda run: 10 + run.repeat, "d": lambda run: None}
    runs = tuple(
        run.model_copy(update={"frames": frames[run.configuration](run)})
        if run.configuration in frames
        else run
        for run in made.runs
    )
    head, a, b, c, d = cells(configurations_table(made.model_copy(update={"runs": runs})))
    assert head[:5] == ["configuration", "runs", "frames", "s, mean (95 %)", "median (range)"]
    assert head[5:] == ["s waited", "CPU s", "MiB", "cost"]
    # Of 1, 2 and 6: s = sqrt(7), t(2) = 4.3027. The caller waits a second more in each.
    assert a == ["a", "3 (1 failed)", "10", "3.00 (-3.57 to 9.57)", "2.00 (1.00 to 6.00)", "4.00", "3.00",
                 "100", "$0.00300"]  # fmt: skip
    assert b[:4] == ["b", "4", "10", "2.00 (2.00 to 2.00)"]
    assert (c[2], d[2]) == ("—", "—"), "no number of frames that all runs made"


def test_a_comparison_is_told_with_its_difference_its_interval_and_its_ratio() -> None:
    comparisons = [
        Comparison(name="b", baseline="a"),
        Comparison(name="c", baseline="a"),
        Comparison(name="b", baseline="a", measure="gpu_seconds"),
        Comparison(name="failed", baseline="a"),
    ]
    times = {"a": [1.0, 2.0, 3.0], "b": [2.0, 3.5, 4.0], "c": [1.0, 2.0, 3.0], "failed": [None] * 3}
    assert cells(comparisons_table(series("x", times, comparisons=comparisons)))[1:] == [
        ["b", "a", "wall_s", "3", "1.17", "0.450 to 1.88", "1.58x", "more"],
        ["c", "a", "wall_s", "3", "0", "0 to 0", "1.00x", "not decided"],
        ["b", "a", "gpu_seconds", "3", "0", "0 to 0", "—", "not decided"],
        ["failed", "a", "wall_s", "0", "—", "—", "—", "not enough repeats"],
    ]


@pytest.mark.parametrize("measure", ["wall_s", "caller_wall_s", "machine_s", "cpu_s", "gpu_seconds", "usd"])
def test_no_total_is_compared_where_runs_made_different_numbers_of_frames(measure: str) -> None:
    made = series("x", {"a": [1.0, 1.1, 0.9], "b": [9.0, 9.1, 8.9]})
    comparison = Comparison(name="a", baseline="b", measure=measure)
    for other in ("a", "b"):
        runs = tuple(
            run.model_copy(update={"frames": 1000}) if run.configuration == other else run
            for run in made.runs
        )
        assert difference_of(made.model_copy(update={"runs": runs}), comparison).verdict == "different work"
    silent = tuple(
        run.model_copy(update={"frames": None}) if run.configuration == "a" else run for run in made.runs
    )
    assert difference_of(made.model_copy(update={"runs": silent}), comparison).verdict != "different work"


def test_nothing_taken_is_a_value_and_nothing_told_is_none() -> None:
    made = series("x", {"a": [0.0, None, 3.0]})
    assert values_of(made.ok_runs("a"), "wall_s") == {0: 0.0, 2: 3.0}
    assert values_of(made.runs, "wall_s") == {0: 0.0, 2: 3.0}


def test_one_value_is_shown_without_an_interval_and_none_as_a_dash() -> None:
    assert (spread(summary([2.5])), spread(None)) == ("2.50", "—")
    assert (cost_spread(summary([2.5])), cost_spread(None)) == ("$2.50", "—")
    # Of 9, 10 and 11: half is 4.3027 / sqrt(3).
    assert spread(summary([9.0, 10.0, 11.0])) == "10.0 (7.52 to 12.5)"
    assert cost_spread(summary([9.0, 10.0, 11.0])) == "$10.0 ($7.52 to $12.5)"
