"""`process_framing_ai`: a clip cropped along key frames, enlarged by a network, at another size and rate.

Belongs here: from a framing request to a render, whole or as one chunk of a parallel one. Does not belong
here: the crop's pixels (`reframe.py`), spreading chunks (`parallel.py`), several clips (`joining.py`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.clips.crop import Shape, may_need_upscaling
from video_pipeline.clips.finishing import Box, finish_render, progress_of, store_preview
from video_pipeline.clips.interpolation import Curve
from video_pipeline.clips.publishing import ClipOutput, put_checked
from video_pipeline.clips.reframe import PLAIN_GRID, Reframer
from video_pipeline.clips.render import Rendered, Sound, preview_frames, render_clip
from video_pipeline.clips.request import (
    Encoding,
    FramedOutput,
    Framing,
    ProcessFramingAiChunkRequest,
    ProcessFramingAiRequest,
    exact,
)
from video_pipeline.clips.result import ChunkResult, RenderResult
from video_pipeline.clips.shots import OutputFrame, Shot, preview_numbers, programme_frames
from video_pipeline.clips.sources import SourceFacts, StoreSources
from video_pipeline.clips.timeline import Programme, framed_timeline, join
from video_pipeline.errors import BadInput
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.h264 import H264Settings, VideoFormat, segment_frames
from video_pipeline.telemetry.table import wall_seconds
from video_pipeline.telemetry.timing import timed_operation
from video_pipeline.telemetry.usage import FramePace

if TYPE_CHECKING:
    from video_pipeline.models.upscaler import Upscaler
    from video_pipeline.store.base import ObjectStore
    from video_pipeline.worker import TaskContext

KIND = "process_framing_ai"
VERSION = 1


def process_framing_ai(request: ProcessFramingAiRequest, context: TaskContext) -> RenderResult:
    """The whole clip in this process."""
    began = time.monotonic()
    output = framed_output(context.store, request)
    existing = None if request.preview else output.existing()
    if existing is not None:
        return existing
    plan = FramingPlan.of(request, context.store, output)
    with one_torch_thread(), Frames(request, request.encoding, [request], plan, context) as frames:
        if request.preview:
            return preview_programme(context, output, plan, frames, request.preview)
        path = context.scratch / "clip.mp4"
        rendered = frames.render(path, plan.sound())
        facts = frames.facts()
    context.usage.bytes_read = plan.sources.bytes_read
    result = finish_render(
        context,
        output,
        path,
        plan.format,
        rendered,
        started=began,
        start_seconds=plan.start_seconds,
        made_of=request.source_key,
        mark=plan.crop_box(request, [request]),
        **facts,
    )
    delete_parts(context.store, output)  # of a chunked render of the same clip that was killed
    return result


def delete_parts(store: ObjectStore, output: ClipOutput) -> None:
    """Take away every part of a clip that is there whole: nobody needs them any more."""
    for item in list(store.list(output.parts_prefix)):
        store.delete(item.key)


def process_framing_ai_chunk(request: ProcessFramingAiChunkRequest, context: TaskContext) -> ChunkResult:
    """Output frames `start_frame` to `end_frame` of the clip as a part. Reads only what they need."""
    output = framed_output(context.store, request)
    plan = FramingPlan.of(request, context.store, output)
    first, stop = request.start_frame, request.end_frame
    segment = segment_frames(plan.format.frame_rate)
    if first % segment or stop > plan.programme.frames or (stop % segment and stop != plan.programme.frames):
        raise BadInput(
            f"frames {first} to {stop} are no chunk of {plan.programme.frames} in segments of {segment}",
            input=f"{request.tenant_id}--{request.clip_id}",
            what_to_do="begin and end at multiples of the segment, or end with the clip",
        )
    with one_torch_thread(), Frames(request, request.encoding, [request], plan, context) as frames:
        path = context.scratch / "part"
        rendered = frames.render(path, None, first, stop)
        facts = frames.facts()
    with timed_operation("upload"):
        part = put_checked(context.store, part_key(output, first, stop), path)
    usage, fmt = context.usage, plan.format
    usage.frames, usage.video_seconds = rendered.frames, float(rendered.frames / fmt.frame_rate)
    usage.output_pixels, usage.bytes_written = fmt.width * fmt.height, part.size
    usage.bytes_read = plan.sources.bytes_read
    phases = {
        name: round(wall_seconds(context.recorder.spans(), (name,)), 4)
        for name in ("model_load", "decode", "transform", "encode", "upload")
    }
    return ChunkResult(
        part_key=part.key,
        start_frame=first,
        end_frame=stop,
        frames=rendered.frames,
        sha256=part.sha256,
        size_bytes=part.size,
        phases=phases,
        **facts,
    )


def part_key(output: ClipOutput, first: int, stop: int) -> str:
    return f"{output.parts_prefix}{first:08d}-{stop:08d}.part"


def framed_output(store: ObjectStore, request: ProcessFramingAiRequest) -> ClipOutput:
    """One recipe for the whole, its chunks and the parallel render: they make the same clip."""
    return ClipOutput(store, KIND, VERSION, request)


@dataclass(frozen=True)
class FramingPlan:
    """Clips to be framed, in exact numbers: what is shown when."""

    programme: Programme
    format: VideoFormat
    sources: StoreSources

    @classmethod
    def of(cls, request: ProcessFramingAiRequest, store: ObjectStore, output: ClipOutput) -> FramingPlan:
        """For one clip. BadInput if its times are not in the video."""
        sources = StoreSources(store, [request.source_key], output.versions)
        timeline = framed_timeline(request, sources.facts(0).times, request.rate, sources.name(0))
        return cls(join([timeline], "cut", 0.5, [sources.name(0)]), format_of(request), sources)

    @property
    def start_seconds(self) -> float:
        """The source time of the first picture of the first clip."""
        return float(self.programme.clips[0].timeline.pieces[0].start)

    def crop_box(self, output: FramedOutput, framings: Sequence[Framing]) -> Callable[[Shot], Box]:
        """Tells what part of a source picture the output shows, in its pixels."""

        def box(shot: Shot) -> Box:
            facts = self.sources.facts(shot.clip)
            curve = crop_curve(framings[shot.clip], facts)
            shape = Shape(facts.width, facts.height, output.output_width, output.output_height)
            crop = Reframer(curve, shape, None).crop_at(shot.time)
            left, top, width, height = (
                value / crop.grid for value in (crop.left, crop.top, crop.width, crop.height)
            )
            return left, top, width, height

        return box

    def sound(self) -> Sound:
        spans = self.programme.audio_spans()
        return Sound(spans, self.programme.audio_samples, self.sources.open_bytes, self.sources.name)


def format_of(output: FramedOutput) -> VideoFormat:
    rate = output.rate
    return VideoFormat(output.output_width, output.output_height, Fraction(1, rate.numerator), rate)


@dataclass
class Frames:
    """The clips of a plan through their crops and one network, loaded when the first crop needs it."""

    output: FramedOutput
    encoding: Encoding
    framings: Sequence[Framing]
    plan: FramingPlan
    context: TaskContext
    upscaler: Upscaler | None = None
    framed: dict[int, Framed] = field(default_factory=dict)

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        self.framed.clear()
        self.upscaler = None

    def render(self, path: Path, sound: Sound | None, first: int = 0, stop: int | None = None) -> Rendered:
        stop = self.plan.programme.frames if stop is None else stop
        return render_clip(
            lambda: self.frames(first, stop),
            self.transform,
            self.plan.format,
            H264Settings(self.encoding.crf, self.encoding.preset),
            total=stop - first,
            path=path,
            sound=sound,
            first=first,
            cancel=self.context.cancel,
            on_progress=progress_of(self.context, "render", stop - first),
            on_frames=FramePace(self.context.usage).done,
        )

    def frames(self, first: int, stop: int) -> Iterator[OutputFrame]:
        """The frames before their transform. Notes how long after the task's beginning the first is there."""
        frames = programme_frames(self.plan.programme, self.plan.format, self.plan.sources.open, first, stop)
        with contextlib.closing(frames):
            for frame in frames:
                if self.context.usage.chunk_download_overhead_ms is None:
                    overhead_s = time.monotonic() - self.context.began
                    self.context.usage.chunk_download_overhead_ms = round(overhead_s * 1000, 3)
                yield frame

    def transform(self, clip: int) -> Framed:
        if clip not in self.framed:
            self.framed[clip] = self._framed(self.framings[clip], self.plan.sources.facts(clip))
        return self.framed[clip]

    def _framed(self, framing: Framing, facts: SourceFacts) -> Framed:
        curve = crop_curve(framing, facts)
        shape = Shape(facts.width, facts.height, self.output.output_width, self.output.output_height)
        if self.output.upscale == "never" or not may_need_upscaling(curve.values, shape, PLAIN_GRID):
            return Framed(Reframer(curve, shape, None))
        if self.upscaler is None:
            self.upscaler = self._load()
        return Framed(Reframer(curve, shape, self.upscaler))

    def _load(self) -> Upscaler:
        from video_pipeline.models import kept
        from video_pipeline.models.upscaler import load_upscaler

        weights = None
        if self.output.weights_key is not None:
            weights = self.context.scratch / f"weights{Path(self.output.weights_key).suffix}"
            weights.write_bytes(self.context.store.get(self.output.weights_key))
        half = device().startswith("cuda") and self.output.precision == "auto"
        with timed_operation("model_load"):
            try:
                if weights is None:
                    return kept.upscaler(device(), half=half)
                return load_upscaler(device(), weights, half=half)
            except BadInput as error:
                if self.output.weights_key is None:
                    raise
                raise BadInput(
                    error.message, input=self.output.weights_key, what_to_do=error.what_to_do
                ) from error

    def facts(self) -> dict:
        """What the result says of the network and of the sources."""
        notes = [*self.plan.sources.notes()]
        plain = sum(framed.reframer.upscaler is None for framed in self.framed.values())
        if plain and self.output.upscale == "auto":
            notes.append(
                f"not enlarged by the network, since the source has enough pixels: {plain} of "
                f"{len(self.framings)} clips"
            )
        return {
            "enlarged_frames": sum(framed.enlarged for framed in self.framed.values()),
            "model_sha256": self.upscaler.sha256 if self.upscaler is not None else None,
            "notes": tuple(notes),
        }


