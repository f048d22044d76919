"""What the cost model says of a call, found out beside it: nothing waits for it.

Belongs here: asking in the background, putting the answer into a call's usage. Does not belong here: the
prediction (`modal_ops.foretold`), telling a caller (`compute.modal_cost`).

A prediction may need the deployment's models and the index of the source, some requests to the store; so it
is asked for in a thread: by who starts a call on Modal after the spawn, by a worker while its task runs (but
for a task that asks itself, `Task.foretells_itself`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel

    from video_pipeline.modal_ops.guard import Foretold
    from video_pipeline.store.base import ObjectStore
    from video_pipeline.tasks import Task
    from video_pipeline.telemetry.usage import Machine, Usage

log = logging.getLogger(__name__)

LAST_WAIT_S = 1.0
"""How long a worker that has ended well waits for a store that has not answered yet."""


def ask_in_background(ask: Callable[[], Foretold | None]) -> Future[Foretold | None]:
    """What `ask` gives; None where it raises. Its thread keeps no process alive, as those of an executor
    would."""
    answer: Future[Foretold | None] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:
            # The call meets the same trouble and tells it better, if it is one.
            log.info("what the call will take cannot be foretold: %s", error)
            answer.set_result(None)

    threading.Thread(target=run, name="foretell", daemon=True).start()
    return answer


def foretell_in_background(
    task: Task, request: BaseModel, reserved: Machine | None, store: ObjectStore
) -> Future[Foretold | None]:
    """`modal_ops.foretold.foretell` of these, begun now."""

    def ask() -> Foretold | None:
        from video_pipeline.modal_ops.foretold import foretell

        return foretell(task, request, reserved, store)

    return ask_in_background(ask)


def found_by_now(answer: Future[Foretold | None], wait_s: float) -> Foretold | None:
    """What has been found by now, or within `wait_s`."""
    wait([answer], timeout=wait_s)
    return answer.result() if answer.done() else None


def note_prediction(usage: Usage, answer: Future[Foretold | None], *, ended_well: bool) -> None:
    """Puts what was foretold beside what was used, unless it is rough: a drift is to tell of models that were
    better when they were fitted. What stands there already stays; one that ended well without a frame
    found its work done by an earlier call, and its time says nothing of a prediction."""
    if usage.predicted_s is not None or (ended_well and not usage.frames):
        return
    found = found_by_now(answer, LAST_WAIT_S if ended_well else 0.0)
    if found is not None and not found.rough:
        usage.predicted_s, usage.predicted_usd = found.seconds, found.usd
