"""The experiments themselves: what they ask about, and that each of them runs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from experiments import run_all
from experiments.harness import Options
from experiments.place import Place
from experiments.read import all_series
from experiments.run_all import EXPERIMENTS
from experiments.tasks import FAN_OUT, TRIVIAL
from video_pipeline.tasks import BUILT_IN, find_task


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_request_is_valid_and_every_comparison_is_of_two_configurations(
    place: Place, name: str
) -> None:
    found = importlib.import_module(f"experiments.{name}").experiment(place, Options())
    names = [work.name for work in found.works]
    assert len(set(names)) == len(names)
    for comparison in found.comparisons:
        assert {comparison.name, comparison.baseline} <= set(names)
    for work in found.works:
        for step in (*work.before, *work.steps):
            find_task(step.task, place.settings).parse_request(
                step.request(f"{work.name}-1".replace("_", "-"))
            )
    assert found.name == name


NOTHING_MADE = {"probe", TRIVIAL, FAN_OUT}
"""Tasks without an output that could be wrong."""


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_output_is_compared(place: Place, name: str) -> None:
    """No experiment of the earlier suite checked that its outputs were right."""
    found = importlib.import_module(f"experiments.{name}").experiment(place, Options())
    unchecked = [
        work.name
        for work in found.works
        if work.equal_outputs is None and not {step.task for step in work.steps} <= NOTHING_MADE
    ]
    assert not unchecked


def test_the_baseline_covers_every_function_of_the_table(place: Place) -> None:
    found = importlib.import_module("experiments.e1_baseline").experiment(place, Options())
    assert {work.name for work in found.works} == {task.name for task in BUILT_IN}
    assert all(work.steps[0].task == work.name for work in found.works)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_series_runs_in_little_and_writes_nothing_among_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_all, "run_one", lambda name, options: _quick(name, options, tmp_path))
    monkeypatch.setattr("experiments.findings.write", lambda: pytest.fail("quick series are no findings"))
    assert run_all.main(["--quick", "--compute", "local"]) == 0, capsys.readouterr().out
    found = all_series(tmp_path)
    assert {series.experiment for series in found} == set(EXPERIMENTS)
    assert all(series.quick and not series.enough for series in found)
    assert all(run.wall_s for series in found for run in series.runs)
    reading = next(series for series in found if series.experiment == "e2_frame_reading")
    (ours,) = reading.ok_runs("clip_source")
    for name in ("cfr", "vfr"):
        assert ours.values[f"{name}: moments right"] == "3 of 3"
        assert ours.values[f"{name}: pictures counted"] == "60 of 60"
        assert ours.values[f"{name}: parts right"] == "2 of 2"


def _quick(name: str, options: list[str], folder: Path) -> int:
    from experiments.harness import main

    return main(name, [*options, "--out", str(folder)])
