"""`video-pipeline sample` and `index`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures.media_factory import DEMO_CLIP
from video_pipeline.cli import main


@pytest.fixture(autouse=True)
def _not_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def test_sample_writes_frames_result_and_reports_and_needs_no_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["sample", "--video-url", str(DEMO_CLIP), "--num-batches", "2", "--output", str(out)]
    assert main(arguments) == 0
    assert len(list((out / "decoded_frames").glob("*.png"))) == 2
    assert json.loads((out / "result.json").read_text())["delivered"] == 2
    assert {"bandwidth_report.html", "timing_waterfall.html", "picture_grid.png"} <= {
        path.name for path in out.iterdir()
    }
    assert "2 of 2 frames" in capsys.readouterr().out


def test_sample_fails_when_no_frame_was_delivered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "nothing.mp4")
    assert main(["sample", "--video-url", missing, "--output", str(tmp_path / "out")]) == 1
    assert "there is no such file" in capsys.readouterr().err


def test_an_index_that_was_kept_is_at_hand_for_the_next_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", str(DEMO_CLIP), "--output", str(tmp_path / "clip.vpindex")]) == 0
    assert "1260 pictures" in capsys.readouterr().out
    assert (tmp_path / "clip.vpindex").stat().st_size > 1000
    assert main(["sample", "--video-url", str(DEMO_CLIP), "--output", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["index_bytes"] == 0
