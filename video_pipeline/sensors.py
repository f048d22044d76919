"""What starts runs when something happens: uploads, orphaned calls.

Belongs here: the sensors, and turning decisions into run requests. Does not belong here: the decisions
(`operations`), reading the instance (`resources.history`), reporting failures (`report_sensor`).

A sensor and the nightly schedules may look after the same assets, because both leave out what is queued,
running or done. No sensor loses anything when a tick breaks off: a cursor moves only with what was done about
the things it has passed.
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

import json
import time
from collections.abc import Sequence

import dagster as dg
from dagster import DagsterEventType
from dagster._core.storage.tags import BACKFILL_ID_TAG
from pydantic import ValidationError

from video_pipeline.calls import read_call, read_result, request_cancel
from video_pipeline.errors import BadInput, PipelineError, problems_of
from video_pipeline.jobs import caption_video, join_clips, make_clip, sample_videos
from video_pipeline.operations.inputs import CHECKS, KINDS, THREADS, Inputs, Kind, look, tenants_of
from video_pipeline.operations.orphans import MOST_IN_A_ROW, REATTACHED_TAG, judge, run_key
from video_pipeline.operations.states import (
    CAPTIONS,
    CLIPS,
    JOINED,
    PRODUCTS,
    SAMPLES,
    Product,
    clip_reader,
)
from video_pipeline.operations.uploads import MAX_RUNS, Decision, Table, decide
from video_pipeline.report_sensor import failure_report
from video_pipeline.resources import ended_runs, history
from video_pipeline.resources.store import StoreResource
from video_pipeline.schedules import default_sensor_status
from video_pipeline.store.base import ObjectStore
from video_pipeline.wording import counted

UPLOADS_EVERY_S = 60
ORPHANS_EVERY_S = 60
LOOK_BACK_S = 24 * 3600
"""How far the first tick looks for orphaned calls: Modal's longest call."""

TABLE_KEY = "video_pipeline/new_uploads"

_PRODUCTS_OF = {"videos": (CAPTIONS,), "samples": (SAMPLES,), "clips": (CLIPS, JOINED)}
_JOBS = [caption_video, sample_videos, make_clip, join_clips]


@dg.sensor(
    jobs=_JOBS,
    minimum_interval_seconds=UPLOADS_EVERY_S,
    default_status=default_sensor_status(),
    description="Looks in the store for videos, and requests of samples and clips, that are new or have "
    "changed; registers them and runs them. Leaves out what is queued, running or done already. A listing "
    "that fails is told, and decides nothing.",
)
def new_uploads(context: dg.SensorEvaluationContext, store: StoreResource):
    """The cursor names the generation of a table of fingerprints (made of ETags), which lies in the
    instance's storage of daemons' cursors: Dagster copies a cursor into the record of every tick, and the
    fingerprints of 10,000 videos are 500 kB. Two generations are kept, so that a tick that breaks off is
    simply done again.
    """
    settings = store.settings()
    objects = store.open()
    where = _Cursor.read(context.cursor)
    table = _load_table(context.instance, where.generation)
    try:
        tenants = settings.tenant_names or tenants_of(objects)
    except PipelineError as error:
        return dg.SkipReason(f"the store could not be listed, so nothing was decided: {error}")
    found: dict[str, dict[str, Inputs]] = {kind.partitions: {} for kind in KINDS}
    failed: list[str] = []
    unsettled, partly = 0, False
    # Shared, so that a tick stays within its minute with a hundred tenants as with one.
    checks = max(THREADS, CHECKS // max(1, len(tenants)))
    for tenant in tenants:
        for kind in KINDS:
            try:
                seen = look(
                    objects, kind, tenant, known=table.of(kind.partitions), turn=where.turn, checks=checks
                )
            except PipelineError as error:
                failed.append(f"{kind.partitions} of {tenant}: {error}")
                continue
            found[kind.partitions] |= seen.found
            unsettled += len(seen.unsettled)
            partly = partly or not seen.whole
            for reason in seen.refused.values():
                context.log.warning(f"not a name for {kind.partitions} of {tenant}: {reason}")
    for line in failed:
        context.log.warning(f"could not be listed, so nothing was decided about it: {line}")
    if failed and not any(found.values()):
        return dg.SkipReason(f"the store could not be listed, so nothing was decided: {failed[0]}")

    next_generation = table.generation + 1
    known: dict[str, dict[str, str]] = {}
    requests: list[dg.RunRequest] = []
    said: list[str] = []
    for kind in KINDS:
        decision = _decide(context.instance, kind, found[kind.partitions], table, MAX_RUNS - len(requests))
        known[kind.partitions] = decision.known
        if decision.register:
            # At once and not with the result: adding twice is harmless, and the requests below need the keys.
            context.instance.add_dynamic_partitions(kind.partitions, decision.register)
        requests += _requests(objects, kind, decision, next_generation)
        said.append(_told(kind, decision))
    generation = where.generation
    if known != {kind.partitions: table.of(kind.partitions) for kind in KINDS}:
        generation = next_generation
        _save_table(context.instance, Table(generation, known))
    cursor = _Cursor(generation, where.turn + 1 if partly else where.turn).write()
    summary = ", ".join(filter(None, [*said, f"{unsettled} still being written" if unsettled else ""]))
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else dg.SkipReason(summary or "nothing new"),
        cursor=cursor,
    )


