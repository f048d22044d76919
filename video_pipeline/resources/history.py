"""What Dagster's instance knows about the partitions of a product, read in bulk.

Belongs here: queries against the instance. Does not belong here: what follows from the answers
(`operations`). Each function makes a number of queries that does not grow with the number of partitions, but
for batches of `BATCH` runs: one query per partition would take minutes for 10,000 of them.

Dagster answers "which partitions were attempted and not made since" for an asset in one query, as its UI
does; the runs' statuses tell failed attempts from those that left the asset out and from those that go on.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, RunRecord
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
)

from video_pipeline.operations.states import (
    CANCELLED,
    FAILURE_KIND_TAG,
    FAILURE_OF_TAG,
    PRODUCTS,
    FailedRun,
    Product,
    States,
)
from video_pipeline.resources.staleness import stale_partitions

BATCH = 500
"""Run ids of one query; SQLite takes 32,766 variables, PostgreSQL plans long lists badly."""

RETRY_COMES_WITHIN_S = 3600.0
"""A run that is to be retried counts as on its way for this long. The daemon starts retries within seconds;
one that has not come after an hour was lost with its daemon."""


def read_states(
    instance: dg.DagsterInstance, product: Product, *, code_versions: Mapping[str, str | None] | None = None
) -> States:
    """The states of every registered partition of the product.

    With `code_versions` (by asset) also which were made by another version of the code, or before an input of
    theirs was made anew: that is a query more per asset.
    """
    registered = instance.get_dynamic_partitions(product.partitions)
    known = set(registered)
    made: dict[str, set[str]] = {}
    attempts: dict[str, Mapping[str, tuple[str, int]]] = {}
    for end in product.ends:
        key = dg.AssetKey(end)
        made[end] = instance.get_materialized_partitions(key) & known
        attempts[end] = (
            instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
                key
            )
        )
    failed, cancelled = _failed_and_cancelled(instance, attempts, known)
    _add_left_out(instance, attempts, made, known)
    done = set.intersection(*made.values()) - failed.keys()
    retried = {key for key, run in failed.items() if run.retry_due}
    active = (_running(instance, product, registered) & known) | retried
    stale = set() if code_versions is None else stale_partitions(instance, product, code_versions, done)
    cancelled = {
        key: run
        for key, run in cancelled.items()
        if key not in done and (key not in failed or failed[key].began <= run.began)
    }
    return States(
        registered, done=done, active=active, failed=failed, cancelled=cancelled, stale=stale, made=made
    )


def _failed_and_cancelled(
    instance: dg.DagsterInstance,
    attempts: Mapping[str, Mapping[str, tuple[str, int]]],
    known: set[str],
) -> tuple[dict[str, FailedRun], dict[str, FailedRun]]:
    """The partitions whose last attempt at one of the ends failed, and those in which a person ended it, each
    with the latest such run."""
    runs: dict[str, dict[str, set[str]]] = {}
    for end, partitions in attempts.items():
        for partition, (run_id, _) in partitions.items():
            if partition in known:
                runs.setdefault(run_id, {}).setdefault(partition, set()).add(end)
    failed: dict[str, FailedRun] = {}
    cancelled: dict[str, FailedRun] = {}
    is_broken = broken_backfills(instance)
    for record in records_of(instance, runs, [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]):
        of_a_person = was_cancelled_by_a_person(record, is_broken)
        if record.dagster_run.status == dg.DagsterRunStatus.CANCELED and not of_a_person:
            continue  # as if it had not been asked for: it is missing
        found = cancelled if of_a_person else failed
        for partition, ends in runs[record.dagster_run.run_id].items():
            run = failed_run(record, frozenset(ends))
            before = found.get(partition)
            if before is None or before.began < run.began:
                found[partition] = run
    return failed, cancelled


def was_cancelled_by_a_person(record: RunRecord, is_broken: Callable[[str], bool]) -> bool:
    """Whether a person ended this run: in the UI, or by cancelling its call. Dagster marks a run as cancelled
    for one other reason only, that its backfill broke down (`broken_backfills`); one whose host went is a
    failure."""
    run = record.dagster_run
    if run.status == dg.DagsterRunStatus.FAILURE:
        return _kind_of(run) == CANCELLED
    backfill = run.tags.get(BACKFILL_ID_TAG)
    return run.status == dg.DagsterRunStatus.CANCELED and not (backfill and is_broken(backfill))


def broken_backfills(instance: dg.DagsterInstance) -> Callable[[str], bool]:
    """Whether the backfill of an id broke down by itself, each looked up once."""

    @functools.cache
    def is_broken(backfill_id: str) -> bool:
        backfill = instance.get_backfill(backfill_id)
        broken = (BulkActionStatus.FAILED, BulkActionStatus.FAILING)
        return backfill is not None and backfill.status in broken

    return is_broken


def _add_left_out(
    instance: dg.DagsterInstance,
    attempts: Mapping[str, Mapping[str, tuple[str, int]]],
    made: Mapping[str, set[str]],
    known: set[str],
) -> None:
    """A run that succeeded and did not make what it had planned left it out: nothing asked for it."""
    run_ids = {run_id for partitions in attempts.values() for run_id, _ in partitions.values()}
    succeeded: set[str] = set()
    for ids in _batches(run_ids):
        succeeded.update(
            instance.run_storage.get_run_ids(
                dg.RunsFilter(run_ids=ids, statuses=[dg.DagsterRunStatus.SUCCESS])
            )
        )
    for end, partitions in attempts.items():
        made[end].update(
            key for key, (run_id, _) in partitions.items() if run_id in succeeded and key in known
        )


def records_of(
    instance: dg.DagsterInstance,
    run_ids: Iterable[str],
    statuses: Sequence[dg.DagsterRunStatus] | None = None,
) -> list[RunRecord]:
    """The records of the runs, or of those of them that have one of the statuses."""
    return [
        record
        for ids in _batches(run_ids)
        for record in instance.get_run_records(dg.RunsFilter(run_ids=ids, statuses=statuses))
    ]


def failed_run(record: RunRecord, ends: frozenset[str] = frozenset()) -> FailedRun:
    run = record.dagster_run
    began = record.start_time or record.create_timestamp.timestamp()
    return FailedRun(
        run_id=run.run_id,
        job=run.job_name,
        began=began,
        ended=record.end_time or began,
        kind=CANCELLED if run.status == dg.DagsterRunStatus.CANCELED else _kind_of(run),
        retry_due=retry_is_due(record),
        assets=ends,
    )


def _kind_of(run: dg.DagsterRun) -> str | None:
    """The kind of this run's own failure, and not of the one that it was started again for."""
    own = run.tags.get(FAILURE_OF_TAG, run.run_id) == run.run_id
    return run.tags.get(FAILURE_KIND_TAG) if own else None


