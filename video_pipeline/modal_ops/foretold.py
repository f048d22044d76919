"""How long a call will probably take, and what that costs: where the cost model knows its task.

Belongs here: how many frames a request is about, found cheaply; the model that fits, on Modal and elsewhere.
Does not belong here: models (`costs`), the bound that a call cannot exceed (`guard`), when this is asked
(`foretelling`): it may read from the store, and so it never stands before a call's start.

Frames are those that `usage.frames` of the task counts, for its models are fitted to that. They come from the
request where it states them, else from the head and the index of its source; nothing is decoded but what
`media.probe` decodes. Tasks that are not named here have no prediction, nor have previews and passes of some
stages only: models are of whole ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from pydantic import BaseModel

from video_pipeline.costs.predict import LIMIT, Coefficients, predict
from video_pipeline.costs.stored import family, known_coefficients, read_models, read_plan
from video_pipeline.modal_ops.guard import Foretold, prices
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import Task
from video_pipeline.telemetry.usage import Machine

if TYPE_CHECKING:
    from video_pipeline.media.probe import VideoProbe


@dataclass(frozen=True, slots=True)
class _Work:
    """`frames`, in so many `chunks` where the task spreads them over calls of their own (else None).
    `enlarged`: whether the network enlarges them; None for tasks that never load it. `model` where the task
    chooses it by what its clip needs and not only by these."""

    frames: int
    chunks: int | None = None
    enlarged: bool | None = None
    model: Coefficients | None = None


def foretell(task: Task, request: BaseModel, reserved: Machine | None, store: ObjectStore) -> Foretold | None:
    """What the model gives for this call: on Modal on the machine that is `reserved` for it, with None on a
    machine of one's own. None where there is no model of it, or no frames to be had cheaply.

    Dollars are of what is reserved, at today's prices; of all calls together where the task spreads its work;
    None where nothing is charged. Raises what reading the store or the source raises.
    """
    if task.name not in _WORK:
        return None
    backend = "local" if reserved is None else "modal"
    gpu = None if reserved is None else reserved.gpu_type
    learnt = [
        c
        for c in known_coefficients(read_models(store))
        if (c.task, c.backend) == (family(task.name), backend)
    ]
    if not learnt and task.name not in _BY_PLAN:
        # Then no source is read in vain.
        return None
    work = _WORK[task.name](request, store, backend)
    if work is None:
        return None
    model = work.model or next((c for c in learnt if (c.gpu, c.enlarged) == (gpu, work.enlarged)), None)
    if model is None or (work.chunks is None and model.gpu != gpu):
        return None
    found = predict(model, work.frames, work.chunks or 1)
    usd = None if reserved is None else found.usd
    if reserved is not None and work.chunks is None:
        usd = found.seconds * prices().per_s(
            gpu=gpu, cpu_cores=reserved.cpu_cores, memory_mib=round(reserved.memory_gib * 1024)
        )
    return Foretold(
        seconds=found.seconds,
        low=found.low,
        high=found.high,
        usd=usd,
        frames=work.frames,
        chunks=None if work.chunks is None else found.chunks,
        model_as_of=model.as_of,
        runs=model.n_runs,
        source=model.source,
        beyond=found.extrapolated,
        rough=bool(found.extrapolated) or not _is_sure(model),
    )


def _is_sure(model: Coefficients) -> bool:
    error = model.held_out_error
    return model.source == "ledger" and error is not None and error <= LIMIT


def _probe(store: ObjectStore, key: str) -> VideoProbe:
    from video_pipeline.captions.plan import open_source
    from video_pipeline.media.probe import probe_video

    reader = open_source(store, key)
    try:
        return probe_video(reader, name=key)
    finally:
        if hasattr(reader, "close"):
            reader.close()  # pyright: ignore[reportAttributeAccessIssue]


def _samples(store: ObjectStore, key: str, rate: Fraction) -> _Work | None:
    stated = _probe(store, key).duration_seconds
    return None if stated is None else _Work(max(1, math.ceil(Fraction(stated) * rate)))


def _caption_pass(request: BaseModel, store: ObjectStore, _backend: str) -> _Work | None:
    from video_pipeline.captions.request import STAGES, CropAndInferRequest

    assert isinstance(request, CropAndInferRequest)
    whole = request.stages == STAGES
    return _samples(store, request.video_key, request.frame_rate) if whole else None


def _reading(request: BaseModel, store: ObjectStore, _backend: str) -> _Work | None:
    from video_pipeline.captions.request import ReadCaptionsRequest

    assert isinstance(request, ReadCaptionsRequest)
    return _samples(store, request.video_key, request.frame_rate) if request.ocr else None


def _sample(request: BaseModel, _store: ObjectStore, _backend: str) -> _Work:
    from video_pipeline.sampling.request import RunInferenceRequest

    assert isinstance(request, RunInferenceRequest)
    return _Work(len(request.video_urls) * request.batches * request.frames_per_sample)


def _extraction(request: BaseModel, store: ObjectStore, _backend: str) -> _Work | None:
    from video_pipeline.clips.request import ExtractClipRequest

    assert isinstance(request, ExtractClipRequest)
    if request.preview is not None or request.mode == "copy":
        return None
    rate = _probe(store, request.source_key).average_rate
    seconds = Fraction(request.end) - Fraction(request.start)
    return None if rate is None else _Work(max(1, round(seconds * Fraction(rate))))


def _overlay(request: BaseModel, store: ObjectStore, _backend: str) -> _Work | None:
    from video_pipeline.clips.request import RenderOverlayRequest

    assert isinstance(request, RenderOverlayRequest)
    if request.preview is not None or not request.highlight_regions:
        return None
    probe = _probe(store, request.source_key)
    if probe.frame_count is not None:
        return _Work(probe.frame_count)
    if probe.duration_seconds is None or probe.average_rate is None:
        return None
    return _Work(max(1, round(Fraction(probe.duration_seconds) * Fraction(probe.average_rate))))


def _detection(request: BaseModel, store: ObjectStore, _backend: str) -> _Work | None:
    from video_pipeline.clips.detect_request import DetectPlayersBatchRequest, moment

    assert isinstance(request, DetectPlayersBatchRequest)
    if request.preview is not None:
        return None
    if request.timestamps is not None:
        return _Work(len({moment(time) for time in request.timestamps}))
    stop = request.stop if request.stop is not None else _probe(store, request.source_key).duration_seconds
    if stop is None or request.rate is None:
        return None
    seconds = moment(stop) - moment(request.start or 0)
    return _Work(max(1, math.ceil(seconds * Fraction(request.rate))))


def _framing(request: BaseModel, store: ObjectStore, backend: str) -> _Work | None:
    """By the way in which `process_framing_ai_parallel` itself foretells what it records."""
    from video_pipeline.clips.foretelling import chunks_that_pay, model_for
    from video_pipeline.clips.framing import framed_output
    from video_pipeline.clips.framing_plan import FramingPlan
    from video_pipeline.clips.request import ProcessFramingAiParallelRequest, ProcessFramingAiRequest

    assert isinstance(request, ProcessFramingAiRequest)
    if request.preview is not None:
        return None
    # The plan of the day, and not the one that a render notes for its attempts: nothing is written here.
    plan = replace(
        FramingPlan.of(request, store, framed_output(store, request)), cost_plan=lambda: read_plan(store)
    )
    model = model_for(request, plan, backend)
    frames = plan.programme.frames
    if not isinstance(request, ProcessFramingAiParallelRequest):
        return _Work(frames, enlarged=plan.enlarges(request, [request]), model=model)
    if model is None:
        return None
    wanted = request.num_chunks if isinstance(request.num_chunks, int) else None
    return _Work(frames, wanted or chunks_that_pay(frames, plan.format.frame_rate, model), model=model)


def _joining(request: BaseModel, store: ObjectStore, _backend: str) -> _Work | None:
    from video_pipeline.clips.framing_plan import FramingPlan, format_of
    from video_pipeline.clips.request import ProcessMultiClipRequest
    from video_pipeline.clips.sources import StoreSources
    from video_pipeline.clips.timeline import framed_timeline, join

    assert isinstance(request, ProcessMultiClipRequest)
    if request.preview is not None:
        return None
    sources = StoreSources(store, [clip.source_key for clip in request.clips])
    names = [sources.name(number) for number in range(len(request.clips))]
    timelines = [
        framed_timeline(clip, sources.facts(number).times, request.rate, names[number])
        for number, clip in enumerate(request.clips)
    ]
    programme = join(timelines, request.transition, request.transition_seconds, names)
    plan = FramingPlan(programme, format_of(request), sources)
    return _Work(programme.frames, enlarged=plan.enlarges(request, request.clips))


def _compilation(request: BaseModel, store: ObjectStore, _backend: str) -> _Work | None:
    from video_pipeline.clips.request import CreateAnnotatedCompilationRequest
    from video_pipeline.clips.sources import StoreSources
    from video_pipeline.clips.timeline import join, part_of, whole

    assert isinstance(request, CreateAnnotatedCompilationRequest)
    if request.preview is not None:
        return None
    sources = StoreSources(store, [clip.source_key for clip in request.clips])
    names = [sources.name(number) for number in range(len(request.clips))]
    rate = sources.facts(0).frame_rate if request.fps is None else Fraction(request.fps)
    timelines = [
        whole(*part_of(clip.start, clip.end, sources.facts(number).times, names[number]), rate)
        for number, clip in enumerate(request.clips)
    ]
    return _Work(join(timelines, request.transition, request.transition_seconds, names).frames)


_WORK: dict[str, Callable[[BaseModel, ObjectStore, str], _Work | None]] = {
    "crop_and_infer_caption_frame_extents": _caption_pass,
    "read_captions": _reading,
    "run_inference": _sample,
    "extract_clip": _extraction,
    "render_overlay": _overlay,
    "detect_players_batch": _detection,
    "process_framing_ai": _framing,
    "process_framing_ai_parallel": _framing,
    "process_multi_clip": _joining,
    "create_annotated_compilation": _compilation,
}

_BY_PLAN = ("process_framing_ai", "process_framing_ai_parallel")
"""Tasks that have a model where the deployment has learnt none: the one that ships with the plan."""
