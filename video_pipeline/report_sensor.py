"""What reports runs that failed for good, to a webhook or a file.

Belongs here: the sensor, its cursor, and gathering what is told of a run. Does not belong here: the report's
form and its delivery (`operations.failures_report`), or sensors that start runs (`sensors`).
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

import json
from typing import Any

import dagster as dg
from dagster import DagsterEventType

from video_pipeline.errors import PipelineError
from video_pipeline.operations.failures_report import (
    DETAILED,
    PLACES,
    Failure,
    Place,
    deliver,
    places_of,
    report_of,
)
from video_pipeline.resources import ended_runs, history
from video_pipeline.resources.store import StoreResource
from video_pipeline.schedules import default_sensor_status

FAILURES_EVERY_S = 60


@dg.sensor(
    minimum_interval_seconds=FAILURES_EVERY_S,
    default_status=default_sensor_status(),
    description="Reports runs that failed for good to VIDEO_PIPELINE_FAILURE_WEBHOOK or "
    "VIDEO_PIPELINE_FAILURE_FILE: which partition and asset, why, and what to do. What the webhook does not "
    "take is sent again at the next tick.",
)
def failure_report(context: dg.SensorEvaluationContext, store: StoreResource):
    """The cursor holds, for each place, the last event that it was told of: a place that takes nothing must
    not have the other told of the same failures at every tick."""
    instance = context.instance
    told = _told_of(context.cursor)
    if told is None:
        # What failed before somebody switched this on is in the UI; it would be hundreds of reports at once.
        last = ended_runs.last_event(instance, DagsterEventType.RUN_FAILURE) or 0
        return dg.SensorResult(
            skip_reason=dg.SkipReason("failures from now on are reported"), cursor=str(last)
        )
    settings = store.settings()
    wanted = places_of(settings)
    news = {after: _failures_after(instance, after, settings.ui_url, bool(wanted)) for after in told.values()}
    said: list[str] = []
    for place, after in list(told.items()):
        count, report, last = news[after]
        if count and place in wanted:
            try:
                deliver(place, report, settings)
            except PipelineError as error:
                said.append(f"{count} failed runs are not reported yet: {error}")
                continue
            said.append(f"reported {count} failed runs to the {place}")
        told[place] = last
    if not said and any(count for count, _, _ in news.values()):
        where = "VIDEO_PIPELINE_FAILURE_WEBHOOK or VIDEO_PIPELINE_FAILURE_FILE"
        said.append(f"runs failed; set {where} to have it reported")
    return dg.SensorResult(
        skip_reason=dg.SkipReason("; ".join(said) or "no run failed for good"), cursor=json.dumps(told)
    )


def _told_of(cursor: str | None) -> dict[Place, int] | None:
    """By place, from `{"webhook": 17, "file": 19}` or, of both, `19`; None for everything else."""
    try:
        data = json.loads(cursor or "")
        if isinstance(data, int):
            return dict.fromkeys(PLACES, data)
        return {place: int(data[place]) for place in PLACES}
    except (ValueError, KeyError, TypeError):
        return None


def _failures_after(
    instance: dg.DagsterInstance, after: int, ui_url: str | None, reported: bool
) -> tuple[int, dict[str, Any], int]:
    """How many runs failed for good after an event, the report of them if one is wanted, the last event."""
    records, last = ended_runs.ended_runs(instance, [DagsterEventType.RUN_FAILURE], after)
    final = [record for record in records if not ended_runs.will_be_retried(record)]
    failures = [
        failure_of(instance, record, ui_url, detailed=number < DETAILED)
        for number, record in enumerate(final)
        if reported
    ]
    return len(final), report_of(failures), after if last is None else last


def failure_of(
    instance: dg.DagsterInstance, record: dg.RunRecord, ui_url: str | None, *, detailed: bool = True
) -> Failure:
    """A failed run for the report; with `detailed`, its events are read for the reason."""
    run = record.dagster_run
    told = history.failed_run(record)
    step, message, kind, advice = (
        ended_runs.why_a_run_failed(instance, run.run_id) if detailed else (None, "", told.kind, None)
    )
    return Failure(
        run_id=run.run_id,
        job=run.job_name,
        partition=run.tags.get("dagster/partition"),
        ended=told.ended_at,
        asset=step,
        kind=kind or told.kind,
        message=message,
        what_to_do=advice,
        link=f"{ui_url}/runs/{run.run_id}" if ui_url else None,
    )
