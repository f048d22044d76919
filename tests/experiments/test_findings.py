"""FINDINGS.md: made from results, the same every time, and saying no more than they do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from experiments import findings
from experiments.answers import line, operations, overlay_in_pieces, workflows
from experiments.findings import document
from experiments.phases import fan_outs_table, phases_table
from experiments.read import all_series
from experiments.schema import Comparison, Configuration, NotTested, Unequal, write_series
from experiments.tables import configurations_table, difference_of, money, number
from tests.experiments.series_made import call, series


def test_the_document_in_the_tree_is_what_the_results_make() -> None:
    """Where this fails: python -m experiments.findings."""
    assert document(all_series(findings.RESULTS)) == findings.FINDINGS.read_text(encoding="utf-8")


def test_every_plot_that_the_document_in_the_tree_shows_is_there() -> None:
    text = findings.FINDINGS.read_text(encoding="utf-8")
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (findings.FINDINGS.parent / name).exists(), name


def test_results_in_the_tree_are_no_quick_ones() -> None:
    assert not [found.experiment for found in all_series(findings.RESULTS) if found.quick]


def test_equal_results_make_equal_documents_and_plots(tmp_path: Path) -> None:
    write_series(
        series("e6_gpu_comparison", {"a": [1.0, 2.0, 3.0]}, values={"a": {"steady_ms": 2.0}}), tmp_path
    )
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = findings.write(tmp_path, tmp_path / "one" / "FINDINGS.md")
    second = findings.write(tmp_path, tmp_path / "two" / "FINDINGS.md")
    assert first.read_text() == second.read_text()
    drawn = sorted(path.name for path in (tmp_path / "one" / "plots").iterdir())
    assert drawn == ["e6_gpu_comparison-local-steady_ms.svg", "e6_gpu_comparison-local-wall_s.svg"]
    for name in drawn:
        assert (tmp_path / "one" / "plots" / name).read_bytes() == (
            tmp_path / "two" / "plots" / name
        ).read_bytes()
        assert f"(plots/{name})" in first.read_text()


def test_failed_runs_unequal_outputs_and_what_was_not_tested_are_listed() -> None:
    made = series(
        "e7_parallel",
        {"a": [1.0, None, 1.0]},
        unequal=[Unequal(group="framed clip", outputs={"x": (0,), "y": (2,)})],
        not_tested=[NotTested(what="GPU L4", reason="no account")],
    )
    text = document([made])
    assert "**failed**: a, repeat 2: internal: it broke" in text
    assert "**unequal outputs** in framed clip: 2 different ones, in runs 0 against 2" in text
    assert "- GPU L4 (e7_parallel, local): no account" in text
    assert "Everything on Modal" in text


def test_a_difference_is_said_only_where_there_is_one() -> None:
    comparisons = [Comparison(name="b", baseline="a"), Comparison(name="c", baseline="a")]
    made = series(
        "x", {"a": [10.0, 11.0, 12.0], "b": [5.0, 6.1, 7.0], "c": [12.0, 9.0, 13.0]}, comparisons=comparisons
    )
    rows = {line.split("|")[1].strip(): line for line in document([made]).splitlines() if "| wall_s" in line}
    assert "| less" in rows["b"]
    assert "not decided" in rows["c"]


def test_nothing_is_said_of_runs_that_made_different_numbers_of_frames() -> None:
    """One row of an earlier comparison had its GPU time from another workload than its CPU time."""
    comparison = Comparison(name="a", baseline="b")
    made = series("x", {"a": [1.0, 1.1, 0.9], "b": [9.0, 9.1, 8.9]}, comparisons=[comparison])
    assert difference_of(made, comparison).verdict == "less"
    other = tuple(
        run.model_copy(update={"frames": 1000}) if run.configuration == "b" else run for run in made.runs
    )
    apart = made.model_copy(update={"runs": other})
    assert difference_of(apart, comparison).verdict == "different work"
    assert difference_of(apart, comparison.model_copy(update={"measure": "ms_per_frame"})).verdict == "more"
    assert "different work" in document([apart])


def test_a_failed_run_is_never_the_cheapest_or_the_fastest() -> None:
    """It took the least time of all, and made nothing."""
    comparison = Comparison(name="a", baseline="b", measure="usd")
    made = series("x", {"a": [None, None, None], "b": [9.0, 9.1, 8.9]}, comparisons=[comparison])
    cut = tuple(
        run.model_copy(update={"wall_s": 0.01, "usd": 0.0}) if run.status == "failed" else run
        for run in made.runs
    )
    found = made.model_copy(update={"runs": cut})
    assert difference_of(found, comparison).verdict == "not enough repeats"
    row = next(text for text in configurations_table(found).splitlines() if text.startswith("| a "))
    assert "0 (3 failed)" in row
    assert "0.01" not in row


def test_two_repeats_are_marked_and_decide_nothing() -> None:
    made = series("x", {"a": [1.0, 1.0], "b": [9.0, 9.0]}, comparisons=[Comparison(name="b", baseline="a")])
    text = document([made])
    assert "x on local (2 repeats: not enough to conclude)" in text
    assert "not enough repeats" in text


def test_hardware_is_chosen_only_among_what_was_tested_on_the_same_work() -> None:
    made = series(
        "e3_cpu_vs_gpu",
        {"cpu": [9.0, 9.1, 9.2], "gpu": [3.0, 3.1, 3.3]},
        comparisons=[Comparison(name="gpu", baseline="cpu")],
    )
    kinds = (
        Configuration(name="cpu", what="", tasks=("detect_players_batch",), hardware="CPU"),
        Configuration(name="gpu", what="", tasks=("detect_players_batch",), hardware="GPU"),
    )
    text = document([made.model_copy(update={"configurations": kinds})])
    rows = {
        line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| detect_players")
    }
    assert "GPU is faster than CPU" in rows["detect_players_batch"]
    assert "not tested" in rows["detect_players"]


def test_a_workflow_is_summed_repeat_by_repeat_and_not_without_all_its_parts() -> None:
    parts = ("extract_clip", "render_overlay", "process_framing_ai_parallel")
    made = series("e1_baseline", {part: [1.0, 2.0, 3.0] for part in parts})
    text = workflows(made)
    (row,) = [line for line in text.splitlines() if "without the network" in line]
    # Caller's seconds are one more than the worker's: sums of 6, 9 and 12.
    assert "9.00 (1.55 to 16.5)" in row
    assert "$0.00600" in row
    (other,) = [line for line in text.splitlines() if "captions of a video" in line]
    assert other.count("—") == 2


def test_costs_of_operations_carry_their_interval() -> None:
    text = operations(series("e1_baseline", {"probe": [1.0, 2.0, 3.0]}))
    assert "2.00 (-0.484 to 4.48)" in text
    assert "200 (-48.4 to 448)" in text


def test_pieces_of_an_overlay_are_held_against_the_whole_with_the_fan_out_added() -> None:
    made = series(
        "e7_parallel", {"overlay_sequential": [8.0, 8.1, 7.9], "overlay_piece_of_4": [2.9, 3.0, 3.1]}
    )
    made = made.model_copy(
        update={
            "configurations": tuple(
                found.model_copy(update={"facts": {"pieces": 4.0}}) for found in made.configurations
            )
        }
    )
    text = overlay_in_pieces(made, series("fan_out_overhead", {"fan_out_4": [1.0, 1.0, 1.0]}))
    (row,) = [line for line in text.splitlines() if line.startswith("| 4")]
    assert "0.500x: less" in row  # (3.0 + 1) / 8
    assert "1.50x: more" in row  # 4 x 3.0 / 8


def test_a_line_through_runs_has_its_intervals() -> None:
    found = line([5, 5, 30, 30, 120, 120], [1.5, 1.5, 4.0, 4.0, 13.0, 13.0])
    assert found is not None
    assert found.start == pytest.approx(1.0)
    assert found.slope == pytest.approx(0.1)
    assert found.slope_half == pytest.approx(0, abs=1e-6)
    assert line([5, 5, 5], [1, 2, 3]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0, "0"),
        (1234.5, "1234"),
        (12.34, "12.3"),
        (0.012345, "0.0123"),
        (0.9999, "1.000"),
        (-3.04, "-3.04"),
    ],
)
def test_numbers_have_three_digits_that_count(value: float | None, text: str) -> None:
    assert number(value) == text
    assert money(0.000123456) == "$0.000123"


def test_phases_of_all_calls_of_a_run_are_added_and_fan_outs_have_a_table_of_their_own() -> None:
    made = series("x", {"a": [1.0, 1.0, 1.0]})
    usage = {"startup_overhead_ms": 10.0, "phases": {"work": {"wall_ms": 30.0}}, "ms_per_frame_mean": 4.0}
    orchestrator = {"orchestrator_startup_ms": 5.0, "map_dispatch_ms": 50.0}
    calls = (call(usage | orchestrator), call(usage, child=True))
    made = made.model_copy(
        update={"runs": tuple(run.model_copy(update={"calls": calls}) for run in made.runs)}
    )
    (phases,) = [line for line in phases_table(made)[1].splitlines() if line.startswith("| a")]
    assert [cell.strip() for cell in phases.split("|")][2:6] == ["20.0", "—", "—", "60.0"]
    assert "4.00" in phases
    (fan_out,) = [line for line in fan_outs_table(made)[1].splitlines() if line.startswith("| a")]
    assert [cell.strip() for cell in fan_out.split("|")][2:4] == ["5.00", "50.0"]
    assert fan_outs_table(series("x", {"a": [1.0]})) == phases_table(series("x", {"a": [1.0]})) == []
