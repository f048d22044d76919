"""`process_framing_ai_parallel`: one clip in several calls, joined without a seam.

Belongs here: how many chunks, their frame ranges, joining, and taking the parts away. Does not belong here:
a chunk's own work (`framing.py`), running calls (`compute.fan_out`).

A chunk is a whole number of the encoder's segments, each of which begins with a fresh encoder wherever it is
made. So the joined clip has the same packets as one rendered in one process, however many chunks there are,
as long as the network gives the same numbers. On a CPU it does. Not measured: GPUs of different types, where
a picture may be a step of 255 away here and there.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO, cast

from video_pipeline.clips.finishing import finish_render
from video_pipeline.clips.foretelling import (
    CHUNK,
    chunks_that_pay,
    model_for,
    note_prediction,
    prediction_of,
)
from video_pipeline.clips.framing import KIND, delete_parts, framed_output, part_key
from video_pipeline.clips.framing_plan import FramingPlan
from video_pipeline.clips.preview_cost import PARALLEL, foretold
from video_pipeline.clips.publishing import ClipOutput
from video_pipeline.clips.render import Rendered, sound_of
from video_pipeline.clips.request import (
    ProcessFramingAiChunkRequest,
    ProcessFramingAiParallelRequest,
    ProcessFramingAiRequest,
)
from video_pipeline.clips.result import ChunkResult, ChunkRow, RenderResult
from video_pipeline.clips.shots import Shot, programme_frames
from video_pipeline.compute.fan_out import fan_out
from video_pipeline.errors import BadInput, Internal, Preempted, Transient
from video_pipeline.media.clip_source import ClipSource
from video_pipeline.media.h264 import EncodedPacket, segment_frames
from video_pipeline.media.h264_parts import Part, read_part
from video_pipeline.media.mp4_write import ClipWriter
from video_pipeline.store.base import ObjectMissing
from video_pipeline.telemetry.timing import timed_operation

if TYPE_CHECKING:
    from pathlib import Path

    from video_pipeline.calls import ResultRecord
    from video_pipeline.media.frames import CroppedFrame
    from video_pipeline.store.base import ObjectStore
    from video_pipeline.worker import TaskContext


def process_framing_ai_parallel(
    request: ProcessFramingAiParallelRequest, context: TaskContext
) -> RenderResult:
    """The clip of `process_framing_ai`, in `num_chunks` calls. Parts are deleted when the clip is there, and
    when the render fails; those of a killed one are used by the next. The result has what the cost model
    foretold of it on its machines, and a preview what it foretells."""
    whole = _whole(request)
    wanted = request.num_chunks if isinstance(request.num_chunks, int) else None
    if request.preview:
        return _preview(whole, context, wanted)
    began = time.monotonic()
    output = framed_output(context.store, whole)
    existing = output.existing()
    if existing is not None:
        delete_parts(context.store, output)
        return existing
    plan = FramingPlan.of(whole, context.store, output)
    frames, rate = plan.programme.frames, plan.format.frame_rate
    model = model_for(whole, plan, context.compute.backend)
    ranges = chunk_ranges(frames, rate, wanted or chunks_that_pay(frames, rate, model))
    prediction = None if model is None else prediction_of(model, frames, len(ranges))
    note_prediction(context, prediction)
    if len(ranges) == 1:
        result = _in_one_call(whole, context).model_copy(update={"prediction": prediction})
        delete_parts(context.store, output)
        return result
    chunks = [_chunk(whole, first, stop) for first, stop in ranges]
    try:
        with timed_operation("chunks", {"chunks": len(chunks)}):
            records = fan_out(context, CHUNK, chunks, at_once=_at_once(context))
        results = [ChunkResult.model_validate(record.result) for record in records]
        rendered, path = _join(context, output, plan, results)
        rendered.before, rendered.after = _pair(plan, path)
        fields = _facts(results, records)
        context.usage.bytes_read = plan.sources.bytes_read  # its sound and one picture; chunks say theirs
        result = finish_render(
            context,
            output,
            path,
            plan.format,
            rendered,
            started=began,
            start_seconds=plan.start_seconds,
            made_of=whole.source_key,
            mark=plan.crop_box(whole, [whole]),
            prediction=prediction,
            **fields,
        )
    except BaseException as error:
        if not _goes_on_elsewhere(context, error):
            with contextlib.suppress(Exception):
                for first, stop in ranges:
                    context.store.delete(part_key(output, first, stop))
        raise
    with timed_operation("cleanup"):
        delete_parts(context.store, output)
    return result


def _in_one_call(request: ProcessFramingAiRequest, context: TaskContext) -> RenderResult:
    """What needs no chunks, in a call of its own, whose reports this one shows: it runs where no GPU is."""
    (record,) = fan_out(context, KIND, [request])
    for name, key in record.report_keys.items():
        context.attach_report(name, context.store.get(key))
    return RenderResult.model_validate(record.result)


def _preview(whole: ProcessFramingAiRequest, context: TaskContext, wanted: int | None) -> RenderResult:
    """The pictures of a call that renders them, and what the chunks would cost instead of one call."""
    result = _in_one_call(whole, context)
    plan = FramingPlan.of(whole, context.store, framed_output(context.store, whole))
    cost = foretold(
        context,
        PARALLEL,
        result.frames,
        enlarged=plan.enlarges(whole, [whole]),
        rate=Fraction(result.frame_rate),
        wanted=wanted,
    )
    return result.model_copy(update=cost)


def _pair(plan: FramingPlan, path: Path) -> tuple[Shot, CroppedFrame]:
    """The source's picture of the middle frame, and that frame of the joined clip."""
    programme, middle = plan.programme, plan.programme.frames // 2
    frame = next(programme_frames(programme, plan.format, plan.sources.open, middle, middle + 1))
    moment = middle / programme.rate
    with ClipSource(path, name=path.name) as made:
        after = next(made.pictures(moment, moment + plan.format.time_base))
    return frame.shots[0], after.frame


