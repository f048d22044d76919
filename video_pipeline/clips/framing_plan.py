"""Clips as they are to be framed: what is shown when, and their pictures through crops and one network.

Belongs here: what one clip, a chunk of it and several joined clips have in common. Does not belong here: the
tasks (`framing.py`, `joining.py`), frame arithmetic (`timeline.py`), the crop's pixels (`reframe.py`).
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
from video_pipeline.clips.finishing import Box, progress_of, store_preview
from video_pipeline.clips.interpolation import Curve
from video_pipeline.clips.preview_cost import foretold
from video_pipeline.clips.publishing import ClipOutput
from video_pipeline.clips.reframe import PLAIN_GRID, Reframer
from video_pipeline.clips.render import Rendered, Sound, preview_frames, render_clip
from video_pipeline.clips.request import FramedOutput, Framing, ProcessFramingAiRequest
from video_pipeline.clips.request_base import Encoding, exact
from video_pipeline.clips.result import RenderResult
from video_pipeline.clips.shots import OutputFrame, Shot, preview_numbers, programme_frames
from video_pipeline.clips.sources import SourceFacts, StoreSources
from video_pipeline.clips.timeline import Programme, framed_timeline, join, segments_outside
from video_pipeline.costs.in_use import plan_of_render
from video_pipeline.errors import BadInput
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.h264 import H264Settings, VideoFormat
from video_pipeline.telemetry.timing import timed_operation
from video_pipeline.telemetry.usage import FramePace

if TYPE_CHECKING:
    from video_pipeline.costs.plan import Plan
    from video_pipeline.models.upscaler import Upscaler
    from video_pipeline.store.base import ObjectStore
    from video_pipeline.worker import TaskContext


@dataclass(frozen=True)
class FramingPlan:
    """Clips to be framed, in exact numbers: what is shown when."""

    programme: Programme
    format: VideoFormat
    sources: StoreSources
    cost_plan: Callable[[], Plan | None] = lambda: None
    """Looks up the deployment's plan that a clip's calls go by, where it may be made in several."""

    @classmethod
    def of(cls, request: ProcessFramingAiRequest, store: ObjectStore, output: ClipOutput) -> FramingPlan:
        """For one clip. BadInput if its times are not in the video."""
        sources = StoreSources(store, [request.source_key], output.versions)
        timeline = framed_timeline(request, sources.facts(0).times, request.rate, sources.name(0))
        programme = join([timeline], "cut", 0.5, [sources.name(0)])
        return cls(programme, format_of(request), sources, lambda: plan_of_render(store, output.parts_prefix))

    @property
    def start_seconds(self) -> float:
        """The source time of the first picture of the first clip."""
        return float(self.programme.clips[0].timeline.pieces[0].start)

    def crop_box(self, output: FramedOutput, framings: Sequence[Framing]) -> Callable[[Shot], Box]:
        """Tells what part of a source picture the output shows, in its pixels."""

        def box(shot: Shot) -> Box:
            facts = self.sources.facts(shot.clip)
            curve = crop_curve(framings[shot.clip], facts)
            crop = Reframer(curve, _shape(output, facts), None).crop_at(shot.time)
            left, top, width, height = (
                value / crop.grid for value in (crop.left, crop.top, crop.width, crop.height)
            )
            return left, top, width, height

        return box

    def enlarges(self, output: FramedOutput, framings: Sequence[Framing]) -> bool:
        """Whether any of the clips needs the network."""
        return any(
            needs_network(output, framing, self.sources.facts(number))
            for number, framing in enumerate(framings)
        )

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
        curve, shape = crop_curve(framing, facts), _shape(self.output, facts)
        if not needs_network(self.output, framing, facts):
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
        placed = self.plan.programme.clips
        for place, (framing, clip) in enumerate(zip(self.framings, placed, strict=True), 1):
            of = f" of clip {place}" if len(self.framings) > 1 else ""
            notes += [
                f"segment {number}{of} changes nothing: it lies outside of what is shown"
                for number in segments_outside(framing, clip.timeline)
            ]
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


def needs_network(output: FramedOutput, framing: Framing, facts: SourceFacts) -> bool:
    """Whether the crop has at some time fewer pixels than the output, and the network may make them."""
    if output.upscale == "never":
        return False
    return may_need_upscaling(crop_curve(framing, facts).values, _shape(output, facts), PLAIN_GRID)


def _shape(output: FramedOutput, facts: SourceFacts) -> Shape:
    return Shape(facts.width, facts.height, output.output_width, output.output_height)


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
    """Some frames of a programme, how long it will be, and what it would cost."""
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
        **foretold(
            context,
            output.kind,
            programme.frames,
            enlarged=plan.enlarges(frames.output, frames.framings),
            rate=programme.rate,
        ),
    )
    return result.model_copy(update=frames.facts())
