"""By which model a number of chunks is chosen: the deployment's own where it has one that can tell, else what
ships.

Belongs here: finding it. Does not belong here: choosing (`plan.py`), making plans (`planning.py`), keeping
them (`stored.py`). Free of pandas: workers import it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from video_pipeline.costs.plan import Plan, shipped_plan, tells_counts_apart
from video_pipeline.costs.predict import Coefficients
from video_pipeline.costs.stored import family, read_plan
from video_pipeline.errors import BadInput
from video_pipeline.modal_ops.specs import gpu_name
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import find_task

log = logging.getLogger(__name__)

SOURCES = {
    "published": "published",
    "experiments": "experiments",
    "ledger": "ledger of this deployment",
}
"""`Coefficients.source` in the words that stand beside an outcome."""


def plan_in_use(store: ObjectStore) -> Plan | None:
    """The deployment's newest plan; None where none was made. One that cannot be read is None too, and said
    in the log: a render does not wait until somebody mends a table, and its prediction names what it went by.
    """
    try:
        return read_plan(store)
    except BadInput as error:
        log.warning("chunks are chosen by the tables that ship: %s [%s]", error.message, error.input)
        return None


def gpu_of(task: str, backend: str) -> str | None:
    """The GPU that models of a task's runs on a backend are of, by Modal's name: on Modal that of the task
    table, elsewhere None, because the ledger has no type there."""
    wanted = find_task(task).hardware.gpu if backend == "modal" else None
    return None if wanted is None else gpu_name(wanted, input=f"gpu of {task}")


def model_in_use(
    known: Sequence[Coefficients], task: str, *, backend: str, enlarged: bool | None = None
) -> Coefficients | None:
    """The model by which a number of chunks of this work may be chosen: the first of `known` that tells
    numbers apart, then of what ships; None where there is none. `task` is one that runs on the machines
    which do the work."""
    wanted = family(task), gpu_of(task, backend), backend, enlarged
    return next(
        (c for c in (*known, *shipped_plan().coefficients) if c.identity == wanted and tells_counts_apart(c)),
        None,
    )
