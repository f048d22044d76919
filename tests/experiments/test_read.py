"""Runs of experiments as a table, and as the cost model takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.read import runs
from experiments.schema import write_series
from tests.experiments.series_made import series
from video_pipeline.costs.model import fit
from video_pipeline.errors import BadInput


def test_rows_hold_figures_values_and_where_they_were_measured(tmp_path: Path) -> None:
    made = series("e1", {"a": [1.0, None, 3.0]}, values={"a": {"steady_ms": 7.0}})
    write_series(made, tmp_path)
    write_series(series("e2", {"b": [4.0, 4.0, 4.0]}), tmp_path)
    table = runs(tmp_path)
    assert table["wall_s"].tolist() == [1.0, 3.0, 4.0, 4.0, 4.0]
    assert table["run_id"].tolist()[:2] == ["e1-local-0", "e1-local-2"]
    assert table["run_id"].is_unique
    assert table["steady_ms"].tolist()[:2] == [7.0, 7.0]
    assert table["ms_per_frame"].tolist()[0] == 100.0
    assert set(table["cores"]) == {2}
    assert set(table["enough"]) == {True}
    assert set(table["commit"]) == {"0123456789ab"}
    assert set(table["processor"]) == {"a made-up processor"}


def test_rows_of_several_configurations_have_ids_facts_tasks_and_hardware_of_their_own(
    tmp_path: Path,
) -> None:
    made = series("e1", {"a": [1.0, 2.0], "b": [3.0, 4.0]})
    one, other = made.configurations
    told = (
        one.model_copy(update={"facts": {"pieces": 2.0}, "hardware": "T4"}),
        other.model_copy(update={"tasks": ("extract_clip", "probe")}),
    )
    table = runs(write_series(made.model_copy(update={"configurations": told}), tmp_path))
    assert table["run_id"].tolist() == [f"e1-local-{order}" for order in range(4)]
    assert table["repeat"].tolist() == [0, 0, 1, 1]
    assert table["hardware"].tolist() == ["T4", "local"] * 2
    assert table["tasks"].tolist() == ["probe", "extract_clip probe"] * 2
    assert table["pieces"].dropna().tolist() == [2.0, 2.0]
    assert set(table["enough"]) == {False}


def test_failed_runs_are_there_only_for_those_who_ask(tmp_path: Path) -> None:
    path = write_series(series("e1", {"a": [1.0, None, 3.0]}), tmp_path)
    assert len(runs(path)) == 2
    asked = runs(path, failed=True)
    assert asked["status"].tolist() == ["ok", "failed", "ok"]
    assert asked["reason"].tolist()[1] == "internal: it broke"


def test_a_path_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there are no results"):
        runs(tmp_path / "nowhere")


def test_the_cost_model_takes_the_rows_as_they_are(tmp_path: Path) -> None:
    # 2 s to start and 8 s of work shared among chunks: the model is exact, so its fit must be.
    times = {f"{count}_chunks": [2 + 8 / count] * 3 for count in (1, 2, 4, 8)}
    path = write_series(
        series("e7", times, chunks={f"{count}_chunks": count for count in (1, 2, 4, 8)}), tmp_path
    )
    found = fit(runs(path), task="process_framing_ai", gpu=None, backend="local", source="experiments")
    assert max(abs(residual) for residual in found.residuals) < 0.15
