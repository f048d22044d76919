"""Captioning as `video-pipeline captions` does it: how long an hour of 720p video takes, and what is found.

A film of ten minutes whose captions are known is captioned and read by the product's own calls: every stage
of the pass, then the reading with text and review page, each in a worker process of its own, whose start
counts. An hour's minutes are the film's scaled up by its length, the workers' start included. Publishing,
which copies nothing, is left out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.caption_film import captioned_film
from benchmarks.harness import Figure, figure_of
from evaluation.matching import match_spans
from evaluation.truth import Truth
from video_pipeline.calls import ResultRecord
from video_pipeline.captions.document import CaptionsDocument
from video_pipeline.captions.intake import add_video, pass_request, reading_request
from video_pipeline.captions.recognise import recogniser_version
from video_pipeline.captions.request import STAGES, ReadCaptionsResult
from video_pipeline.compute.base import CallOptions
from video_pipeline.compute.follow import run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.errors import BadInput
from video_pipeline.keys import VideoId
from video_pipeline.media.geometry import CropRegion
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store

VIDEO = VideoId("bench", "film")
PASS, READ = "crop_and_infer_caption_frame_extents", "read_captions"
RATE = Fraction(10)
REPEATS = 1
"""A run is minutes of both cores over 210 captions: one must do."""


@dataclass(frozen=True)
class Run:
    """Both tasks once. By task: wall and CPU seconds of its call, and its stages' busy seconds. `found` are
    the captions as half-open spans of samples."""

    wall: Mapping[str, float]
    cpu: Mapping[str, float]
    busy: Mapping[str, Mapping[str, float]]
    found: list[tuple[int, int]]
    with_text: int


def caption_and_read(film: Truth) -> Run:
    """The film through both calls, in a store of its own that is deleted again."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(store=f"{folder}/store", state_dir=f"{folder}/state", compute="local")
        store = open_store(settings)
        compute = LocalCompute(settings, store)
        crop = CropRegion.model_validate(film.crop_region)
        add_video(store, VIDEO, film.video, crop_region=crop, frame_rate=str(RATE), preset="fast")
        records: dict[str, ResultRecord] = {}
        wall: dict[str, float] = {}
        for task in (PASS, READ):
            began = time.perf_counter()
            request = (
                pass_request(store, VIDEO, STAGES)
                if task == PASS
                else reading_request(store, VIDEO, chunks=True)
            )
            _, records[task] = run_call(compute, task, request, CallOptions())
            wall[task] = time.perf_counter() - began
        read = ReadCaptionsResult.model_validate(records[READ].result)
        prefix = Path(read.captions.manifest_key).parent.as_posix()
        document = CaptionsDocument.model_validate_json(store.get(f"{prefix}/captions.json"))
    return Run(
        wall,
        {task: record.usage.cpu_s for task, record in records.items()},
        {task: (record.result or {})["durations"] for task, record in records.items()},
        [(caption.first_frame, caption.end_frame) for caption in document.captions],
        read.with_text,
    )


def figures_of(film: Truth, runs: Sequence[Run]) -> list[Figure]:
    """Minutes for an hour of the film, and the share of its captions that were found.

    A caption is found by a span that shares at least half of the shorter of both, one to one.
    """
    minutes = float(film.frame_count / RATE / 60)
    burned_in = [(caption.first_frame, caption.end_frame) for caption in film.captions]
    right = [len(match_spans(burned_in, run.found)) for run in runs]
    speed = {
        "film_minutes": round(minutes, 2),
        **{f"{task}_minutes": [round(run.wall[task] / minutes, 2) for run in runs] for task in (PASS, READ)},
        **{
            f"{task}_cpu_s_per_minute": [round(run.cpu[task] / minutes, 2) for run in runs]
            for task in (PASS, READ)
        },
        "cpu_s_per_minute": round(median(sum(run.cpu.values()) for run in runs) / minutes, 2),
        "busy_s": [run.busy for run in runs],
    }
    found: dict[str, Any] = {
        "burned_in": len(burned_in),
        "found": right,
        "phantoms": [len(run.found) - count for run, count in zip(runs, right, strict=True)],
        "with_text": [run.with_text for run in runs],
    }
    return [
        figure_of(
            "an hour of 720p captioned and read",
            10.0,
            [sum(run.wall.values()) / minutes for run in runs],  # seconds a minute are minutes an hour
            unit="min",
            detail=speed,
        ),
        figure_of(
            "its captions found",
            0.98,
            [count / len(burned_in) for count in right],
            better="higher",
            detail=found,
        ),
    ]


def measure() -> list[Figure]:
    if recogniser_version() is None:
        raise BadInput(
            "reading text is part of this figure",
            input="the extra 'ocr' is not installed",
            what_to_do="pip install 'video-pipeline[ocr]'",
        )
    film = captioned_film(RATE)
    return figures_of(film, [caption_and_read(film) for _ in range(REPEATS)])
