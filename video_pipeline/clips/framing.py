"""`process_framing_ai`: a clip cropped along key frames, enlarged by a network, at another size and rate.

Belongs here: its task, whole or as one chunk of a parallel one, and what it writes. Does not belong here: the
pictures (`framing_plan.py`, `reframe.py`), spreading chunks (`parallel.py`), several clips (`joining.py`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from video_pipeline.clips.finishing import finish_render
from video_pipeline.clips.framing_plan import Frames, FramingPlan, one_torch_thread, preview_programme
from video_pipeline.clips.publishing import ClipOutput, put_checked
from video_pipeline.clips.request import ProcessFramingAiChunkRequest, ProcessFramingAiRequest
from video_pipeline.clips.result import ChunkResult, RenderResult
from video_pipeline.errors import BadInput
from video_pipeline.media.h264 import segment_frames
from video_pipeline.telemetry.table import wall_seconds
from video_pipeline.telemetry.timing import timed_operation

if TYPE_CHECKING:
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