def retry_is_due(record: RunRecord) -> bool:
    """Whether Dagster will start this failed run again and has not done so yet."""
    tags = record.dagster_run.tags
    waited = time.time() - (record.end_time or record.update_timestamp.timestamp())
    due = tags.get(WILL_RETRY_TAG) == "true" and AUTO_RETRY_RUN_ID_TAG not in tags
    return due and waited < RETRY_COMES_WITHIN_S


def _running(
    instance: dg.DagsterInstance, product: Product, registered: Sequence[str], besides: str | None = None
) -> set[str]:
    """Partitions in runs that have not ended, and in backfills (but for the one `besides`) that have not
    asked for all of theirs."""
    busy: set[str] = set()
    for record in instance.get_run_records(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
        run = record.dagster_run
        if touches(product, run.job_name, run.asset_selection):
            busy.update(partitions_of(run.tags, registered))
    open_backfills = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])
    for backfill in instance.get_backfills(filters=open_backfills):
        if backfill.backfill_id != besides:
            busy.update(_partitions_of_backfill(backfill, product, registered))
    return busy


def touches(product: Product, job: str, selection: Iterable[dg.AssetKey] | None) -> bool:
    """Whether a run makes something of the product. One that cannot be told counts as if it did."""
    if selection:  # None or empty: the whole job
        return any(key.to_user_string() in product.assets for key in selection)
    if job.endswith("_only"):
        return job.removesuffix("_only") in product.assets
    return job == product.job or job not in {other.job for other in PRODUCTS}


def partitions_of(tags: Mapping[str, str], registered: Sequence[str]) -> set[str]:
    """The partitions that a run's tags name: one, or a range in the order of registration."""
    named = {tags[PARTITION_NAME_TAG]} if PARTITION_NAME_TAG in tags else set()
    begin, end = tags.get(ASSET_PARTITION_RANGE_START_TAG), tags.get(ASSET_PARTITION_RANGE_END_TAG)
    if begin in registered and end in registered:
        named.update(registered[registered.index(begin) : registered.index(end) + 1])
    return named


def _partitions_of_backfill(
    backfill: PartitionBackfill, product: Product, registered: Sequence[str]
) -> set[str]:
    data = backfill.asset_backfill_data
    if data is not None:
        wanted: set[str] = set()
        for key, subset in data.target_subset.partitions_subsets_by_asset_key.items():
            if key.to_user_string() in product.assets:
                wanted.update(subset.get_partition_keys())
        return wanted
    if backfill.partition_names is not None:
        job = backfill.job_name or ""
        return set(backfill.partition_names) if touches(product, job, backfill.asset_selection) else set()
    # A form of an older Dagster: which partitions it means cannot be told, so all of them wait for its end.
    return set(registered)


def _batches(run_ids: Iterable[str]) -> Iterable[list[str]]:
    ids = sorted(set(run_ids))
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))


def running_partitions(
    instance: dg.DagsterInstance, product: Product, *, besides: str | None = None
) -> set[str]:
    """Partitions of the product that some run or backfill is about to make or is making; `besides`: the id of
    a backfill that does not count."""
    registered = instance.get_dynamic_partitions(product.partitions)
    return _running(instance, product, registered, besides) & set(registered)
