"""What a call asks of Modal: which function, on what machine, at what cost; settled before it is spawned.

Belongs here: from a task and a call's options to the way in which it is reached. Does not belong here:
spawning (`compute.modal_calls`), what functions are deployed with (`modal_ops.specs`), limits
(`modal_ops.guard`).
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

from pydantic import BaseModel

from video_pipeline.compute.base import CallOptions, Status
from video_pipeline.compute.modal import Way
from video_pipeline.compute.modal_cost import WAIT_S
from video_pipeline.foretelling import foretell_in_background, found_by_now
from video_pipeline.modal_ops.guard import CallCost, Foretold, check_cost
from video_pipeline.modal_ops.specs import FunctionSpec, deployed_specs, spec_for
from video_pipeline.settings import Settings
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import Task, find_task
from video_pipeline.telemetry.usage import Machine


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as it is to be spawned. `reserved` is what Modal charges for while it runs."""

    task: Task
    request: BaseModel
    spec: FunctionSpec
    way: Way
    cost: CallCost

    @property
    def reserved(self) -> Machine:
        return reserved_for(self.spec)

    def foretell(self, store: ObjectStore) -> Future[Foretold | None]:
        """Begins to find out what is foretold of it."""
        return foretell_in_background(self.task, self.request, self.reserved, store)


def asked_of_modal(
    task: Task, request: BaseModel, options: CallOptions, settings: Settings, store: ObjectStore
) -> Asked:
    """What the call asks for. `BadInput` for a GPU or time limit that Modal does not have, and for a call
    that may cost more than the settings allow."""
    spec = spec_for(task, settings, options)
    deployed = {one.name: one for one in deployed_specs(task, settings)}[spec.name]

    def foretold() -> Foretold | None:
        return found_by_now(foretell_in_background(task, request, reserved_for(spec), store), WAIT_S)

    cost = check_cost(task, options, settings, foretell=foretold)
    # A shorter limit is the worker's to keep: other options would mean other, cold containers.
    way = Way(
        name=deployed.name,
        holds_model=deployed.holds_model,
        gpu=spec.gpu if spec.gpu != deployed.gpu else None,
        timeout_s=spec.timeout_s if spec.timeout_s > deployed.timeout_s else None,
    )
    return Asked(task, request, spec, way, cost)


def reserved_for(spec: FunctionSpec) -> Machine:
    """What Modal charges for while a function's container runs."""
    return Machine(
        gpu_type=spec.gpu,
        gpu_count=0 if spec.gpu is None else 1,
        cpu_cores=spec.cpu_cores,
        memory_gib=spec.memory_mib / 1024,
    )


def advice_when_lost(task: str, status: Status, settings: Settings) -> str:
    """What to do about a call that its worker could not end itself."""
    if status.died == "out_of_memory":
        spec = spec_for(find_task(task, settings), settings)
        return (
            f"it asks for {spec.memory_mib:,} MiB and is ended beyond {spec.memory_limit_mib:,}: "
            "give it a smaller input, or the task more memory_mib (tasks.py) and deploy"
        )
    if status.died == "timeout":
        return "give it a longer timeout_s, or a shorter input"
    return "look at the call's log on Modal"
