"""The asset `machines`: what the machines that run tasks are and have, and whether that is what tasks need.

Belongs here: what to show of a probe. Does not belong here: probing (`modal_ops.probing`), what a probe looks
at (`machine_probe`).
"""

# No `from __future__ import annotations`: Dagster reads these functions' annotations, not their text.

import dagster as dg

from video_pipeline.assets.common import OWNERS, check_result
from video_pipeline.assets.metadata import table
from video_pipeline.compute.follow import Interrupts
from video_pipeline.errors import PipelineError
from video_pipeline.failures import to_failure
from video_pipeline.modal_ops.probing import Probed, check_probes, machines_of_the_table, probe_machines
from video_pipeline.resources.compute import asked_of_run
from video_pipeline.resources.store import StoreResource

MACHINES = dg.AssetKey("machines")
CHECK = "have_what_tasks_need"


@dg.asset(
    key=MACHINES,
    group_name="machines",
    kinds={"gpu"},
    owners=OWNERS,
    code_version="1",
    description="What the machines that run tasks are and have: GPU, driver, NVDEC codecs, torch, encoders, "
    "fonts, the store as they see it. On Modal one machine of each type that a task asks for, which costs a "
    "few cents; with local compute this machine.\n\n**To look at**: the table, and a page for each machine.",
    check_specs=[
        dg.AssetCheckSpec(
            CHECK, asset=MACHINES, description="Every machine has what the tasks that run there need."
        )
    ],
)
def machines(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:
    try:
        settings, objects = store.settings(), store.open()
        wanted = machines_of_the_table(settings)
        if settings.compute == "modal":
            for cost in check_probes(wanted, settings):
                context.log.info(f"cost: {cost}")
    except PipelineError as error:
        raise to_failure(context, error) from None
    with Interrupts.watched() as interrupts:
        probes = probe_machines(
            wanted, settings, objects, interrupted=lambda: asked_of_run(context, interrupts)
        )
    if interrupts.asked is not None:
        raise dg.DagsterExecutionInterruptedError
    pages = {one.gpu: objects.get(one.report_key).decode() for one in probes if one.report_key is not None}
    return dg.MaterializeResult(
        metadata={
            "machines": table(("machine", "as needed", "call", "not there"), [_row(one) for one in probes]),
            **{f"page_{gpu}": dg.MetadataValue.md(f"```text\n{page}```") for gpu, page in pages.items()},
            "as_needed": sum(one.ok for one in probes),
            "backend": settings.compute,
        },
        check_results=[
            check_result(CHECK, MACHINES, [f"{one.gpu}: {one.error}" for one in probes if not one.ok])
        ],
    )


def _row(one: Probed) -> tuple[str, str, str, str]:
    lacks = one.error or "; ".join(one.missing)
    return one.gpu, "yes" if one.ok else "no", one.call or "", " ".join(lacks.split())
