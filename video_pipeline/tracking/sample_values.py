"""What a sampling run says to a tracker: numbers, tables, configuration.

Belongs here: names and values. Does not belong here: wandb, secrets (`addresses`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from video_pipeline.sampling.request import RunInferenceResult
from video_pipeline.telemetry.table import summarise
from video_pipeline.telemetry.timing import Span

MAX_VIDEOS_AS_NUMBERS = 50
"""Each video makes five numbers with names of their own; the table holds the rest as well."""

PREDICTION_COLUMNS = (
    *("batch", "video", "frame", "url", "requested_seconds", "seconds", "pts", "frame_index"),
    *("label", "confidence", "bytes", "error"),
)
VIDEO_COLUMNS = (
    *("video", "url", "index_kind", "codec", "requests", "retries"),
    *("index_bytes", "media_bytes", "useful_bytes", "index_was_at_hand", "error"),
)
_OF_A_VIDEO = ("requests", "retries", "index_bytes", "media_bytes", "useful_bytes")
_TIMES = ("count", "total", "mean", "min", "max", "p50", "p95")


def numbers(result: RunInferenceResult, spans: Iterable[Span]) -> dict[str, float]:
    """`timing_{span}_{count|total|mean|min|max|p50|p95}` in seconds, `bandwidth_*` in bytes, and counts."""
    values: dict[str, float] = {}
    for row in summarise(spans):
        values |= {f"timing_{row.name}_{name}": getattr(row, name) for name in _TIMES}
    told = result.model_dump(include=set(RunInferenceResult.model_fields) - {"frames", "videos"})
    for name, value in told.items():
        if name.startswith("bandwidth_") or name.endswith("_time_seconds"):
            values[name] = value
    for name in ("index_bytes", "media_bytes", "useful_bytes", "minimum_bytes", "index_cache_hits"):
        values[f"bandwidth_{name}"] = told[name]
    for name in ("requested", "delivered", "failed", "pictures_decoded"):
        values[name] = told[name]
    for number, video in enumerate(result.videos[:MAX_VIDEOS_AS_NUMBERS]):
        values |= {f"bandwidth_video_{number}_{name}": getattr(video, name) for name in _OF_A_VIDEO}
    return values


def configuration(result: RunInferenceResult, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the run was asked (`asked`: seed, strategy and so on) and where and with what it ran."""
    facts = ("platform", "device", "gpu_name", "cuda_version", "torch_version", "decoder", "model")
    ran = {name: getattr(result, name) for name in (*facts, "model_sha256")}
    return {**asked, **ran, "notes": list(result.notes), "degraded": list(result.degraded)}


def prediction_rows(result: RunInferenceResult) -> list[list[Any]]:
    """A row for each frame asked for, by PREDICTION_COLUMNS. `bytes` is the index's and the media's."""
    return [
        [
            *(row.batch, row.video, row.frame, row.url, row.requested_seconds),
            *(row.seconds, row.pts, row.frame_index),
            row.prediction.label if row.prediction else None,
            row.prediction.confidence if row.prediction else None,
            row.index_bytes + row.media_bytes,
            f"{row.error.kind}: {row.error.message}" if row.error else None,
        ]
        for row in result.frames
    ]


def video_rows(result: RunInferenceResult) -> list[list[Any]]:
    """A row for each video, by VIDEO_COLUMNS."""
    return [
        [
            *(number, row.url, row.index_kind, row.codec, row.requests, row.retries),
            *(row.index_bytes, row.media_bytes, row.useful_bytes, row.index_was_at_hand),
            f"{row.error.kind}: {row.error.message}" if row.error else None,
        ]
        for number, row in enumerate(result.videos)
    ]
