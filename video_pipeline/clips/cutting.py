"""The tasks that keep the source's own pictures and times: `extract_clip` and `render_overlay`.

Belongs here: from their requests to a render or to copied packets. Does not belong here: the spotlight's
pixels (`spotlight.py`), the stream (`render.py`), copying (`media.stream_copy`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.clips.finishing import finish_render, progress_of, store_clip, store_preview
from video_pipeline.clips.publishing import ClipOutput
from video_pipeline.clips.render import (
    Sound,
    Transform,
    Unchanged,
    preview_numbers,
    render_clip,
    source_frames,
    transformed,
)
from video_pipeline.clips.request import ExtractClipRequest, Render, RenderOverlayRequest, exact
from video_pipeline.clips.result import RenderResult
from video_pipeline.clips.sources import SourceFacts, StoreSources
from video_pipeline.clips.spotlight import Spotlight, SpotlightRegion
from video_pipeline.clips.timeline import part_of, whole
from video_pipeline.clips.verify import verify_clip
from video_pipeline.errors import BadInput, Internal
from video_pipeline.media.clip_audio import AudioSpan, samples_at
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.h264 import H264Settings, VideoFormat
from video_pipeline.media.stream_copy import copy_range

if TYPE_CHECKING:
    from video_pipeline.worker import TaskContext

VERSION = 1


def extract_clip(request: ExtractClipRequest, context: TaskContext) -> RenderResult:
    """A part of a source as a clip of its own: from the picture shown at `start`, to the last one before
    `end`; or, copied, from the key frame before."""
    output = ClipOutput(context.store, "extract_clip", VERSION, request)
    existing = None if request.preview else output.existing()
    if existing is not None:
        return existing
    sources = StoreSources(context.store, [request.source_key])
    start, stop = part_of(request.start, request.end, sources.facts(0).times, sources.name(0))
    if request.mode == "copy" and not request.preview:
        return _copied(request, context, output, sources, start, stop)
    return _rendered(request, context, output, sources, start, stop, Unchanged(), workers=1)


def render_overlay(request: RenderOverlayRequest, context: TaskContext) -> RenderResult:
    """The whole source under spotlights. Without regions, or with the effect `original`, it is copied; where
    its packets cannot be, its pictures are encoded again, and the result says so."""
    output = ClipOutput(context.store, "render_overlay", VERSION, request)
    existing = None if request.preview else output.existing()
    if existing is not None:
        return existing
    sources = StoreSources(context.store, [request.source_key])
    facts = sources.facts(0)
    degraded: tuple[str, ...] = ()
    if (not request.highlight_regions or request.effect_type == "original") and not request.preview:
        try:
            return _copied(request, context, output, sources, *facts.times)
        except BadInput as error:
            degraded = (f"encoded again: {error.message}",)
    transform = _Lit(request, facts)
    return _rendered(request, context, output, sources, *facts.times, transform, workers=2, degraded=degraded)


class _Lit:
    """A spotlight as a transform."""

    def __init__(self, request: RenderOverlayRequest, facts: SourceFacts) -> None:
        reference = request.reference_size
        across = facts.width / reference.width if reference else 1.0
        down = facts.height / reference.height if reference else 1.0
        scale = np.array([across, down, across, down, 1.0])
        regions = [
            SpotlightRegion(
                exact(region.start_time),
                exact(region.end_time),
                [exact(frame.time) for frame in region.keyframes],
                scale
                * np.array([(k.x, k.y, k.radius_x, k.radius_y, k.opacity) for k in region.keyframes], float),
            )
            for region in request.highlight_regions
        ]
        self._spotlight = Spotlight(
            regions,
            width=facts.width,
            height=facts.height,
            effect=request.effect_type,
            strength=request.strength,
            feather=request.feather,
            fade_out=exact(request.fade_out),
            interpolation=request.interpolation,
        )

    def apply(self, batch: Sequence[tuple[CroppedFrame, Fraction]]) -> list[CroppedFrame]:
        return [self._spotlight.apply(frame, moment) for frame, moment in batch]


def _rendered(
    request: Render,
    context: TaskContext,
    output: ClipOutput,
    sources: StoreSources,
    start: Fraction,
    stop: Fraction,
    transform: Transform,
    *,
    workers: int,
    degraded: tuple[str, ...] = (),
) -> RenderResult:
    """Every picture of a part of the source, at its own time, through a transform."""
    began = time.monotonic()
    facts = sources.facts(0)
    estimate = whole(start, stop, facts.frame_rate).frames
    if request.preview:
        return store_preview(
            context,
            output,
            _preview(
                sources, transform, start, stop, preview_numbers(estimate, request.preview), facts.frame_rate
            ),
            frames=estimate,
            duration=stop - start,
            frame_rate=facts.frame_rate,
            wanted=request.preview,
            start_seconds=float(start),
            notes=facts.notes,
        )
    with sources.open(0) as source:
        first = next(iter(source.pictures(start, stop)))
    begin = first.pts * facts.time_base
    length = stop - begin
    fmt = VideoFormat(facts.width, facts.height, facts.time_base, facts.frame_rate)
    path = context.scratch / "clip.mp4"

    def frames() -> Iterator:
        with sources.open(0) as source:
            yield from source_frames(source, start, stop)

    rendered = render_clip(
        frames,
        lambda _clip: transform,
        fmt,
        H264Settings(request.encoding.crf, request.encoding.preset),
        total=estimate,
        path=path,
        sound=_sound_of(sources, begin, length),
        cancel=context.cancel,
        on_progress=progress_of(context, output.kind, estimate),
        workers=workers,
    )
    return finish_render(
        context,
        output,
        path,
        fmt,
        rendered,
        started=began,
        start_seconds=float(begin),
        notes=facts.notes,
        degraded=degraded,
    )


def _sound_of(sources: StoreSources, start: Fraction, length: Fraction) -> Sound:
    """The sound that goes with a part of one source."""
    samples = samples_at(length)
    span = AudioSpan(0, start, start + length, Fraction(1), 0, samples)
    return Sound([span], samples, sources.open_bytes, sources.name)


def _preview(
    sources: StoreSources,
    transform: Transform,
    start: Fraction,
    stop: Fraction,
    numbers: Sequence[int],
    rate: Fraction,
) -> Iterator[tuple[Fraction, CroppedFrame]]:
    with sources.open(0) as source:
        for number in numbers:
            moment = min(start + number / rate, stop - source.time_base)
            frame = next(source_frames(source, moment, moment + 2 * source.time_base))
            yield moment - start, transformed([frame], lambda _clip: transform)[0][1]


def _copied(
    request: Render,
    context: TaskContext,
    output: ClipOutput,
    sources: StoreSources,
    start: Fraction,
    stop: Fraction,
) -> RenderResult:
    """A part of the source without encoding anything."""
    began = time.monotonic()
    facts = sources.facts(0)
    path = context.scratch / "clip.mp4"
    with sources.open_bytes(0) as source:
        copied = copy_range(source, start, stop, path, name=sources.name(0))
    try:
        checked = verify_clip(
            path,
            frames=copied.frames,
            width=facts.width,
            height=facts.height,
            duration=copied.stop - copied.start,
            pts=None,
            audio=facts.has_audio,
            copied=True,
        )
    except Internal as error:
        raise BadInput(
            f"its packets do not make a clip that plays: {error.message}",
            input=sources.name(0),
            what_to_do="use mode accurate, or upload the file again if that says it is damaged",
        ) from error
    return store_clip(
        context,
        output,
        path,
        checked,
        None,
        started=began,
        frame_rate=str(facts.frame_rate),
        start_seconds=float(copied.start),
        copied=True,
    )
