"""What a backfill costs beside its work: many small videos, from the command to the last run's end.

The instance is that of `make ui`, with a place in the pool for each core, and the code server that of a
deployment. Work is what the videos' calls take from claim to result, as the ledger states it; all else is
orchestration: asking, queueing, starting a process for each run and each call, Dagster's events, registering
and publishing.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import ROOT, Figure, cpu_seconds
from tests.backfill.films import store_films
from tests.backfill.place import running_place
from video_pipeline.costs import ledger
from video_pipeline.machine import usable_cores
from video_pipeline.operations.states import CAPTIONS
from video_pipeline.partitions import VIDEOS
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store

FILMS = 200
TARGET_S = 3.0
A_VIDEO_AT_MOST_S = 60.0
PR_SET_CHILD_SUBREAPER = 36
"""prctl(2): processes whose parent has ended become this one's children, whose time is counted."""


def backfill(films: int = FILMS) -> Figure:
    """Seconds of orchestration per video: wall time less the calls' own, shared by those allowed at once."""
    at_once = usable_cores()
    config: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "local" / "dagster.yaml").read_text())
    config["concurrency"]["runs"]["max_concurrent_runs"] = at_once
    config["concurrency"]["pools"]["default_limit"] = at_once
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = str(folder / "store")
        store = open_store(load_settings(store=uri))
        keys = store_films(store, "bench", films, folder)
        pipeline = {"VIDEO_PIPELINE_STORE": uri}
        with running_place(folder, pipeline, config=config, services=("code", "daemon")) as place:
            place.register(VIDEOS, keys)
            services = [place.process("code"), place.process("daemon"), *place.run_hosts()]
            used = cpu_seconds() + sum(sum(process.cpu_times()[:2]) for process in services)
            began = time.time()
            place.backfill_by_command(CAPTIONS.job)
            asked = time.time()
            runs = place.wait_until_quiet(films * A_VIDEO_AT_MOST_S)
        _bury_children()
        used = cpu_seconds() - used
        wall = max(record.end_time or 0.0 for record in runs) - began
        bad = [record.dagster_run.run_id for record in runs if record.dagster_run.status.value != "SUCCESS"]
        if bad or len(runs) != films:
            raise RuntimeError(f"{len(runs)} runs for {films} videos, {len(bad)} of them failed")
        rows = ledger.load(store)
        took = [end - begin for begin, end in zip(rows["started_at"], rows["finished_at"], strict=True)]
        work = sum(call.total_seconds() for call in took)
        started = sum(rows["queued_s"].dropna())
    in_runs = sum((record.end_time or 0.0) - (record.start_time or 0.0) for record in runs)
    return Figure(
        f"backfill of {films} videos: orchestration per video",
        TARGET_S,
        (wall - work / at_once) / films,
        unit="s",
        detail={
            "wall_s": round(wall, 1),
            "at_once": at_once,
            "asking_s": round(asked - began, 1),
            "calls_s_per_video": round(work / films, 2),
            "starting_calls_s_per_video": round(started / films, 2),
            "run_s_per_video": round(in_runs / films, 2),
            "cpu_s_per_video": round(used / films, 2),
            "calls_cpu_s_per_video": round(sum(rows["cpu_s"].dropna()) / films, 2),
        },
    )


def _bury_children() -> None:
    """Waits for what has ended, and for what ends by itself within seconds: the time of the dead is known."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.1)
        except ChildProcessError:
            return
