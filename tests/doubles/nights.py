"""Ticks of the nightly backfills on ephemeral instances.

Belongs here: the fixtures of such tests, one tick, and what it asks for. Does not belong here: what is
expected of a night.
"""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from tests.doubles.assets import Outcomes, definitions
from video_pipeline.operations.states import CAPTIONS, CLIPS, JOINED, SAMPLES, Product
from video_pipeline.resources.store import StoreResource
from video_pipeline.schedules import nightly_backfills

NIGHT = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
BY_PRODUCT = dict(zip((CAPTIONS, SAMPLES, CLIPS, JOINED), nightly_backfills, strict=True))


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


def tick(
    instance: dg.DagsterInstance,
    product: Product = CAPTIONS,
    at: datetime = NIGHT,
    said: list[str] | None = None,
) -> list[dg.RunRequest]:
    """What the schedule asks for; `said` takes what it says where it asks for nothing."""
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        resources={"store": StoreResource()},
        repository_def=definitions(Outcomes()).get_repository_def(),
    ) as context:
        data = BY_PRODUCT[product].evaluate_tick(context)
    assert data.run_requests or data.skip_message
    if said is not None:
        said.append(data.skip_message or "")
    return list(data.run_requests or [])


def asked(requests: list[dg.RunRequest]) -> list[str]:
    return [str(request.partition_key) for request in requests]
