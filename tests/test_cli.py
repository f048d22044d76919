"""The plain commands, as a person types them: a video whose caption region nobody has given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import srt

from tests.conftest import ROOT
from tests.fixtures.media_factory import DEMO_CLIP
from video_pipeline import keys
from video_pipeline.keys import VideoId
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store

pytestmark = pytest.mark.slow


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "VIDEO_PIPELINE_STORE": str(folder / "store"),
        "OMP_NUM_THREADS": "1",
    }
    program = Path(sys.executable).with_name("video-pipeline")
    return subprocess.run(
        [str(program), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def test_a_video_becomes_captions_by_two_commands_without_a_crop(tmp_path: Path) -> None:
    added = command(tmp_path, "add-video", str(DEMO_CLIP), "--tenant", "acme", "--video", "street")
    assert added.returncode == 0, added.stderr
    done = command(tmp_path, "captions", "acme--street")
    assert done.returncode == 0, done.stderr
    assert "15 captions, 15 with text" in done.stdout
    assert "Morning on the campus road." in done.stdout
    store = open_store(load_settings(store=str(tmp_path / "store")))
    video = VideoId("acme", "street")
    current = json.loads(store.get(keys.current_key(video)))
    assert set(current["artefacts"]) == {"frames", "extents", "chunks", "captions"}
    prefix = keys.captions_prefix(video, current["artefacts"]["captions"]["recipe"])
    cues = json.loads(DEMO_CLIP.with_suffix(".cues.json").read_text())["cues"]
    subtitles = list(srt.parse(store.get(prefix + "captions.srt").decode()))
    assert [cue.content for cue in subtitles] == [cue["text"] for cue in cues]
    assert [round(cue.start.total_seconds() * 30) for cue in subtitles] == [
        cue["start_frame"] for cue in cues
    ]

    again = command(tmp_path, "captions", "acme--street")
    assert again.returncode == 0, again.stderr
    assert "nothing, all of it was there" in again.stdout


def test_a_file_that_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("not a video " * 100)
    command(tmp_path, "add-video", str(tmp_path / "notes.mp4"), "--tenant", "acme", "--video", "notes")
    done = command(tmp_path, "captions", "acme--notes")
    assert done.returncode != 0
    assert "acme/client/videos/notes/video.mp4" in done.stderr
