"""The assets of costs: what calls used, the model fitted to it, the plan that follows, a month foreseen.

    usage_ledger -> cost_model -> gpu_plan -> cost_projection (with the dashboard page)

Belongs here: what exists, of what it is made, what to show about it. Does not belong here: tables
(`costs_tables.py`), any figure (`video_pipeline.costs`). They are not partitioned: each is of the whole
deployment. What is heavy is imported inside functions, because Dagster loads this module.
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

from pathlib import Path
from typing import Any

import dagster as dg

import video_pipeline
from video_pipeline import keys
from video_pipeline.assets.common import OWNERS
from video_pipeline.assets.costs_tables import (
    by_task,
    choices_table,
    coefficients_table,
    drift_table,
    latest_attempts,
    thresholds_table,
)
from video_pipeline.assets.metadata import embedded, link, links
from video_pipeline.errors import BadInput, PipelineError
from video_pipeline.failures import to_failure
from video_pipeline.resources.store import StoreResource
from video_pipeline.store.base import ObjectStore

GROUP = "costs"
EXPERIMENTS = Path(video_pipeline.__file__).parents[1] / "experiments" / "results"
"""Beside the package in a checkout; an installed package has none."""


def _text(what: str, look: str) -> str:
    return f"{what}\n\n**To look at:** {look}"


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet", "pandas"},
    description=_text(
        "What every attempt of every call of all tenants took and cost, failed and cancelled ones too: a "
        "table of Parquet objects in the store, a day each. Attempts whose worker died unseen are entered "
        "first, and those whose entry the store had refused.",
        "`cost_by_day`, where black dots are what was really paid and bars price local seconds as Modal "
        "would; `cost_by_task`; `latest_attempts`.",
    ),
)
def usage_ledger(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:
    from video_pipeline.costs.dashboard import dashboard_figures
    from video_pipeline.costs.ledger import collect, load
    from video_pipeline.costs.ledger_gaps import enter_orphans, enter_results
    from video_pipeline.costs.plots import cost_by_day

    try:
        objects = store.open()
        orphans, late = enter_orphans(objects), enter_results(objects)
        collected = collect(objects)
        rows = load(objects)
    except PipelineError as error:
        raise to_failure(context, error) from None
    for name in collected.unreadable:
        context.log.warning(f"{name} is no entry of the ledger and stays where it is")
    metadata: dict[str, Any] = {
        "rows": len(rows),
        "new_rows": collected.added,
        "found_dead": orphans,
        "entered_late": late,
        "unreadable": len(collected.unreadable),
        **dashboard_figures(rows),
    }
    if len(rows):
        metadata = {
            "cost_by_day": embedded(cost_by_day(rows), "cost by day"),
            "cost_by_task": by_task(rows),
            **metadata,
            "latest_attempts": latest_attempts(rows),
        }
    else:
        metadata["nothing_yet"] = "no call has left an entry: run a task, then this again"
    tables = f"{objects.uri}/{keys.ledger_table_prefix()}"
    return dg.MaterializeResult(metadata={**metadata, "tables": tables})


class CostModelConfig(dg.Config):
    """Where the results of experiments lie, as a folder of this machine; by default those of the checkout."""

    experiments_folder: str | None = None


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"json", "scipy"},
    deps=[usage_ledger],
    description=_text(
        "What a call takes by its frames and chunks, fitted for each task, backend and GPU: to the ledger "
        "where it has enough runs, else to the repeated runs of experiments, else as published.",
        "`measured_and_predicted`: dots on the diagonal were foretold; `coefficients` with their 95 % "
        "intervals and the error on runs held out; `not_fitted`, with what is missing.",
    ),
)
def cost_model(
    context: dg.AssetExecutionContext, config: CostModelConfig, store: StoreResource
) -> dg.MaterializeResult:
    from video_pipeline.costs.ledger import load
    from video_pipeline.costs.plots import measured_against_predicted
    from video_pipeline.costs.refit import refit
    from video_pipeline.costs.stored import MODELS_KIND, known_coefficients, save

    try:
        objects = store.open()
        models = refit(load(objects), _experiments(config))
        pointer = save(objects, MODELS_KIND, {"json": models.model_dump_json(indent=1).encode()})
    except PipelineError as error:
        raise to_failure(context, error) from None
    for line in models.not_fitted:
        context.log.info(f"no model: {line}")
    known = known_coefficients(models)
    metadata: dict[str, Any] = {}
    if any(model.used and model.points for model in models.models):
        picture = embedded(measured_against_predicted(models), "measured and predicted")
        metadata["measured_and_predicted"] = picture
    return dg.MaterializeResult(
        metadata={
            **metadata,
            "coefficients": coefficients_table(known, models),
            "models": len(known),
            "fitted": sum(model.used for model in models.models),
            "not_fitted": dg.MetadataValue.md("\n".join(f"- {line}" for line in models.not_fitted) or "none"),
            **links(objects, {"file": pointer.files["json"], "pointer": keys.cost_current_key(MODELS_KIND)}),
        }
    )


def _experiments(config: CostModelConfig) -> Path | None:
    if config.experiments_folder is None:
        return EXPERIMENTS if EXPERIMENTS.is_dir() else None
    folder = Path(config.experiments_folder)
    if not folder.is_dir():
        raise BadInput(
            "there is no such folder",
            input=config.experiments_folder,
            what_to_do="name one with results of experiments, or leave experiments_folder out",
        )
    return folder


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"json"},
    deps=[cost_model],
    description=_text(
        "In how many chunks clips of each length pay off, under each goal, with the tables of thresholds: "
        "enlarged by the network, and framed without it once there are runs of that. `auto` in a request "
        "goes by the models of this plan that have seen several numbers of chunks, and by what the package "
        "ships where there is none.",
        "`choices`, `thresholds` and `by_length`, whose grey part is what was measured: all else is the "
        "model's.",
    ),
)
def gpu_plan(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:
    from video_pipeline.costs.in_use import SOURCES
    from video_pipeline.costs.planning import choices, framing_model, plan_from
    from video_pipeline.costs.plots import plan_by_length
    from video_pipeline.costs.stored import PLAN_KIND, known_coefficients, read_models, save
    from video_pipeline.costs.thresholds import RATE

    try:
        objects = store.open()
        known = known_coefficients(read_models(objects))
        plan, chosen = plan_from(known), choices(known)
        files = {"json": plan.model_dump_json(indent=1), "csv": chosen.to_csv(index=False)}
        pointer = save(objects, PLAN_KIND, {name: text.encode() for name, text in files.items()})
        framing = framing_model(known, enlarged=True)
        assert framing is not None, "the package ships one"
    except PipelineError as error:
        raise to_failure(context, error) from None
    picture = plan_by_length(framing, rate=RATE, lengths_s=range(1, 61))
    metadata: dict[str, Any] = {
        "by_length": embedded(picture, "seconds and dollars by length"),
        "thresholds": thresholds_table(plan),
        "choices": choices_table(chosen),
        "rule": plan.framing_ai.rule,
        "coefficients_from": f"{SOURCES[framing.source]}, {framing.n_runs} runs, {framing.as_of}",
    }
    return dg.MaterializeResult(metadata={**metadata, **links(objects, pointer.files)})


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"csv", "html"},
    deps=[cost_model, gpu_plan],
    description=_text(
        "What a month costs if work goes on as the ledger has it: its tasks, how many a day, how long the "
        "videos are. And the dashboard: one page with all of the ledger, to open in a browser. A mix of your "
        "own: `video-pipeline cost --mix FILE`.",
        "`usd_a_month` with its interval, `by_task`, and `dashboard`.",
    ),
)
def cost_projection(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:
    from video_pipeline.costs.dashboard import dashboard_page
    from video_pipeline.costs.ledger import load
    from video_pipeline.costs.mix import mix_of
    from video_pipeline.costs.plots import projection_by_task
    from video_pipeline.costs.projection import project
    from video_pipeline.costs.stored import known_coefficients, read_models, read_plan, save

    try:
        objects = store.open()
        rows: Any = load(objects)
        known = known_coefficients(read_models(objects))
        page = dashboard_page(rows, known, read_plan(objects), link_of=_link_of(objects))
        dashboard = save(objects, "dashboard", {"html": page.encode()}).files["html"]
        shown: dict[str, Any] = {"dashboard": link(objects, dashboard)}
        try:
            found = project(mix_of(rows), known)
        except BadInput as error:
            if error.input != "ledger":
                raise
            context.log.info(error.message)
            return dg.MaterializeResult(metadata={"nothing_yet": error.message, **shown})
        files = {"csv": found.csv(), "md": found.markdown()}
        pointer = save(objects, "projection", {name: text.encode() for name, text in files.items()})
    except PipelineError as error:
        raise to_failure(context, error) from None
    figures: dict[str, Any] = {"usd_a_month": found.usd}
    if found.usd_low is not None and found.usd_high is not None:
        figures |= {"usd_low": found.usd_low, "usd_high": found.usd_high}
    return dg.MaterializeResult(
        metadata={
            **shown,
            "by_task": embedded(projection_by_task(found), "US dollars a month by task"),
            "table": dg.MetadataValue.md(found.markdown()),
            **figures,
            **links(objects, pointer.files),
        }
    )


def _link_of(store: ObjectStore) -> Any:
    def address(tenant: str, key: str) -> str | None:
        path = store.local_path(keys.result_key(tenant, key))
        return None if path is None else path.as_uri()

    return address


@dg.asset_check(
    asset=cost_model,
    name="prediction_drift",
    description="Predictions made before a call lie within 15 % of what it then took: the median over the "
    "last 50 calls that carried one. With fewer than 5 it passes, and says so.",
)
def prediction_drift(store: StoreResource) -> dg.AssetCheckResult:
    from video_pipeline.costs.drift import drift
    from video_pipeline.costs.ledger import load
    from video_pipeline.costs.predict import LIMIT

    found = drift(load(store.open()))
    metadata: dict[str, Any] = {"calls": found.calls, "limit": LIMIT}
    if found.error is not None and found.bias is not None:
        metadata |= {"median_error": found.error, "median_bias": found.bias}
        metadata["by_task"] = drift_table(found)
    if found.drifted:
        metadata["what_to_do"] = (
            "look whether code, machines or the work itself changed; clips get their chunks by the same "
            "models, which this job fits to the newest runs: not_fitted of cost_model says of what there "
            "are too few"
        )
    return dg.AssetCheckResult(
        passed=not found.drifted,
        severity=dg.AssetCheckSeverity.WARN,
        description=str(found),
        metadata=metadata,
    )


cost_assets = [usage_ledger, cost_model, gpu_plan, cost_projection]
cost_checks = [prediction_drift]