def _goes_on_elsewhere(context: TaskContext, error: BaseException) -> bool:
    """Whether another attempt will use the parts: after a machine was taken away, after an error that is
    retried, and where another worker has taken the call over already."""
    told_by_machine = context.cancel.cancelled and context.cancel.reason.startswith("SIG")
    return context.claim_lost or told_by_machine or isinstance(error, Transient | Preempted)


def _whole(request: ProcessFramingAiParallelRequest) -> ProcessFramingAiRequest:
    return ProcessFramingAiRequest.model_validate(request.model_dump(exclude={"num_chunks"}))


def _chunk(request: ProcessFramingAiRequest, first: int, stop: int) -> ProcessFramingAiChunkRequest:
    fields = request.model_dump(exclude={"preview"})
    return ProcessFramingAiChunkRequest(**fields, start_frame=first, end_frame=stop)


def chunk_ranges(frames: int, rate: Fraction, wanted: int) -> list[tuple[int, int]]:
    """Half-open ranges of output frames on segment borders, as even as segments allow; no more of them than
    segments."""
    segment = segment_frames(rate)
    segments = -(-frames // segment)
    count = max(1, min(wanted, segments))
    borders = [place * segments // count * segment for place in range(count)] + [frames]
    return list(itertools.pairwise(borders))


def _at_once(context: TaskContext) -> int | None:
    """How many chunks run side by side. On this machine's own GPUs one each: every call takes up to 2 GiB of
    the network's memory and a context of its own. None leaves it to the backend."""
    import torch

    gpus = torch.cuda.device_count() if context.compute.backend == "local" else 0
    return gpus or None


def _join(
    context: TaskContext, output: ClipOutput, plan: FramingPlan, results: Sequence[ChunkResult]
) -> tuple[Rendered, Path]:
    """The parts' packets behind each other, with the sound of the whole clip, made once."""
    _check_parts(output, results, plan.programme.frames)
    path = context.scratch / "clip.mp4"
    rendered = Rendered()
    with contextlib.ExitStack() as stack, timed_operation("join"):
        audio = stack.enter_context(contextlib.closing(sound_of(plan.sound(), context.cancel)))
        writer: ClipWriter | None = None
        for result in results:
            part = stack.enter_context(_opened(context.store, result))
            if writer is None:
                rendered.extradata = part.extradata
                writer = stack.enter_context(
                    ClipWriter(path, plan.format, part.extradata, audio=audio, cancel=context.cancel)
                )
            if part.extradata != rendered.extradata:
                raise Internal(
                    "two parts of a clip were encoded with different settings",
                    input=result.part_key,
                    what_to_do="deploy one version to all workers, and run it again",
                )
            for packet in part.packets:
                writer.write(packet)
                rendered.pts.append(packet.pts)
                rendered.end_pts = max(rendered.end_pts, packet.pts + packet.duration)
        assert writer is not None
        writer.close()
    rendered.pts.sort()
    rendered.frames = len(rendered.pts)
    if rendered.frames != plan.programme.frames:
        raise Internal(f"the parts hold {rendered.frames} frames, not {plan.programme.frames}")
    return rendered, path


def _check_parts(output: ClipOutput, results: Sequence[ChunkResult], frames: int) -> None:
    """Transient where a source was replaced while chunks were made: they are parts of different clips."""
    at = 0
    for result in results:
        if result.part_key != part_key(output, result.start_frame, result.end_frame):
            raise Transient(
                "the source was replaced while it was being rendered",
                input=result.part_key,
                what_to_do="run it again: the new source makes a clip of its own",
            )
        if result.start_frame != at or result.frames != result.end_frame - result.start_frame:
            raise Internal(
                f"a part holds frames {result.start_frame} to {result.end_frame}, wanted from {at}"
            )
        at = result.end_frame
    if at != frames:
        raise Internal(f"the parts end at frame {at}, the clip has {frames}")


@contextlib.contextmanager
def _opened(store: ObjectStore, result: ChunkResult) -> Iterator[Part]:
    """A part, read as it is consumed. Transient where it is gone or damaged: its chunk is then made again."""
    name = f"{store.uri}/{result.part_key}"
    try:
        with store.open_reader(result.part_key) as reader:
            part = _read(cast(BinaryIO, reader), name)
            yield Part(part.extradata, _undamaged(part.packets), part.format)
    except ObjectMissing as error:
        raise _lost(result, "is gone") from error
    except _Damaged as error:
        store.delete(result.part_key)
        raise _lost(result, f"is damaged: {error}") from error


def _read(reader: BinaryIO, name: str) -> Part:
    try:
        return read_part(reader, name=name)
    except BadInput as error:
        raise _Damaged(error.message) from error


class _Damaged(Exception):
    """A part that cannot be read: told from bad input of the sound that is muxed with it."""


def _undamaged(packets: Iterator[EncodedPacket]) -> Iterator[EncodedPacket]:
    try:
        yield from packets
    except BadInput as error:
        raise _Damaged(error.message) from error


def _lost(result: ChunkResult, what: str) -> Transient:
    return Transient(
        f"a part in the store {what}",
        input=result.part_key,
        what_to_do="run it again: the part is made again",
    )


def _facts(results: Sequence[ChunkResult], records: Sequence[ResultRecord]) -> dict:
    rows = tuple(
        ChunkRow(
            start_frame=result.start_frame,
            end_frame=result.end_frame,
            call=record.key,
            seconds=round((record.finished_at - record.started_at).total_seconds(), 3),
            attempt=record.attempt,
        )
        for result, record in zip(results, records, strict=True)
    )
    return {
        "chunks": rows,
        "enlarged_frames": sum(result.enlarged_frames for result in results),
        "model_sha256": next((result.model_sha256 for result in results if result.model_sha256), None),
        "notes": tuple(dict.fromkeys(note for result in results for note in result.notes)),
        "degraded": tuple(dict.fromkeys(line for result in results for line in result.degraded)),
    }
