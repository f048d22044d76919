"""The checks `no_partitions_left_failed`: for each end product, which partitions failed, why, and what to do.

Belongs here: the checks and what they show. Does not belong here: reading states (`resources.history`) or
trying again (`schedules`). Dagster's own freshness policies do not know partitions.

A check looks at all partitions at once, so it is in no job that makes one of them: `check_health` runs them.
It warns and never fails a run: that one video is broken is no fault of the run that looked.
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

from collections import Counter

import dagster as dg

from video_pipeline.operations.states import NOT_TRIED_AGAIN, PRODUCTS, FailedRun, Product
from video_pipeline.resources.ended_runs import why_a_run_failed
from video_pipeline.resources.history import read_states
from video_pipeline.resources.store import StoreResource

NAME = "no_partitions_left_failed"
SHOWN = 20
"""Partitions that the table shows in full; the counts are of all."""

CELL = 300
"""Characters of a message that the table shows."""


def _check(product: Product, asset: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey(asset),
        name=NAME,
        description="No partition's last run failed. Lists those that did, why, and what to do; passes once "
        "each was made again, or is on its way. What a person cancelled is counted, and is no failure.",
    )
    def no_partitions_left_failed(
        context: dg.AssetCheckExecutionContext, store: StoreResource
    ) -> dg.AssetCheckResult:
        states = read_states(context.instance, product)
        failed = {
            key: run for key, run in states.failed.items() if asset in run.assets and key not in states.active
        }
        on_their_way = sum(asset in run.assets for key, run in states.failed.items() if key in states.active)
        counts = {
            "registered": len(states.registered),
            "being_tried_again": on_their_way,
            "cancelled": sum(
                asset in run.assets for key, run in states.cancelled.items() if key not in states.active
            ),
        }
        return _result(context.instance, failed, counts, store.settings().ui_url)

    return no_partitions_left_failed


def _result(
    instance: dg.DagsterInstance,
    failed: dict[str, FailedRun],
    counts: dict[str, int],
    ui_url: str | None,
) -> dg.AssetCheckResult:
    kinds = Counter(run.kind or "unknown" for run in failed.values())
    waiting = sum(run.kind in NOT_TRIED_AGAIN for run in failed.values())
    words = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    metadata: dict[str, dg.MetadataValue | int | str] = {
        "failed": len(failed),
        **counts,
        "waiting_for_another_input": waiting,
    }
    if not failed:
        return dg.AssetCheckResult(passed=True, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)
    metadata |= {f"failed_{kind}": count for kind, count in kinds.items()}
    metadata["partitions"] = dg.MetadataValue.md(_table(instance, failed, ui_url))
    advice = []
    if waiting:
        advice.append(
            f"- {waiting} failed with **bad input**. A nightly backfill leaves them alone until their "
            "source or request in the store changes: correct it, as the table says."
        )
    if len(failed) > waiting:
        advice.append(
            f"- {len(failed) - waiting} failed for **another reason**. A nightly backfill, where its "
            "schedule is switched on, tries them again; to do it now, choose them among the asset's "
            "partitions and materialise."
        )
    metadata["what_to_do"] = dg.MetadataValue.md("\n".join(advice))
    return dg.AssetCheckResult(
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(failed)} of {counts['registered']} partitions are left failed: {words}",
        metadata=metadata,
    )


def _table(instance: dg.DagsterInstance, failed: dict[str, FailedRun], ui_url: str | None) -> str:
    """The latest `SHOWN` failures, newest first, with the reason that their runs' events give."""
    latest = sorted(failed.items(), key=lambda item: (-item[1].ended, item[0]))
    lines = ["| partition | failed at | asset | kind | why | what to do |", "|---|---|---|---|---|---|"]
    for key, run in latest[:SHOWN]:
        step, message, kind, advice = why_a_run_failed(instance, run.run_id)
        when = f"[{run.ended_at}]({ui_url}/runs/{run.run_id})" if ui_url else run.ended_at
        cells = (key, when, step or run.job, kind or run.kind or "unknown", message, advice or "read the run")
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    if len(latest) > SHOWN:
        lines.append(f"\n… and {len(latest) - SHOWN} more.")
    return "\n".join(lines)


def _cell(text: str) -> str:
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= CELL else f"{line[: CELL - 1]}…"


health_checks = [_check(product, end) for product in PRODUCTS for end in product.ends]
health_selection = dg.AssetSelection.checks(*health_checks)
