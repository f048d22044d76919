"""What a Modal function does with a call: the ordinary worker, under Modal's identity of the call.

Belongs here: settings, store and identity from the container; what it does when it starts; what is returned
and what is raised. Does not belong here: anything between claim and result (`worker`).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from video_pipeline.call_ends import end_in_its_place
from video_pipeline.calls import ErrorRecord, WorkerIdentity, read_call, read_result
from video_pipeline.compute.modal_spawns import read_note
from video_pipeline.errors import PipelineError, VersionMismatch, problems_of
from video_pipeline.modal_ops.specs import spec_for
from video_pipeline.models import kept
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import find_task, tenant_of
from video_pipeline.telemetry.logs import configure_logging
from video_pipeline.worker import EVENT_PREFIX, CallFile, execute

log = logging.getLogger(__name__)

EXIT_NOT_BEGUN = 1
RETRIED_BY_CALLERS = ("transient", "preempted")
MOST_LOST = 3
"""Containers of one function call that may die without a word. Modal starts the next one for a deployed app
without end, by its guide to retries; a task that runs out of memory would do so each time, at full price."""


@dataclass
class Container:
    """This container, as the `container` event of each of its calls tells it."""

    warm_s: float | None = None
    """How long importing the task and loading its network took; None if it holds none."""
    warm_error: str | None = None
    """Why that failed."""
    calls_before: int = 0


_container = Container()


def warm_up(name: str) -> None:
    """Loads what the task of that name holds, once, for every call of this container.

    It does not raise. A container that fails to start is started again by Modal, at the price of its GPU, and
    its callers get no record; the call that follows meets the same error, which then ends it as any error of
    its task does, recorded once.
    """
    started = time.monotonic()
    kept.keep()
    try:
        settings = load_settings()
        configure_logging(settings.logger_level)
        find_task(name, settings).warm()
    except Exception as error:
        _container.warm_error = f"{type(error).__name__}: {error}"
        log.warning("the network of %s could not be loaded before its first call", name, exc_info=True)
    _container.warm_s = round(time.monotonic() - started, 3)


def run_call_file(call: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the call (`worker.CallFile` as JSON) and returns `{"exit_code": int}` as `worker` lists them; the
    outcome is in the store.

    Where the call could not even begin for a reason that stays (a wrong environment, a caller of another
    version), the exit code is 1 and `error` holds an `ErrorRecord` as JSON. What may pass, such as a store
    that is away, is raised.
    """
    try:
        file = _call_file(call)
        settings = load_settings()
        configure_logging(settings.logger_level)
        # No thread of ours writes yet; what the task says later goes through its worker.
        print(EVENT_PREFIX + json.dumps({"event": "container", **asdict(_container)}), flush=True)
        _container.calls_before += 1
        store = open_store(settings)
        me = identity()
        if _is_given_up(file, settings, store, me):
            return {"exit_code": 0}
        with _handlers_kept():
            return {"exit_code": execute(file, settings, store, me)}
    except PipelineError as error:
        if error.kind in RETRIED_BY_CALLERS:
            raise
        record = ErrorRecord(
            kind=error.kind,
            message=error.message,
            input=error.input,
            what_to_do=error.what_to_do,
            traceback=traceback.format_exc(),
        )
        return {"exit_code": EXIT_NOT_BEGUN, "error": record.model_dump(mode="json")}


def _is_given_up(file: CallFile, settings: Settings, store: ObjectStore, me: WorkerIdentity) -> bool:
    """Whether the containers before this one died too often without a word; the call then has its result."""
    task = find_task(file.task, settings)
    tenant = tenant_of(task.parse_request(file.request))
    found = read_call(store, tenant, file.key)
    if found is None or found[0].state != "running" or not me.is_rerun_of(found[0].worker):
        return False
    record, told, noted = (
        found[0],
        read_result(store, tenant, file.key),
        read_note(store, tenant, file.key),
    )
    # Attempts of this function call, and of these those after the last that could still say what it died of.
    before = max(noted[0].after_attempt if noted is not None else 0, told.attempt if told is not None else 0)
    if record.attempt - before < MOST_LOST:
        return False
    limit_mib = spec_for(task, settings).memory_limit_mib
    error = ErrorRecord(
        kind="preempted",
        message=f"{record.attempt - before} containers died one after the other and left no word: lost "
        f"machines, or a task that needs more than its {limit_mib:,} MiB",
        input=task.name,
        what_to_do="look at the memory of the call's containers on Modal before it is run again",
    )
    log.error("%s is given up: %s", file.key, error)
    end_in_its_place(store, record, error)
    return True


def identity() -> WorkerIdentity:
    """This container as a worker: Modal's ids of the call and of the container."""
    import modal

    return WorkerIdentity.of_modal_call(modal.current_function_call_id(), os.environ.get("MODAL_TASK_ID", ""))


def _call_file(call: Mapping[str, Any]) -> CallFile:
    try:
        return CallFile.model_validate(call)
    except ValidationError as error:
        raise VersionMismatch(
            f"this worker does not understand the call: {problems_of(error, 'call')}",
            input=str(call.get("task")),
            what_to_do="deploy the worker again, or update the caller",
        ) from None


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Gives the signal handlers back that were there: the worker sets its own for one call and leaves them to
    its process's end, but a container serves the next call, and Modal ends it by signal."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
