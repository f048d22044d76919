"""`modal run` of the app: the real command of Modal's client and its real container, against the stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.servers.modal_loopback.launch import ModalLoopback
from video_pipeline import keys
from video_pipeline.keys import VideoId
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store

VIDEO = VideoId("demo", "runner")


def modal_run(
    server: tuple[ModalLoopback, dict[str, str]], *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modal", "run", "-m", "video_pipeline.modal_ops.app", *arguments],
        cwd=ROOT,
        env={**os.environ, **server[1], **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def video_key(modal_server: tuple[ModalLoopback, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in modal_server[1].items():
        monkeypatch.setenv(name, value)
    key = keys.source_key(VIDEO, "mp4")
    clip = (files("video_pipeline.demo") / "sport.mp4").read_bytes()
    open_store(load_settings()).put(key, clip, content_type="video/mp4")
    return key


@pytest.mark.slow
def test_the_command_of_the_earlier_runner_samples_frames_into_files(
    modal_server: tuple[ModalLoopback, dict[str, str]], video_key: str, tmp_path: Path
) -> None:
    done = modal_run(modal_server, "--video-url", video_key, "--num-batches", "2", "--output", str(tmp_path))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{modal_server[0].log()}"
    assert len(list((tmp_path / "decoded_frames").glob("*.png"))) == 2
    assert "<html" in (tmp_path / "timing_waterfall.html").read_text()
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["requested"], result["delivered"]) == (2, 2)
    assert "2 of 2 frames on" in done.stdout
    assert "run_inference on B200, 8 cores, 32 GiB: at most 4,320 s" in done.stderr


def test_a_request_that_is_wrong_is_one_line_and_starts_nothing(
    modal_server: tuple[ModalLoopback, dict[str, str]], video_key: str
) -> None:
    before = set(modal_server[0].state()["containers"])
    done = modal_run(modal_server, "--video-url", "/home/me/film.mp4")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "error: The request for run_inference is not valid" in done.stderr
    assert "is a path" in done.stderr
    assert set(modal_server[0].state()["containers"]) == before


@pytest.mark.slow
def test_a_run_above_the_limit_is_refused_before_anything_starts(
    modal_server: tuple[ModalLoopback, dict[str, str]], video_key: str
) -> None:
    before = set(modal_server[0].state()["containers"])
    done = modal_run(modal_server, "--video-url", video_key, VIDEO_PIPELINE_MAX_USD_PER_CALL="1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "$8.26" in done.stderr
    assert "above the limit of $1.00 per call" in done.stderr
    assert set(modal_server[0].state()["containers"]) == before
