"""What surrounds the work: imports, Dagster's share, and memory that must not grow with the length."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Figure, figure_of
from benchmarks.media import BAND, video_of_minutes
from video_pipeline.calls import ResultRecord, read_result
from video_pipeline.captions.intake import add_video, pass_request
from video_pipeline.captions.request import STAGES
from video_pipeline.compute.base import CallOptions
from video_pipeline.compute.follow import run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.keys import VideoId
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store

VIDEO = VideoId("bench", "clip")
SHORT, LONG = 2, 20
IMPORT_RUNS = 7


def import_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import video_pipeline.definitions"], check=True)
    return time.perf_counter() - began


def bare_and_job(minutes: int) -> tuple[float, float, ResultRecord]:
    """Wall seconds of the bare call (worker start counted) and of the whole job, and the call's record."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(store=f"{folder}/bare", state_dir=f"{folder}/state")
        store = open_store(settings)
        add_video(store, VIDEO, video_of_minutes(minutes), crop_region=BAND, frame_rate="10", preset="fast")
        request = pass_request(store, VIDEO, STAGES)
        began = time.perf_counter()
        handle, _ = run_call(
            LocalCompute(settings, store), "crop_and_infer_caption_frame_extents", request, CallOptions()
        )
        bare = time.perf_counter() - began
        record = read_result(store, VIDEO.tenant, handle.key)
        assert record is not None

        job_store = open_store(load_settings(store=f"{folder}/job"))
        add_video(
            job_store, VIDEO, video_of_minutes(minutes), crop_region=BAND, frame_rate="10", preset="fast"
        )
        began = time.perf_counter()
        _job(f"{folder}/job", f"{folder}/state")
        return bare, time.perf_counter() - began, record


def _job(store: str, state: str) -> None:
    command = [
        *(
            str(Path(sys.executable).with_name("dagster")),
            "job",
            "execute",
            "-m",
            "video_pipeline.definitions",
        ),
        *("-j", "caption_video", "--tags", json.dumps({"dagster/partition": VIDEO.partition_key})),
    ]
    environment = {**os.environ, "VIDEO_PIPELINE_STORE": store, "VIDEO_PIPELINE_STATE": state}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"the job failed:\n{done.stderr[-2000:]}")


def measure() -> list[Figure]:
    figures = [
        figure_of(
            "import video_pipeline.definitions", 2.0, [import_seconds() for _ in range(IMPORT_RUNS)], unit="s"
        )
    ]
    short = [bare_and_job(SHORT) for _ in range(3)]
    long_bare, long_job, long_record = bare_and_job(LONG)
    fixed = [job - bare for bare, job, _ in short]
    figures.append(figure_of("Dagster's fixed share of a job", 5.0, fixed, unit="s"))
    overhead = sorted(fixed)[len(fixed) // 2]
    grown = max(long_job - long_bare - overhead, 0.0)
    figures.append(
        Figure(
            f"Dagster's share that grows with a {LONG}-minute video",
            3.0,
            100 * grown / long_bare,
            unit="%",
            detail={
                "bare_s": round(long_bare, 1),
                "job_s": round(long_job, 1),
                "fixed_s": round(overhead, 2),
            },
        )
    )
    peaks = [record.usage.peak_memory_mib for _, _, record in short]
    figures.append(
        figure_of(
            f"peak memory, {LONG} minutes against {SHORT}",
            1.1,
            [long_record.usage.peak_memory_mib / peak for peak in peaks],
            detail={"short_mib": peaks, "long_mib": long_record.usage.peak_memory_mib},
        )
    )
    return figures
