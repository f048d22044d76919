"""`process_multi_clip` and `create_annotated_compilation`: several clips as one.

Belongs here: from their requests to one programme and its transforms. Does not belong here: frame arithmetic
(`timeline.py`), the crop (`reframe.py`), what is written over a clip (`annotate.py`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from video_pipeline.clips.annotate import Annotation, Annotator
from video_pipeline.clips.finishing import finish_render, progress_of, store_preview
from video_pipeline.clips.fit import Fitter
from video_pipeline.clips.framing_plan import (
    Frames,
    FramingPlan,
    format_of,
    one_torch_thread,
    preview_programme,
)
from video_pipeline.clips.preview_cost import foretold
from video_pipeline.clips.publishing import ClipOutput
from video_pipeline.clips.render import preview_frames, render_clip
from video_pipeline.clips.request import CreateAnnotatedCompilationRequest, ProcessMultiClipRequest
from video_pipeline.clips.request_base import exact
from video_pipeline.clips.result import RenderResult
from video_pipeline.clips.shots import preview_numbers, programme_frames
from video_pipeline.clips.sources import StoreSources
from video_pipeline.clips.timeline import ClipTimeline, framed_timeline, join, part_of, whole
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.h264 import H264Settings, VideoFormat
from video_pipeline.telemetry.usage import FramePace

if TYPE_CHECKING:
    from video_pipeline.worker import TaskContext

VERSION = 1


def process_multi_clip(request: ProcessMultiClipRequest, context: TaskContext) -> RenderResult:
    """Clips, each with its own crop and speeds, joined with transitions: one load of the network."""
    began = time.monotonic()
    output = ClipOutput(context.store, "process_multi_clip", VERSION, request)
    existing = None if request.preview else output.existing()
    if existing is not None:
        return existing
    sources = StoreSources(context.store, [clip.source_key for clip in request.clips], output.versions)
    names = [f"clip {number + 1}, {sources.name(number)}" for number in range(len(request.clips))]
    timelines = [
        framed_timeline(clip, sources.facts(number).times, request.rate, names[number])
        for number, clip in enumerate(request.clips)
    ]
    programme = join(timelines, request.transition, request.transition_seconds, names)
    plan = FramingPlan(programme, format_of(request), sources)
    with one_torch_thread(), Frames(request, request.encoding, request.clips, plan, context) as frames:
        if request.preview:
            return preview_programme(context, output, plan, frames, request.preview)
        path = context.scratch / "clip.mp4"
        rendered = frames.render(path, plan.sound())
        facts = frames.facts()
    context.usage.bytes_read = sources.bytes_read
    return finish_render(
        context,
        output,
        path,
        plan.format,
        rendered,
        started=began,
        mark=plan.crop_box(request, request.clips),
        **facts,
    )


def create_annotated_compilation(
    request: CreateAnnotatedCompilationRequest, context: TaskContext
) -> RenderResult:
    """Clips one after the other, each with its name, notes, rating and tags written over it."""
    began = time.monotonic()
    output = ClipOutput(context.store, "create_annotated_compilation", VERSION, request)
    existing = None if request.preview else output.existing()
    if existing is not None:
        return existing
    sources = StoreSources(context.store, [clip.source_key for clip in request.clips], output.versions)
    fmt = _format_of(request, sources)
    names = [f"clip {number + 1}, {sources.name(number)}" for number in range(len(request.clips))]
    timelines = [
        whole(*part_of(clip.start, clip.end, sources.facts(number).times, names[number]), fmt.frame_rate)
        for number, clip in enumerate(request.clips)
    ]
    programme = join(timelines, request.transition, request.transition_seconds, names)
    plan = FramingPlan(programme, fmt, sources)
    # Laid out before anything is rendered: letters that no font has are refused at once.
    writers = [
        _Written(_annotation(clip), fmt.width, fmt.height, _until(timeline, request.annotation_seconds))
        for clip, timeline in zip(request.clips, timelines, strict=True)
    ]
    degraded = tuple(
        f"{name}: {note}" for name, writer in zip(names, writers, strict=True) for note in writer.notes
    )
    transform = writers.__getitem__

    def frames(first: int, stop: int):
        return programme_frames(programme, fmt, sources.open, first, stop)

    if request.preview:
        numbers = preview_numbers(programme.frames, request.preview)
        shown = preview_frames(frames, transform, numbers)
        return store_preview(
            context,
            output,
            ((number / programme.rate, picture) for number, picture in shown),
            frames=programme.frames,
            duration=programme.duration,
            frame_rate=programme.rate,
            wanted=len(numbers),
            degraded=degraded,
            notes=sources.notes(),
            **foretold(context, output.kind, programme.frames),
        )
    path = context.scratch / "clip.mp4"
    rendered = render_clip(
        lambda: frames(0, programme.frames),
        transform,
        fmt,
        H264Settings(request.encoding.crf, request.encoding.preset),
        total=programme.frames,
        path=path,
        sound=plan.sound(),
        cancel=context.cancel,
        on_progress=progress_of(context, output.kind, programme.frames),
        on_frames=FramePace(context.usage).done,
        workers=2,
    )
    context.usage.bytes_read = sources.bytes_read
    return finish_render(
        context,
        output,
        path,
        fmt,
        rendered,
        started=began,
        degraded=degraded,
        notes=sources.notes(),
    )


def _format_of(request: CreateAnnotatedCompilationRequest, sources: StoreSources) -> VideoFormat:
    first = sources.facts(0)
    rate = Fraction(request.fps) if request.fps is not None else first.frame_rate
    width = request.output_width or first.width
    height = request.output_height or first.height
    return VideoFormat(width, height, Fraction(1, rate.numerator), rate)


def _annotation(clip) -> Annotation:
    return Annotation(name=clip.name, notes=clip.notes, rating=clip.rating, tags=clip.tags)


def _until(timeline: ClipTimeline, seconds: float | None) -> Fraction | None:
    """The source's second at which a clip of one piece, at its own speed, has been shown for `seconds`."""
    return None if seconds is None else timeline.pieces[0].start + exact(seconds)


@dataclass
class _Written:
    """A clip fitted into the output and written over."""

    annotation: Annotation
    width: int
    height: int
    until: Fraction | None
    """The source's second from which on nothing is written; None: over all of the clip."""

    notes: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        self._fitter = Fitter(self.width, self.height)
        self._annotator = Annotator(self.annotation, self.width, self.height)
        self.notes = self._annotator.notes

    def apply(self, batch: Sequence[tuple[CroppedFrame, Fraction]]) -> list[CroppedFrame]:
        fitted = [(self._fitter.apply(frame), time) for frame, time in batch]
        return [frame if self._is_over(time) else self._annotator.apply(frame) for frame, time in fitted]

    def _is_over(self, time: Fraction) -> bool:
        return self.until is not None and time >= self.until
