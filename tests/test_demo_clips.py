"""`make demo-clips`' command, as a new user starts it, and what it shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from tests.conftest import ROOT
from video_pipeline.calls import list_calls
from video_pipeline.clips.intake import load_clip_request
from video_pipeline.clips.result import ClipManifest
from video_pipeline.demo.clips import FLIP, HIGHLIGHTS, store_demo_clips
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

DEMO = [str(Path(sys.executable).with_name("video-pipeline")), "demo-clips"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    return open_store(load_settings())


def demo() -> str:
    done = subprocess.run(
        DEMO, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def named(text: str) -> list[Path]:
    return [Path(found) for found in re.findall(r"^  .*: +(/.*)$", text.split("Look at:")[1], re.MULTILINE)]


def luma_of(path: Path, seconds: float) -> np.ndarray:
    """The first picture at or after a moment of a video."""
    with av.open(str(path)) as container:
        return next(
            f.to_ndarray(format="gray") for f in container.decode(video=0) if (f.time or 0.0) >= seconds
        )


@pytest.mark.slow
@pytest.mark.timeout(1300)
def test_the_demo_makes_every_kind_of_clip_and_names_files_that_exist(store: ObjectStore) -> None:
    text = demo()
    paths = named(text)
    assert len(paths) == 10
    assert all(path.is_file() for path in paths)
    clips = [path for path in paths if path.suffix == ".mp4"]
    results = [
        ClipManifest.model_validate_json(path.with_name("manifest.json").read_text()).result for path in clips
    ]
    assert [(one.kind, one.frames, one.width, one.height) for one in results] == [
        ("extract_clip", 66, 884, 496),
        ("render_overlay", 66, 884, 496),
        ("process_framing_ai", 48, 288, 512),
        ("process_multi_clip", 78, 288, 512),
        ("create_annotated_compilation", 147, 884, 496),
    ]
    assert [one.enlarged_frames for one in results] == [0, 0, 48, 0, 0]
    assert not any(one.degraded for one in results)

    cut, lit, framed, _, written = clips
    # The spotlight is on the jumper in the air, 1.1 s into the cut, and the building beside him is dark.
    before, after = luma_of(cut, 1.1).astype(int), luma_of(lit, 1.1).astype(int)
    assert np.abs(before - after)[110:170, 450:500].mean() < 3
    assert after[300:400, 80:300].mean() < 0.6 * before[300:400, 80:300].mean()
    # The text's bar lies over the lower part of the picture, under white letters.
    bar = luma_of(written, 0.5)[400:490]
    assert bar.min() < 40
    assert bar.max() > 220
    assert luma_of(framed, 0.5).shape == (512, 288)

    found = json.loads(next(path for path in paths if path.name == "detections.json").read_text())
    boxes = [box for frame in found["frames"] for box in frame["detections"]]
    assert any(abs(box["centre_x"] - 546) < 15 and abs(box["centre_y"] - 376) < 15 for box in boxes)

    count = len(list_calls(store))
    again = demo()
    assert len(list_calls(store)) == count
    assert named(again) == paths


def test_the_bundled_requests_are_valid_and_stay_within_their_budget(store: ObjectStore) -> None:
    key = store_demo_clips(store)
    info = store.head(key)
    assert info is not None
    assert info.size < 900_000
    flip, highlights = load_clip_request(store, FLIP), load_clip_request(store, HIGHLIGHTS)
    assert flip.source_key == key
    assert flip.framing is not None
    assert None not in (flip.players, flip.overlay, highlights.multi_clip, highlights.compilation)
    (slow,) = flip.framing.segments
    played = (flip.framing.trim_end or 0) - (flip.framing.trim_start or 0)
    length = played + (slow.end - slow.start) * (1 / slow.speed - 1)
    # The network takes a second for each on two cores; nothing else of the demo is slow.
    assert length * float(flip.framing.rate) <= 48.001
