"""A part of a source as a clip of the source's own packets.

Belongs here: copying, checking what came of it, and publishing that. Does not belong here: which packets
those are (`media.stream_copy`), clips that are encoded (`cutting.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.clips.finishing import side_by_side, store_clip
from video_pipeline.clips.publishing import ClipOutput
from video_pipeline.clips.result import RenderResult
from video_pipeline.clips.sources import StoreSources
from video_pipeline.clips.verify import ClipFacts, verify_clip
from video_pipeline.errors import BadInput, Internal
from video_pipeline.media.clip_source import ClipSource
from video_pipeline.media.colour import frame_to_rgb
from video_pipeline.media.stream_copy import copy_range
from video_pipeline.telemetry.timing import timed_operation

if TYPE_CHECKING:
    from video_pipeline.worker import TaskContext


@dataclass(frozen=True)
class Copied:
    """A part of the source as it was copied, checked. `began` is when copying did, by the monotonic clock."""

    path: Path
    start: Fraction
    stop: Fraction
    facts: ClipFacts
    began: float


def copy_part(context: TaskContext, sources: StoreSources, start: Fraction, stop: Fraction) -> Copied:
    """A part of the source without encoding anything."""
    began = time.monotonic()
    facts = sources.facts(0)
    path = context.scratch / "copy.mp4"
    with sources.open_bytes(0) as source, timed_operation("copy"):
        copied = copy_range(source, start, stop, path, name=sources.name(0), cancel=context.cancel)
    try:
        with timed_operation("check"):
            checked = verify_clip(
                path,
                frames=copied.frames,
                width=facts.width,
                height=facts.height,
                duration=copied.stop - copied.start,
                pts=None,
                audio=facts.has_audio,
                copied=True,
                cancel=context.cancel,
            )
    except Internal as error:
        raise BadInput(
            f"its packets do not make a clip that plays: {error.message}",
            input=sources.name(0),
            what_to_do="use mode accurate, or upload the file again if that says it is damaged",
        ) from error
    if (checked.width > checked.height) != (facts.width > facts.height):
        # The container turns the picture: what is coded 320x180 is shown 180x320.
        turned = {"width": checked.height, "height": checked.width}
        checked = checked.model_copy(update=turned)
    return Copied(path, copied.start, copied.stop, checked, began)


def publish_copy(
    context: TaskContext, output: ClipOutput, sources: StoreSources, copied: Copied
) -> RenderResult:
    picture = _pair(sources, copied)
    context.usage.bytes_read = sources.bytes_read
    return store_clip(
        context,
        output,
        copied.path,
        copied.facts,
        picture,
        started=copied.began,
        frame_rate=str(sources.facts(0).frame_rate),
        start_seconds=float(copied.start),
        made_of=sources.key(0),
        copied=True,
    )


def _pair(sources: StoreSources, copied: Copied) -> np.ndarray:
    """The picture in the middle of the part, as the source shows it and as the copy does."""
    middle = (copied.stop - copied.start) / 2
    shown: list[np.ndarray] = []
    with timed_operation("decode"):
        with sources.open(0) as source:
            shown.append(_shown_at(source, copied.start + middle))
        with ClipSource(copied.path, name=copied.path.name) as made:
            shown.append(_shown_at(made, made.start + middle))
    return side_by_side(shown)


def _shown_at(source: ClipSource, moment: Fraction) -> np.ndarray:
    until = min(moment + 2 * source.time_base, source.stop)
    return frame_to_rgb(next(source.pictures(min(moment, until - source.time_base), until)).frame)
