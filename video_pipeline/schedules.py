"""The nightly backfills, in which what is missing or failed is run again, and what follows them: health and
costs every morning, a clean-up every week.

Belongs here: the schedules, and turning a choice into run requests. Does not belong here: the choice
(`operations.backfill`), reading states (`resources.history`), what runs upon an upload (`sensors`).

Nothing is asked for twice: a partition that is queued or running, from whatever source, is left out; so is
one that a schedule asked for earlier in the same night (a tag on its run says so), and within a tick a run
key keeps a tick that broke off and is done again from asking twice. The sensor `new_uploads` skips the same
partitions, so both may look after one asset.
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

import logging
from datetime import date
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._utils.schedules import is_valid_cron_string

from video_pipeline.errors import BadInput
from video_pipeline.operations.backfill import (
    BOUND_TAG,
    NIGHT_TAG,
    OVER_COST,
    PRODUCT_TAG,
    Choice,
    Limits,
    choose,
    night_of,
)
from video_pipeline.operations.changes import last_change
from video_pipeline.operations.inputs import kind_of
from video_pipeline.operations.states import CAPTIONS, CLIPS, JOINED, SAMPLES, FailedRun, Product, clip_reader
from video_pipeline.resources.history import read_states
from video_pipeline.resources.store import StoreResource
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store.base import ObjectStore

log = logging.getLogger(__name__)

DEFAULT_CRON = "0 2 * * *"
COSTS_CRON = "0 6 * * *"
HEALTH_CRON = "0 7 * * *"
CLEAN_UP_CRON = "0 5 * * SUN"
"""In the time zone of the backfills: before people look, after the night's runs."""


def starting_settings() -> Settings:
    """The settings at the time of loading. A wrong environment must not take the UI down: then the defaults
    are taken, with which everything is stopped, and every tick says what is wrong."""
    try:
        return load_settings()
    except BadInput as error:
        log.warning("schedules and sensors are stopped: %s", error)
        return Settings.model_construct()


def default_sensor_status() -> dg.DefaultSensorStatus:
    """Whether sensors run from the start, as the schedules do."""
    running = starting_settings().automation_runs
    return dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED


def timing_problem(settings: Settings) -> str | None:
    """What is wrong with when the schedules run, or None."""
    if not is_valid_cron_string(settings.backfill_cron):
        return f"VIDEO_PIPELINE_BACKFILL_CRON: {settings.backfill_cron!r} is not a cron expression"
    try:
        ZoneInfo(settings.backfill_timezone)
    except (ValueError, OSError, KeyError):
        return f"VIDEO_PIPELINE_BACKFILL_TIMEZONE: {settings.backfill_timezone!r} is not a time zone"
    return None


def _settings_with_a_time(store: StoreResource) -> Settings:
    """The settings at a tick. BadInput if they do not say when schedules run."""
    settings = store.settings()
    problem = timing_problem(settings)
    if problem is not None:
        raise BadInput(problem, what_to_do="correct it and restart the code server")
    return settings


def usd_bound(product: Product, settings: Settings) -> float:
    """What one run may cost at most, in US dollars; 0 where calls run on this machine."""
    if settings.compute != "modal":
        return 0.0
    from video_pipeline.modal_ops.guard import cost_of
    from video_pipeline.tasks import find_task

    return sum(cost_of(find_task(task, settings), settings).bound_usd for task in product.tasks)


def _asked_tonight(instance: dg.DagsterInstance, product: Product, night: date) -> dict[str, float]:
    """What this night's earlier ticks asked for, with what each run may cost."""
    tags = {NIGHT_TAG: night.isoformat(), PRODUCT_TAG: _tag(product)}
    asked: dict[str, float] = {}
    for record in instance.get_run_records(dg.RunsFilter(tags=tags)):
        run = record.dagster_run
        asked[run.tags.get("dagster/partition", run.run_id)] = float(run.tags.get(BOUND_TAG, "0"))
    return asked


def choose_for(
    instance: dg.DagsterInstance,
    store: ObjectStore,
    settings: Settings,
    product: Product,
    night: date,
    code_versions: dict[str, str | None],
) -> tuple[Choice, float]:
    """The night's choice for one product, and what one of its runs may cost."""
    states = read_states(instance, product, code_versions=code_versions if settings.backfill_stale else None)
    asked = _asked_tonight(instance, product, night)
    bound = usd_bound(product, settings)
    limits = Limits(
        runs=settings.backfill_max_runs - len(asked),
        usd=settings.backfill_max_usd - sum(asked.values()),
        usd_per_run=bound,
    )

    def changed(key: str, run: FailedRun) -> bool:
        change = last_change(store, kind_of(product.partitions), key)
        return change is not None and change > run.began

    choice = choose(
        product,
        states,
        limits,
        asked_tonight=asked.keys(),
        stale_too=settings.backfill_stale,
        cancelled_too=settings.backfill_cancelled,
        changed=changed,
        asked=clip_reader(store) if product.optional else None,
    )
    return choice, bound


