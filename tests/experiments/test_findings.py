"""FINDINGS.md: made from results, the same every time, and saying no more than they do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from experiments import findings
from experiments.answers import line, operations, overlay_in_pieces, workflows
from experiments.findings import document
from experiments.harness import order_of
from experiments.phases import fan_outs_table, phases_table
from experiments.read import all_series
from experiments.run_all import EXPERIMENTS
from experiments.schema import Comparison, Configuration, NotTested, Unequal, write_series
from experiments.tables import configurations_table, difference_of, money, number
from tests.experiments.series_made import call, cells, environment, run, series
from video_pipeline.costs import published, published_hardware


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


def test_without_results_the_document_says_how_to_make_some_and_keeps_what_was_published() -> None:
    text = document([])
    assert "No experiment has been run yet: `python -m experiments.run_all`." in text
    assert "## In short" not in text
    assert published.report().strip() in text
    assert published_hardware.report().strip() in text


def test_a_series_stands_with_where_when_and_how_often_it_ran() -> None:
    dirty = environment(backend="modal", changed_files=2, load_average_before=2.5, prices_as_of="2026-08-01")
    unknown = environment(changed_files=None)
    text = document(
        [
            series("x", {"a": [1.0, None, 1.0]}),
            series("y", {"a": [1.0, 1.0]}, environment=unknown),
            series("z", {"a": [1.0] * 3}, environment=dirty, cost_basis="another basis"),
        ]
    )
    _, x, y, z = cells(text.partition("## Series\n\n")[2].partition("\n\n")[0])
    machine = "a made-up processor, 2 cores"
    assert x == ["x", "local", "2026-01-02", "3", "3 (1 failed)", "yes", machine, "0.1", "0123456789ab"]
    assert y[3:6] == ["2", "2 (0 failed)", "not enough to conclude"]
    assert y[-1] == "0123456789ab"
    assert z[1] == "modal"
    assert z[-2:] == ["2.5", "0123456789ab with changes"]
    assert (
        "by the price list of 2026-07-01, 2026-08-01. On local: a basis. On modal: another basis.\n" in text
    )
    assert "E1 has not been run." in text


def test_costs_of_too_few_repeats_are_marked() -> None:
    text = document([series("e1_baseline", {"probe": [1.0, 1.0]})])
    assert "### On local (2 repeats: not enough to conclude)" in text
    assert "E1 has not been run." not in text


def test_what_a_series_did_other_than_asked_is_listed() -> None:
    made = series("x", {"a": [1.0] * 3})
    told = made.runs[1].model_copy(update={"degraded": ("without sound",)})
    text = document([made.model_copy(update={"runs": (made.runs[0], told, made.runs[2])})])
    assert "- **done other than asked**: a, repeat 2: without sound" in text


def test_what_runs_told_beside_time_is_a_mean_or_all_that_was_told() -> None:
    """Of the runs that count; a configuration that told nothing has no row."""
    told = [
        {"steps": 1.0, "device": "cpu", "sure": True, "same": 7.0},
        {"steps": 2.0, "device": "cuda", "sure": False, "same": 7.0},
        {"steps": 3.0, "device": "cpu", "sure": True, "same": 7.0},
    ]
    made = series("x", {"a": [1.0] * 3, "b": [1.0] * 3, "c": [1.0] * 3, "d": [1.0] * 3, "e": [1.0] * 3})
    runs = tuple(
        one.model_copy(update={"values": told[one.repeat] if one.configuration == "a" else values})
        for one in made.runs
        for values in [
            {"steps": 4.0 + one.repeat if one.repeat else "none"} if one.configuration in "bcd" else {}
        ]
    )
    failed = run("a", 3, 99, None, values={"steps": 99.0, "device": "broken"})
    text = document([made.model_copy(update={"runs": (*runs, failed)})])
    (found,) = [part for part in text.split("\n\n") if part.startswith("| configuration | steps")]
    assert cells(found) == [
        ["configuration", "steps", "device", "sure", "same"],
        ["a", "2.00 (-0.484 to 4.48)", "cpu, cuda", "True, False", "7"],
        *([name, "none, 5, 6", "", "", ""] for name in "bcd"),
    ]


def test_more_values_than_configurations_stand_below_each_other() -> None:
    values = {"a": {"one": 1.0, "two": "2 of 3"}}
    text = document([series("x", {"a": [1.0] * 3}, values=values)])
    (found,) = [part for part in text.split("\n\n") if part.startswith("| told")]
    assert cells(found) == [["told", "a"], ["one", "1"], ["two", "2 of 3"]]


def test_figures_derived_from_a_series_stand_in_its_part_and_take_the_fan_out_of_its_own_backend() -> None:
    pieces = series("e7_parallel", {"overlay_sequential": [8.0] * 3, "overlay_piece_of_4": [3.0] * 3})
    told = tuple(one.model_copy(update={"facts": {"pieces": 4.0}}) for one in pieces.configurations)
    pieces = pieces.model_copy(update={"configurations": told})
    elsewhere = series("fan_out_overhead", {"fan_out_4": [5.0] * 3}, environment=environment(backend="modal"))
    here = series("fan_out_overhead", {"fan_out_4": [1.0] * 3})
    assert "| 4      | 3.00 (3.00 to 3.00) | 1.00 (1.00 to 1.00) " in document([elsewhere, here, pieces])
    assert "| 4      | 3.00 (3.00 to 3.00) | not measured " in document([elsewhere, pieces])
    grown = series("profile", {"cut_5_s": [1.0] * 3})
    told = tuple(one.model_copy(update={"facts": {"video_seconds": 5.0}}) for one in grown.configurations)
    assert "How time grows (a line through all runs):\n\n| work " in document(
        [grown.model_copy(update={"configurations": told})]
    )


def test_what_was_not_tested_is_told_by_its_reason_and_each_of_it_looks_like_one() -> None:
    missing = [
        NotTested(what="batch 4", reason="no GPU"),
        NotTested(what="half precision, batch 4", reason="no GPU"),
        NotTested(what="GPU L4", reason="no account"),
    ]
    text = document([series("x", {"a": [1.0] * 3}, not_tested=missing)])
    assert (
        '- batch 4, "half precision, batch 4" (x, local): no GPU\n- GPU L4 (x, local): no account\n' in text
    )
    modal = series("x", {"a": [1.0] * 3}, environment=environment(backend="modal"))
    assert "## Not tested\n\nEvery series ran all that it asks about.\n" in document([modal])


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
    assert "| 1.00 (1.00 to 1.00) " in row
    text = overlay_in_pieces(made, series("fan_out_overhead", {"fan_out_4": [1.0, 9.0, 1.0]}))
    assert "0.833x: not decided" in text  # the fan-out of 1 to 9 s alone might make it slower
    assert "| not measured " in overlay_in_pieces(made, None)


def test_a_line_through_runs_has_its_intervals() -> None:
    found = line([5, 5, 30, 30, 120, 120], [1.5, 1.5, 4.0, 4.0, 13.0, 13.0])
    assert found is not None
    assert found.start == pytest.approx(1.0)
    assert found.slope == pytest.approx(0.1)
    assert found.slope_half == pytest.approx(0, abs=1e-6)
    assert line([5, 5, 5], [1, 2, 3]) is None
    assert line([5, 30], [1, 2]) is None


def test_the_intervals_of_a_line_are_those_of_least_squares() -> None:
    """b = (X'X)^-1 X'y, s^2 = RSS / (n - 2), Cov b = s^2 (X'X)^-1, and t of n - 2 degrees of freedom."""
    lengths, seconds = np.array([5.0, 5, 30, 30, 120, 120]), np.array([1.4, 1.7, 3.8, 4.3, 12.1, 13.6])
    x = np.stack([np.ones(6), lengths], axis=1)
    inverse = np.linalg.inv(x.T @ x)
    start, slope = inverse @ x.T @ seconds
    s = np.sqrt(((x @ [start, slope] - seconds) ** 2).sum() / 4)
    half = scipy.stats.t.ppf(0.975, 4) * s * np.sqrt(np.diag(inverse))
    found = line(lengths.tolist(), seconds.tolist())
    assert found is not None
    assert (found.start, found.slope, found.runs) == (pytest.approx(start), pytest.approx(slope), 6)
    assert (found.start_half, found.slope_half) == (pytest.approx(half[0]), pytest.approx(half[1]))


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
    assert phases_table(made)[1].splitlines()[0] == (
        "| configuration | start | work | ms a frame (least to most) |"
    )
    assert [cell.strip() for cell in phases.split("|")][2:5] == ["20.0", "60.0", "4.00"]
    (fan_out,) = [line for line in fan_outs_table(made)[1].splitlines() if line.startswith("| a")]
    assert [cell.strip() for cell in fan_out.split("|")][2:4] == ["5.00", "50.0"]
    assert fan_outs_table(series("x", {"a": [1.0]})) == phases_table(series("x", {"a": [1.0]})) == []


def test_results_in_the_tree_are_of_every_experiment_three_times_over_in_an_order_from_the_seed() -> None:
    found = {
        one.experiment: one for one in all_series(findings.RESULTS) if one.environment.backend == "local"
    }
    assert set(found) == set(EXPERIMENTS)
    for name, one in found.items():
        assert one.enough, name
        assert one.repeats >= 3, name
        ran = [(run.repeat, run.configuration) for run in sorted(one.runs, key=lambda run: run.order)]
        assert ran == order_of([made.name for made in one.configurations], one.repeats, one.seed), name
        assert len({tuple(who for repeat, who in ran if repeat == number) for number in range(3)}) > 1, name
        assert not one.unequal, name
        assert one.environment.changed_files == 0, name
        assert re.fullmatch(r"[0-9a-f]{12}", one.environment.commit), name
        assert {"av", "torch", "numpy"} <= set(one.environment.packages), name
        assert all(call.usage.get("wall_s") for run in one.runs for call in run.calls), name


def test_the_least_and_the_most_of_a_frame_stand_with_its_mean_and_a_phase_that_nobody_had_nowhere() -> None:
    made = series("x", {"a": [1.0], "b": [1.0]})
    frame = {"ms_per_frame_mean": 4.0, "ms_per_frame_min": 1.5, "ms_per_frame_max": 9.0}
    usage = {
        "a": {"phases": {"work": {"wall_ms": 30.0}}, **frame},
        "b": {"phases": {"encode": {"wall_ms": 7.0}}},
    }
    runs = tuple(run.model_copy(update={"calls": (call(usage[run.configuration]),)}) for run in made.runs)
    text = phases_table(made.model_copy(update={"runs": runs}))[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert rows[0] == ["configuration", "work", "encode", "ms a frame (least to most)"]
    assert rows[2:] == [["a", "30.0", "—", "4.00 (1.50 to 9.00)"], ["b", "—", "7.00", "—"]]


def test_phases_are_of_the_runs_that_count_and_a_call_without_any_has_no_row() -> None:
    made = series("x", {"a": [1.0, 1.0], "idle": [1.0, 1.0], "short": [1.0, 1.0]})
    usage = {
        "a": {"startup_overhead_ms": 10.0, "phases": {"upload": {"wall_ms": 30.0}}, "ms_per_frame_mean": 4.0},
        "idle": {"startup_overhead_ms": 99.0, "ms_per_frame_mean": 9.0},
        "short": {"phases": {"upload": {"wall_ms": 5.0}}, "ms_per_frame_mean": 2.0, "ms_per_frame_min": 2.0},
    }
    fan_out = {"map_dispatch_ms": 50.0}
    runs = tuple(
        one.model_copy(
            update={"calls": (call(usage[one.configuration] | fan_out), call(fan_out, child=True))}
        )
        for one in made.runs
    )
    failed = run("a", 2, 99, None, calls=(call({"phases": {"upload": {"wall_ms": 9000.0}}}),))
    counted = made.model_copy(update={"runs": (*runs, failed)})
    assert "Where the time goes: milliseconds" in document([counted])
    assert cells(phases_table(counted)[1]) == [
        ["configuration", "start", "upload", "ms a frame (least to most)"],
        ["a", "10.0", "30.0", "4.00"],
        ["short", "—", "5.00", "2.00"],
    ]
    told = tuple(
        one.model_copy(
            update={
                "calls": (
                    call({"orchestrator_startup_ms": 5.0}),
                    call({"orchestrator_startup_ms": 7.0}, child=True),
                )
            }
        )
        for one in made.runs
    )
    made = made.model_copy(update={"runs": told})
    assert "What fanning out takes, in milliseconds:" in document([made])
    rows = cells(fan_outs_table(made)[1])
    assert [row[:3] for row in rows[1:]] == [[name, "5.00", "—"] for name in ("a", "idle", "short")]
