"""The tasks that keep the source's own pictures and times: `extract_clip` and `render_overlay`.

Belongs here: from their requests to a render. Does not belong here: copied packets (`copying.py`), the
spotlight's pixels (`spotlight.py`), the stream (`render.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.clips.copying import copy_part, publish_copy
from video_pipeline.clips.finishing import finish_render, progress_of, store_preview
from video_pipeline.clips.preview_cost import COPIED, foretold
from video_pipeline.clips.publishing import ClipOutput
from video_pipeline.clips.render import Sound, Transform, Unchanged, render_clip, transformed
from video_pipeline.clips.request import ExtractClipRequest, RenderOverlayRequest
from video_pipeline.clips.request_base import Render, exact
from video_pipeline.clips.result import RenderResult
from video_pipeline.clips.shots import OutputFrame, end_tick, source_frames
from video_pipeline.clips.sources import SourceFacts, StoreSources
from video_pipeline.clips.spotlight import Spotlight, SpotlightRegion
from video_pipeline.clips.timeline import part_of
from video_pipeline.errors import BadInput
from video_pipeline.media.clip_audio import AudioSpan, samples_at
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.h264 import H264Settings, VideoFormat
from video_pipeline.telemetry.usage import FramePace

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
    sources = StoreSources(context.store, [request.source_key], output.versions)
    start, stop = part_of(request.start, request.end, sources.facts(0).times, sources.name(0))
    if request.mode == "copy":
        copied = copy_part(context, sources, start, stop)
        if not request.preview:
            return publish_copy(context, output, sources, copied)
        start, stop = copied.start, copied.stop
    return _rendered(
        request,
        context,
        output,
        sources,
        start,
        stop,
        Unchanged(),
        workers=1,
        will_be_copied=request.mode == "copy",
    )


def render_overlay(request: RenderOverlayRequest, context: TaskContext) -> RenderResult:
    """The whole source under spotlights. Without regions, or with the effect `original`, it is copied; where
    its packets cannot be, its pictures are encoded again, and the result says so."""
    output = ClipOutput(context.store, "render_overlay", VERSION, request)
    existing = None if request.preview else output.existing()
    if existing is not None:
        return existing
    sources = StoreSources(context.store, [request.source_key], output.versions)
    facts = sources.facts(0)
    degraded: tuple[str, ...] = ()
    unchanged = not request.highlight_regions or request.effect_type == "original"
    if unchanged and not request.preview:
        try:
            copied = copy_part(context, sources, *facts.times)
            return publish_copy(context, output, sources, copied)
        except BadInput as error:
            degraded = (f"encoded again: {error.message}",)
    transform = _Lit(request, facts)
    return _rendered(
        request,
        context,
        output,
        sources,
        *facts.times,
        transform,
        workers=2,
        degraded=degraded,
        notes=_unseen(request, facts),
        will_be_copied=unchanged,
    )


def _unseen(request: RenderOverlayRequest, facts: SourceFacts) -> tuple[str, ...]:
    """No mistake where a clip was cut shorter; else wrong times, which nothing else would tell."""
    return tuple(
        f"highlight region {number} is not seen: it lies outside of the clip"
        for number, region in enumerate(request.highlight_regions, 1)
        if exact(region.end_time) <= facts.start or exact(region.start_time) >= facts.stop
    )


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
    notes: tuple[str, ...] = (),
    will_be_copied: bool = False,
) -> RenderResult:
    """Every picture of a part of the source, at its own time, through a transform. `will_be_copied` is of a
    preview whose clip nothing encodes."""
    began = time.monotonic()
    facts = sources.facts(0)
    tick = facts.time_base
    end = end_tick(start, stop, tick) * tick
    with sources.open(0) as source:
        # The picture shown at `start` may have begun before.
        begin = next(source.pictures(start, end)).pts * tick
        estimate = source.count(begin, end)
    if request.preview:
        wanted = min(request.preview, estimate)
        cost = {"not_foretold": COPIED} if will_be_copied else foretold(context, output.kind, estimate)
        return store_preview(
            context,
            output,
            _preview(sources, transform, begin, end, wanted),
            frames=estimate,
            duration=end - begin,
            frame_rate=facts.frame_rate,
            wanted=wanted,
            start_seconds=float(begin),
            notes=(*facts.notes, *notes),
            **cost,
        )
    fmt = VideoFormat(facts.width, facts.height, Fraction(1, tick.denominator), facts.frame_rate)
    path = context.scratch / "clip.mp4"

    def frames() -> Iterator[OutputFrame]:
        with sources.open(0) as source:
            yield from source_frames(source, start, stop)

    rendered = render_clip(
        frames,
        lambda _clip: transform,
        fmt,
        H264Settings(request.encoding.crf, request.encoding.preset),
        total=estimate,
        path=path,
        sound=_sound_of(sources, begin, end - begin),
        cancel=context.cancel,
        on_progress=progress_of(context, output.kind, estimate),
        on_frames=FramePace(context.usage).done,
        workers=workers,
    )
    context.usage.bytes_read = sources.bytes_read
    return finish_render(
        context,
        output,
        path,
        fmt,
        rendered,
        started=began,
        start_seconds=float(begin),
        made_of=sources.key(0),
        notes=(*facts.notes, *notes),
        degraded=degraded,
    )


def _sound_of(sources: StoreSources, start: Fraction, length: Fraction) -> Sound:
    """The sound that goes with a part of one source."""
    samples = samples_at(length)
    span = AudioSpan(0, start, start + length, Fraction(1), 0, samples)
    return Sound([span], samples, sources.open_bytes, sources.name)


def _preview(
    sources: StoreSources, transform: Transform, start: Fraction, stop: Fraction, wanted: int
) -> Iterator[tuple[Fraction, CroppedFrame]]:
    """Pictures evenly spread over the part, each at the middle of its share."""
    with sources.open(0) as source:
        for place in range(wanted):
            moment = start + (stop - start) * Fraction(2 * place + 1, 2 * wanted)
            until = min(moment + 2 * source.time_base, source.stop)
            frame = next(source_frames(source, min(moment, until - source.time_base), until))
            yield moment - start, transformed([frame], lambda _clip: transform)[0][1]