def _nightly(name: str, product: Product, what: str) -> dg.ScheduleDefinition:
    settings = starting_settings()
    usable = timing_problem(settings) is None
    running = settings.automation_runs and usable

    @dg.schedule(
        name=name,
        job_name=product.job,
        cron_schedule=settings.backfill_cron if usable else DEFAULT_CRON,
        execution_timezone=settings.backfill_timezone if usable else "UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description=f"Every night, runs the {what} that are missing or whose last run failed: newest first, "
        "up to VIDEO_PIPELINE_BACKFILL_MAX_RUNS of them and, on Modal, VIDEO_PIPELINE_BACKFILL_MAX_USD. "
        "Leaves out what is queued or running, and what failed with bad input or was cancelled by a person "
        "until its input changes.",
    )
    def nightly(context: dg.ScheduleEvaluationContext, store: StoreResource):
        settings = _settings_with_a_time(store)
        night = night_of(context.scheduled_execution_time)
        graph = context.repository_def.asset_graph if context.repository_def is not None else None
        versions = {
            asset: None if graph is None else graph.get(dg.AssetKey(asset)).code_version
            for asset in product.assets
        }
        choice, bound = choose_for(context.instance, store.open(), settings, product, night, versions)
        told = str(choice)
        if choice.left[OVER_COST]:
            limit = settings.backfill_max_usd
            told += f"; a run counts {bound:.2f} USD, VIDEO_PIPELINE_BACKFILL_MAX_USD is {limit:g}"
        context.log.info(f"{name} of {night.isoformat()}: {told}")
        if not choice.chosen:
            return dg.SkipReason(told)
        return [
            dg.RunRequest(
                run_key=f"{night.isoformat()}:{key}",
                partition_key=key,
                tags={
                    NIGHT_TAG: night.isoformat(),
                    PRODUCT_TAG: _tag(product),
                    BOUND_TAG: f"{bound:.4f}",
                    "video_pipeline/why": why,
                },
            )
            for key, why in choice.chosen
        ]

    return nightly


def _tag(product: Product) -> str:
    return product.name.replace(" ", "_")


def _daily(name: str, job: str, cron: str, text: str) -> dg.ScheduleDefinition:
    """A job without partitions, every morning in the time zone of the backfills."""
    settings = starting_settings()
    usable = timing_problem(settings) is None
    running = settings.automation_runs and usable
    return dg.ScheduleDefinition(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone=settings.backfill_timezone if usable else "UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description=text,
    )


def _daily_health() -> dg.ScheduleDefinition:
    return _daily(
        "daily_health",
        "check_health",
        HEALTH_CRON,
        "Every morning, looks over all partitions and lists those whose last run failed, why, "
        "and what to do: the checks no_partitions_left_failed, as the night has left them.",
    )


def _daily_costs() -> dg.ScheduleDefinition:
    return _daily(
        "daily_costs",
        "account_costs",
        COSTS_CRON,
        "Every morning, collects what calls used and cost, fits the cost model anew and projects a month.",
    )


def _weekly_clean_up() -> dg.ScheduleDefinition:
    settings = starting_settings()
    usable = timing_problem(settings) is None

    @dg.schedule(
        name="weekly_clean_up",
        job_name="clean_up",
        cron_schedule=CLEAN_UP_CRON,
        execution_timezone=settings.backfill_timezone if usable else "UTC",
        # Everywhere, also in production: what takes away is switched on by a person.
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Every Sunday morning, lists what is old and referred to by nothing or, with "
        "VIDEO_PIPELINE_CLEAN_UP_REMOVE=true, removes it. VIDEO_PIPELINE_CLEAN_UP_OLDER_THAN_DAYS says what "
        "is old. An old recipe goes in two of these runs.",
    )
    def weekly_clean_up(context: dg.ScheduleEvaluationContext, store: StoreResource):
        settings = _settings_with_a_time(store)
        config = {"remove": settings.clean_up_remove, "older_than_days": settings.clean_up_older_than_days}
        return dg.RunRequest(
            run_key=context.scheduled_execution_time.date().isoformat(),
            run_config={"ops": {"clean_up_store": {"config": config}}},
        )

    return weekly_clean_up


nightly_backfills = [
    _nightly("nightly_backfill", CAPTIONS, "videos"),
    _nightly("nightly_backfill_samples", SAMPLES, "samples"),
    _nightly("nightly_backfill_clips", CLIPS, "clips"),
    _nightly("nightly_backfill_joined_clips", JOINED, "joined clips"),
]
default_schedules = [*nightly_backfills, _daily_health(), _daily_costs(), _weekly_clean_up()]