def _decide(
    instance: dg.DagsterInstance, kind: Kind, found: dict[str, Inputs], table: Table, max_runs: int
) -> Decision:
    known = table.of(kind.partitions)
    if all(known.get(key) == inputs.fingerprint for key, inputs in found.items()):
        return Decision(known=known)
    states = [history.read_states(instance, product) for product in _PRODUCTS_OF[kind.partitions]]
    return decide(found, known, states[0].registered, states, max_runs=max_runs)


def _requests(store: ObjectStore, kind: Kind, decision: Decision, generation: int) -> list[dg.RunRequest]:
    asked = clip_reader(store)
    requests: list[dg.RunRequest] = []
    for key, fingerprint in decision.run:
        for product in _wanted(kind, key, asked):
            requests.append(
                dg.RunRequest(
                    run_key=f"{key}:{fingerprint}:{generation}:{product.job}",
                    job_name=product.job,
                    partition_key=key,
                    tags={"video_pipeline/why": "uploaded"},
                )
            )
    return requests


def _wanted(kind: Kind, key: str, asked) -> Sequence[Product]:
    """The jobs that a partition's request asks for. A wrong one gets a run that says what is wrong."""
    products = _PRODUCTS_OF[kind.partitions]
    if len(products) == 1:
        return products
    try:
        wanted = asked(key)
    except BadInput:
        return products[:1]
    return [product for product in products if wanted & set(product.ends)]


def _told(kind: Kind, decision: Decision) -> str:
    parts = [
        (len(decision.register), "registered"),
        (len(decision.waiting), "changed while they run"),
        (decision.later, "left for the next tick"),
    ]
    words = ", ".join(f"{count} {what}" for count, what in parts if count)
    return f"{kind.partitions}: {words}" if words else ""


class _Cursor:
    """`{"generation": 17, "turn": 4}`; anything else, such as one that a person emptied, begins anew."""

    def __init__(self, generation: int | None, turn: int) -> None:
        self.generation = generation
        self.turn = turn

    @classmethod
    def read(cls, text: str | None) -> "_Cursor":
        try:
            data = json.loads(text or "")
            return cls(int(data["generation"]), int(data["turn"]))
        except (ValueError, KeyError, TypeError):
            return cls(None, 0)

    def write(self) -> str:
        return json.dumps({"generation": self.generation, "turn": self.turn})


def _slot(generation: int) -> str:
    return f"{TABLE_KEY}/{generation % 2}"


def _load_table(instance: dg.DagsterInstance, generation: int | None) -> Table:
    """The table of this generation; an empty one where the cursor is new or the table is lost."""
    if generation is None:
        # Later than all that have been: run keys of an earlier life must not be taken for those of this one.
        return Table.new()
    rows = instance.run_storage.get_cursor_values({_slot(generation)})
    table = Table.from_json(rows.get(_slot(generation)))
    return table if table.generation == generation else Table(generation)