@dataclass
class Framed:
    """A crop as a transform that counts what went through the network."""

    reframer: Reframer
    enlarged: int = 0

    def apply(self, batch: Sequence[tuple[CroppedFrame, Fraction]]) -> list[CroppedFrame]:
        self.enlarged += sum(self.reframer.upscales_at(moment) for _, moment in batch)
        return self.reframer.render(batch)


def crop_curve(framing: Framing, facts: SourceFacts) -> Curve:
    """The crop's left, top, width and height in pixels of the displayed source, over source seconds."""
    reference = framing.reference_size
    x_scale = facts.width / reference.width if reference else 1.0
    y_scale = facts.height / reference.height if reference else 1.0
    values = np.array(
        [
            (frame.x * x_scale, frame.y * y_scale, frame.width * x_scale, frame.height * y_scale)
            for frame in framing.keyframes
        ]
    )
    return Curve([exact(frame.time) for frame in framing.keyframes], values, framing.interpolation)


def device() -> str:
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """On a CPU the network takes every core; on a GPU torch's own threads would take those that decode and
    encode, and spin."""
    import torch

    if not torch.cuda.is_available():
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def preview_programme(
    context: TaskContext, output: ClipOutput, plan: FramingPlan, frames: Frames, wanted: int
) -> RenderResult:
    """Some frames of a programme, and how long it will be."""
    programme = plan.programme
    numbers = preview_numbers(programme.frames, wanted)
    shown = preview_frames(frames.frames, frames.transform, numbers)
    result = store_preview(
        context,
        output,
        ((number / programme.rate, picture) for number, picture in shown),
        frames=programme.frames,
        duration=programme.duration,
        frame_rate=programme.rate,
        wanted=len(numbers),
    )
    return result.model_copy(update=frames.facts())
