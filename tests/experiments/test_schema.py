"""The file of a series: it comes back as it was written, and what is not one is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.schema import Series, Unequal, read_series, write_series
from tests.conftest import ROOT
from tests.experiments.series_made import run, series
from video_pipeline.errors import BadInput


def test_a_series_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = series(
        "e1", {"a": [1.0, 2.0, None], "b": [3.0, 4.0, 5.0]}, unequal=[Unequal(group="g", outputs={"x": (1,)})]
    )
    path = write_series(made, tmp_path / "deep" / "deeper")
    assert path == tmp_path / "deep" / "deeper" / "e1-local.json"
    assert read_series(path) == made


@pytest.mark.parametrize("content", ["", "{}", '{"schema_version": 2}', "not json"])
def test_what_is_not_a_series_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(content)
    with pytest.raises(BadInput) as raised:
        read_series(path)
    assert raised.value.input == str(path)


def test_a_field_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = write_series(series("e1", {"a": [1.0, 1.0, 1.0]}), tmp_path)
    data = json.loads(path.read_text())
    data["runs"][0]["wall_seconds"] = 3
    path.write_text(json.dumps(data))
    with pytest.raises(BadInput, match="wall_seconds"):
        read_series(path)


def test_failed_runs_are_not_among_those_that_count_and_are_listed() -> None:
    made = series("e1", {"a": [2.0, None, 1.0]})
    assert [found.wall_s for found in made.ok_runs("a")] == [2.0, 1.0]
    turned = made.model_copy(update={"runs": made.runs[::-1]})
    assert [found.wall_s for found in turned.ok_runs("a")] == [2.0, 1.0], "in order of repeat"
    assert [(found.order, found.reason) for found in made.failed_runs()] == [(1, "internal: it broke")]


def test_fewer_than_three_repeats_and_quick_series_are_not_enough() -> None:
    assert series("e1", {"a": [1.0] * 3}).enough
    assert not series("e1", {"a": [1.0] * 2}).enough
    assert not series("e1", {"a": [1.0] * 3}, quick=True).enough


def test_a_figure_is_found_by_its_name() -> None:
    found = run("a", 0, 0, 2.0, values={"steady_ms": 4.5, "device": "cpu", "sure": True})
    assert found.measured("wall_s") == 2.0
    assert found.measured("ms_per_frame") == 200.0
    assert found.measured("steady_ms") == 4.5
    assert found.measured("device") is None
    assert found.measured("sure") is None
    assert run("a", 0, 0, 2.0, values={"frames": 4.5}).measured("frames") == 4.5, "what the experiment told"
    for frames in (0, None):
        assert run("a", 0, 0, 2.0, frames=frames).measured("ms_per_frame") is None


def test_the_json_schema_is_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.schema"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == Series.model_json_schema()
