"""What tasks say of what they used: frames, seconds of video, bytes, the parts of a fan-out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.captions.conftest import demo_store as demo_store
from tests.captions.conftest import make_context as make_context
from tests.captions.conftest import store as store
from tests.clips.conftest import desk as desk
from tests.clips.films import TENANT, Desk, Sound, clicks, crop_at, make_film
from tests.compute.conftest import kill_workers
from video_pipeline.captions import streaming_pass
from video_pipeline.captions.intake import pass_request
from video_pipeline.captions.request import STAGES, CropAndInferRequest
from video_pipeline.compute.follow import run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.costs.ledger import job_costs, load
from video_pipeline.demo.run import VIDEO
from video_pipeline.store.base import ObjectStore
from video_pipeline.telemetry.timing import use_recorder
from video_pipeline.telemetry.usage import Usage, phases_of
from video_pipeline.worker import TaskContext

RATE = Fraction(4)


@pytest.fixture
def framed(desk: Desk, tmp_path: Path) -> dict[str, Any]:
    """A request for 4 s at 4 a second in two segments, not enlarged."""
    film = make_film(tmp_path / "film.mp4", frames=20, rate=RATE, sound=Sound(clicks(RATE)))
    return {
        "source_key": desk.put(film),
        "keyframes": [crop_at(0, x=0), crop_at(4, x=110)],
        "output_width": 200,
        "output_height": 360,
        "fps": str(RATE),
        "trim_end": 4.0,
        "upscale": "never",
    }


@pytest.fixture
def compute(desk: Desk) -> Iterator[LocalCompute]:
    yield LocalCompute(desk.settings, desk.store)
    kill_workers(desk.settings)


def usage_of(desk: Desk) -> Usage:
    assert desk.last is not None
    return desk.last.usage


@pytest.mark.slow
def test_a_clip_in_chunks_says_what_spreading_and_joining_took(
    desk: Desk, compute: LocalCompute, framed: dict[str, Any]
) -> None:
    call = {"tenant_id": TENANT, "clip_id": "c1", "num_chunks": 2, **framed}
    _, record = run_call(compute, "process_framing_ai_parallel", call)
    rows = load(desk.store)
    whole = record.usage
    every = [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]
    chunks = [row for row in every if row["task"] == "process_framing_ai_chunk"]
    assert {chunk["parent"] for chunk in chunks} == {record.key}
    assert len(chunks) == whole.chunks == 2
    assert sum(chunk["frames"] for chunk in chunks) == whole.frames == 16
    assert sum(chunk["video_seconds"] for chunk in chunks) == whole.video_seconds == 4
    assert {chunk["output_pixels"] for chunk in chunks} == {whole.output_pixels} == {200 * 360}
    assert {chunk["partition"] for chunk in chunks} == {f"{TENANT}--c1"}
    for chunk in chunks:
        assert 0 < chunk["chunk_download_overhead_ms"] < chunk["wall_s"] * 1000
        assert 0 < chunk["ms_per_frame_min"] <= chunk["ms_per_frame_mean"] <= chunk["ms_per_frame_max"]
        assert chunk["work_ms"] > 0
        assert chunk["encode_ms"] > 0
        assert chunk["upload_ms"] > 0
        assert chunk["bytes_read"] > 0
        assert chunk["bytes_written"] > 0
    overhead = sum(chunk["chunk_download_overhead_ms"] for chunk in chunks)
    assert whole.chunk_download_overhead_ms == pytest.approx(overhead, abs=0.01)
    parts = (
        whole.orchestrator_startup_ms,
        whole.map_dispatch_ms,
        whole.concatenation_ms,
        whole.cleanup_ms,
    )
    assert all(part is not None and part > 0 for part in parts)
    assert sum(part or 0.0 for part in parts) <= whole.wall_s * 1000
    assert whole.gpu_seconds == 0
    jobs = job_costs(rows)
    assert jobs["calls"].tolist() == [3]
    assert jobs["frames"].tolist() == [16]


def test_a_clip_in_one_call_says_what_it_made(desk: Desk, framed: dict[str, Any]) -> None:
    result = desk.run("process_framing_ai", **framed)
    usage = usage_of(desk)
    assert (usage.frames, usage.video_seconds, usage.output_pixels) == (16, 4.0, 200 * 360)
    assert usage.bytes_written == result.size_bytes
    assert usage.ms_per_frame_min is not None
    assert usage.ms_per_frame_max is not None
    assert 0 < usage.ms_per_frame_min <= usage.ms_per_frame_max


def test_a_preview_counts_the_pictures_it_made_and_no_clip(desk: Desk, framed: dict[str, Any]) -> None:
    desk.run("process_framing_ai", preview=3, **framed)
    usage = usage_of(desk)
    assert (usage.frames, usage.video_seconds) == (3, None)


def test_a_cut_says_what_it_made(desk: Desk, framed: dict[str, Any]) -> None:
    result = desk.run("extract_clip", source_key=framed["source_key"], start=1.0, end=3.0)
    usage = usage_of(desk)
    assert (usage.frames, usage.video_seconds) == (result.frames, result.duration_seconds)
    assert usage.ms_per_frame_mean is not None
    assert usage.bytes_read is not None
    assert usage.bytes_read > 0


def test_a_search_for_people_counts_the_pictures_it_looked_at(desk: Desk, framed: dict[str, Any]) -> None:
    desk.run("detect_players_batch", source_key=framed["source_key"], timestamps=[0.0, 1.0, 2.0], draw=False)
    usage = usage_of(desk)
    assert usage.frames == 3
    assert usage.bytes_read is not None
    assert usage.bytes_read > 0
    assert usage.ms_per_frame_mean is not None


def test_a_caption_pass_says_what_it_made_and_one_that_makes_nothing_says_nothing(
    demo_store: ObjectStore, make_context: Callable[..., TaskContext]
) -> None:
    context = make_context(demo_store)
    asked = pass_request(demo_store, VIDEO, STAGES).model_dump() | {"frame_rate": 2}
    with use_recorder(context.recorder):
        result = streaming_pass.run(CropAndInferRequest.model_validate(asked), context)
    usage = context.usage
    assert result.chunks is not None
    assert (usage.frames, usage.video_seconds, usage.chunks) == (84, 42.0, result.chunks.objects)
    assert usage.output_pixels == result.frame_width * result.frame_height
    made = (result.frames, result.extents, result.chunks)
    assert usage.bytes_written == sum(artefact.bytes for artefact in made if artefact is not None)
    assert usage.ms_per_frame_min is not None
    assert usage.ms_per_frame_mean is not None
    assert usage.ms_per_frame_min <= usage.ms_per_frame_mean
    phases = phases_of(context.recorder.every())
    assert {"download", "model_load", "work", "encode", "upload"} <= set(phases)
    assert all(phase.wall_ms > 0 for phase in phases.values())

    again = make_context(demo_store)
    streaming_pass.run(CropAndInferRequest.model_validate(asked), again)
    assert again.usage.frames is None
