"""Frames timed one by one: they add up, and nothing is timed that was not there."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.clips.films import make_film
from video_pipeline.clips.spotlight import Spotlight
from video_pipeline.costs.profiling import profile_overlay_processing
from video_pipeline.errors import BadInput


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_film(tmp_path / "film.mp4", frames=10)


def test_the_times_of_frames_add_up_to_no_more_than_the_whole_took(film: Path) -> None:
    began = time.perf_counter()
    found = profile_overlay_processing(film, 8)
    took_ms = 1000 * (time.perf_counter() - began)
    assert set(found) == {"avg_ms", "min_ms", "max_ms", "total_ms"}
    assert 0 < found["min_ms"] <= found["avg_ms"] <= found["max_ms"] < found["total_ms"] < took_ms
    assert found["avg_ms"] == pytest.approx(found["total_ms"] / 8)


def test_every_frame_is_lit_and_a_slow_one_shows(film: Path) -> None:
    genuine, lit = Spotlight.apply, []

    def slowly(self: Spotlight, frame: object, t: Fraction) -> object:
        made = genuine(self, frame, t)  # type: ignore[arg-type]
        lit.append(made is not frame)
        if len(lit) == 3:
            time.sleep(0.2)
        return made

    with patch.object(Spotlight, "apply", slowly):
        found = profile_overlay_processing(str(film), 5)
    assert lit == [True] * 5
    assert found["max_ms"] >= 200
    assert found["min_ms"] < 200


@pytest.mark.parametrize(("frames", "problem"), [(0, "0 frames are none"), (11, "has 10 frames, not 11")])
def test_frames_that_are_not_there_are_not_made_up(film: Path, frames: int, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        profile_overlay_processing(film, frames)


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.mp4"
    path.write_text("no video")
    with pytest.raises(BadInput) as refused:
        profile_overlay_processing(path, 1)
    assert refused.value.input == str(path)
