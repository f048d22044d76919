"""A double of the asset graph: the same keys, partitions and jobs, with assets that do what the test says.

Real Dagster runs on a real instance, without media or calls: each ends as `Outcomes` says for its partition.
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
from dagster._core.test_utils import create_run_for_test

from video_pipeline.errors import BadInput, Internal, PipelineError
from video_pipeline.failures import to_failure
from video_pipeline.operations.states import PRODUCTS, Product
from video_pipeline.partitions import clip_partitions, sample_partitions, video_partitions

_PARTITIONS = {"videos": video_partitions, "samples": sample_partitions, "clips": clip_partitions}


class _Cancelled(PipelineError):
    kind = "cancelled"


@dataclass
class Outcomes:
    """How assets end, by `asset/partition`: `ok` (the default), `left out`, `bad input`, `a defect`, `a dying
    host`, `a cancelled call`.

    `versions`: the data version that an asset is made with, the partition's name by default.
    """

    ends: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    calls: dict[str, str] = field(default_factory=dict)
    """Keys of calls that an asset observes, by `asset/partition`."""


def definitions(outcomes: Outcomes, code_versions: Mapping[str, str] | None = None) -> dg.Definitions:
    """Every product's assets, one depending on the one before it where its real one does."""
    versions = code_versions or {}
    assets = [
        _asset(
            product,
            name,
            product.assets[place - 1] if place and not product.optional else None,
            outcomes,
            versions,
        )
        for product in PRODUCTS
        for place, name in enumerate(product.assets)
    ]
    jobs = [
        dg.define_asset_job(product.job, selection=dg.AssetSelection.assets(*product.assets))
        for product in PRODUCTS
    ]
    return dg.Definitions(assets=assets, jobs=jobs, executor=dg.in_process_executor)


def _asset(
    product: Product, name: str, before: str | None, outcomes: Outcomes, versions: Mapping[str, str]
) -> dg.AssetsDefinition:
    @dg.asset(
        key=name,
        deps=[before] if before else [],
        partitions_def=_PARTITIONS[product.partitions],
        code_version=versions.get(name, "1"),
        output_required=False,
    )
    def made(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        key = f"{name}/{context.partition_key}"
        call = outcomes.calls.get(key)
        if call is not None:
            context.log_event(
                dg.AssetObservation(name, partition=context.partition_key, metadata={"call": call})
            )
        end = outcomes.ends.get(key, "ok")
        if end == "bad input":
            raise to_failure(
                context,
                BadInput("the video is cut off", input=context.partition_key, what_to_do="upload it again"),
            )
        if end == "a defect":
            raise to_failure(context, Internal("two and two made five", input=context.partition_key))
        if end == "a cancelled call":
            raise to_failure(context, _Cancelled("cancelled: by a person", input=context.partition_key))
        if end == "a dying host":
            raise dg.DagsterExecutionInterruptedError
        if end == "ok":
            version = outcomes.versions.get(key, context.partition_key)
            yield dg.MaterializeResult(data_version=dg.DataVersion(version))

    return made


def run(
    instance: dg.DagsterInstance,
    outcomes: Outcomes,
    product: Product,
    key: str,
    *,
    code_versions: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    """Registers the partition and runs the product's job for it."""
    instance.add_dynamic_partitions(product.partitions, [key])
    job = definitions(outcomes, code_versions).resolve_job_def(product.job)
    return job.execute_in_process(
        partition_key=key, instance=instance, raise_on_error=False, tags=dict(tags or {})
    )


def cancelled_run(
    instance: dg.DagsterInstance, product: Product, key: str, *, tags: Mapping[str, str] | None = None
) -> dg.DagsterRun:
    """A run that is to make the product's ends, and that was cancelled in the UI before it began."""
    instance.add_dynamic_partitions(product.partitions, [key])
    made = create_run_for_test(
        instance, job_name=product.job, tags={"dagster/partition": key, **(tags or {})}
    )
    plan(instance, made.run_id, product, key)
    instance.report_run_canceling(made)
    instance.report_run_canceled(made)
    return made


def plan(instance: dg.DagsterInstance, run_id: str, product: Product, key: str) -> None:
    """Notes, as Dagster does when a run is made, that the run is to make the product's ends."""
    for end in product.ends:
        planned = AssetMaterializationPlannedData(dg.AssetKey(end), partition=key)
        instance.report_dagster_event(
            DagsterEvent.build_asset_materialization_planned_event(
                job_name=product.job, step_key=end, asset_materialization_planned_data=planned
            ),
            run_id,
        )
