"""Models, plans and projections in the store, under `system/server/cost_model/`.

Belongs here: their files, the pointer to the newest of each kind, reading it. Does not belong here: making
them (`refit`, `thresholds`, `projection`). Free of pandas: a worker may read what a deployment has learnt.

An object is named by what it holds, so a day without news writes no further one; a pointer is replaced whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from video_pipeline import keys
from video_pipeline.costs.plan import Plan
from video_pipeline.costs.predict import Coefficients
from video_pipeline.errors import BadInput, problems_of
from video_pipeline.store.base import ObjectMissing, ObjectStore
from video_pipeline.strict import StrictModel

Frame = Any
"""A pandas DataFrame: its own types make a union of every column and every sum."""

Model = TypeVar("Model", bound=StrictModel)
Kind = Literal["models", "plan", "projection", "dashboard"]
PLAN_KIND: Kind = "plan"
MODELS_KIND: Kind = "models"


class Point(StrictModel):
    """A run that a model was fitted to, beside what the model gives for it."""

    frames: int
    chunks: int
    wall_s: float
    predicted_s: float


class FittedModel(StrictModel):
    """The coefficients of one task on one kind of machine, and how well they foretell.

    `used` of those of one task and machine is the one that predictions are made with. `held_out_run` is the
    error on single runs left out, `Coefficients.held_out_error` that on configurations left out."""

    coefficients: Coefficients
    used: bool
    held_out_run: float | None = None
    points: tuple[Point, ...] = ()
    notes: tuple[str, ...] = ()


class FittedModels(StrictModel):
    """`models/`. `not_fitted` says of which task and machine there is no model, and why."""

    schema_version: Literal[1] = 1
    models: tuple[FittedModel, ...]
    not_fitted: tuple[str, ...] = ()

    def used(self) -> tuple[Coefficients, ...]:
        return tuple(model.coefficients for model in self.models if model.used)


class Pointer(StrictModel):
    """`current.json` of a kind: its files by extension, and when they were made."""

    schema_version: Literal[1] = 1
    files: dict[str, str]
    made_at: datetime


def save(store: ObjectStore, kind: Kind, files: dict[str, bytes]) -> Pointer:
    """Writes the files (content by extension) of one kind and points at them."""
    pointer = Pointer(
        files={
            extension: keys.cost_object_key(kind, hashlib.sha256(data).hexdigest()[:32], extension)
            for extension, data in files.items()
        },
        made_at=datetime.now(UTC),
    )
    for extension, key in pointer.files.items():
        if store.head(key) is None:
            store.put(key, files[extension], content_type=_TYPES[extension])
    store.put(
        keys.cost_current_key(kind), pointer.model_dump_json().encode(), content_type="application/json"
    )
    return pointer


def current(store: ObjectStore, kind: Kind) -> Pointer | None:
    """The pointer of a kind; None where none was made. `BadInput` if it is none."""
    key = keys.cost_current_key(kind)
    try:
        return Pointer.model_validate_json(store.get(key))
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise _damaged(key, error) from None


def read_models(store: ObjectStore) -> FittedModels | None:
    """The newest models; None where none were fitted. `BadInput` if they cannot be read."""
    return _read(store, MODELS_KIND, FittedModels)


def read_plan(store: ObjectStore) -> Plan | None:
    """The newest plan; None where none was made. `BadInput` if it cannot be read."""
    return _read(store, PLAN_KIND, Plan)


def read_plan_at(store: ObjectStore, key: str) -> Plan:
    """The plan under a key that a pointer names, or named once. `BadInput` if it cannot be read."""
    return _read_at(store, key, Plan)


def known_coefficients(models: FittedModels | None) -> tuple[Coefficients, ...]:
    """What predictions are made with: the fitted models, and the published ones of what has none."""
    from video_pipeline.costs.plan import shipped_plan

    fitted = models.used() if models is not None else ()
    there = {c.identity for c in fitted}
    return (*fitted, *(c for c in shipped_plan().coefficients if c.identity not in there))


def find(
    known: Sequence[Coefficients],
    task: str,
    *,
    gpu: str | None = None,
    backend: str | None = None,
    enlarged: bool | None = None,
) -> Coefficients:
    """The coefficients of a task, on a GPU type and backend where these are named, and with or without the
    network where that is said; Modal's before those of machines of one's own, and those with the network
    before those without. `BadInput` naming what there is where nothing was measured."""
    fits = [
        c
        for c in known
        if c.task == family(task)
        and gpu in (None, c.gpu)
        and backend in (None, c.backend)
        and enlarged in (None, c.enlarged)
    ]
    if not fits:
        how = {None: "", True: " enlarged by the network", False: " without the network"}[enlarged]
        on = "".join((how, f" on {gpu}" if gpu else "", f" with the backend {backend}" if backend else ""))
        there = ", ".join(f"{c.name} on {c.gpu or 'CPU'} ({c.backend})" for c in known)
        raise BadInput(
            f"nothing was measured of {task}{on}: there is no model to predict with",
            input=task,
            what_to_do=f"known are {there}; run the task a few times at several lengths, then the job "
            "account_costs, which fits a model",
        )
    return min(fits, key=lambda c: (c.backend != "modal", c.enlarged is False))


FAMILIES = {
    "process_framing_ai_parallel": "process_framing_ai",
    "process_framing_ai_chunk": "process_framing_ai",
}
"""Tasks that are one piece of work in several calls, and under which name its model stands."""


def family(task: str) -> str:
    return FAMILIES.get(task, task)


ENLARGING = frozenset({"process_framing_ai", "process_multi_clip"})
"""Families whose pictures the network enlarges where a request has it and a crop is small: with it a frame
takes many times as long, so each of them is two kinds of work."""


_TYPES = {"json": "application/json", "csv": "text/csv", "md": "text/markdown", "html": "text/html"}


def _read(store: ObjectStore, kind: Kind, model: type[Model]) -> Model | None:
    pointer = current(store, kind)
    if pointer is None:
        return None
    return _read_at(store, pointer.files["json"], model)


def _read_at(store: ObjectStore, key: str, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(store.get(key))
    except (ObjectMissing, ValidationError) as error:
        raise _damaged(key, error) from None


def _damaged(key: str, error: Exception) -> BadInput:
    problem = problems_of(error, "file") if isinstance(error, ValidationError) else "it is missing"
    return BadInput(
        f"what was concluded from the ledger cannot be read: {problem}",
        input=key,
        what_to_do="run the job account_costs, which makes it anew",
    )
