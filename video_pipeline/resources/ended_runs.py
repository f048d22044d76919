"""Runs that ended badly, and what their events tell of the reason and of their calls.

Belongs here: queries against the instance about single runs that failed or were cancelled. Does not belong
here: the states of partitions (`history`), or what follows from either (`operations`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, PARTITION_NAME_TAG, WILL_RETRY_TAG

from video_pipeline.operations.states import Product
from video_pipeline.resources.history import records_of, retry_is_due, touches

MARKED_FROM_OUTSIDE = "marked as failed from outside the execution context."
"""What Dagster says of a run that did not end by itself, where who marked it says nothing more."""

DIED = "Run execution process for"
"""How Dagster's code server begins what it says of a run whose process it found gone, after its own name."""

STORED_WITHIN_S = 60.0
"""What is not stored by then of a run's end has been lost with whoever was storing it."""

EndOfRun = Literal[DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED]


def will_be_retried(record: RunRecord) -> bool:
    """Whether Dagster starts this failed run again, or has done so: that run tells what becomes of it."""
    return retry_is_due(record) or AUTO_RETRY_RUN_ID_TAG in record.dagster_run.tags


def ended_runs(
    instance: dg.DagsterInstance,
    events: Sequence[EndOfRun],
    after: int | None,
    *,
    since: float | None = None,
    limit: int = 200,
) -> tuple[list[RunRecord], int | None]:
    """The runs that ended with one of the events after the given one, oldest first, and the last event looked
    at (`after`, where there was none). Where `limit` cuts one kind of event off, the others are
    cut at the same place, so that none is passed over; all are at the first run whose end is being stored.
    """
    found: list[tuple[int, str, float]] = []
    cut: list[int] = []
    for event in events:
        query = dg.RunStatusChangeRecordsFilter(event, after_storage_id=after, after_timestamp=since)
        records = instance.fetch_run_status_changes(query, limit=limit, ascending=True).records
        found += [(record.storage_id, record.run_id, record.timestamp) for record in records]
        if len(records) == limit:
            cut.append(records[-1].storage_id)
    found = sorted(item for item in found if not cut or item[0] <= min(cut))
    records = records_of(instance, {run_id for _, run_id, _ in found})
    known = {record.dagster_run.run_id: record for record in records}
    last, ended = after, {}
    for storage_id, run_id, at in found:
        record = known.get(run_id)
        if record is not None:
            if time.time() - at < STORED_WITHIN_S and _is_being_stored(instance, record):
                break
            if record.dagster_run.status in (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED):
                ended[run_id] = record
        last = storage_id
    return sorted(ended.values(), key=lambda record: record.end_time or 0.0), last


def _is_being_stored(instance: dg.DagsterInstance, record: RunRecord) -> bool:
    """Whether Dagster, which stores the event that a run has ended, then the run's status, then whether it
    will start it again, has not come to the end of that."""
    run = record.dagster_run
    undecided = run.status == dg.DagsterRunStatus.FAILURE and WILL_RETRY_TAG not in run.tags
    return not run.is_finished or (undecided and instance.run_retries_enabled)


def last_event(instance: dg.DagsterInstance, event: EndOfRun) -> int | None:
    """The newest such event's id, None where there has been none."""
    records = instance.fetch_run_status_changes(event, limit=1, ascending=False).records
    return records[0].storage_id if records else None


def has_later_run(instance: dg.DagsterInstance, product: Product, record: RunRecord, partition: str) -> bool:
    """Whether the partition had another run of the product since this one was made."""
    later = instance.get_run_records(
        dg.RunsFilter(tags={PARTITION_NAME_TAG: partition}, created_after=record.create_timestamp), limit=50
    )
    return any(
        other.dagster_run.run_id != record.dagster_run.run_id
        and touches(product, other.dagster_run.job_name, other.dagster_run.asset_selection)
        for other in later
    )


def step_failures(instance: dg.DagsterInstance, run_id: str) -> list[DagsterEvent]:
    """The steps of a run that failed by themselves: one that its dying host interrupted did not."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_FAILURE).records
    events = [record.event_log_entry.dagster_event for record in records]
    return [event for event in events if event is not None and not _was_interrupted(event)]


def _was_interrupted(event: DagsterEvent) -> bool:
    error = event.step_failure_data.error
    while error is not None:
        if error.cls_name == "DagsterExecutionInterruptedError":
            return True
        error = error.cause
    return False


def calls_of_run(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The keys of the calls that a run submitted, from its observations, each once."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ASSET_OBSERVATION).records
    calls: dict[str, None] = {}
    for record in records:
        observation = record.asset_observation
        value = observation.metadata.get("call") if observation is not None else None
        if value is not None:
            calls[str(value.value)] = None
    return list(calls)


def why_a_run_failed(
    instance: dg.DagsterInstance, run_id: str
) -> tuple[str | None, str, str | None, str | None]:
    """The step, the message, the kind of error and what to do, as far as the run's events tell."""
    for event in step_failures(instance, run_id):
        data = event.step_failure_data
        metadata = data.user_failure_data.metadata if data.user_failure_data is not None else {}
        message = (data.user_failure_data.description if data.user_failure_data is not None else None) or (
            data.error.message.strip() if data.error is not None else ""
        )
        told = {name: str(metadata[name].value) for name in ("kind", "what_to_do") if name in metadata}
        return event.step_key, message, told.get("kind"), told.get("what_to_do")
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.RUN_FAILURE).records
    said = [record.event_log_entry.dagster_event for record in records]
    message = next((event.message for event in said if event is not None and event.message), "")
    if not message or message.endswith(MARKED_FROM_OUTSIDE):
        message = _last_trouble(instance, run_id) or message
    return None, message or "the run ended without saying why", None, None


def _last_trouble(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """What Dagster's own services met when they started or watched the run: the last such event."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ENGINE_EVENT).records
    for record in reversed(records):
        event = record.event_log_entry.dagster_event
        message = (event.message if event is not None else None) or ""
        error = event.engine_event_data.error if event is not None else None
        if DIED in message:
            return message
        # That it could not be started again is no reason for which it ended.
        if error is not None and "retry" not in message:
            return f"{message}: {error.message.strip().splitlines()[0]}"
    return None
