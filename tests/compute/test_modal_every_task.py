"""Every task of the table on the stand-in, on real input: deployed, spawned by name, run from the upload."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.compute.conftest import ModalBackend
from tests.fixtures.media_factory import DEMO_CLIP, ffmpeg
from video_pipeline.compute.base import Event
from video_pipeline.compute.follow import run_call
from video_pipeline.keys import VideoId, source_key
from video_pipeline.tasks import BUILT_IN, find_task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

STREET, SPORT = (source_key(VideoId("acme", name), "mp4") for name in ("street", "sport"))
"""The first 2 s of the street with its captions, and 4 s of sport; both at 30 frames a second."""

CLIP = {"tenant_id": "acme", "clip_id": "cut", "source_key": SPORT}
FRAMING = {"keyframes": [{"time": 0, "x": 400, "y": 200, "width": 32, "height": 32}]}
SMALL = {"output_width": 64, "output_height": 64}
"""Small, so that the network that enlarges takes milliseconds on a CPU."""
FRAMED = {**CLIP, **FRAMING, **SMALL}
PASS = {
    "video_key": STREET,
    "tenant_id": "acme",
    "video_id": "street",
    "crop_region": {"left": 0.1, "top": 0.7, "width": 0.8, "height": 0.25},
}
LIGHT = {"time": 0, "x": 100, "y": 100, "radius_x": 40, "radius_y": 80}

Check = Callable[[dict[str, Any]], bool]
CASES: dict[str, tuple[dict[str, Any], Check]] = {
    "crop_and_infer_caption_frame_extents": (PASS, lambda found: found["frame_count"] >= 20),
    "find_caption_layout": (
        {name: PASS[name] for name in ("video_key", "tenant_id", "video_id")},
        lambda found: found["moments"] > 0,
    ),
    "read_captions": ({**PASS, "chunks": False}, lambda found: "caption_count" in found),
    "run_inference": (
        {"tenant_id": "acme", "sample_id": "look", "video_urls": [SPORT], "num_batches": 2},
        lambda found: found["delivered"] == 2 and found["frames"][0]["prediction"] is not None,
    ),
    "extract_clip": ({**CLIP, "start": 0.5, "end": 1.5}, lambda found: found["frames"] == 30),
    "render_overlay": (
        {**CLIP, "highlight_regions": [{"start_time": 0, "end_time": 1, "keyframes": [LIGHT]}]},
        lambda found: found["frames"] == 120,
    ),
    "process_framing_ai": (
        {**FRAMED, "trim_end": 0.2},
        lambda found: (found["frames"], found["enlarged_frames"]) == (6, 6),
    ),
    "process_framing_ai_chunk": (
        {**FRAMED, "trim_end": 0.2, "start_frame": 0, "end_frame": 6},
        lambda found: found["frames"] == 6,
    ),
    "process_framing_ai_parallel": (
        {**FRAMED, "num_chunks": 2},
        lambda found: found["frames"] == 120 and len(found["chunks"]) == 2,
    ),
    "process_multi_clip": (
        {
            "tenant_id": "acme",
            "clip_id": "cut",
            "clips": [
                {"source_key": SPORT, **FRAMING, "trim_start": at, "trim_end": at + 0.1} for at in (0, 1)
            ],
            **SMALL,
        },
        lambda found: (found["frames"], found["enlarged_frames"]) == (6, 6),
    ),
    "create_annotated_compilation": (
        {
            "tenant_id": "acme",
            "clip_id": "cut",
            "clips": [{"source_key": SPORT, "start": 0, "end": 0.5, "name": "Kick-off", "rating": 4}],
        },
        lambda found: found["frames"] == 15,
    ),
    "detect_players": ({**CLIP, "time": 0.5}, lambda found: len(found["frames"][0]["detections"]) > 0),
    "detect_players_batch": (
        {**CLIP, "timestamps": [0.1, 0.2, 3.5]},
        lambda found: len(found["frames"]) == 3,
    ),
    "probe": (
        {"needs": ["encoders"]},
        lambda found: not any(line.startswith("encoders") for line in found["missing"]),
    ),
}
BEFORE = {"read_captions": "crop_and_infer_caption_frame_extents"}
"""Tasks that read what another one has made."""


def test_no_task_of_the_table_is_left_out() -> None:
    assert set(CASES) == {task.name for task in BUILT_IN}


@pytest.mark.parametrize("name", CASES)
def test_a_task_runs_on_modal_on_real_input(name: str, modal_backend: ModalBackend, tmp_path: Path) -> None:
    store = modal_backend.store
    street = tmp_path / "street.mp4"
    ffmpeg(["-i", str(DEMO_CLIP), "-t", "2", "-c", "copy", str(street)])
    store.put(STREET, street)
    store.put(SPORT, (files("video_pipeline.demo") / "sport.mp4").read_bytes())
    if name in BEFORE:
        run_call(modal_backend.open(), BEFORE[name], CASES[BEFORE[name]][0])
    request, is_right = CASES[name]
    events: list[Event] = []
    handle, record = run_call(modal_backend.open(), name, request, on_event=events.append)
    assert (record.status, record.worker.backend, record.attempt) == ("ok", "modal", 1)
    assert record.result is not None
    assert is_right(record.result), record.result
    assert find_task(name).outputs_exist(record.result, store)
    costs = [event for event in events if event.name == "cost"]
    assert len(costs) == 1
    assert "at most" in costs[0].data["cost"]
    assert modal_backend.open().describe(handle)["app"] == "video-pipeline"
