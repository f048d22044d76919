"""What a preview says its task would take and cost, or why that cannot be said.

Belongs here: on whose machines a model is looked for, and the words where there is none.
Does not belong here: finding models (`costs.in_use`), how many chunks a render gets (`foretelling.py`).

No figure is made up: of a task that was never measured nothing is foretold, which is not a cost of zero.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from video_pipeline.clips.foretelling import CHUNK, chunks_that_pay, on_machines, prediction_of
from video_pipeline.costs.in_use import model_in_use, newest_plan
from video_pipeline.costs.predict import named
from video_pipeline.costs.stored import family

if TYPE_CHECKING:
    from video_pipeline.worker import TaskContext

PARALLEL = "process_framing_ai_parallel"
FRAMING = "process_framing_ai"

WHERE = {"modal": "Modal", "local": "machines of one's own"}

COPIED = "its packets are copied: models are of clips that are encoded"
"""Why nothing is foretold of a copy. It takes what reading and writing the file take."""


def foretold(
    context: TaskContext,
    task: str,
    frames: int,
    *,
    enlarged: bool | None = None,
    rate: Fraction | None = None,
    wanted: int | None = None,
) -> dict[str, Any]:
    """The fields `prediction` and `not_foretold` of a preview of `task`, for as many `frames` as its usage
    would count.

    `enlarged` is whether the network would be needed, for tasks that have it. `rate`, of framed clips, is
    their frame rate, of which chunks are made; `wanted` how many of those are asked for, None the number that
    pays. The model is the newest of this deployment, or what ships: of the backend that would run it, or,
    said in `not_foretold`, of Modal's machines.
    """
    own = newest_plan(context.store)
    known = () if own is None else own.coefficients
    backend = context.settings.compute
    what = named(family(task), enlarged)
    missing = f"nothing was measured of {what} on {WHERE[backend]}"
    for place in dict.fromkeys((backend, "modal")):
        choosing = task == PARALLEL
        work = CHUNK if choosing else task
        model = model_in_use(known, work, backend=place, enlarged=enlarged, choosing=choosing)
        if model is None:
            continue
        model = on_machines(model, rate if family(task) == FRAMING else None)
        chunks = 1
        if task == PARALLEL:
            assert rate is not None
            chunks = wanted or chunks_that_pay(frames, rate, model)
        prediction = prediction_of(model, frames, chunks)
        reason = None if place == backend else f"{missing}, where it would run: this is of Modal's"
        return {"prediction": prediction, "not_foretold": reason}
    how = "run it a few times at several lengths, then the job account_costs, which fits a model"
    return {"prediction": None, "not_foretold": f"{missing}: {how}"}
