"""How long a call will probably take, and what that costs: where the cost model knows its task.

Belongs here: how many frames a request is about, found cheaply; the model that fits; the prediction in words.
Does not belong here: models (`costs`), the bound that a call cannot exceed (`guard`), when this is asked
(`compute.modal_cost`): it may read from the store, and so it never stands before a call's start.

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

from video_pipeline.costs.predict import Coefficients, predict
from video_pipeline.costs.stored import family, known_coefficients, read_models, read_plan
from video_pipeline.modal_ops.guard import Foretold, prices
from video_pipeline.modal_ops.specs import FunctionSpec
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import Task

if TYPE_CHECKING:
    from video_pipeline.media.probe import VideoProbe


FRAMING = "process_framing_ai"
"""The family of tasks that choose their model themselves: it depends on what their clip needs."""


@dataclass(frozen=True, slots=True)
class _Work:
    """`frames`, in so many `chunks` where the task spreads them over calls of their own (else None). `model`
    where the task is of `FRAMING`."""

    frames: int
    chunks: int | None = None
    model: Coefficients | None = None


def foretell(task: Task, request: BaseModel, spec: FunctionSpec, store: ObjectStore) -> Foretold | None:
    """What the model gives for this call on the machine of `spec`; None where there is no model of it, or no
    frames to be had cheaply. Dollars are of what is reserved, at today's prices; of all calls together where
    the task spreads its work. Raises what reading the store or the source raises."""
    if task.name not in _WORK:
        return None
    model = None if family(task.name) == FRAMING else _stored(task, spec, store)
    if model is None and family(task.name) != FRAMING:
        # Then no source is read in vain.
        return None
    work = _WORK[task.name](request, store)
    model = model or (work.model if work is not None else None)
    if work is None or model is None or (work.chunks is None and model.gpu != spec.gpu):
        return None
    found = predict(model, work.frames, work.chunks or 1)
    usd = found.usd
    if work.chunks is None:
        usd = found.seconds * prices().per_s(
            gpu=spec.gpu, cpu_cores=spec.cpu_cores, memory_mib=spec.memory_mib
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
    )


def _stored(task: Task, spec: FunctionSpec, store: ObjectStore) -> Coefficients | None:
    """What the deployment has learnt of this task on this GPU type on Modal, or what ships."""
    known = known_coefficients(read_models(store))
    wanted = (family(task.name), spec.gpu, "modal")
    return next((c for c in known if (c.task, c.gpu, c.backend) == wanted), None)


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


def _caption_pass(request: BaseModel, store: ObjectStore) -> _Work | None:
    from video_pipeline.captions.request import STAGES, CropAndInferRequest

    assert isinstance(request, CropAndInferRequest)
    whole = request.stages == STAGES
    return _samples(store, request.video_key, request.frame_rate) if whole else None


def _reading(request: BaseModel, store: ObjectStore) -> _Work | None:
    from video_pipeline.captions.request import ReadCaptionsRequest

    assert isinstance(request, ReadCaptionsRequest)
    return _samples(store, request.video_key, request.frame_rate) if request.ocr else None


def _sample(request: BaseModel, _store: ObjectStore) -> _Work:
    from video_pipeline.sampling.request import RunInferenceRequest

    assert isinstance(request, RunInferenceRequest)
    return _Work(len(request.video_urls) * request.batches * request.frames_per_sample)


def _extraction(request: BaseModel, store: ObjectStore) -> _Work | None:
    from video_pipeline.clips.request import ExtractClipRequest

    assert isinstance(request, ExtractClipRequest)
    if request.preview is not None or request.mode == "copy":
        return None
    rate = _probe(store, request.source_key).average_rate
    seconds = Fraction(request.end) - Fraction(request.start)
    return None if rate is None else _Work(max(1, round(seconds * Fraction(rate))))


def _overlay(request: BaseModel, store: ObjectStore) -> _Work | None:
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


def _detection(request: BaseModel, store: ObjectStore) -> _Work | None:
    from video_pipeline.clips.detect_request import DetectPlayersBatchRequest, moment

    assert isinstance(request, DetectPlayersBatchRequest)
    if request.timestamps is not None:
        return _Work(len({moment(time) for time in request.timestamps}))
    stop = request.stop if request.stop is not None else _probe(store, request.source_key).duration_seconds
    if stop is None or request.rate is None:
        return None
    seconds = moment(stop) - moment(request.start or 0)
    return _Work(max(1, math.ceil(seconds * Fraction(request.rate))))


def _framing(request: BaseModel, store: ObjectStore) -> _Work | None:
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
    model = model_for(request, plan, "modal")
    if model is None:
        return None
    frames = plan.programme.frames
    if not isinstance(request, ProcessFramingAiParallelRequest):
        return _Work(frames, model=model)
    wanted = request.num_chunks if isinstance(request.num_chunks, int) else None
    return _Work(frames, wanted or chunks_that_pay(frames, plan.format.frame_rate, model), model)


_WORK: dict[str, Callable[[BaseModel, ObjectStore], _Work | None]] = {
    "crop_and_infer_caption_frame_extents": _caption_pass,
    "read_captions": _reading,
    "run_inference": _sample,
    "extract_clip": _extraction,
    "render_overlay": _overlay,
    "detect_players_batch": _detection,
    "process_framing_ai": _framing,
    "process_framing_ai_parallel": _framing,
}
