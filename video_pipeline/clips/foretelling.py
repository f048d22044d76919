"""What the cost model says of a framed clip: how many calls, how long, how dear.

Belongs here: from a plan of frames to a choice and to what a result records of it. Does not belong here: the
model (`costs.predict`, `costs.plan`), cutting and running chunks (`parallel.py`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from video_pipeline.clips.crop import Shape, may_need_upscaling
from video_pipeline.clips.framing_plan import FramingPlan, crop_curve
from video_pipeline.clips.reframe import PLAIN_GRID
from video_pipeline.clips.request import ProcessFramingAiRequest
from video_pipeline.clips.result import RenderPrediction
from video_pipeline.costs.in_use import SOURCES, model_in_use, newest_plan
from video_pipeline.costs.plan import auto_chunks, get_framing_ai_gpu_config
from video_pipeline.costs.predict import Coefficients, predict
from video_pipeline.media.h264 import segment_frames

if TYPE_CHECKING:
    from video_pipeline.store.base import ObjectStore
    from video_pipeline.worker import TaskContext

CHUNK = "process_framing_ai_chunk"


def chunks_that_pay(frames: int, rate: Fraction, c: Coefficients | None) -> int:
    """What `auto` comes to: the model's choice, or where there is no model of this work on these machines,
    that of the table by the clip's length."""
    if c is None:
        return get_framing_ai_gpu_config(float(frames / rate))[0]
    return auto_chunks(c, frames).chunks


def model_for(request: ProcessFramingAiRequest, plan: FramingPlan, backend: str) -> Coefficients | None:
    """Coefficients of this work, with or without the network, on this backend's machines, for segments of
    this frame rate: those of the deployment's own plan, or what ships. None where nothing was measured of it
    in several numbers of chunks."""
    own = plan.cost_plan()
    found = model_in_use(
        () if own is None else own.coefficients, CHUNK, backend=backend, enlarged=_enlarges(request, plan)
    )
    if found is None:
        return None
    changes: dict[str, object] = {"segment_frames": segment_frames(plan.format.frame_rate)}
    if backend != "modal":
        changes["rates"] = None  # machines of one's own: their seconds cost nothing
    return found.model_copy(update=changes)


def modal_model(rate: Fraction, store: ObjectStore | None = None) -> Coefficients | None:
    """Coefficients of enlarging on the GPU that the task table states: those of the newest plan in `store`,
    or what ships."""
    own = None if store is None else newest_plan(store)
    known = model_in_use(() if own is None else own.coefficients, CHUNK, backend="modal", enlarged=True)
    return None if known is None else known.model_copy(update={"segment_frames": segment_frames(rate)})


def preview_prediction(
    frames: int, rate: Fraction, wanted: int | None, store: ObjectStore | None = None
) -> RenderPrediction | None:
    """What a render of `frames`, enlarged by the network, would take and cost on Modal."""
    c = modal_model(rate, store)
    return None if c is None else prediction_of(c, frames, wanted or chunks_that_pay(frames, rate, c))


def prediction_of(c: Coefficients, frames: int, chunks: int) -> RenderPrediction:
    found = predict(c, frames, chunks)
    return RenderPrediction(
        **{name: getattr(found, name) for name in ("seconds", "low", "high", "usd", "usd_low", "usd_high")},
        chunks=found.chunks,
        machine=f"{c.gpu or 'CPU'} on Modal" if c.backend == "modal" else "machines of one's own",
        basis=f"{c.n_runs} runs ({SOURCES[c.source]}): {c.work}",
        model_as_of=c.as_of,
        notes=found.extrapolated,
    )


def note_prediction(context: TaskContext, prediction: RenderPrediction | None) -> None:
    """Put it into the usage of the call, so that the ledger has it beside the outcome."""
    if prediction is not None:
        context.usage.predicted_s = prediction.seconds
        context.usage.predicted_usd = prediction.usd


def _enlarges(request: ProcessFramingAiRequest, plan: FramingPlan) -> bool:
    facts = plan.sources.facts(0)
    shape = Shape(facts.width, facts.height, request.output_width, request.output_height)
    key_frames = crop_curve(request, facts).values
    return request.upscale == "auto" and may_need_upscaling(key_frames, shape, PLAIN_GRID)
