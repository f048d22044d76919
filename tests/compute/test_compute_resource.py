"""What a run shows of its call in Dagster: the cost its backend tells, in the log and as an observation."""

# No `from __future__ import annotations`: Dagster reads an asset's annotations, not their text.

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from video_pipeline.calls import ResultRecord, WorkerIdentity
from video_pipeline.compute.base import CallOptions, Event, Handle, Status
from video_pipeline.machine_probe import ProbeRequest
from video_pipeline.resources import compute as resource
from video_pipeline.resources.compute import ComputeResource
from video_pipeline.resources.store import StoreResource

KEY = "ab" * 16
COST = {
    "cost": "probe on 2 cores, 8 GiB: at most 720 s = $0.03",
    "bound_seconds": 720,
    "bound_usd": 0.03,
    "foretold_usd": 0.001,
}


class DoubleOfCompute:
    """In the place of a backend that charges: one call, which has ended, and tells its cost on the way."""

    backend = "modal"
    unclaimed_limit_s = 1.0

    def __init__(self, events: list[Event]) -> None:
        self._events = events

    def submit(self, task: str, request: Any, options: CallOptions | None = None) -> Handle:
        return Handle("acme", KEY, task, self.backend)

    def events(self, handle: Handle) -> "DoubleOfCompute":
        return self

    def read(self) -> list[Event]:
        return [self._events.pop(0)] if self._events else []

    def poll(self, handle: Handle) -> Status:
        if self._events:
            return Status("running")
        now = datetime.now(UTC)
        record = ResultRecord(
            key=KEY,
            task=handle.task,
            version=1,
            status="ok",
            result={},
            worker=WorkerIdentity(backend="modal"),
            started_at=now,
            finished_at=now,
        )
        return Status("done", result=record)

    def describe(self, handle: Handle) -> dict[str, Any]:
        return {}


def test_what_a_call_will_cost_is_logged_and_observed_beside_its_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = [Event("progress", {"stage": "probe", "done": 1, "total": 2}), Event("cost", COST)]
    monkeypatch.setattr(resource, "open_compute", lambda settings, store: DoubleOfCompute(told))

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["acme--a"]))
    def made(context: dg.AssetExecutionContext, compute: ComputeResource) -> None:
        compute.run(context, "probe", ProbeRequest(), [context.asset_key])

    store = StoreResource(uri=str(tmp_path / "store"))
    with dg.instance_for_test() as instance:
        run = dg.materialize(
            [made],
            partition_key="acme--a",
            resources={"store": store, "compute": ComputeResource(store=store)},
            instance=instance,
        )
        assert run.success
        logged = [entry.user_message for entry in instance.all_logs(run.run_id)]
    observed = [
        event.asset_observation_data.asset_observation
        for event in run.all_events
        if event.is_asset_observation
    ]
    assert [one.partition for one in observed] == ["acme--a", "acme--a"]
    first, second = ({name: value.value for name, value in one.metadata.items()} for one in observed)
    assert first == {"call": KEY, "task": "probe", "backend": "modal"}
    assert second == {**first, **COST}
    assert f"cost: {COST['cost']}" in logged
