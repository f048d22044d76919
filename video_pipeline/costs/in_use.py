"""By which model a number of chunks is chosen: the deployment's own where it has one that can tell, else what
ships.

Belongs here: finding it, and keeping it the same for all attempts at one render. Does not belong here:
choosing (`plan.py`), making plans (`planning.py`), where they are kept (`stored.py`). Free of pandas: workers
import it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, ValidationError

from video_pipeline.costs.plan import Plan, shipped_plan, tells_counts_apart
from video_pipeline.costs.predict import Coefficients
from video_pipeline.costs.stored import PLAN_KIND, current, family, read_plan, read_plan_at
from video_pipeline.errors import BadInput
from video_pipeline.modal_ops.specs import gpu_name
from video_pipeline.store.base import ObjectMissing, ObjectStore
from video_pipeline.strict import StrictModel
from video_pipeline.tasks import find_task

log = logging.getLogger(__name__)

NOTE_NAME = "plan.json"
LONGEST_CALL = "process_framing_ai_parallel"
"""Attempts at one render begin within its time limit of each other, as those of a machine taken away do."""

SOURCES = {
    "published": "published",
    "experiments": "experiments",
    "ledger": "ledger of this deployment",
}
"""`Coefficients.source` in the words that stand beside an outcome."""


class _Note(StrictModel):
    """Which plan a render goes by, and since when."""

    plan: str
    noted_at: AwareDatetime


def newest_plan(store: ObjectStore) -> Plan | None:
    """The deployment's newest plan, for what begins no render; None where none was made or, said in the log,
    where it cannot be read."""
    try:
        return read_plan(store)
    except BadInput as error:
        log.warning("chunks are chosen by the tables that ship: %s [%s]", error.message, error.input)
        return None


def plan_of_render(store: ObjectStore, parts_prefix: str) -> Plan | None:
    """The deployment's plan that every attempt at one render goes by; None where none was made.

    It is the newest one when the first of them asks, or who starts it asks what it will take: its key is
    noted beside the render's parts, and goes with them. So an attempt after a new plan cuts where the one
    before it did, and finds its parts and calls. The plan is in no call's key and in no clip's recipe: it
    changes how a clip is made and not a byte of it, so a new one makes nothing finished out of date. A note
    older than the longest call is of a render that failed, and is replaced.

    A plan that cannot be read is None too, and said in the log: a render does not wait until somebody mends a
    table, and its prediction names what it went by.
    """
    note = f"{parts_prefix}{NOTE_NAME}"
    try:
        key = _noted(store, note)
        if key is None:
            pointer = current(store, PLAN_KIND)
            if pointer is None:
                return None
            key = pointer.files["json"]
            text = _Note(plan=key, noted_at=datetime.now(UTC)).model_dump_json()
            store.put(note, text.encode(), content_type="application/json")
        return read_plan_at(store, key)
    except BadInput as error:
        log.warning("chunks are chosen by the tables that ship: %s [%s]", error.message, error.input)
        return None


def _noted(store: ObjectStore, note: str) -> str | None:
    try:
        found = _Note.model_validate_json(store.get(note))
    except (ObjectMissing, ValidationError):
        return None
    longest = timedelta(seconds=find_task(LONGEST_CALL).hardware.timeout_s)
    return found.plan if datetime.now(UTC) - found.noted_at < longest else None


def gpu_of(task: str, backend: str) -> str | None:
    """The GPU that models of a task's runs on a backend are of, by Modal's name: on Modal that of the task
    table, elsewhere None, because the ledger has no type there."""
    wanted = find_task(task).hardware.gpu if backend == "modal" else None
    return None if wanted is None else gpu_name(wanted, input=f"gpu of {task}")


def model_in_use(
    known: Sequence[Coefficients],
    task: str,
    *,
    backend: str,
    enlarged: bool | None = None,
    choosing: bool = True,
) -> Coefficients | None:
    """The model of this work: the first of `known`, then of what ships; None where there is none. `choosing`
    asks for one by which a number of chunks may be chosen, that is one which tells numbers of them apart.
    `task` is one that runs on the machines which do the work."""
    wanted = family(task), gpu_of(task, backend), backend, enlarged
    return next(
        (
            c
            for c in (*known, *shipped_plan().coefficients)
            if c.identity == wanted and (not choosing or tells_counts_apart(c))
        ),
        None,
    )