def _save_table(instance: dg.DagsterInstance, table: Table) -> None:
    instance.run_storage.set_cursor_values({_slot(table.generation): table.to_json()})


@dg.sensor(
    jobs=_JOBS,
    minimum_interval_seconds=ORPHANS_EVERY_S,
    default_status=default_sensor_status(),
    description="Finds runs whose worker died while their call went on or had finished, and starts a run "
    "that attaches to the call or takes its result: nothing is paid twice. Where a person cancelled the "
    "run, the call is cancelled.",
)
def orphaned_calls(context: dg.SensorEvaluationContext, store: StoreResource):
    """Dagster's run monitoring says which workers are dead: until it has marked a run as failed, the run may
    live, and a second one for its partition would follow the same call beside it."""
    instance = context.instance
    after = int(context.cursor) if context.cursor and context.cursor.isdigit() else None
    since = None if after is not None else time.time() - LOOK_BACK_S
    events = (DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED)
    records, last = ended_runs.ended_runs(instance, events, after, since=since)
    requests: list[dg.RunRequest] = []
    objects = store.open()
    for record in records:
        try:
            request = _reattach(context, objects, record)
        except PipelineError as error:
            return dg.SkipReason(f"the calls' records could not be read, so nothing was decided: {error}")
        except ValidationError as error:
            # It stays as it is, so that waiting for it would keep all others waiting for ever.
            problems = problems_of(error, "record")
            context.log.error(f"run {record.dagster_run.run_id}: its call's record is damaged: {problems}")
            continue
        if request is not None:
            requests.append(request)
    ended = counted(len(records), "run")
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else dg.SkipReason(f"{ended} ended badly, none left a call"),
        cursor=str(last) if last is not None else context.cursor,
    )


def _reattach(
    context: dg.SensorEvaluationContext, store: ObjectStore, record: dg.RunRecord
) -> dg.RunRequest | None:
    instance, run = context.instance, record.dagster_run
    partition = run.tags.get("dagster/partition")
    product = _product_of(run)
    if partition is None or product is None or ended_runs.will_be_retried(record):
        return None
    calls = ended_runs.calls_of_run(instance, run.run_id)
    if not calls or ended_runs.step_failures(instance, run.run_id):
        return None
    # A backfill of assets is open until its last run ends, but asks for each partition once: the one that
    # the dead run came from brings no other.
    if partition in history.running_partitions(instance, product, besides=run.tags.get(BACKFILL_ID_TAG)):
        return None
    if ended_runs.has_later_run(instance, product, record, partition):
        return None
    tenant = partition.partition("--")[0]
    found = read_call(store, tenant, calls[-1])
    verdict, why = judge(found[0] if found else None, read_result(store, tenant, calls[-1]))
    if history.was_cancelled_by_a_person(record, history.broken_backfills(instance)):
        if verdict == "attach":
            # Its worker died before it could pass the word on, and the call would be paid to its end.
            request_cancel(store, tenant, calls[-1], f"the run {run.run_id} was cancelled")
            context.log.info(f"run {run.run_id} of {partition} was cancelled: so is its call {calls[-1]}")
        return None
    so_far = int(run.tags.get(REATTACHED_TAG, "0"))
    if verdict == "nothing" or so_far >= MOST_IN_A_ROW:
        context.log.info(f"run {run.run_id} of {partition} died; nothing is started for it: {why}")
        return None
    context.log.info(f"run {run.run_id} of {partition} died; a new run takes over: {why}")
    selection = [key for key in run.asset_selection or () if key.to_user_string() in product.assets]
    return dg.RunRequest(
        run_key=run_key(run.run_id),
        job_name=product.job,
        partition_key=partition,
        asset_selection=sorted(selection) or None,
        tags={REATTACHED_TAG: str(so_far + 1), "video_pipeline/why": f"orphan: {verdict}"},
    )


def _product_of(run: dg.DagsterRun) -> Product | None:
    known = {product.job for product in PRODUCTS}
    if not run.asset_selection and run.job_name not in known and not run.job_name.endswith("_only"):
        return None
    return next((item for item in PRODUCTS if history.touches(item, run.job_name, run.asset_selection)), None)


default_sensors = [new_uploads, orphaned_calls, failure_report]
