"""What the cost model says of a framed clip: how many calls, how long, how dear.

Belongs here: from a plan of frames to a choice and to what a result records of it. Does not belong here: the
model (`costs.predict`, `costs.plan`), cutting and running chunks (`parallel.py`), what a
preview says (`preview_cost.py`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from video_pipeline.clips.request import ProcessFramingAiRequest
from video_pipeline.clips.result import RenderPrediction
from video_pipeline.costs.in_use import SOURCES, model_in_use
from video_pipeline.costs.plan import auto_chunks, get_framing_ai_gpu_config
from video_pipeline.costs.predict import Coefficients, predict
from video_pipeline.media.h264 import segment_frames

if TYPE_CHECKING:
    from video_pipeline.clips.framing_plan import FramingPlan
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
        () if own is None else own.coefficients,
        CHUNK,
        backend=backend,
        enlarged=plan.enlarges(request, [request]),
    )
    return None if found is None else on_machines(found, plan.format.frame_rate)


def on_machines(c: Coefficients, rate: Fraction | None = None) -> Coefficients:
    """For clips of a frame rate, of whose segments chunks are made (None: where none are), and with no price
    for seconds of machines of one's own: they cost nothing."""
    changes: dict[str, object] = {} if rate is None else {"segment_frames": segment_frames(rate)}
    if c.backend != "modal":
        changes["rates"] = None
    return c.model_copy(update=changes)


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
