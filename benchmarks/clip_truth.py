"""Whether clips are right: chunked against sequential, after kill -9, sound against picture, networks.

Belongs here: figures of the clip suite that are no time, each taken through the tasks as users run them.
Does not belong here: speed (`clip_speed`), and what tests settle in seconds.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import psutil
from PIL import Image

from benchmarks.clip_desk import TENANT, Desk, desk
from benchmarks.clip_media import CLICK_SAMPLES, FLASHES_RATE, SAMPLE_RATE, click, flashes, sport_small
from benchmarks.harness import ROOT, Figure
from video_pipeline.clips.result import RenderResult
from video_pipeline.compute.base import CallOptions
from video_pipeline.compute.follow import run_call
from video_pipeline.compute.local import LocalCompute

CHUNKS = 8
KILL_AFTER = 3
"""Parts that are there when everything is killed."""
START_S = 300.0

CLIPS, CLIP_FRAMES, FLASH_STEP = 40, 37, Fraction(15)
NEAR_S = 0.1
"""How far from its flash a click is looked for: the next one is 0.23 s away."""
AAC_FRAME_MS = 1000 * 1024 / SAMPLE_RATE


def measure() -> list[Figure]:
    return [*_chunks(), *_sound(), _upscaler(), *_detector()]


# Chunks


def _chunks() -> list[Figure]:
    """A clip in one call, and the same clip in eight calls, killed in the middle and run again."""
    with desk() as one, desk() as other:
        whole = _call(one, "process_framing_ai")
        handle, in_flight = _killed(other)
        chunked = _call(other, "process_framing_ai_parallel", num_chunks=CHUNKS)
        assert len(chunked.chunks) == CHUNKS
        redone = sum(row.attempt > 1 for row in chunked.chunks)
        expected, found = _pictures(one.file(whole.output_key)), _pictures(other.file(chunked.output_key))
        differing = sum(not np.array_equal(expected[pts], found[pts]) for pts in set(expected) & set(found))
        detail = {
            "frames": whole.frames,
            "enlarged": chunked.enlarged_frames,
            "in_flight": in_flight,
            "redone": redone,
            "killed_call": handle,
        }
        assert chunked.frames == len(found)
        return [
            Figure(
                "chunked against sequential: frames differing, doubled, missing",
                0,
                differing + len(set(expected) ^ set(found)),
                unit="frames",
                detail=detail,
            ),
            Figure(
                "kill -9 of an 8-chunk job: chunks redone beyond those in flight",
                0,
                max(0, redone - in_flight),
                unit="chunks",
                detail=detail,
            ),
            Figure(
                "kill -9 of an 8-chunk job: files that differ from the sequential one",
                0,
                int(chunked.sha256 != whole.sha256),
                unit="files",
            ),
        ]


def _request(place: Desk, **fields: Any) -> dict[str, Any]:
    """Nine segments of ten frames, each through the real network: 50x89 becomes 200x356."""
    return {
        "tenant_id": TENANT,
        "clip_id": "chunks",
        "source_key": place.put(sport_small()),
        "output_width": 200,
        "output_height": 356,
        "fps": "5",
        "keyframes": [
            {"time": 0, "x": 60, "y": 130, "width": 50, "height": 89},
            {"time": 17, "x": 500, "y": 160, "width": 50, "height": 89},
        ],
        "encoding": {"preset": "veryfast"},
        **fields,
    }


def _call(place: Desk, task: str, **fields: Any) -> RenderResult:
    compute = LocalCompute(place.settings, place.store)
    _, record = run_call(compute, task, _request(place, **fields), CallOptions())
    return RenderResult.model_validate(record.result)


def _killed(place: Desk) -> tuple[str, int]:
    """Starts the chunked render and kills all its processes once some parts are there: the call's key, and
    how many chunks were being made."""
    compute = LocalCompute(place.settings, place.store)
    task = "process_framing_ai_parallel"
    handle = compute.submit(task, _request(place, num_chunks=CHUNKS), CallOptions())
    deadline = time.monotonic() + START_S
    while sum(item.key.endswith(".part") for item in place.store.list(f"{TENANT}/")) < KILL_AFTER:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{KILL_AFTER} chunks were not made in {START_S:.0f} s")
        time.sleep(0.05)
    # The orchestrator first: it would start the others again.
    processes = sorted(_workers(place), key=lambda process: process.create_time())
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=30)
    return handle.key, len(processes) - 1


def _workers(place: Desk) -> list[psutil.Process]:
    """The live worker processes of this store."""
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            ours = "video_pipeline.worker" in line and str(place.settings.state_dir) in line[-1]
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _pictures(path: Path) -> dict[int, np.ndarray]:
    """Every decoded picture by its PTS."""
    found: dict[int, np.ndarray] = {}
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            assert frame.pts not in found, f"{path} shows PTS {frame.pts} twice"
            found[cast(int, frame.pts)] = frame.to_ndarray(format="yuv420p")
    return found


# Sound


def _sound() -> list[Figure]:
    """Forty clips of a film of flashes and clicks joined: how far each click is from its flash."""
    with desk() as place:
        key = place.put(flashes())
        clips = []
        for number in range(CLIPS):
            start = number * FLASH_STEP / FLASHES_RATE
            stop = start + CLIP_FRAMES / FLASHES_RATE
            clips.append(
                {
                    "source_key": key,
                    "trim_start": round(float(start), 6),
                    "trim_end": round(float(stop), 6),
                    "keyframes": [{"time": 0, "x": 0, "y": 0, "width": 160, "height": 90}],
                }
            )
        result: RenderResult = place.run(
            "process_multi_clip",
            "joined",
            clips=clips,
            output_width=160,
            output_height=90,
            fps=str(FLASHES_RATE),
            upscale="never",
            encoding={"crf": 16, "preset": "ultrafast"},
        )
        assert result.frames == CLIPS * CLIP_FRAMES
        path = place.file(result.output_key)
        shown, (start, sound) = _flash_times(path), _mono(path)
    assert len(shown) == CLIPS * len(range(0, CLIP_FRAMES, int(FLASH_STEP)))
    offsets = [1000 * (_click_near(sound, at - start) + start - at) for at in shown]
    end = len(offsets) // 10
    growth = statistics.median(offsets[-end:]) - statistics.median(offsets[:end])
    detail = {"offsets_ms": [round(offset, 2) for offset in offsets]}
    return [
        Figure(
            "A/V offset after 40 joined clips, the largest of all",
            AAC_FRAME_MS,
            max(map(abs, offsets)),
            unit="ms",
            detail=detail,
        ),
        Figure("A/V offset: growth from the first clips to the last", 1.0, abs(growth), unit="ms"),
    ]


def _flash_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [
            cast(float, frame.time)
            for frame in container.decode(container.streams.video[0])
            if frame.to_ndarray(format="gray").mean() > 115
        ]


def _mono(path: Path) -> tuple[float, np.ndarray]:
    """When the sound begins, in seconds, and its left channel."""
    blocks: list[np.ndarray] = []
    start = None
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.audio[0]):
            start = cast(float, frame.time) if start is None else start
            blocks.append(frame.to_ndarray()[0])
    assert start is not None
    return start, np.concatenate(blocks)


def _click_near(sound: np.ndarray, seconds: float) -> float:
    """When the click nearest to `seconds` begins, by correlation with a click."""
    first = max(0, round((seconds - NEAR_S) * SAMPLE_RATE))
    part = sound[first : first + round(2 * NEAR_S * SAMPLE_RATE) + CLICK_SAMPLES]
    return (first + int(np.argmax(np.correlate(part, click(), mode="valid")))) / SAMPLE_RATE


# Networks


def _upscaler() -> Figure:
    """Against ncnn's own run of the same network, on two cuts of real footage."""
    import torch

    from video_pipeline.models.upscaler import load_upscaler

    upscaler, folder = load_upscaler("cpu"), ROOT / "tests" / "fixtures" / "clips"
    apart = []
    for name in ("street", "park"):
        cut, reference = (
            np.array(Image.open(folder / f"upscale_{name}{end}.png").convert("RGB")) for end in ("", "_x4")
        )
        ours = upscaler.upscale(torch.from_numpy(cut)[None])[0].numpy()
        apart.append(int(np.abs(ours.astype(int) - reference.astype(int)).max()))
    return Figure("upscaling against ncnn's run: largest difference", 1, max(apart), unit="/255", runs=apart)


def _detector() -> list[Figure]:
    """On 20 pictures with people drawn in by hand, at the confidence that is the default."""
    from tests.models.test_person_detector import PEOPLE, totals
    from video_pipeline.models.person_detector import DEFAULT_CONFIDENCE, load_detector

    assert len(PEOPLE["testing"]) == 20
    found, false, missed = totals(load_detector("cpu"), "testing", [DEFAULT_CONFIDENCE])[DEFAULT_CONFIDENCE]
    detail = {"found": found, "false": false, "missed": missed}
    return [
        Figure(
            "people found in 20 frames: recall", 0.8, found / (found + missed), "", "higher", detail=detail
        ),
        Figure("people found in 20 frames: precision", 0.9, found / (found + false), "", "higher"),
    ]
