"""What judges our figures: medians, targets in both directions, ratios run by run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.harness import Cost, Figure, figure_of, interleaved, ratios, table, write_results


@pytest.mark.parametrize(
    ("value", "better", "holds"),
    [
        (0.99, "lower", True),
        (1.0, "lower", True),
        (1.01, "lower", False),
        (1.01, "higher", True),
        (1.0, "higher", True),
        (0.99, "higher", False),
    ],
)
def test_a_figure_holds_on_the_right_side_of_its_target(value: float, better, holds: bool) -> None:
    assert Figure("x", 1.0, value, better=better).holds is holds


def test_a_figure_is_the_median_of_its_runs() -> None:
    assert figure_of("x", 1, [9.0, 1.0, 2.0]).value == 2.0


def test_ratios_are_taken_run_by_run_and_not_of_sums() -> None:
    ours, theirs = [Cost(1, 2), Cost(3, 3)], [Cost(2, 1), Cost(3, 6)]
    assert ratios(ours, theirs, "wall") == [0.5, 1.0]
    assert ratios(ours, theirs, "cpu") == [2.0, 0.5]


def test_works_take_turns_after_one_warm_up_each() -> None:
    order: list[str] = []
    costs = interleaved(2, a=lambda: order.append("a"), b=lambda: order.append("b"))
    assert "".join(order) == "ababab"
    assert {name: len(runs) for name, runs in costs.items()} == {"a": 2, "b": 2}


def test_the_table_names_what_falls_short() -> None:
    text = table([Figure("good", 1, 0.5, runs=(0.4, 0.6)), Figure("bad", 2, 1, better="higher")])
    good, bad = text.splitlines()[2:]
    assert "<= 1 x" in good
    assert "0.40 .. 0.60" in good
    assert good.endswith("holds")
    assert ">= 2 x" in bad
    assert bad.endswith("FALLS SHORT")


def test_a_figure_without_a_target_is_told_and_not_judged() -> None:
    figure = figure_of("told", None, [99.0])
    assert figure.holds
    assert table([figure]).splitlines()[2].split() == ["told", "none", "99.00", "x", "-"]


def test_results_keep_the_runs_the_machine_and_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    path = write_results("x", [figure_of("bad", 1, [2, 3, 4])], {"cores": 2})
    written = json.loads(path.read_text())
    assert written["machine"] == {"cores": 2}
    assert (written["figures"][0]["runs"], written["figures"][0]["holds"]) == ([2, 3, 4], False)
