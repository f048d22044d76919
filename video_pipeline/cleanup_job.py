"""The job `clean_up`: retention in Dagster, a dry run unless its configuration says otherwise.

Belongs here: the op, its configuration, and what the UI shows of a report. Does not belong here: what is
removed (`operations.retention`), or when the job runs (schedules).
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

import dagster as dg
from pydantic import Field

from video_pipeline.errors import PipelineError
from video_pipeline.failures import to_failure
from video_pipeline.operations.retention import clean, survey
from video_pipeline.operations.retention_report import RetentionReport, limits_of
from video_pipeline.resources.store import StoreResource

SHOWN = 100
"""Lines of each list in the metadata: the event log keeps every run's."""


class CleanUpConfig(dg.Config):
    """What to remove. As it stands, nothing: the run lists what could go."""

    remove: bool = Field(default=False, description="False: list only. True: remove what is listed.")
    older_than_days: float = Field(default=30.0, description="Age of the newest object; at least 1.")
    partial_older_than_hours: float | None = Field(
        default=None,
        description="The same of what was begun and never finished; at least 1. None: as older_than_days.",
    )
    tenant: str | None = Field(default=None, description="One tenant; None: all of the store.")


@dg.op(
    description="Lists, and with `remove: true` removes, what is old and referred to by nothing: recipes "
    "that are not published, records of old calls, what was begun and never finished, unused indexes."
)
def clean_up_store(context: dg.OpExecutionContext, config: CleanUpConfig, store: StoreResource) -> int:
    def told(done: int, total: int) -> None:
        if done % 500 == 0:
            context.log.info(f"{done} of {total}")

    try:
        limits = limits_of(config.older_than_days, config.partial_older_than_hours)
        objects = store.open()
        if config.remove:
            report = clean(objects, limits, tenant=config.tenant, on_progress=told)
        else:
            report = survey(objects, limits, tenant=config.tenant)
    except PipelineError as error:
        raise to_failure(context, error) from None  # pyright: ignore[reportArgumentType]
    for line in report.failed:
        context.log.error(f"not removed: {line}")
    context.log.info(report.next_step())
    context.add_output_metadata(metadata_of(report))
    if report.failed:
        raise dg.Failure(
            f"{len(report.failed)} of the units could not be removed; all others were",
            metadata={"failed": dg.MetadataValue.md(_bullets(report.failed))},
        )
    return sum(row.done if report.removed else row.units for row in report.kinds)


def metadata_of(report: RetentionReport) -> dict[str, dg.MetadataValue]:
    """The report as people read it in the UI; the numbers plot over runs."""
    table = [
        dg.TableRecord(
            {
                "kind": row.kind,
                "units": row.units,
                "objects": row.objects,
                "megabytes": round(row.bytes / 1e6, 3),
                "oldest": f"{row.oldest:%Y-%m-%d %H:%M}" if row.oldest else "",
                "done": row.done,
                "freed_megabytes": round(row.freed_bytes / 1e6, 3),
                "costs": row.cost,
            }
        )
        for row in report.kinds
    ]
    samples = [f"**{row.kind}**\n\n{_bullets(row.sample)}" for row in report.kinds if row.sample]
    return {
        "kinds": dg.MetadataValue.table(table),
        "samples": dg.MetadataValue.md("\n\n".join(samples) or "nothing is old and unused"),
        "removed": dg.MetadataValue.bool(report.removed),
        "units": dg.MetadataValue.int(sum(row.units for row in report.kinds)),
        "megabytes": dg.MetadataValue.float(report.bytes / 1e6),
        "freed_megabytes": dg.MetadataValue.float(sum(row.freed_bytes for row in report.kinds) / 1e6),
        "hours_to_compute_again": dg.MetadataValue.float(report.computed_s / 3600),
        "put_back": dg.MetadataValue.md(_bullets(report.restored)),
        "held_back": dg.MetadataValue.md(_bullets(report.held_back)),
        "notes": dg.MetadataValue.md(_bullets(report.notes)),
        "next_step": dg.MetadataValue.text(report.next_step()),
    }


def _bullets(lines: tuple[str, ...]) -> str:
    more = [f"- and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join([*(f"- {line}" for line in lines[:SHOWN]), *more]) or "none"


@dg.job(
    description="Removes what is old and referred to by nothing. A dry run by default: it lists. Old recipes "
    "go in two runs at least an hour apart, so that whoever publishes one meanwhile gets it back."
)
def clean_up() -> None:
    clean_up_store()
